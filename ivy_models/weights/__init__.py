"""Weights: files of several formats, in and out, and where published ones are."""
