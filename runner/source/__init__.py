"""A person's own checkout of nanochat as one archive with an address made from its content, and out of it again."""
