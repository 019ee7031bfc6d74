"""Widgets that hold no run logic."""
