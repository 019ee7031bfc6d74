"""What is in a file of a volume, from a few of its bytes. Nothing here executes what it reads."""
