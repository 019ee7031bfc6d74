"""Curves of runs, side by side, and drawn."""
