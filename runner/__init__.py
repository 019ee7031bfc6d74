"""Everything nanochat-tui does: plan, launch, watch, stop and resume nanochat runs. Knows nothing of screens."""

__version__ = "0.1.0"
