"""The Triton kernel of the reader, in Triton's interpreter."""

import pytest
from helpers import CHOSEN
from helpers.processes import python


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_models_and_their_gradients_are_as_without_the_kernel():
    pytest.importorskip("triton", reason="needs triton, which takes 0.9 GB; pip install triton")
    from helpers import grid_kernel

    python(grid_kernel.MAIN, **grid_kernel.ENVIRONMENT)
