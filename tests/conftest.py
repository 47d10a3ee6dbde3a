"""Every test that takes ``backend`` runs on every backend.

IVY_MODELS_TEST_BACKENDS="numpy torch" chooses fewer; one that was asked for but cannot be
loaded fails the run.
"""

import os

# Beside other tests, threads of one wait for cores that are busy with another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import ivy
import numpy as np
import pytest
from click.testing import CliRunner
from helpers import CHOSEN, unset_backends
from hypothesis import HealthCheck, settings

from ivy_models.cli import main
from ivy_models.ops import ops_named
from ivy_models.transformers.perceiver_io import Reader

# Compilers make the first example slow, and a machine under load any example.
settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("default")


@pytest.fixture(params=CHOSEN)
def backend(request):
    """Set Ivy to each backend in turn; gives its name."""
    ivy.set_backend(request.param)
    yield request.param
    unset_backends()


@pytest.fixture
def ops(backend):
    """The backend's native operations."""
    return ops_named(backend)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def run():
    """The command line in this process: ``run("classify", path)``."""
    yield lambda *arguments: CliRunner().invoke(main, arguments)
    unset_backends()


@pytest.fixture
def always_streaming(monkeypatch):
    """Small models too read by streaming; without it, plain attention has less to compute."""
    monkeypatch.setattr(Reader, "plain_is_cheaper", lambda *_: False)
