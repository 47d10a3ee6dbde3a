"""Every test that takes ``backend`` runs on every backend.

IVY_MODELS_TEST_BACKENDS="numpy torch" chooses fewer. If a chosen backend cannot be loaded, the run
fails.

``--device cuda`` runs the tests that take ``backend`` on another device, on the backends that have
it. ``--device cpu:1`` divides the CPU into two devices, which JAX and TensorFlow can.
"""

import os
import signal
import socket
import sys
import tempfile

# These apply to this process, xdist's workers and every process that a test starts.
if "PYTEST_XDIST_WORKER" not in os.environ:
    # An empty cache, which is also Ivy's home, whatever the user's environment says.
    CACHE = tempfile.TemporaryDirectory(prefix="ivy_models-tests-")
    os.environ["IVY_MODELS_CACHE"] = CACHE.name
    os.environ.pop("IVY_ROOT", None)
    os.environ["HF_DATASETS_CACHE"] = os.path.join(CACHE.name, "datasets")
    # One thread, with and without xdist: equal rounding, and no waiting for busy cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import CHOSEN, devices, unset_backends
from helpers.compiling import compile_quickly, optimize_programs
from helpers.leftovers import (  # noqa: F401  pytest's hooks
    pytest_sessionfinish,
    pytest_sessionstart,
    pytest_terminal_summary,
)
from hypothesis import HealthCheck, settings

from ivy_models.cli import main
from ivy_models.ops import ops_named
from ivy_models.transformers.perceiver_io import Reader
import ivy

if "jax" in CHOSEN:
    import jax

    # Synchronous calls, so that nothing runs on during the next test.
    jax.config.update("jax_cpu_enable_async_dispatch", False)

# The code of the docs, and the processes with full-size models, run optimized programs.
if "PYTEST_XDIST_WORKER" not in os.environ:
    compile_quickly()
optimize_programs(False)

# No deadlines: compilation makes the first example slow, and load can make any slow.
settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("default")


def pytest_addoption(parser):
    parser.addoption("--device", help="device of the models, such as cuda or cpu:1")


def pytest_configure(config):
    if (device := config.getoption("--device")) is not None:
        devices.prepare(device, CHOSEN)


@pytest.fixture(autouse=True)
def no_handler_of_dead_children():
    """Remove the handler of SIGCHLD that PyTorch's DataLoader leaves in the process.

    It would run in later tests, whenever a process that they started ends.
    """
    yield
    if sys.platform != "win32" and signal.getsignal(signal.SIGCHLD) != signal.SIG_DFL:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture
def device_of_run(request):
    """The device of the models, as Ivy names it. A test's own parameter may be called device."""
    return devices.name_of_ivy(request.config.getoption("--device") or "cpu")


@pytest.fixture(params=CHOSEN)
def backend(request, device_of_run):
    """Set Ivy to each backend in turn, and to the device; return the backend's name."""
    ivy.set_backend(request.param)
    if device_of_run != "cpu":
        devices.skip_without(device_of_run, request.param)
        ivy.set_default_device(device_of_run)
    yield request.param
    if device_of_run != "cpu":
        ivy.unset_default_device()
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
def closed_address(monkeypatch):
    """An address without a server. Its port is reserved, and no proxy is used."""
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}/"


@pytest.fixture
def always_streaming(monkeypatch):
    """Make small models stream their inputs too, although plain attention would be cheaper."""
    monkeypatch.setattr(Reader, "plain_is_cheaper", lambda *_: False)
