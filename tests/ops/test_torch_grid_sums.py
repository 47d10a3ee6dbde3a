"""The Triton kernel of the reader, in Triton's interpreter."""

import importlib.util

import pytest
from helpers import CHOSEN
from helpers.processes import python

MAIN = "from helpers import grid_kernel; grid_kernel.main()"


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
@pytest.mark.skipif(
    # Not imported here: beside other frameworks, its library can abort the process.
    importlib.util.find_spec("triton") is None,
    reason="needs triton, which takes 0.9 GB; pip install triton",
)
def test_models_and_their_gradients_are_as_without_the_kernel():
    python(MAIN, TRITON_INTERPRET="1")
