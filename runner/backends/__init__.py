"""Where runs happen: a Protocol, and one module per place."""
