"""Checkpoints of the Perceivers of Hugging Face transformers."""
