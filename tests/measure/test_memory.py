"""Memory does not grow with the image."""

import subprocess
import sys

import pytest
from helpers import ROOT

CLASSIFY = """
import sys
import ivy, numpy as np
from ivy_models.transformers.perceiver_io import PerceiverIO
from ivy_models.measure.memory import HostMemory
from subjects import MODELS

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
    run = subprocess.run(
        [sys.executable, "-c", CLASSIFY], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 1024
