"""A data folder to look around in: runs made of recorded logs, and larger ones drawn after them. It reaches nothing."""
