"""Losses, and helpers for fine-tuning, that the frameworks do not have."""
