"""Files between a volume and this disk, resumable."""
