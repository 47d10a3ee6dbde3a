"""The resampler, compared with textbook formulas and with published implementations."""

import itertools

import numpy as np
import pytest
from helpers.gradients import TRAINED, directional_derivatives, value_and_gradients
from helpers.resamplers import (
    PUBLISHED,
    SMALL,
    arguments_for,
    published,
    random_weights,
    textbook,
)

from ivy_models.errors import InputError, SpecError
from ivy_models.transformers.perceiver_io import ResamplerSpec, initialise, resample
from ivy_models.transformers.perceiver_io.parameters import flatten, map_tree
from ivy_models.transformers.perceiver_io.resampler import attention

WAYS = list(itertools.product((False, True), repeat=2))
"""Whether projections are folded, and inputs are read in chunks."""


def compute(monkeypatch, folded, chunked):
    """Choose a way to compute, whatever is cheaper."""
    monkeypatch.setattr(attention, "folding_is_cheaper", lambda *_: folded)
    monkeypatch.setattr(attention, "MAX_NUMBERS", 0 if chunked else 2**30)
    monkeypatch.setattr(attention, "NUMBERS_PER_CHUNK", 400)


def call(ops, spec, weights, arguments):
    arguments = {
        name: [ops.asarray(each) for each in x] if isinstance(x, list) else ops.asarray(x)
        for name, x in arguments.items()
    }
    return ops.to_numpy(resample(spec, map_tree(ops.asarray, weights), **arguments))


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
