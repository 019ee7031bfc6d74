"""The app, and the view of a log."""
