"""Weights in files: the formats that are read and written, and the download of published files."""
