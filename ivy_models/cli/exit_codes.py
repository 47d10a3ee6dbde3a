"""Exit codes of the commands, besides click's: 0 success, 1 failure, 2 a wrong command line."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, the convention of shells: 128 plus the signal's number."""
