"""Used by every layer: checked fields, atomic file writes, the cache folder, lazy exports."""
