"""Trained weights with some branches drawn at random, for another task."""

import json
import pickle

import numpy as np
import pytest
from helpers import TINY
from helpers.specs import field_spec, flow_spec, language_spec, points_spec, small_spec
from verify_reference import tiny_flow_spec, tiny_language_spec, tiny_spec, tiny_video_spec

from ivy_models import (
    create_model,
    fill_mask,
    perceiver_io_img_classification,
    perceiver_io_language,
    perceiver_io_optical_flow,
    perceiver_io_video,
)
from ivy_models.checkpoints.check import ONLY_CONCERNS, differing_fields
from ivy_models.checkpoints.folder import write_native
from ivy_models.checkpoints.load import load_weights
from ivy_models.checkpoints.pickles.unpickle import unpickle
from ivy_models.errors import InputError, SpecError, WeightsError
from ivy_models.layers.parameters import flatten, is_within
from ivy_models.transformers.perceiver_io import PerceiverIOCore, initialise
import ivy

TEXTS = {
    "output_dim": 2,
    "query_shape": (1,),
    "query_per_input": False,
    "tied_head": False,
}
TOKENS = {"output_dim": 9, "tied_head": False}
POOLED = {"pooling": "mean", "query_shape": None}
FIELD = {"learn_query": False, "query_shape": None, "num_query_position_axes": 2}
FIELD |= {"query_per_input": False}
BANDS = {"num_fourier_freq_bands": 3, "max_fourier_freq": 9, "fourier_band_spacing": "logarithmic"}
CASES = {
    "imagenet_fourier": tiny_spec,
    "imagenet_learned": tiny_spec,
    "imagenet_conv": tiny_spec,
    "language_mlm": tiny_language_spec,
    "optical_flow": tiny_flow_spec,
}


def tiny(case):
    """An original's small checkpoint and its spec."""
    spec = CASES[case](json.loads((TINY / case / "config.json").read_text()))
    return TINY / case / "checkpoint.pystate", spec


def trained(spec, seed=5):
    return dict(flatten(initialise(PerceiverIOCore(spec).parameters(), seed)))


@pytest.fixture
def saved(tmp_path):
    """Write a model in this library's format; return the folder."""

    def write(spec):
        write_native(tmp_path / "model", spec, trained(spec))
        return tmp_path / "model"

    return write


def check_mixed(weights, loaded, spec, fresh, seed):
    """Trained weights equal the file's and the others the seed's, bit for bit."""
    weights, drawn = dict(flatten(weights)), trained(spec, seed)
    assert weights.keys() == drawn.keys()
    assert 0 < sum(is_within(name, fresh) for name in weights) < len(weights)
    for name, array in weights.items():
        expected = (drawn if is_within(name, fresh) else loaded)[name]
        np.testing.assert_array_equal(array, expected, err_msg=name)


# Loaded and drawn weights


@pytest.mark.parametrize("file", ["", "model.safetensors"])
@pytest.mark.parametrize(
    ("spec", "changes", "fresh"),
    [
        (small_spec(), {"output_dim": 3}, ["decoder/head"]),
        (small_spec(), {"output_dim": 3, "query_shape": (4,)}, ["queries", "decoder/head"]),
        (small_spec(), {"queries_dim": 6, "query_residual": False}, ["queries", "decoder"]),
        (small_spec(), {"with_final_head": False}, ["decoder"]),
        (small_spec(with_final_head=False), {"with_final_head": True}, ["decoder/head"]),
        (small_spec(), {}, ["decoder/head/bias"]),
        (small_spec(), POOLED, ["decoder"]),
        (small_spec(**POOLED), {"pooling": None, "query_shape": ()}, ["queries", "decoder"]),
        (small_spec(with_decoder=False), {"with_decoder": True}, ["queries", "decoder"]),
        (small_spec(max_fourier_freq=9.0), FIELD | {"position_range": (0, 2)}, ["queries"]),
        (field_spec(), {"position_range": (0, 2)}, ["queries"]),
        (points_spec(), FIELD, ["queries", "decoder"]),
        (language_spec(query_residual=True), TOKENS | FIELD | BANDS, ["queries", "decoder"]),
        (language_spec(), TEXTS, ["queries", "decoder"]),
        (language_spec(), TOKENS, ["decoder/head"]),
        (
            flow_spec(),
            {"queries_from_inputs": False, "learn_query": True, "query_shape": (1,)},
            ["queries", "decoder"],
        ),
    ],
)
def test_own_format(saved, spec, changes, fresh, file):
    folder, new = saved(spec), spec.replace(**changes)
    weights = load_weights(folder / file, new, fresh, seed=3)
    check_mixed(weights, trained(spec), new, fresh, seed=3)


@pytest.mark.parametrize(
    ("case", "changes", "fresh"),
    [
        ("imagenet_fourier", {"output_dim": 3}, ["decoder/head"]),
        ("imagenet_learned", {"output_dim": 3, "queries_dim": 8}, ["queries", "decoder"]),
        ("imagenet_learned", {}, ["input/positions"]),
        ("imagenet_conv", {"with_final_head": False}, ["decoder"]),
        ("imagenet_conv", POOLED, ["decoder"]),
        ("imagenet_conv", {}, ["input", "decoder/cross_attention/mlp"]),
        ("imagenet_fourier", {"num_lat_att_per_layer": 1}, ["processor"]),
        ("imagenet_fourier", {"weight_tie_layers": False}, ["processor"]),
        ("language_mlm", TEXTS, ["queries", "decoder"]),
        ("language_mlm", TOKENS, ["decoder/head"]),
        ("optical_flow", {"output_dim": 1}, ["decoder/head"]),
    ],
)
def test_checkpoints_of_the_original(case, changes, fresh):
    path, spec = tiny(case)
    loaded = dict(flatten(load_weights(path, spec)))
    new = spec.replace(**changes)
    check_mixed(load_weights(path, new, fresh, seed=3), loaded, new, fresh, seed=3)


def test_models_of_every_factory_take_fresh_branches(backend):
    for build, case in (
        (perceiver_io_img_classification, "imagenet_fourier"),
        (perceiver_io_language, "language_mlm"),
        (perceiver_io_optical_flow, "optical_flow"),
    ):
        path, spec = tiny(case)
        model = build(spec, weights=path, fresh=["decoder"], seed=3)
        weights = {name: ivy.to_numpy(leaf) for name, leaf in flatten(model.v)}
        loaded = dict(flatten(load_weights(path, spec)))
        check_mixed(weights, loaded, spec, ["decoder"], seed=3)


def test_a_model_by_its_name_keeps_what_still_fits():
    fresh = {"pretrained": True, "fresh": ["decoder/head"]}
    model = create_model("perceiver_io_digits", output_dim=3, **fresh)
    assert model.preprocessing == create_model("perceiver_io_digits").preprocessing
    assert model.labels is None
    assert create_model("perceiver_io_digits", **fresh).labels is None  # ten other classes
    kept = create_model("perceiver_io_digits", pretrained=True, fresh=["decoder/cross_attention"])
    assert kept.labels[7] == "seven"


def test_a_classifier_of_tokens_fills_no_masks():
    path, spec = tiny("language_mlm")
    model = perceiver_io_language(spec.replace(**TOKENS), weights=path, fresh=["decoder/head"])
    assert model(model.tokenizer.encode("abc")).shape == (3, 9)
    with pytest.raises(InputError, match="not a masked language model"):
        fill_mask(model, "[MASK]")


def test_the_published_bands_are_kept_under_a_new_head(saved, monkeypatch):
    from ivy_models.models import factories

    spec = small_spec(max_fourier_freq=(9, 9))
    preset = factories.PRESETS["perceiver_io_imagenet_fourier"]
    monkeypatch.setitem(preset.__dict__, "spec", spec)
    model = perceiver_io_img_classification(
        small_spec(output_dim=3), weights=saved(spec), fresh=["decoder/head"]
    )
    assert model.spec.max_fourier_freq == (9, 9)


def test_a_video_encoder_under_other_outputs():
    path = TINY / "video_autoencoding" / "checkpoint.pystate"
    config = json.loads((path.parent / "config.json").read_text())
    spec = tiny_video_spec(config, path.parent)
    sound_only = spec.replace(output_modalities=spec.output_modalities[:1], queries_dim=17)
    fresh = ["queries", "decoder", "outputs"]
    model = perceiver_io_video(sound_only, weights=path, fresh=fresh)
    trained = perceiver_io_video(spec, weights=path)
    for name, leaf in flatten(trained.v):
        if not is_within(name, fresh):
            np.testing.assert_array_equal(dict(flatten(model.v))[name].data, leaf.data)
    assert model.labels is None
    with pytest.raises(WeightsError, match="unexpected"):
        perceiver_io_video(sound_only, weights=path, fresh=fresh[:2])


# Refusals


@pytest.mark.parametrize("fresh", [["head"], ["decoder", "decoder/hea"], ["decoder/"], [""]])
def test_unknown_branches_are_refused(saved, fresh):
    with pytest.raises(SpecError, match=f"fresh names '{fresh[-1]}'.*outermost are latents"):
        load_weights(saved(small_spec()), small_spec(), fresh)


def test_a_text_in_place_of_a_list_is_refused():
    with pytest.raises(SpecError, match="fresh must be a list of branches"):
        create_model("perceiver_io_digits", pretrained=True, fresh="decoder")


def test_fresh_branches_of_a_random_model_are_refused():
    with pytest.raises(SpecError, match="no weights are loaded"):
        create_model("perceiver_io_digits", fresh=["decoder"])


def test_refusals_come_before_the_download(monkeypatch):
    from ivy_models.models import factories

    monkeypatch.setattr(factories, "download", lambda _: pytest.fail("downloads"))
    name = "perceiver_io_imagenet_fourier"
    with pytest.raises(SpecError, match="fresh names 'head'"):
        create_model(name, pretrained=True, fresh=["head"])
    with pytest.raises(WeightsError, match="output_dim") as refusal:
        create_model(name, pretrained=True, output_dim=10, query_shape=[2])
    assert str(refusal.value).endswith("pass fresh=['decoder/head', 'queries'].")
    with pytest.raises(WeightsError, match="num_latents") as refusal:
        create_model(name, pretrained=True, output_dim=10, num_latents=256)
    assert "fresh" not in str(refusal.value)


@pytest.mark.parametrize("field", ONLY_CONCERNS)
def test_a_field_may_differ_only_where_all_that_it_concerns_is_fresh(field):
    spec, other, branches = small_spec(), small_spec(), ONLY_CONCERNS[field]
    object.__setattr__(other, field, "another")  # the spec alone would allow this
    for too_few in ([], ["latents"], branches[:-1], [f"{branches[0]}/weight"]):
        assert differing_fields(spec, other, too_few) == [field]
    assert differing_fields(spec, other, branches) == []
    assert differing_fields(spec, other, ["queries", "decoder", "outputs"]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"num_latents": 5},
        {"network_depth": 3},
        {"num_fourier_freq_bands": 5},
        {"num_cross_att_heads": 2, "cross_head_dim": 6},
        {"fourier_band_spacing": "logarithmic"},
    ],
)
def test_the_rest_of_the_spec_is_still_compared(saved, changes):
    folder = saved(small_spec())
    with pytest.raises(WeightsError, match=next(iter(changes))):
        load_weights(folder, small_spec(output_dim=3, **changes), ["queries", "decoder"])


def test_positions_of_inputs_are_still_compared(saved):
    spec = points_spec()
    with pytest.raises(WeightsError, match="position_range") as refusal:
        load_weights(saved(spec), spec.replace(position_range=(0, 1)), ["queries", "decoder"])
    assert "fresh=" not in str(refusal.value)


def test_the_rest_of_a_checkpoint_is_still_compared(tmp_path):
    path, spec = tiny("language_mlm")
    params = unpickle(path)
    del params["embed"]
    params["embedding_decoder_1"] = {"bias": np.zeros(3, np.float32)}
    params["perceiver_encoder/~/trainable_position_encoding"]["pos_embs"] = np.ones((3, 1))
    changed = tmp_path / "changed.pystate"
    changed.write_bytes(pickle.dumps(params))
    with pytest.raises(WeightsError) as refusal:
        load_weights(changed, spec.replace(**TEXTS), ["queries", "decoder"])
    for line in (
        "1 missing:\n    input/embedding",
        "1 unexpected:\n    embedding_decoder_1/bias",
        "1 of another shape:\n    latents: (3, 1)",
    ):
        assert line in str(refusal.value)
    with pytest.raises(WeightsError, match="another shape:\n    queries"):
        load_weights(path, spec.replace(**TEXTS), ["decoder"])


def test_fresh_inputs_of_another_kind_of_model_are_refused():
    path, spec = tiny("imagenet_fourier")
    tokens = spec.replace(
        input_dim=spec.encoded_dim,
        num_input_axes=1,
        vocabulary_size=7,
        fourier_encode_input=False,
        max_fourier_freq=None,
        learned_position_shape=(5,),
    )
    with pytest.raises(WeightsError, match="missing"):
        load_weights(path, tokens, ["input"])
