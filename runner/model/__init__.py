"""Records of runs and the rules that they follow. Pure."""
