"""Torch's linear layers: oneDNN's kernels, and the memory stored for the gradient."""

from unittest.mock import patch

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.specs import arguments_for, small_spec

from ivy_models.ops import ops_named
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

if "torch" not in CHOSEN:
    pytest.skip("torch was not chosen", allow_module_level=True)

import torch
import torch.nn.functional as F

from ivy_models.ops import torch_linear, torch_ops

OPS = ops_named("torch")
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN"
)


@pytest.fixture
def onednn_calls(monkeypatch):
    """Compute products of any size by oneDNN; return the shapes of each."""
    calls = []
    original = torch_linear.ONEDNN_LINEAR

    def counted(x, columns, *rest):
        calls.append((tuple(x.shape), tuple(columns.shape)))
        return original(x, columns, *rest)

    monkeypatch.setattr(torch_linear, "ONEDNN_LINEAR", counted)
    monkeypatch.setattr(torch_linear, "ONEDNN_MIN_PRODUCTS", 0)
    return calls


@pytest.fixture
def slow_mkl(monkeypatch):
    monkeypatch.setattr(torch_linear, "_mkl_is_slow", lambda: True)


def layer(rng, dtype="float32"):
    """x (2, 3, 5), weight (5, 7) and bias (7,), all of which are trained."""
    shapes = (2, 3, 5), (5, 7), (7,)
    return [torch.from_numpy(rng.standard_normal(s).astype(dtype)).requires_grad_() for s in shapes]


def plain(x, weight, bias):
    return x @ weight + bias


def assert_same_gradients(function, expected, arguments):
    factors = torch.cos(torch.arange(expected(*arguments).numel()))
    got, want = (
        torch.autograd.grad((f(*arguments).ravel() * factors).sum(), arguments)
        for f in (function, expected)
    )
    for gradient, other in zip(got, want, strict=True):
        torch.testing.assert_close(gradient, other)


@needs_onednn
def test_onednn_without_gradient(rng, onednn_calls):
    arguments = layer(rng)
    with torch.no_grad():
        torch.testing.assert_close(OPS.linear(*arguments), plain(*arguments))
    assert onednn_calls == [((6, 5), (7, 5))]


def test_onednn_compiled(rng, monkeypatch):
    monkeypatch.setattr(torch_linear, "ONEDNN_MIN_PRODUCTS", 0)
    arguments = layer(rng)
    compiled = torch.compile(lambda *arguments: OPS.linear(*arguments))
    with torch.no_grad():
        torch.testing.assert_close(compiled(*arguments), plain(*arguments))
    assert_same_gradients(compiled, plain, arguments)


@needs_onednn
def test_onednns_gradient(rng, onednn_calls, slow_mkl):
    arguments = layer(rng)
    assert_same_gradients(OPS.linear, plain, arguments)
    assert onednn_calls == [((6, 5), (7, 5)), ((6, 7), (5, 7)), ((7, 6), (5, 6))]


@needs_onednn
def test_onednn_computes_no_gradient_of_frozen_weights(rng, onednn_calls, slow_mkl):
    x, weight, bias = layer(rng)
    OPS.linear(x, weight.detach(), bias).sum().backward()
    assert onednn_calls == [((6, 5), (7, 5)), ((6, 7), (5, 7))]


@pytest.mark.parametrize("mkl_is_slow", [False, True])
def test_a_bias_alone_is_trained(rng, monkeypatch, onednn_calls, mkl_is_slow):
    monkeypatch.setattr(torch_linear, "_mkl_is_slow", lambda: mkl_is_slow)
    x, weight, bias = layer(rng)
    OPS.linear(x.detach(), weight.detach(), bias).sum().backward()
    torch.testing.assert_close(bias.grad, torch.full((7,), 6.0))


@pytest.mark.parametrize("mkl_is_slow", [False, True])
def test_gradients_of_gradients(rng, monkeypatch, mkl_is_slow):
    monkeypatch.setattr(torch_linear, "_mkl_is_slow", lambda: mkl_is_slow)
    x, weight, bias = layer(rng, "float64")
    scale, offset = (torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def function(x, scale, offset, weight, bias):
        return OPS.linear(OPS.layer_norm(x, scale, offset), weight, bias)

    assert torch.autograd.gradgradcheck(function, (x, scale, offset, weight, bias))
    assert torch.autograd.gradgradcheck(
        lambda x, weight, bias: OPS.linear(OPS.gelu(x), weight, bias), (x, weight, bias)
    )


def bytes_kept(function):
    """Bytes of the arrays that are stored for the gradient of a function's result."""
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        function()
    return sum(kept.values())


def test_norms_and_activations_are_not_kept(rng):
    x = torch.from_numpy(rng.standard_normal((64, 32), dtype=np.float32)).requires_grad_()
    weights = [torch.randn(32, requires_grad=True) for _ in range(3)]
    weight = torch.randn(32, 32, requires_grad=True)

    def ours(x, scale, offset, bias, weight):
        hidden = OPS.linear(OPS.layer_norm(x, scale, offset), weight, bias)
        return OPS.linear(OPS.gelu(hidden), weight, bias)

    def torchs(x, scale, offset, bias, weight):
        hidden = F.linear(F.layer_norm(x, (32,), scale, offset, 1e-5), weight.t(), bias)
        return F.linear(F.gelu(hidden, approximate="tanh"), weight.t(), bias)

    arguments = (x, *weights, weight)
    few = bytes_kept(lambda: ours(*arguments))
    many = bytes_kept(lambda: torchs(*arguments))
    assert many - few >= 2 * x.nbytes
    assert_same_gradients(ours, torchs, arguments)


def test_a_weight_changed_before_the_gradient_is_noticed(rng):
    x, weight, bias = layer(rng)
    scale, offset = torch.ones(5), torch.zeros(5, requires_grad=True)
    out = OPS.linear(OPS.layer_norm(x, scale, offset), weight, bias)
    with torch.no_grad():
        offset += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_autocast_casts_a_tied_weight_once(rng):
    ivy.set_backend("torch")
    spec = small_spec(network_depth=4)
    module = PerceiverIO(spec).to_torch_module()
    data = torch.from_numpy(arguments_for(spec, rng)[0])

    weight = module.get_parameter("processor.layer_0.self_attention_0.mlp.output.weight")
    is_parameter = []

    class Seen(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), options=None):
            if function is F.linear:
                is_parameter.append(arguments[1] is weight)
            return function(*arguments, **(options or {}))

    with Seen(), torch.autocast("cpu", torch.bfloat16):
        module(data)
    assert sum(is_parameter) == spec.network_depth


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_types_that_a_cpu_emulates_are_computed_in_float32(monkeypatch, rng, dtype):
    monkeypatch.setattr(torch_ops, "SLOW_ON_CPUS", {torch.float16, torch.bfloat16})
    x, weight, bias = (
        torch.from_numpy(rng.standard_normal(shape, "float32")).to(dtype)
        for shape in ((2, 5, 8), (8, 3), (3,))
    )
    found = OPS.linear(x, weight, bias)
    assert found.dtype == dtype
    torch.testing.assert_close(found, (x.float() @ weight.float() + bias.float()).to(dtype))
    heads = x[:, None]
    attended = OPS.attention(heads, heads, heads)
    assert attended.dtype == dtype
    wanted = OPS.attention(*[heads.float()] * 3).to(dtype)
    assert torch.equal(attended, wanted)


@pytest.mark.parametrize(
    ("found", "emulates"),
    [
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"architecture": "aarch64"}, False),
        ({}, False),
    ],
)
def test_processors_without_bfloat16_are_known(monkeypatch, found, emulates):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert torch_ops._emulates_bfloat16() == emulates


def test_chunks_are_recomputed_only_where_a_gradient_needs_them():
    """torch's checkpoint, which imports its compiler, is not for calls without gradients."""
    calls, x = [], torch.linspace(0.1, 1, 4)

    def chunk(factor):  # which closes over x
        calls.append(factor)
        return OPS.exp(x * factor)

    compute = OPS.rematerialise_chunks(chunk)
    with patch.object(torch_ops, "checkpoint", side_effect=AssertionError):
        assert not compute(2.0).requires_grad
    calls.clear()
    x.requires_grad_()
    total = compute(2.0).sum() + compute(3.0).sum()
    assert calls == [2.0, 2.0, 3.0]  # the first one stops where it would store
    (gradient,) = torch.autograd.grad(total, x)
    assert calls == [2.0, 2.0, 3.0, 3.0, 2.0]
    expected = 2 * torch.exp(2 * x) + 3 * torch.exp(3 * x)
    torch.testing.assert_close(gradient, expected)
