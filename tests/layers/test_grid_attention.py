"""The exact reader alone, compared with attention to the concatenation that it never builds."""

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.arrays import compiled
from helpers.processes import python

from ivy_models.errors import InputError
from ivy_models.layers.parameters import map_tree
from ivy_models.transformers.perceiver_io import (
    FourierPositionEncoding,
    GridCrossAttention,
    initialise,
)

POSITIONS = FourierPositionEncoding(3, 11.0)
SHAPES = {1: (13,), 2: (5, 7), 3: (2, 5, 3)}


def layer_norm(x, scale, offset):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + offset


def plain_attention(layer, weights, queries, data, mask):
    """The textbook formula, in float64."""
    encoded = POSITIONS(data.shape[1:-1])
    encoded = np.broadcast_to(encoded, (*data.shape[:-1], encoded.shape[-1]))
    inputs = np.concatenate([data, encoded], -1)
    inputs = inputs.reshape(len(data), -1, inputs.shape[-1]).astype(np.float64)
    inputs = layer_norm(inputs, *weights["input_norm"].values())
    queries = layer_norm(queries.astype(np.float64), *weights["query_norm"].values())

    def heads(name, x):
        projected = x @ weights["attention"][name]["weight"] + weights["attention"][name]["bias"]
        return projected.reshape(*x.shape[:2], layer.num_heads, -1).transpose(0, 2, 1, 3)

    q, k, v = heads("query", queries), heads("key", inputs), heads("value", inputs)
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask.reshape(len(data), 1, 1, -1), scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    attended = (shares @ v).transpose(0, 2, 1, 3).reshape(len(data), queries.shape[1], -1)
    output = weights["attention"]["output"]
    return attended @ output["weight"] + output["bias"]


def random_weights(layer, rng):
    """No weight at its neutral value."""
    return map_tree(
        lambda x: x + 0.3 * rng.standard_normal(x.shape, np.float32), initialise(layer.parameters())
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_axes", SHAPES)
def test_it_is_attention_to_the_concatenation(ops, num_axes, masked, rng):
    layer = GridCrossAttention(10, 3, POSITIONS, num_axes, num_heads=2, qk_dim=6, v_dim=8)
    weights = random_weights(layer, rng)
    queries = rng.standard_normal((2, 4, 10), np.float32)
    data = rng.standard_normal((2, *SHAPES[num_axes], 3), np.float32)
    mask = rng.random(data.shape[:-1]) < 0.6 if masked else None
    arguments = [None if x is None else ops.asarray(x) for x in (queries, data, mask)]
    output = compiled(ops, layer)(map_tree(ops.asarray, weights), *arguments)
    expected = plain_attention(layer, weights, queries, data, mask)
    np.testing.assert_allclose(ops.to_numpy(output), expected, atol=1e-5)


def test_masked_data_do_not_matter(ops, rng):
    layer = GridCrossAttention(10, 3, POSITIONS)
    weights = map_tree(ops.asarray, random_weights(layer, rng))
    queries = ops.asarray(rng.standard_normal((1, 4, 10), np.float32))
    data, mask = rng.standard_normal((2, 5, 7, 3), np.float32), rng.random((2, 5, 7)) < 0.6
    layer = compiled(ops, layer)
    before = layer(weights, queries, ops.asarray(data), ops.asarray(mask))
    data[~mask] = np.nan
    after = layer(weights, queries, ops.asarray(data), ops.asarray(mask))
    np.testing.assert_array_equal(ops.to_numpy(after), ops.to_numpy(before))


@pytest.mark.parametrize(
    ("queries", "data", "mask", "message"),
    [
        ((2, 4, 10), (2, 5, 7, 4), None, "data has shape"),
        ((2, 4, 10), (2, 5, 3), None, "expected .B, axis_0, axis_1, 3."),
        ((3, 4, 10), (2, 5, 7, 3), None, "queries have shape .3, 4, 10."),
        ((2, 10), (2, 5, 7, 3), None, "queries have shape"),
        ((2, 4, 10), (2, 5, 7, 3), (2, 5), "mask has shape"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(queries, data, mask, message):
    layer = GridCrossAttention(10, 3, POSITIONS)
    mask = None if mask is None else np.ones(mask, bool)
    with pytest.raises(InputError, match=message):
        layer(
            initialise(layer.parameters()),
            np.zeros(queries, np.float32),
            np.zeros(data, np.float32),
            mask,
        )
    with pytest.raises(InputError, match="expected floats"):
        layer(initialise(layer.parameters()), np.zeros((1, 4, 10), int), np.zeros((1, 5, 7, 3)))
    masked = np.ma.masked_array(np.zeros((1, 5, 7, 3)), True)
    with pytest.raises(InputError, match="data is a masked array"):
        layer(initialise(layer.parameters()), np.zeros((1, 4, 10)), masked)


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_the_torch_module_trains(rng):
    import torch

    from ivy_models.shells import torch as shells

    module = shells.GridCrossAttention(10, 3, num_bands=3, max_resolution=11.0, num_heads=2)
    queries = torch.from_numpy(rng.standard_normal((2, 4, 10), np.float32)).requires_grad_()
    data = torch.from_numpy(rng.standard_normal((2, 5, 7, 3), np.float32)).requires_grad_()
    layer = GridCrossAttention(10, 3, POSITIONS, num_heads=2)
    weights = map_tree(lambda x: x.detach().numpy(), module.weights())
    arrays = queries.detach().numpy(), data.detach().numpy()
    expected = plain_attention(layer, weights, *arrays, None)
    output = module(queries, data)
    np.testing.assert_allclose(output.detach(), expected, atol=1e-5)
    output.square().sum().backward()
    assert all(p.grad is not None for p in (*module.parameters(), queries, data))
    assert torch.compile(module, backend="eager")(queries, data).shape == (2, 4, 10)


@pytest.mark.skipif("paddle" not in CHOSEN, reason="needs paddle")
def test_the_layer_of_paddle_trains(rng):
    import paddle

    from ivy_models.shells import paddle as shells

    module = shells.GridCrossAttention(10, 3, num_bands=3, max_resolution=11.0, num_heads=2)
    arrays = [rng.standard_normal(s, np.float32) for s in ((2, 4, 10), (2, 5, 7, 3))]
    queries, data = (paddle.to_tensor(x, stop_gradient=False) for x in arrays)
    layer = GridCrossAttention(10, 3, POSITIONS, num_heads=2)
    weights = map_tree(lambda x: x.detach().numpy(), module.weights())
    expected = plain_attention(layer, weights, *arrays, None)
    output = module(queries, data)
    np.testing.assert_allclose(output.detach().numpy(), expected, atol=1e-5)
    output.square().sum().backward()
    assert all(p.grad is not None for p in (*module.parameters(), queries, data))
    module.attention.key.register_forward_pre_hook(lambda *call: None)
    with pytest.raises(InputError, match="has a hook"):
        module(queries, data)


PEAKS = """
import gc, tracemalloc
import numpy as np
from ivy_models.transformers.perceiver_io import (
    FourierPositionEncoding, GridCrossAttention, initialise,
)

layer = GridCrossAttention(32, 3, FourierPositionEncoding(64))
weights = initialise(layer.parameters())
for size in (256, 1024):
    data = np.zeros((1, size, size, 3), np.float32)
    gc.collect()
    tracemalloc.start()
    layer(weights, np.ones((1, 64, 32), np.float32), data)
    print(tracemalloc.get_traced_memory()[1], data.nbytes)
    tracemalloc.stop()
"""


def test_memory_does_not_grow_with_the_grid():
    """Scores are computed in chunks, so 16 times the inputs take only their own memory more."""
    (small, _), (large, inputs) = (map(int, line.split()) for line in python(PEAKS).splitlines())
    assert large < 1.5 * small + inputs
