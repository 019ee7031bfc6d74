"""One search over everything: runs, checkpoints, files, settings, commands and the lines of all logs."""
