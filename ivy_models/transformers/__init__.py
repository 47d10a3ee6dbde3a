"""Models built on attention."""

from ivy_models.base.lazy import lazy_exports
from ivy_models.transformers import perceiver_io as perceiver_io

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
