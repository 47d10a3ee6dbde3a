"""Attention maps, rollout and latents over depth: the intermediate results of a call."""

import numpy as np
import pytest
from helpers import CHOSEN, unset_backends
from helpers.arrays import compiled
from helpers.specs import (
    arguments_for,
    flow_spec,
    language_spec,
    multimodal_data,
    multimodal_spec,
    small_spec,
    specs,
)
from hypothesis import given, settings, strategies as st

from ivy_models import AttentionMaps, attention_maps, attention_rollout, latents_over_depth
from ivy_models.arrays import to_native, unwrap_tree
from ivy_models.errors import InputError
from ivy_models.interpret.attention_maps import untied
from ivy_models.layers.attention import AttentionRecord
from ivy_models.layers.parameters import flatten, map_tree
from ivy_models.ops import ops_named
from ivy_models.transformers.perceiver_io import (
    FourierPositionEncoding,
    PerceiverIO,
    PerceiverIOCore,
)
import ivy


def numpy_of(x):
    if isinstance(x, AttentionMaps):
        return AttentionMaps(*map(numpy_of, x))
    if isinstance(x, dict):
        return {name: numpy_of(leaf) for name, leaf in x.items()}
    if isinstance(x, tuple):
        return tuple(map(numpy_of, x))
    return None if x is None else to_native(ops_named("numpy"), x, "output")


def leaves(x):
    if isinstance(x, (tuple, dict)):
        for branch in x.values() if isinstance(x, dict) else x:
            yield from leaves(branch)
    elif x is not None:
        yield x


# Attention written out by hand


def linear(weights, x):
    return x @ weights["weight"] + weights["bias"]


def norm(weights, x):
    centred = x - x.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return normed * weights["scale"] + weights["offset"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def attend(weights, heads, queries, inputs, mask=None):
    """Weights (H, N, M) of one batch element, and the output of attention (N, D)."""
    q, k, v = (
        linear(weights[name], x).reshape(len(x), heads, -1).swapaxes(0, 1)
        for name, x in (("query", queries), ("key", inputs), ("value", inputs))
    )
    scores = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]))
    if mask is not None:
        scores = scores * mask
    scores = scores / scores.sum(-1, keepdims=True)
    return scores, linear(weights["output"], (scores @ v).swapaxes(0, 1).reshape(len(queries), -1))


def add_mlp(weights, x):
    hidden = gelu(linear(weights["mlp"]["hidden"], norm(weights["mlp_norm"], x)))
    return x + linear(weights["mlp"]["output"], hidden)


def test_maps_are_those_written_out_by_hand(backend, rng):
    """A reader of two heads over pixels and positions, one self-attention layer, a decoder."""
    spec = small_spec(
        network_depth=1, num_lat_att_per_layer=1, num_cross_att_heads=2, cross_head_dim=5,
        query_shape=(2, 2),
    )  # fmt: skip
    model = PerceiverIO(spec)
    # With small weights each map would be nearly uniform.
    scaled = map_tree(lambda x: 3 * numpy_of(x), unwrap_tree(model.v))
    model = model.with_weights(scaled)
    image, mask = rng.standard_normal((2, 4, 3, 3), np.float32), rng.random((2, 4, 3)) < 0.7
    maps = numpy_of(attention_maps(model, image, mask))

    weights = map_tree(lambda x: x.astype(np.float64), scaled)
    (reader,), (block,) = weights["reader"].values(), weights["processor"].values()
    positions = FourierPositionEncoding(num_bands=4)((4, 3))
    for i in range(2):
        inputs = np.concatenate([image[i] * mask[i][..., None], positions], -1).reshape(12, -1)
        z = weights["latents"]
        read, attended = attend(
            reader["attention"], 2, norm(reader["query_norm"], z),
            norm(reader["input_norm"], inputs), mask[i].ravel(),
        )  # fmt: skip
        z = add_mlp(reader, z + attended)
        layer = block["self_attention_0"]
        normed = norm(layer["norm"], z)
        mixed, attended = attend(layer["attention"], 3, normed, normed)
        z = add_mlp(layer, z + attended)
        decoder = weights["decoder"]["cross_attention"]
        decoded, _ = attend(
            decoder["attention"], 2, norm(decoder["query_norm"], weights["queries"]),
            norm(decoder["input_norm"], z),
        )  # fmt: skip
        assert read.max() > 0.3
        np.testing.assert_allclose(maps.reader[0][i].reshape(read.shape), read, atol=2e-5)
        np.testing.assert_allclose(maps.processor[0][i], mixed, atol=2e-5)
        np.testing.assert_allclose(maps.decoder[i].reshape(decoded.shape), decoded, atol=2e-5)


# Any model

QUICK = [name for name in CHOSEN if not ops_named(name).traces_loops] or CHOSEN
"""Run without a compiler, which takes seconds for each new shape."""


@settings(max_examples=20)
@given(specs(), st.integers(0, 2**32 - 1))
def test_maps_of_random_specs(spec, seed):
    """Shapes, sums and masks; backends agree; the model is as it was."""
    data, mask, queries = arguments_for(spec, np.random.default_rng(seed))
    grid = spec.adapter().grid_shape(data.shape[1:-1])
    num_axes, results = len(grid), []
    for name in QUICK:
        ivy.set_backend(name)
        model = PerceiverIO(spec, seed=seed % 1000)
        before, weights = numpy_of(model(data, mask, queries)), dict(flatten(model.v))
        maps = attention_maps(model, data, mask, queries)
        results.append((maps, attention_rollout(maps), latents_over_depth(model, data, mask)))
        assert all(ops_named(name).is_array(x.data) for x in leaves(results[-1]))
        assert all(leaf is weights[path] for path, leaf in flatten(model.v))
        np.testing.assert_array_equal(numpy_of(model(data, mask, queries)), before)
        results[-1] = tuple(map(numpy_of, results[-1]))
    unset_backends()

    maps, rollout, latents = results[0]
    seen = np.ones((2, *grid), bool) if mask is None else mask
    any_seen = seen.any(tuple(range(1, num_axes + 1)))
    num_reads = spec.network_depth if spec.cross_attend_in_every_layer else 1
    assert len(maps.reader) == num_reads
    for read in maps.reader:
        assert read.shape == (2, spec.num_cross_att_heads, spec.num_latents, *grid)
        assert not read[np.broadcast_to(~seen[:, None, None], read.shape)].any()
        sums = read.sum(tuple(range(3, 3 + num_axes)))
        np.testing.assert_allclose(sums, np.broadcast_to(any_seen[:, None, None], sums.shape), 1e-5)
    n = spec.num_latents
    assert len(maps.processor) == spec.network_depth * spec.num_lat_att_per_layer
    for layer in maps.processor:
        assert layer.shape == (2, spec.num_self_att_heads, n, n)
        np.testing.assert_allclose(layer.sum(-1), 1, 1e-5)
    rows = (n,)
    if spec.with_decoder:
        rows = () if spec.pooling else spec.query_shape
        heads = 1 if spec.pooling else spec.decoder_heads[0]
        assert maps.decoder.shape == (2, heads, *rows, n)
        np.testing.assert_allclose(maps.decoder.sum(-1), 1, 1e-5)
    else:
        assert maps.decoder is None
    assert rollout.shape == (2, *rows, *grid)
    sums = rollout.sum(tuple(range(-num_axes, 0)))
    np.testing.assert_allclose(sums.T, np.broadcast_to(any_seen, sums.T.shape), 1e-5)
    assert len(latents) == spec.network_depth + 1
    for other in results[1:]:
        for got, expected in zip(leaves(other), leaves(results[0]), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-4 * max(1, expected.std()))


def recorded(model, *arguments):
    """Outputs of the run that is recorded."""
    ops = ops_named(ivy.current_backend_str())
    spec, params = untied(model.spec, unwrap_tree(model.v))
    arguments = [x if x is None else ops.asarray(x) for x in arguments]
    _, outputs = PerceiverIOCore(spec).run(params, *arguments, record=AttentionRecord())
    return ops.to_numpy(outputs)


@pytest.mark.usefixtures("always_streaming")
@pytest.mark.parametrize("name", QUICK)
def test_the_recorded_run_computes_the_same_as_a_call(rng, name):
    ivy.set_backend(name)
    model = PerceiverIO(small_spec(cross_attend_in_every_layer=True))
    image, mask = rng.standard_normal((2, 6, 5, 3), np.float32), rng.random((2, 6, 5)) < 0.7
    image[~mask] = 0
    expected = numpy_of(model(image, mask))
    got = recorded(model, image, mask.reshape(2, 30), None)
    unset_backends()
    np.testing.assert_allclose(got, expected, atol=2e-5 * max(1, abs(expected).max()))


def test_tied_layers_give_a_map_each(rng):
    spec = small_spec(network_depth=3, cross_attend_in_every_layer=True)
    tied, image = PerceiverIO(spec), rng.standard_normal((2, 4, 3, 3), np.float32)
    repeated = untied(spec, unwrap_tree(tied.v))[1]
    loose = PerceiverIO(spec.replace(weight_tie_layers=False), v=repeated)
    maps = numpy_of(attention_maps(tied, image))
    for got, expected in zip(
        leaves(maps), leaves(numpy_of(attention_maps(loose, image))), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    assert not np.allclose(maps.processor[0], maps.processor[2], atol=1e-6)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_any_number_of_batch_axes(rng, batch):
    model = PerceiverIO(small_spec(learn_query=False, query_shape=None))
    image = rng.standard_normal((*batch, 4, 5, 3), np.float32)
    queries = rng.standard_normal((6, 14), np.float32)  # for the whole batch
    maps = attention_maps(model, image, queries=queries)
    assert tuple(maps.reader[0].shape) == (*batch, 1, 7, 4, 5)
    assert [tuple(layer.shape) for layer in maps.processor] == 4 * [(*batch, 3, 7, 7)]
    assert tuple(maps.decoder.shape) == (*batch, 1, 6, 7)
    assert tuple(attention_rollout(maps).shape) == (*batch, 6, 4, 5)
    assert [tuple(x.shape) for x in latents_over_depth(model, image)] == 3 * [(*batch, 7, 12)]


def test_patches_are_inputs(rng):
    model = PerceiverIO(small_spec(patch_shape=(2, 5)))
    mask = np.array([[True, False], [True, True], [False, True]])
    (read,), _, _ = attention_maps(model, rng.standard_normal((6, 10, 3), np.float32), mask)
    assert tuple(read.shape) == (1, 7, 3, 2)
    assert ((read.data > 0) == mask).all()


@pytest.mark.parametrize("stem", ["convolution", "centred_convolution", "two_convolutions"])
def test_a_convolution_has_its_own_axes(rng, stem):
    model = PerceiverIO(small_spec(stem=stem, stem_dim=4))
    maps = attention_maps(model, rng.standard_normal((2, 13, 21, 3), np.float32))
    axes = (3, 5) if stem == "centred_convolution" else (4, 6)
    assert tuple(maps.reader[0].shape[3:]) == axes
    assert tuple(attention_rollout(maps).shape) == (2, 1, *axes)


def test_text(rng):
    model = PerceiverIO(language_spec())
    tokens, mask = rng.integers(0, 262, (2, 11)), np.ones((2, 11), bool)
    mask[0, 7:] = mask[1, 0] = False
    maps = numpy_of(attention_maps(model, tokens, mask))
    assert maps.reader[0].shape == (2, 2, 7, 11)
    assert maps.decoder.shape == (2, 2, 11, 7)
    # A masked token is not attended to, and its own query attends to nothing.
    np.testing.assert_allclose(
        maps.decoder.sum(-1), np.broadcast_to(mask[:, None], (2, 2, 11)), 1e-5
    )
    rollout = numpy_of(attention_rollout(maps))
    np.testing.assert_allclose(rollout.sum(-1), mask, 1e-5)
    np.testing.assert_array_equal(rollout > 0, mask[:, :, None] & mask[:, None, :])


def test_flow(rng):
    """A query for each pixel, from the inputs."""
    maps = attention_maps(PerceiverIO(flow_spec()), rng.random((2, 2, 9, 11, 3), np.float32))
    assert tuple(maps.reader[0].shape) == (2, 1, 7, 9, 11)
    assert tuple(maps.decoder.shape) == (2, 1, 9, 11, 7)
    assert tuple(attention_rollout(maps).shape) == (2, 9, 11, 9, 11)


def test_several_modalities(rng):
    model = PerceiverIO(multimodal_spec(cross_attend_in_every_layer=True))
    data = multimodal_data(rng)
    places = {"image": np.array([5, 0, 59]), "label": None}
    maps = numpy_of(attention_maps(model, data, queries=places))
    axes = {"image": (2, 3, 5), "label": (), "sound": (7,)}
    for read in maps.reader:
        assert {name: x.shape for name, x in read.items()} == {
            name: (2, 1, 7, *grid) for name, grid in axes.items()
        }
        total = sum(x.reshape(2, 1, 7, -1).sum(-1) for x in read.values())
        np.testing.assert_allclose(total, 1, 1e-5)
    every = numpy_of(attention_maps(model, data))
    assert {name: x.shape for name, x in every.decoder.items()} == {
        "image": (2, 1, 2, 5, 6, 7), "label": (2, 1, 1, 7), "sound": (2, 1, 7, 7),
    }  # fmt: skip
    some = every.decoder["image"].reshape(2, 1, 60, 7)[:, :, places["image"]]
    np.testing.assert_allclose(maps.decoder["image"], some, atol=1e-6)
    rollout = numpy_of(attention_rollout(maps))
    assert set(rollout) == {"image", "label"}
    assert rollout["image"]["sound"].shape == (2, 3, 7)
    total = sum(x.reshape(2, 3, -1).sum(-1) for x in rollout["image"].values())
    np.testing.assert_allclose(total, 1, 1e-5)


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_half_precision_gives_float32(rng):
    ivy.set_backend("torch")
    model = PerceiverIO(small_spec(dtype="bfloat16"))
    image = rng.standard_normal((2, 4, 3, 3), np.float32)
    assert {ops_named("torch").dtype(x.data) for x in leaves(attention_maps(model, image))} == {
        "float32"
    }
    unset_backends()


# Rollout


def test_rollout_is_the_product_of_the_layers(backend, rng):
    """Two heads a layer, a second read after two layers, against the matrices written out."""

    def weights(*shape):
        x = rng.random(shape, np.float32)
        return x / x.sum(-1, keepdims=True)

    reads, layers, decoder = weights(2, 2, 3, 6), weights(4, 2, 3, 3), weights(2, 5, 3)
    maps = AttentionMaps(
        tuple(ivy.array(x.reshape(2, 3, 2, 3)) for x in reads),
        tuple(map(ivy.array, layers)),
        ivy.array(decoder),
    )
    (a, b), (p, q, r, s) = reads.mean(1), layers.mean(1)
    mixed = [(x + np.eye(3)) / 2 for x in (p, q, r, s)]
    before = mixed[1] @ mixed[0] @ a
    expected = decoder.mean(0) @ mixed[3] @ mixed[2] @ ((b + before) / 2)
    got = numpy_of(attention_rollout(maps))
    np.testing.assert_allclose(got, expected.reshape(5, 2, 3), atol=1e-6)
    of_latents = numpy_of(attention_rollout(maps._replace(reader=maps.reader[:1], decoder=None)))
    expected = mixed[3] @ mixed[2] @ before
    np.testing.assert_allclose(of_latents, expected.reshape(3, 2, 3), atol=1e-6)


def test_rollout_finds_the_one_input_that_counts(rng):
    """A latent that looks for one kind of input: moving that moves the rollout, and the output."""
    ivy.set_backend("numpy")
    spec = small_spec(
        input_dim=4, num_input_axes=1, fourier_encode_input=False, network_depth=1,
        num_lat_att_per_layer=1, num_latents=1,
    )  # fmt: skip
    model = PerceiverIO(spec)
    weights = map_tree(numpy_of, unwrap_tree(model.v))
    (reader,) = weights["reader"].values()
    # The key of an input is its first channel; the query is a constant.
    reader["attention"]["query"]["weight"][:] = 0
    reader["attention"]["query"]["bias"][:] = (20, 0, 0, 0)
    reader["attention"]["key"]["weight"][:] = np.diag([1, 0, 0, 0])
    model = model.with_weights(weights)
    data = rng.standard_normal((9, 4), np.float32)
    data[:, 0] = -1
    for place in (2, 7):
        seen = data.copy()
        seen[place, 0] = 4
        share = attention_rollout(attention_maps(model, seen)).data[0]
        assert share.argmax() == place
        assert share[place] > 0.99
        moved = [seen.copy(), seen.copy()]
        moved[0][place, 1:] += 1
        moved[1][place - 1, 1:] += 1
        inside, outside = (abs(model(x).data - model(seen).data).max() for x in moved)
        assert inside > 100 * outside
    unset_backends()


# Latents


def test_latents_over_depth(backend, rng):
    spec = small_spec(network_depth=3, cross_attend_in_every_layer=True)
    model, image = PerceiverIO(spec), rng.standard_normal((2, 4, 3, 3), np.float32)
    latents = numpy_of(latents_over_depth(model, image))
    assert len(latents) == 4
    np.testing.assert_allclose(latents[-1], numpy_of(model.encode(image)), atol=2e-5)
    # A model with only the first k blocks returns the deeper one's latents at that depth.
    ops = ops_named(backend)
    params = untied(spec, unwrap_tree(model.v))[1]
    given = ops.move(ops.asarray(image), like=params["latents"])
    read = spec.reader()(
        params["reader"]["layer_0"], params["latents"][None], spec.adapter()({}, given)
    )
    np.testing.assert_allclose(latents[0], ops.to_numpy(read), atol=2e-5)
    for depth in (1, 2):
        shorter = PerceiverIOCore(spec.replace(network_depth=depth, weight_tie_layers=False))
        got = ops.to_numpy(compiled(ops, shorter.encode)(params, given, None))
        np.testing.assert_allclose(latents[depth], got, atol=2e-5)


# Refusals


def test_arguments_are_checked_as_in_a_call(backend, rng):
    model, image = PerceiverIO(small_spec()), rng.standard_normal((2, 4, 3, 3), np.float32)
    with pytest.raises(InputError, match="data has shape"):
        attention_maps(model, image[..., :2])
    with pytest.raises(InputError, match="mask has shape"):
        attention_maps(model, image, np.ones((2, 3, 4), bool))
    with pytest.raises(InputError, match="queries have shape"):
        attention_maps(model, image, queries=np.ones((1, 13), np.float32))
    with pytest.raises(InputError, match="data has shape"):
        latents_over_depth(model, image[..., :2])


def test_rollout_takes_maps_alone():
    with pytest.raises(InputError, match=r"attention_maps\(model, data\), got ndarray"):
        attention_rollout(np.ones((2, 3)))
