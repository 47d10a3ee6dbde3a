"""Models by name and by task: presets, and functions that build them."""
