"""Runs a Perceiver of transformers on this library's core, if the core computes the same."""
