"""How a run is, what it costs, and what a person is told of it."""
