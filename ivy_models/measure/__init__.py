"""Time and memory of a call."""
