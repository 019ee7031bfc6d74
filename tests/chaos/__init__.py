"""Attacks on the product of this tree, over and over, by a seed: `make chaos`, or `python -m tests.chaos --help`."""
