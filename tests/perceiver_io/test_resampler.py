"""The resampler, compared with textbook formulas and with published implementations."""

import itertools

import numpy as np
import pytest
from helpers.chunks import set_scores_per_chunk
from helpers.gradients import TRAINED, directional_derivatives, value_and_gradients
from helpers.processes import python
from helpers.resamplers import (
    PUBLISHED,
    SMALL,
    arguments_for,
    published,
    random_weights,
    textbook,
)

from ivy_models.errors import InputError, SpecError
from ivy_models.layers.parameters import map_tree
from ivy_models.transformers.perceiver_io import ResamplerSpec, initialise, resample
from ivy_models.transformers.perceiver_io.resampler import attention

WAYS = list(itertools.product((False, True), repeat=2))
"""Whether projections are folded, and inputs are read in chunks."""


def compute(monkeypatch, folded, chunked):
    """Choose a way to compute, whatever is cheaper."""
    monkeypatch.setattr(attention, "folding_is_cheaper", lambda *_: folded)
    monkeypatch.setattr(attention, "MAX_CHUNKS", 0 if chunked else 100)
    set_scores_per_chunk(monkeypatch, 400)


def call(ops, spec, weights, arguments):
    arguments = {
        name: [ops.asarray(each) for each in x] if isinstance(x, list) else ops.asarray(x)
        for name, x in arguments.items()
    }
    weights = map_tree(ops.asarray, weights)
    if ops.name != "jax":
        return ops.to_numpy(resample(spec, weights, **arguments))
    import jax

    # One program without optimization compiles faster than many operations.
    program = jax.jit(
        lambda weights, arguments: resample(spec, weights, **arguments),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    return np.asarray(program(weights, arguments))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_compute_the_formulas(ops, name, rng, monkeypatch):
    spec = published(name)
    weights = random_weights(spec, rng)
    arguments = arguments_for(spec, rng)
    expected = textbook(spec, weights, **arguments)
    assert not np.allclose(
        expected, textbook(spec, weights, **arguments | {"mask": None}), atol=0.01
    )
    for way in WAYS if ops.name == "numpy" else WAYS[:1]:
        compute(monkeypatch, *way)
        np.testing.assert_allclose(call(ops, spec, weights, arguments), expected, atol=2e-5)


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("keys_from_latents", [False, True])
def test_every_way_gives_the_same(ops, way, keys_from_latents, rng, monkeypatch):
    """An input that is masked is NaN, and one batch element has no other input."""
    options = {"keys_from_latents": keys_from_latents, "qkv_bias": True, "num_latents": 3}
    spec = ResamplerSpec(**SMALL, **options)
    weights = random_weights(spec, rng)
    arguments = arguments_for(spec, rng, batch=3)
    arguments["mask"][1] = False
    expected = textbook(spec, weights, **arguments)
    arguments["inputs"][~arguments["mask"]] = np.nan
    compute(monkeypatch, *way)
    np.testing.assert_allclose(call(ops, spec, weights, arguments), expected, atol=2e-5)


def test_another_input_at_each_cross_attention(ops, rng):
    spec = ResamplerSpec(**SMALL, num_layers=2, rotary_dim=2)
    weights = random_weights(spec, rng)
    first, second = arguments_for(spec, rng), arguments_for(spec, rng, num_inputs=4)
    several = {name: [first[name], second[name]] for name in ("inputs", "mask", "positions")}
    for arguments in (first | several, second | several | {"mask": None}):
        arguments = {name: x for name, x in arguments.items() if x is not None}
        expected = textbook(spec, weights, **arguments)
        np.testing.assert_allclose(call(ops, spec, weights, arguments), expected, atol=2e-5)


def test_latents_and_positions_of_the_whole_batch(rng):
    spec = ResamplerSpec(**SMALL, rotary_dim=6, keys_from_latents=True)
    weights, arguments = random_weights(spec, rng), arguments_for(spec, rng)
    arguments["latents"] = arguments["latents"][:1]
    for name in ("positions", "latent_positions"):
        arguments[name] = np.arange(9 if name == "positions" else 3)
        expected = textbook(spec, weights, **arguments)
        np.testing.assert_allclose(resample(spec, weights, **arguments), expected, atol=2e-5)


RICH = {
    "rotated": {"rotary_dim": 4, "rotate_values": True, "qk_norm": "heads", "norm": "rms_norm",
                "num_key_value_heads": 2, "gated_mlp": True, "activation": "silu",
                "num_self_attention_layers": 1, "norm_position": "after"},
    "folded": {"num_latents": 3, "keys_from_latents": True, "qkv_bias": True, "mlp_bias": True,
               "input_dim": 5, "input_projection": True, "output_dim": 4, "pooled": True},
}  # fmt: skip


@pytest.mark.parametrize("case", RICH)
@pytest.mark.parametrize(
    ("name", "chunked"),
    [
        (name, chunked)
        for name, chunked in itertools.product(TRAINED, (False, True))
        if name != "jax" or chunked  # JAX compiles for seconds
    ],
)
def test_gradients(name, case, chunked, monkeypatch):
    """With respect to weights, inputs, latents and positions, along random directions."""
    rng = np.random.default_rng(1)
    spec = ResamplerSpec(**SMALL | RICH[case])
    given = {name: _wide(x) for name, x in arguments_for(spec, rng).items()}
    arguments = {"params": map_tree(np.float64, random_weights(spec, rng)), **given}

    def core(params, **arguments):
        return resample(spec, params, **arguments)

    compute(monkeypatch, folded=case == "folded", chunked=False)
    expected = directional_derivatives(core, arguments, 1e-5)
    compute(monkeypatch, folded=case == "folded", chunked=chunked)
    _, gradients = value_and_gradients(name, core, arguments, "float64")
    assert gradients.keys() == expected.keys()
    for key, (direction, derivative) in expected.items():
        found = np.sum(gradients[key] * direction)
        np.testing.assert_allclose(found, derivative, rtol=1e-4, atol=1e-6, err_msg=key)


def _wide(x):
    return x if x.dtype == bool else np.float64(x)


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_of_parts_of_the_batch(name, monkeypatch):
    """Three elements fit in memory, of a batch of seven; or no element does."""
    rng = np.random.default_rng(1)
    spec = ResamplerSpec(input_dim=3, latent_dim=4, num_latents=2, num_heads=2, qk_norm="heads")
    inputs = rng.standard_normal((7, 5, 3))
    arguments = {
        "params": map_tree(np.float64, random_weights(spec, rng)),
        "inputs": inputs,
        "mask": rng.random((7, 5)) < 0.7,
    }

    def core(params, **arguments):
        return resample(spec, params, **arguments)

    def computed(max_chunks):
        monkeypatch.setattr(attention, "MAX_CHUNKS", max_chunks)
        return value_and_gradients(name, core, arguments, "float64")

    set_scores_per_chunk(monkeypatch, 60)
    expected, gradients = computed(1000)
    for max_chunks in (0, 3):  # a key, a value and their scores are 12 numbers
        output, found = computed(max_chunks)
        np.testing.assert_allclose(output[""], expected[""], rtol=1e-9, atol=1e-9)
        for key, gradient in gradients.items():
            np.testing.assert_allclose(found[key], gradient, rtol=1e-9, atol=1e-9, err_msg=key)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be an integer of at least 1"),
        ({"num_key_value_heads": 3}, "num_heads must be a multiple of num_key_value_heads"),
        ({"input_dim": 5, "keys_from_latents": True}, "inputs as wide as the latents"),
        ({"mlp_dim": 0, "gated_mlp": True}, "gated_mlp need MLPs"),
        ({"rotate_values": True}, "rotate_values=True needs rotary_dim"),
        ({"rotary_dim": 3}, "even and at most head_dim=6, got 3"),
        ({"rotary_dim": 8}, "even and at most head_dim=6, got 8"),
        ({"norm": "batch_norm"}, "norm must be one of 'layer_norm', 'rms_norm', got 'batch_norm'"),
        ({"norm_position": "both"}, "norm_position must be one of 'before', 'after'"),
        ({"qk_norm": True}, "qk_norm must be one of 'heads', 'channels', got True"),
        ({"activation": "tanh"}, "activation must be one of 'gelu', 'relu', 'silu'"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(SpecError, match=message):
        ResamplerSpec(**SMALL | options)


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        (
            {},
            {"inputs": np.zeros((2, 9, 7), "f")},
            r"inputs has shape \(2, 9, 7\); expected \(B, M",
        ),
        ({}, {"inputs": np.zeros((2, 0, 12), "f")}, "inputs has shape"),
        ({}, {"inputs": np.zeros((2, 9, 12), int)}, "inputs is of type int64; expected floats"),
        ({}, {"inputs": [np.zeros((2, 9, 12), "f")] * 2}, "inputs is a list of 2 arrays"),
        ({}, {"mask": np.ones((2, 8), bool)}, "mask has shape"),
        ({}, {"mask": np.ones((2, 9))}, r"mask has shape \(2, 9\) and type float64; expected bool"),
        ({}, {"mask": [np.ones((2, 9), bool)]}, "mask is a list of 1 arrays"),
        ({}, {"positions": np.zeros(9)}, "positions was passed, but the spec has no rotary_dim"),
        ({}, {"latents": np.zeros((1, 3, 12), "f")}, "latents were passed"),
        ({"num_latents": None}, {}, "latents are missing"),
        ({"num_latents": None}, {"latents": np.zeros((3, 12), "f")}, "latents has shape"),
        ({"num_latents": None}, {"latents": np.zeros((3, 3, 12), "f")}, "latents has shape"),
        ({"rotary_dim": 2}, {}, "positions is missing: the spec has rotary_dim=2"),
        ({"rotary_dim": 2}, {"positions": np.zeros(9)}, "latent_positions is missing"),
        ({"rotary_dim": 2}, {"positions": np.zeros((2, 9, 1))}, "positions has shape"),
        ({"rotary_dim": 2}, {"positions": np.ones(9, bool)}, "expected numbers"),
        ({"num_layers": 2}, {"inputs": [np.zeros((b, 9, 12), "f") for b in (1, 2)]}, "batches of"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, changes, message):
    spec = ResamplerSpec(**SMALL | {"num_latents": 5} | options)
    arguments = {"inputs": np.zeros((2, 9, 12), np.float32)} | changes
    with pytest.raises(InputError, match=message):
        resample(spec, initialise(spec.parameters()), **arguments)


PEAKS = """
import gc, tracemalloc
import numpy as np
from ivy_models.transformers.perceiver_io import ResamplerSpec, initialise, resample

for options in ({}, {"qk_norm": "heads"}):
    spec = ResamplerSpec(8, 64, 16, num_heads=4, **options)
    weights = initialise(spec.parameters())
    for number in (2**15, 2**19):
        inputs = np.zeros((1, number, 8), np.float32)
        gc.collect()
        tracemalloc.start()
        resample(spec, weights, inputs)
        print(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
"""


def test_memory_does_not_grow_with_the_inputs():
    """Keys and values of the longer inputs would take 1 GB."""
    small, large, normed_small, normed_large = map(int, python(PEAKS).split())
    assert max(small, normed_small) < 140e6
    assert max(large, normed_large) < 140e6
