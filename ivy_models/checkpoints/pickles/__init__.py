"""Pickled checkpoints, read without running code from the file."""
