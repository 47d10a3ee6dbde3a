import json

import numpy as np
import pytest
from helpers import TESTS
from helpers.specs import small_spec

from ivy_models import create_model
from ivy_models.checkpoints.folder import read_safetensors
from ivy_models.checkpoints.haiku import haiku_name, layout_of
from ivy_models.layers.parameters import (
    count,
    flatten,
    initialise,
    truncated_normal,
    unflatten,
    variance_scaling,
)
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore
import ivy

FULL = TESTS / "reference" / "full"
MANIFESTS = {
    "perceiver_io_imagenet_fourier": "imagenet_fourier_position_encoding",
    "perceiver_io_imagenet_learned": "imagenet_learned_position_encoding",
    "perceiver_io_imagenet_conv": "imagenet_conv_preprocessing",
    "perceiver_io_language": "language_perceiver_io_bytes",
    "perceiver_io_optical_flow": "optical_flow",
    "perceiver_io_video": "video_autoencoding",
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_published_parameters_are_each_used_once(name):
    manifest = json.loads((FULL / f"{MANIFESTS[name]}.manifest.json").read_text())
    description = PerceiverIOCore(PRESETS[name].spec).parameters()
    used = [haiku_name(weight, layout_of(description)) for weight, _ in flatten(description)]
    assert len(used) == len(set(used))
    params = {(s, n) for s, names in manifest["params"].items() for n in names}
    assert {(scope, leaf) for section, scope, leaf in used if section == "params"} == params
    state = {(s, n) for s, names in manifest["state"].items() for n in names if n == "average"}
    assert {(scope, leaf) for section, scope, leaf in used if section == "state"} == state
    assert count(description) == manifest["n_params"] == PRESETS[name].num_parameters


def test_digits_parameter_count():
    model = create_model("perceiver_io_digits")
    assert model.num_parameters == PRESETS["perceiver_io_digits"].num_parameters


def test_same_seed_gives_the_same_weights_on_every_backend(backend):
    expected = dict(flatten(initialise(PerceiverIOCore(small_spec()).parameters(), seed=3)))
    model = PerceiverIO(small_spec(), seed=3)
    for name, leaf in flatten(model.v):
        np.testing.assert_array_equal(ivy.to_numpy(leaf), expected[name])


def test_seeds_and_names_give_different_weights():
    description = PerceiverIOCore(small_spec()).parameters()
    first, second = (dict(flatten(initialise(description, seed))) for seed in (0, 1))
    assert not np.array_equal(first["latents"], second["latents"])
    layer = "processor/layer_0/self_attention_{}/attention/query/weight"
    assert not np.array_equal(first[layer.format(0)], first[layer.format(1)])


def test_initial_distributions_are_the_originals():
    spec = small_spec(latent_dim=192, num_latents=300, queries_dim=200, query_shape=(100,))
    weights = dict(flatten(initialise(PerceiverIOCore(spec).parameters())))
    for name in ("latents", "queries"):
        assert np.abs(weights[name]).max() <= 0.04  # cut at two deviations of 0.02
        assert weights[name].std() == pytest.approx(0.02 * 0.8796, rel=0.02)
    query = weights["processor/layer_0/self_attention_0/attention/query/weight"]
    assert query.std() == pytest.approx(192**-0.5, rel=0.02)
    head = weights["decoder/head/weight"]
    assert head.std() == pytest.approx(0.8796 * 200**-0.5, rel=0.1)
    for name, weight in weights.items():
        if name.endswith(("bias", "offset")):
            assert (weight == 0).all()
        if name.endswith("scale"):
            assert (weight == 1).all()


def test_truncated_normal_redraws_what_is_outside():
    values = truncated_normal(1.0)(np.random.default_rng(0), (200, 500))
    assert np.abs(values).max() <= 2
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert (np.abs(values) > 1.9).mean() == pytest.approx(0.0125, rel=0.1)


def test_variance_scaling_has_variance_one_over_fan_in():
    values = variance_scaling(np.random.default_rng(0), (3, 5, 20, 400))
    assert values.std() == pytest.approx(300**-0.5, rel=0.01)


def test_flatten_and_unflatten_are_inverse():
    description = PerceiverIOCore(small_spec()).parameters()
    assert unflatten(dict(flatten(description))) == description


def test_digits_weights_are_small(tmp_path):
    from importlib.resources import files

    path = files("ivy_models") / "data" / "perceiver_io_digits" / "model.safetensors"
    assert path.stat().st_size < 1_000_000
    assert all(array.dtype == np.float32 for array in read_safetensors(path).values())
