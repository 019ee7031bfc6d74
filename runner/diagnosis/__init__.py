"""Why a run ended: what its log and its processes show, what caused it, what to do about it. Pure."""
