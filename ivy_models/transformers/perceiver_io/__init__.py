"""Perceiver IO (arXiv 2107.14795)."""

from ivy_models.base.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
