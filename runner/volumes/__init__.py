"""Files by relative path: what a volume is, what is on it, what of it may go."""
