"""The Triton kernel of the reader, in Triton's interpreter."""

import sys
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace

import pytest
from helpers import CHOSEN
from helpers.processes import python
from packaging.version import Version

MAIN = "from helpers import grid_kernel; grid_kernel.main()"


def has_triton():
    """Not by importing it: beside other frameworks, its library can abort the process."""
    try:
        return Version(version("triton")) >= Version("3.7")
    except PackageNotFoundError:
        return False


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
@pytest.mark.skipif(
    not has_triton(),
    reason="needs triton 3.7, before which its interpreter fails with numpy 2.4; "
    ".ci/run installs it for this file",
)
def test_models_and_their_gradients_are_as_without_the_kernel():
    python(MAIN, TRITON_INTERPRET="1")


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_grids_are_read_in_chunks_where_triton_cannot_compile(monkeypatch):
    import torch

    from ivy_models.ops import torch_ops

    def check_kernels(device):
        raise RuntimeError("Failed to find C compiler.\nPlease specify one.")

    name = "ivy_models.ops.torch_grid_check"
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(check_kernels=check_kernels))
    monkeypatch.setattr(torch_ops.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.warns(UserWarning, match="in chunks on cuda:0.*Failed to find C compiler.$"):
        assert not torch_ops._runs_triton.__wrapped__(torch.device("cuda:0"))
