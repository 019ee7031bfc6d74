"""Text and numbers, for people and from strangers, made harmless."""
