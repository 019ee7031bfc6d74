"""How things are said and shown, for the screens and the command line."""
