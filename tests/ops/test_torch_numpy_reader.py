"""NumPy reads grids for torch on a CPU only where no gradient and no tool needs the steps."""

import pytest
from helpers import CHOSEN
from helpers.specs import small_spec

from ivy_models.layers.parameters import map_tree
from ivy_models.ops import numpy_grid_sums
from ivy_models.transformers.perceiver_io import PerceiverIOCore, initialise

pytestmark = [
    pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch"),
    pytest.mark.usefixtures("always_streaming"),
]


@pytest.fixture
def calls(monkeypatch):
    """The calls of NumPy's reader."""
    calls, grid_sums = [], numpy_grid_sums.grid_sums

    def counted(*sources, threads):
        calls.append(threads)
        return grid_sums(*sources, threads)

    monkeypatch.setattr(numpy_grid_sums, "grid_sums", counted)
    return calls


@pytest.fixture
def module():
    """A small torch module, whose weights are frozen."""
    import torch

    from ivy_models.shells.torch import PerceiverIO

    spec = small_spec()
    weights = initialise(PerceiverIOCore(spec).parameters(), 0)
    return PerceiverIO(spec, map_tree(torch.from_numpy, weights)).requires_grad_(False)


@pytest.fixture
def data(rng):
    import torch

    return torch.from_numpy(rng.standard_normal((2, 6, 5, 3), "float32"))


def test_it_reads_where_no_gradient_is_needed(module, data, calls):
    import torch

    found = module(data)
    assert calls
    module.requires_grad_()
    calls.clear()
    torch.testing.assert_close(module(data).detach(), found, rtol=1e-5, atol=1e-6)
    assert not calls
    with torch.no_grad():
        assert torch.equal(module(data), found)
    assert calls


def test_each_array_that_needs_a_gradient_has_one(module, data, calls):
    data.requires_grad_()
    module(data).square().sum().backward()
    assert data.grad.abs().sum() > 0
    data = data.detach()
    for name, weight in module.named_parameters():
        weight.requires_grad_()
        module(data).square().sum().backward()
        assert weight.grad is not None, name
        weight.requires_grad_(False)


def tools():
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    yield FlopCounterMode(display=False)
    yield torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True)


def test_tools_see_torchs_operations(module, data, calls):
    for tool in tools():
        with tool:
            module(data)
    assert not calls


def test_transforms_and_programs_see_torchs_operations(module, data, calls):
    import torch

    found = torch.func.vmap(module)(data[:, None])[:, 0]
    program = torch.export.export(module, (data,)).module()
    torch.testing.assert_close(program(data), found)
    traced = torch.jit.trace(module, (data,), check_trace=False)
    torch.testing.assert_close(traced(data), found)
    assert not calls
