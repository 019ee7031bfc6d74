"""A log of any size by line number, and what it says."""
