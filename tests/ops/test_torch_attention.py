"""Attention on torch: fused kernels, and the formula for second derivatives."""

import pytest
from helpers import CHOSEN

from ivy_models.ops import ops_named

if "torch" not in CHOSEN:
    pytest.skip("torch was not chosen", allow_module_level=True)

import torch

from ivy_models.ops.base import Ops
from ivy_models.ops.torch_ops import _padded_attention

OPS = ops_named("torch")


def arguments(rng, batch=2, queries=3, keys=4, channels=2):
    """q, k and v with one head, in float64."""
    shapes = (batch, 1, queries, channels), *2 * ((batch, 1, keys, channels),)
    return [torch.from_numpy(rng.standard_normal(shape)).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("keys", [None, (4, 2), (3, 0)])
def test_derivatives(keys, rng):
    mask = None if keys is None else torch.arange(4) < torch.tensor(keys)[:, None]

    def attention(q, k, v):
        return OPS.attention(q, k, v, mask)

    assert torch.autograd.gradcheck(attention, arguments(rng))
    assert torch.autograd.gradgradcheck(attention, arguments(rng))


@pytest.mark.parametrize("trained", [0, 1, 2])
def test_second_derivatives_in_one_argument(trained, rng):
    sources = [x.detach().requires_grad_(i == trained) for i, x in enumerate(arguments(rng))]
    assert torch.autograd.gradgradcheck(OPS.attention, sources)


def test_training_never_computes_the_formula(rng, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("The formula was computed.")

    monkeypatch.setattr(Ops, "attention", refused)
    sources = arguments(rng)
    OPS.attention(*sources).sum().backward()
    assert all(x.grad is not None for x in sources)
    with pytest.raises(AssertionError, match="The formula"):
        torch.autograd.grad(OPS.attention(*sources).sum(), sources, create_graph=True)


def test_nothing_is_kept_beside_the_tensors_of_the_kernel(rng):
    sources = arguments(rng)
    kernel = torch.nn.functional.scaled_dot_product_attention
    assert number_kept(OPS.attention, sources) == number_kept(kernel, sources)


def number_kept(function, arguments):
    """Bytes of tensors with their own memory that are stored for the gradient."""
    kept = []

    def pack(x):
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        function(*arguments)
    return len({x.data_ptr() for x in kept})


@pytest.mark.parametrize("masked", [False, True])
def test_padded_heads_give_the_same(masked, rng):
    sources = arguments(rng, channels=5)
    sources[2] = torch.from_numpy(rng.standard_normal((2, 1, 4, 3))).requires_grad_()
    mask = torch.arange(4) < torch.tensor([[2], [0]]) if masked else None
    outputs = _padded_attention(*sources, mask), OPS.attention(*sources, mask)
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(
        *(torch.autograd.grad(out.square().sum(), sources) for out in outputs)
    )
