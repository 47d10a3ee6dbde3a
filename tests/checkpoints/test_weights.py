"""Weights from files are used if they fit; anything else is listed and refused."""

import json
import pickle
import shutil
from collections import Counter

import numpy as np
import pytest
from helpers import CHOSEN, TINY
from helpers.specs import small_spec
from verify_reference import tiny_spec

from ivy_models import create_model
from ivy_models.arrays import to_numpy
from ivy_models.checkpoints import check
from ivy_models.checkpoints.folder import read_safetensors, read_spec, write_native
from ivy_models.checkpoints.load import load_weights
from ivy_models.checkpoints.pickles.unpickle import unpickle
from ivy_models.errors import WeightsError
from ivy_models.layers.parameters import flatten
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore, initialise

CASE = TINY / "imagenet_conv"


@pytest.fixture
def spec():
    return tiny_spec(json.loads((CASE / "config.json").read_text()))


@pytest.fixture
def checkpoint(tmp_path):
    """Write a changed copy of a checkpoint; return its path."""

    def write(change):
        content = unpickle(CASE / "checkpoint.pystate")
        change(content["params"], content["state"])
        path = tmp_path / "changed.pystate"
        path.write_bytes(pickle.dumps(content))
        return path

    return write


def test_names_are_paired_by_name(spec):
    weights = dict(flatten(load_weights(CASE / "checkpoint.pystate", spec)))
    content = unpickle(CASE / "checkpoint.pystate")
    encoder = content["params"]["perceiver_encoder/~/self_attention_1/attention/linear_2"]
    np.testing.assert_array_equal(
        weights["processor/layer_0/self_attention_1/attention/value/weight"], encoder["w"]
    )
    scope = "image_preprocessor/~/conv2_d_downsample/~/batchnorm/~/var_ema"
    np.testing.assert_array_equal(
        weights["input/batch_norm/variance"], content["state"][scope]["average"].ravel()
    )


def test_misfits_are_listed(spec, checkpoint):
    latents = "perceiver_encoder/~/trainable_position_encoding"

    def change(params, state):
        del params[latents]["pos_embs"]
        params["classification_decoder/~/basic_decoder/output"]["b"] = np.zeros(11, np.float32)
        params["somewhere/else"] = {"w": np.zeros(2, np.float32)}
        params["perceiver_encoder/~/self_attention/layer_norm"]["scale"] = np.ones(16, np.int32)

    with pytest.raises(WeightsError) as refusal:
        load_weights(checkpoint(change), spec)
    for line in (
        "1 missing:\n    latents",
        "1 unexpected:\n    somewhere/else/w",
        "1 of another shape:\n    decoder/head/bias: (11,), expected (10,)",
        "1 not numbers:\n    processor/layer_0/self_attention_0/norm/scale: int32",
    ):
        assert line in str(refusal.value)


def test_a_long_list_is_cut(spec):
    with pytest.raises(WeightsError, match=r"and \d+ more"):
        load_weights(CASE / "checkpoint.pystate", small_spec())


def test_unit_axes_are_dropped_only_in_front(spec, checkpoint):
    def change(params, state):
        linear = params["perceiver_encoder/~/cross_attention/mlp/linear"]
        linear["w"] = linear["w"][:, None]

    with pytest.raises(WeightsError, match=r"\(16, 1, 16\), expected \(16, 16\)"):
        load_weights(checkpoint(change), spec)


def test_wide_mlps_of_the_original(spec, checkpoint):
    def widen(params, state):
        for scope in params:
            if scope.endswith("/mlp/linear") and "cross_attention" not in scope:
                weights = params[scope], params[f"{scope}_1"]
                weights[0]["w"] = np.tile(weights[0]["w"], (1, 4))
                weights[0]["b"] = np.tile(weights[0]["b"], 4)
                weights[1]["w"] = np.tile(weights[1]["w"], (4, 1))

    path = checkpoint(widen)
    with pytest.raises(WeightsError, match=r"mlp/hidden/weight: \(16, 64\), expected \(16, 16\)"):
        load_weights(path, spec)
    wide = load_weights(path, spec.replace(processor_widening_factor=4))
    hidden = wide["processor"]["layer_0"]["self_attention_0"]["mlp"]["hidden"]["weight"]
    assert hidden.shape == (16, 64)
    with pytest.raises(WeightsError, match=r"no counterpart of mlp/gate.*gated_mlp=False"):
        load_weights(path, spec.replace(processor_widening_factor=4, gated_mlp=True))


@pytest.mark.parametrize(
    "content", [{"params": {"w": np.ones(2)}}, {"s": {"w": {"x": np.ones(2)}}}]
)
def test_pickles_of_another_layout_are_refused(tmp_path, spec, content):
    path = tmp_path / "other.pystate"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match="must hold arrays by name"):
        load_weights(path, spec)


def test_the_original_has_no_other_stems():
    match = r"no counterpart of input/convolution_0: the spec is not .* fresh=\['input'\]"
    spec = PRESETS["perceiver_io_imagenet_conv"].spec.replace(stem="two_convolutions")
    with pytest.raises(WeightsError, match=match):
        load_weights(TINY / "imagenet_conv" / "checkpoint.pystate", spec)


def test_the_original_has_no_untied_layers():
    with pytest.raises(
        WeightsError, match="no counterpart of processor/layer_1.*weight_tie_layers"
    ):
        load_weights(
            TINY / "imagenet_fourier" / "checkpoint.pystate", small_spec(weight_tie_layers=False)
        )


def test_own_format_round_trip(tmp_path):
    spec = small_spec(weight_tie_layers=False, max_fourier_freq=(4.5, 3))
    weights = dict(flatten(initialise(PerceiverIOCore(spec).parameters(), seed=2)))
    write_native(tmp_path / "model", spec, weights)
    assert read_spec(tmp_path / "model") == spec
    read = dict(flatten(load_weights(tmp_path / "model", spec)))
    assert read.keys() == weights.keys()
    for name in weights:
        np.testing.assert_array_equal(read[name], weights[name])
    single = load_weights(tmp_path / "model" / "model.safetensors", spec)
    np.testing.assert_array_equal(single["latents"], weights["latents"])


def test_own_format_of_another_model_is_refused_with_a_table(tmp_path):
    spec = small_spec()
    write_native(tmp_path, spec, dict(flatten(initialise(PerceiverIOCore(spec).parameters()))))
    with pytest.raises(WeightsError) as refusal:
        load_weights(tmp_path, spec.replace(network_depth=3, max_fourier_freq=9.0, dtype="float64"))
    lines = str(refusal.value).splitlines()
    rows = [line.split() for line in lines if line.startswith("  ")]
    assert rows[1:] == [["network_depth", "3", "2"], ["max_fourier_freq", "9.0", "None"]]


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pystate"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"\x00" * 100, b"\xff" * 8 + b"{}"])
def test_foreign_files_are_refused(tmp_path, spec, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        load_weights(path, spec)


def test_truncated_safetensors_are_refused(tmp_path):
    spec = small_spec()
    write_native(tmp_path, spec, dict(flatten(initialise(PerceiverIOCore(spec).parameters()))))
    path = tmp_path / "model.safetensors"
    data = path.read_bytes()
    for length in (4, 100, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError, match=r"model\.safetensors"):
            read_safetensors(path)


def test_missing_files_and_unknown_formats_are_refused(tmp_path, spec):
    with pytest.raises(WeightsError, match="There is no weights file"):
        load_weights(tmp_path / "none.pystate", spec)
    shutil.copy(CASE / "checkpoint.pystate", tmp_path / "weights.bin")
    with pytest.raises(WeightsError, match="has an unknown format"):
        load_weights(tmp_path / "weights.bin", spec)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(tmp_path, spec)


@pytest.mark.skipif("torch" not in CHOSEN, reason="writes with torch")
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_quantised_safetensors_are_refused_by_their_type(tmp_path, dtype):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    try:
        save_file({"latents": torch.zeros(3).to(getattr(torch, dtype))}, path)
    except KeyError:
        pytest.skip("this release of safetensors cannot write the type")
    with pytest.raises(WeightsError, match="latents is of type F8_E.*expected F64, F32") as error:
        read_safetensors(path)
    assert "broken" not in str(error.value)


@pytest.mark.parametrize("layout", ["native", "huggingface"])
def test_paths_begin_with_the_home_folder(tmp_path, monkeypatch, layout):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(elsewhere)
    fields = {"num_latents": 3, "latent_dim": 16, "queries_dim": 16, "num_lat_att_per_layer": 1}
    published = PRESETS["perceiver_io_imagenet_fourier"].spec
    model = PerceiverIO(published.replace(**fields, exact_gelu=True))
    model.save_pretrained("~/model", layout)
    weights = load_weights("~/model", model.spec)
    again = PerceiverIO.from_pretrained("~/model")
    assert [path.name for path in home.iterdir()] == ["model"]
    assert not list(elsewhere.iterdir())
    for tree in (weights, again.v):
        np.testing.assert_array_equal(to_numpy(tree["latents"], ""), to_numpy(model.v.latents, ""))
    if layout == "native":
        write_native("~/written", model.spec, dict(flatten(weights)))
        assert read_spec("~/written") == model.spec


ONCE = {
    "loads": json,
    "parameters": PerceiverIOCore,
    "check_weights": check,
    "check_magnitudes": check,
}
"""Functions that one load calls once, with their modules or classes."""


@pytest.fixture
def calls(monkeypatch):
    """Count the calls of each function of ``ONCE``."""
    counter = Counter()

    def count(owner, name):
        function = getattr(owner, name)

        def counted(*args, **kwargs):
            counter[name] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    for name, owner in ONCE.items():
        count(owner, name)
    return counter


@pytest.mark.parametrize("layout", ["native", "huggingface"])
def test_from_pretrained_reads_and_checks_once(layout, tmp_path, calls):
    fields = {"num_latents": 4, "latent_dim": 16, "queries_dim": 16, "num_self_att_heads": 2}
    published = PRESETS["perceiver_io_imagenet_fourier"].spec
    model = PerceiverIO(published.replace(**fields, exact_gelu=True))
    model.save_pretrained(tmp_path, layout)
    calls.clear()
    loaded = PerceiverIO.from_pretrained(tmp_path)
    assert calls == dict.fromkeys(ONCE, 1)
    latents, expected = (to_numpy(m.v["latents"], "v") for m in (loaded, model))
    np.testing.assert_array_equal(latents, expected)


@pytest.mark.parametrize("fresh", [(), ("queries", "decoder")])
def test_create_model_reads_and_checks_once(fresh, calls):
    create_model("perceiver_io_digits", pretrained=True, fresh=fresh)  # imports read JSON too
    calls.clear()
    create_model("perceiver_io_digits", pretrained=True, fresh=fresh)
    assert calls == dict.fromkeys(ONCE, 1)


def test_checked_weights_are_checked_again_for_another_spec():
    spec = small_spec()
    checked = check.CheckedWeights(spec, initialise(PerceiverIOCore(spec).parameters()))
    assert PerceiverIO(spec, v=checked).built
    with pytest.raises(WeightsError, match="latents"):
        PerceiverIO(spec.replace(num_latents=5), v=checked)
