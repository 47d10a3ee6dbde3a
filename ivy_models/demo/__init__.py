"""The local web page of ``ivy-models demo``."""
