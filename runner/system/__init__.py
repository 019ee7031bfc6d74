"""This machine: its disk, its threads, the client's own log."""
