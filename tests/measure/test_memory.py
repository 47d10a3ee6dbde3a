"""Memory does not grow with the image."""

import sys

import pytest
from helpers.processes import ONE_HEAP, python

CLASSIFY = """
import numpy as np
from ivy_models.measure.memory import HostMemory
from ivy_models.transformers.perceiver_io import PerceiverIO
from subjects import MODELS
import ivy

ivy.set_backend("numpy")
model = PerceiverIO(MODELS["fourier"])
image = np.random.default_rng(0).standard_normal((2048, 2048, 3), np.float32)
memory = HostMemory()
extra = memory.extra(lambda: model(image))
print(extra / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's record of the peak")
def test_numpy_classifies_2048_pixels_squared_within_a_gigabyte():
    assert float(python(CLASSIFY, **ONE_HEAP)) < 1024
