"""A launch as one file: read and written, merged under what was typed, kept by name."""
