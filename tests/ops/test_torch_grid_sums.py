"""The Triton kernel of the reader, in Triton's interpreter."""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.processes import python

from ivy_models.errors import BackendError
from ivy_models.ops import ops_named

MAIN = "from helpers import grid_kernel; grid_kernel.main()"


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
@pytest.mark.skipif(
    # Not imported here: beside other frameworks, its library can abort the process.
    importlib.util.find_spec("triton") is None,
    reason="needs triton, which takes 0.9 GB; pip install triton",
)
def test_models_and_their_gradients_are_as_without_the_kernel():
    python(MAIN, TRITON_INTERPRET="1")


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_triton_is_not_imported_after_tensorflow(monkeypatch):
    ops = ops_named("torch")
    monkeypatch.setenv("IVY_MODELS_FUSED_READER", "1")
    monkeypatch.setattr("ivy_models.ops.torch_ops._runs_triton", lambda device: True)
    monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    with pytest.raises(BackendError, match="Import triton first"):
        ops.has_grid_sums(ops.asarray(np.zeros(1, np.float32)), 3)
