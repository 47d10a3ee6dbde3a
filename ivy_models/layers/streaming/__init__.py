"""Exact attention in chunks: over many inputs, over many queries, and as a separate layer."""
