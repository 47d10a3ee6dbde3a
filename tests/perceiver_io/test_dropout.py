"""Dropout: only in training, at the spec's rates, and reproducible from a key."""

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.specs import arguments_for, small_spec

from ivy_models.errors import BackendError, SpecError
from ivy_models.layers.parameters import map_tree
from ivy_models.ops import ops_named
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore, initialise
from ivy_models.transformers.perceiver_io.spec_checks import DROPOUT_RATES
import ivy

INPUTS_DROPPED = {
    "learned queries": small_spec(seq_dropout=0.25, cross_attend_in_every_layer=True),
    "queries from inputs": small_spec(
        seq_dropout=0.25,
        queries_from_inputs=True,
        learn_query=False,
        query_shape=None,
        queries_dim=21,
    ),
}

TRAINS = [name for name in CHOSEN if name != "numpy"]


def key_of(name, seed):
    """The key of dropout in each framework."""
    if name == "jax":
        return __import__("jax").random.key(seed)
    if name == "tensorflow":
        return [seed, 0]
    if name == "paddle":
        return __import__("paddle").seed(seed)
    return __import__("torch").manual_seed(seed)


@pytest.fixture(params=TRAINS)
def trainer(request):
    return ops_named(request.param)


def runner(ops, spec):
    """A function from a key to the outputs, for fixed weights and data."""
    core = PerceiverIOCore(spec)
    call = ops.compile(core) if ops.name == "jax" else core  # otherwise it compiles each operation
    params = map_tree(ops.asarray, initialise(core.parameters()))
    arguments = arguments_for(spec, np.random.default_rng(0))
    data, mask, queries = (x if x is None else ops.asarray(x) for x in arguments)
    mask = None if mask is None else ops.reshape(mask, (mask.shape[0], -1))
    return lambda key: ops.to_numpy(call(params, data, mask, queries, key))


def test_the_operation(trainer, rng):
    x = trainer.asarray(1 + rng.random((50, 400), np.float32))
    dropped = trainer.to_numpy(trainer.dropout(x, 0.2, key_of(trainer.name, 0)))
    kept = dropped != 0
    assert abs(kept.mean() - 0.8) < 0.02
    np.testing.assert_allclose(dropped[kept], trainer.to_numpy(x)[kept] / 0.8, rtol=1e-6)


@pytest.mark.parametrize("name", DROPOUT_RATES)
def test_draws_depend_on_the_key_alone(trainer, name):
    run = runner(trainer, small_spec(**{name: 0.4}))
    off, first, again, other = (
        run(None if seed is None else key_of(trainer.name, seed)) for seed in (None, 1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, off)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("name", DROPOUT_RATES)
def test_a_tiny_dropout_rate_changes_little(trainer, name):
    """The path of dropout, plain attention all at once, computes what inference does."""
    got = runner(trainer, small_spec(**{name: 1e-7}))(key_of(trainer.name, 0))
    np.testing.assert_allclose(got, runner(trainer, small_spec())(None), atol=1e-5)


KEPT = np.arange(60).reshape(2, 30) % 3 > 0
"""Inputs that are read although others are dropped."""


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("spec", INPUTS_DROPPED.values(), ids=INPUTS_DROPPED)
def test_dropped_inputs_are_not_read(trainer, monkeypatch, rng, spec, masked):
    """One draw for a call; what is dropped counts as masked for the reader alone."""
    drawn, native = [], PerceiverIOCore(spec)

    def drop(self, x, rate, key):
        drawn.append((tuple(x.shape), rate))
        return x * trainer.asarray(np.float32(KEPT))

    monkeypatch.setattr(type(trainer), "dropout", drop)
    params = map_tree(trainer.asarray, initialise(native.parameters()))
    data = trainer.asarray(rng.standard_normal((2, 6, 5, 3), np.float32))
    mask = rng.random((2, 30)) < 0.7 if masked else np.ones((2, 30), bool)
    given = trainer.asarray(mask) if masked else None
    got = native(params, data, given, None, key_of(trainer.name, 0))
    latents = native.encode(params, data, trainer.asarray(mask & KEPT))
    inputs = native.adapt(params, data, given)
    expected = native.to_outputs(params, latents, None, *inputs)
    np.testing.assert_allclose(trainer.to_numpy(got), trainer.to_numpy(expected), atol=1e-5)
    assert drawn == [((2, 30), 0.25)]


def places(monkeypatch, ops, spec):
    """The keys of a call's draws, as numbers, and the drawn shapes."""
    drawn = []

    def record(x, rate, key):
        drawn.append((tuple(x.shape), rate, key))
        return x

    monkeypatch.setattr(type(ops), "dropout", lambda self, x, rate, key: record(x, rate, key))
    monkeypatch.setattr(type(ops), "fold_in", lambda self, key, number: (*key, int(number)))
    core = PerceiverIOCore(spec)
    params = map_tree(ops.asarray, initialise(core.parameters()))
    data = ops.asarray(np.zeros((2, 6, 5, 3), np.float32))
    core(params, data, None, None, ())
    return drawn


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
@pytest.mark.parametrize("tied", [True, False])
def test_every_place_draws_for_itself(monkeypatch, tied):
    """A reader of each layer, two layers of two self-attention layers, a decoder."""
    spec = small_spec(
        attn_dropout=0.1, fc_dropout=0.2, weight_tie_layers=tied, cross_attend_in_every_layer=True
    )
    drawn = places(monkeypatch, ops_named("torch"), spec)
    assert len({key for _, _, key in drawn}) == len(drawn) == 2 * (2 + 2 * 2 + 1)
    weights = [shape for shape, rate, _ in drawn if rate == 0.1]
    assert sorted(weights) == sorted([(2, 1, 7, 30)] * 2 + [(2, 3, 7, 7)] * 4 + [(2, 1, 1, 7)])
    outputs = [shape for shape, rate, _ in drawn if rate == 0.2]
    assert sorted(outputs) == sorted([(2, 7, 12)] * 6 + [(2, 1, 14)])


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_the_torch_module(rng):
    import torch

    model = PerceiverIO(small_spec(attn_dropout=0.3, fc_dropout=0.3))
    module, data = model.to_torch_module(), torch.from_numpy(rng.random((2, 6, 5, 3), np.float32))
    off = module(data)
    module.train()
    torch.manual_seed(0)
    first, second = module(data), module(data)
    torch.manual_seed(0)
    assert torch.equal(module(data), first)
    assert not torch.allclose(first, second)
    assert not torch.allclose(first, off)
    assert torch.equal(module.eval()(data), off)
    compiled = torch.compile(module.train(), fullgraph=True, backend="aot_eager")
    assert not torch.allclose(compiled(data), compiled(data))


@pytest.mark.skipif("jax" not in CHOSEN, reason="needs jax")
def test_the_jax_function(rng):
    import jax

    apply, params = PerceiverIO(small_spec(attn_dropout=0.3, fc_dropout=0.3)).to_jax()
    data, call = rng.random((2, 6, 5, 3), np.float32), jax.jit(apply)
    off = call(params, data)
    first, again, other = (call(params, data, key=jax.random.key(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, off)
    assert not np.allclose(first, other)

    @jax.jit
    @jax.grad
    def gradients(params):
        return apply(params, data, key=jax.random.key(0)).sum()

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients(params)))


def test_a_call_of_the_ivy_module_drops_nothing(backend, rng):
    data = rng.random((2, 6, 5, 3), np.float32)
    model = PerceiverIO(small_spec(attn_dropout=0.3, fc_dropout=0.3, seq_dropout=0.3))
    expected = PerceiverIO(small_spec())(data)
    np.testing.assert_allclose(ivy.to_numpy(model(data)), ivy.to_numpy(expected), atol=1e-6)
    with pytest.raises(SpecError, match="to_torch_module"):
        model.train()


def test_numpy_refuses_to_train():
    with pytest.raises(BackendError, match="numpy backend cannot train"):
        runner(ops_named("numpy"), small_spec(fc_dropout=0.1))(0)
