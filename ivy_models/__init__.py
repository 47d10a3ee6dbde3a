"""Perceiver IO for every framework: NumPy, PyTorch, JAX, TensorFlow and Paddle, through Ivy."""

from ivy_models.base import deep_binding, ivy_home, ivy_imports, ivy_repairs, moved
from ivy_models.base.lazy import lazy_exports
from ivy_models.base.paddle_import import PaddleLoader

__version__ = "2.0.0"

ivy_home.install()
ivy_imports.install()
ivy_repairs.install()
moved.install()
deep_binding.install({"paddle": PaddleLoader, "triton": deep_binding.DeepBinding})
__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
