"""Devices that the tests run models on: ``pytest --device``."""

import os

import pytest

from helpers import unset_backends
from ivy_models.base.devices import parse_device
from ivy_models.errors import BackendError
from ivy_models.ops import ops_named


def prepare(device, backends):
    """Make a second CPU device if the tests need it, and forbid products of lower precision."""
    # JAX would reserve most of a GPU's memory, of which each worker of xdist needs some.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    for name in backends:
        if device == "cpu:1" and name in ("jax", "tensorflow"):
            divide_cpu(name)
    if "torch" in backends:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if "jax" in backends:
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    if "tensorflow" in backends:
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)


def divide_cpu(backend):
    """Divide the CPU into two devices. The backend must not have been used before."""
    if backend == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", 2)
    else:
        import tensorflow as tf

        [cpu], one = tf.config.list_physical_devices("CPU"), tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [one, one])


def name_of_ivy(device):
    """Ivy's name of a device: "gpu:0" for "cuda"."""
    device = parse_device(device)
    if device.kind != "cuda":
        return str(device)
    return f"gpu:{device.index or 0}"


def skip_without(device, backend):
    """Skip a test on a backend that lacks the device."""
    try:
        ops_named(backend).check_device(device)
    except BackendError as error:
        unset_backends()
        pytest.skip(str(error))
