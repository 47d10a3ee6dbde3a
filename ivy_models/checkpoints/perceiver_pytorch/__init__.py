"""Weights of the Perceivers of the package perceiver-pytorch."""
