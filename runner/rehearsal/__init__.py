"""A stand-in for nanochat: same modules, flags, files and log lines, really training a tiny character model.

Pure Python, no network, nothing of this machine but NANOCHAT_BASE_DIR; `stand_in/` goes on PYTHONPATH in place of a
nanochat checkout. Its numbers are its own and honest: they say nothing of the model it stands in for.
"""
