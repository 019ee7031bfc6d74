"""All runs: launched, watched, cancelled, resumed, deleted."""
