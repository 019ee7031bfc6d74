"""All that is known of karpathy/nanochat, at the commit in `commands.COMMIT`, and the only place that knows it."""
