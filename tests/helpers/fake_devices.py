"""Accelerators for a build of torch that has none: their tensors have shapes, but no numbers.

A program runs on them as on a real device, except that nothing is computed. So what it would do can
be counted: kernels, their bytes, copies from the host, and reads that wait for the device. An
operation on tensors of different devices is refused, as on a real one.

Call :func:`install` in a process of its own, and run the program under ``FakeTensorMode``.
"""

import collections
import ctypes
import subprocess
import tempfile
import traceback
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROOT = Path(torch.__file__).parent

GUARDS = """
#include <c10/core/impl/FakeGuardImpl.h>
using namespace c10;
#define ADD(name) static impl::DeviceGuardImplRegistrar name( \\
    DeviceType::name, new impl::FakeGuardImpl<DeviceType::name>());
ADD(CUDA) ADD(MPS) ADD(XPU)
"""
"""Torch switches to a tensor's device by that device's guard, which a build without it lacks."""


def install():
    """Add the devices "cuda", "mps" and "xpu" to this process."""
    if torch.cuda.is_available():
        return
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "guards.cpp"), Path(folder, "guards.so")
        source.write_text(GUARDS)
        flags = ["-std=c++20", "-shared", "-fPIC", f"-I{ROOT / 'include'}", f"-L{ROOT / 'lib'}"]
        command = ["g++", *flags, str(source), "-o", str(library), "-lc10"]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


class Count(TorchDispatchMode):
    """Counts what a program does on a device.

    Parameters
    ----------
    on_host : bool
        Count kernels of the CPU's fake tensors instead, the only ones that have backward passes.

    Attributes
    ----------
    kernels, bytes : int
        Kernels, and the bytes that they read and write.
    names : collections.Counter
        The kernels by the names of torch's operations.
    copies, waits : collections.Counter
        Lines of this library that copy from the host, and that wait for the device.
    """

    def __init__(self, on_host=False):
        super().__init__()
        self.on_host = on_host
        self.kernels = self.bytes = 0
        self.names, self.copies, self.waits = (collections.Counter() for _ in range(3))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        given = _tensors((args, kwargs))
        if name == "_local_scalar_dense" and not _on_host(given):
            self.waits[_line()] += 1
        made = func(*args, **(kwargs or {}))
        results = _tensors(made)
        if name in ("_to_copy", "copy_") and _on_host(given[-1:]) != _on_host(results):
            (self.waits if _on_host(results) else self.copies)[_line()] += 1
        if name == "where" and not _on_host(results) and any(_on_host([x]) for x in given):
            self.copies[_line()] += 1  # of a number
        here = results and _on_host(results) == self.on_host
        if here and not (func.is_view or name in _FREE):
            self.kernels += 1
            self.names[name] += 1
            arrays = [x for x in given + results if _on_host([x]) == self.on_host]
            self.bytes += sum(x.numel() * x.element_size() for x in arrays)
        return made


_FREE = ("_unsafe_view", "lift_fresh")
"""Views that torch does not mark as such."""


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _on_host(tensors):
    return all(x.device.type == "cpu" for x in tensors)


def _line():
    """The innermost line of this library, outside the operations of torch."""
    for frame in reversed(traceback.extract_stack()):
        if "/ivy_models/" in frame.filename and "/ops/" not in frame.filename:
            return f"{frame.filename.rpartition('/ivy_models/')[2]}:{frame.lineno}"
    return "elsewhere"
