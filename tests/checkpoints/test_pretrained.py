"""Models written to folders, and read again."""

import json
import os
import sys

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.arrays import image, numpy_of, same_weights
from helpers.models import video_model
from helpers.specs import columns_spec, language_spec, multimodal_spec, small_spec

from ivy_models import classify, create_model, perceiver_io_language
from ivy_models.errors import DownloadError, InputError, SpecError, WeightsError
from ivy_models.layers.parameters import flatten
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import PerceiverIO


def test_a_model_reads_back_unchanged(backend, rng, tmp_path):
    model = PerceiverIO(small_spec(), seed=3)
    model.save_pretrained(tmp_path / "model")
    again = PerceiverIO.from_pretrained(tmp_path / "model")
    assert again.spec == model.spec
    assert same_weights(again, model)
    data = image(rng, 2, 5, 4, 3)
    np.testing.assert_array_equal(numpy_of(again(data)), numpy_of(model(data)))


@pytest.mark.parametrize("spec", [language_spec(), multimodal_spec(), columns_spec()])
def test_every_kind_of_spec_is_kept(tmp_path, spec):
    model = PerceiverIO(spec)
    model.save_pretrained(tmp_path)
    again = PerceiverIO.from_pretrained(tmp_path)
    assert again.spec == spec
    assert same_weights(again, model)


def test_a_folder_of_half_the_size_computes_in_float32(backend, rng, tmp_path):
    model = PerceiverIO(small_spec(), seed=3)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "half", half=True)
    sizes = [(tmp_path / each / "model.safetensors").stat().st_size for each in ("whole", "half")]
    assert sizes[1] < 0.7 * sizes[0]  # and the header
    again = PerceiverIO.from_pretrained(tmp_path / "half")
    assert again.spec == model.spec
    for (name, leaf), (_, own) in zip(flatten(again.v), flatten(model.v), strict=True):
        leaf, own = numpy_of(leaf), numpy_of(own)
        assert leaf.dtype == np.float32, name
        np.testing.assert_array_equal(leaf, own.astype(np.float16).astype(np.float32))
    assert numpy_of(again(image(rng, 2, 5, 4, 3))).dtype == np.float32
    model.v.latents[0, 0] = 1e5
    with pytest.raises(WeightsError, match="latents has numbers up to 1e.05; float16 ends at 6550"):
        model.save_pretrained(tmp_path / "half", half=True)


@pytest.mark.skipif("torch" not in CHOSEN, reason="NumPy has no half precision")
def test_half_precision_is_kept(tmp_path):
    import ivy

    ivy.set_backend("torch")
    model = PerceiverIO(small_spec(dtype="bfloat16", device="cpu"))
    model.save_pretrained(tmp_path)
    again = PerceiverIO.from_pretrained(tmp_path)
    assert (again.spec.dtype, again.spec.device) == ("bfloat16", None)
    assert same_weights(again, model)
    assert PerceiverIO.from_pretrained(tmp_path, dtype="float32").spec.dtype == "float32"
    ivy.unset_backend()


@pytest.mark.parametrize(
    "make",
    [
        lambda: create_model("perceiver_io_digits", pretrained=True),
        lambda: perceiver_io_language(language_spec(), pretrained=False),
        video_model,
    ],
)
def test_labels_and_preprocessing_are_kept(tmp_path, make):
    model = make()
    model.save_pretrained(tmp_path)
    again = PerceiverIO.from_pretrained(tmp_path)
    for name in ("labels", "preprocessing", "tokenizer"):
        assert getattr(again, name) == getattr(model, name)


def test_a_saved_classifier_classifies(tmp_path):
    model = create_model("perceiver_io_digits", pretrained=True)
    model.save_pretrained(tmp_path)
    seven = np.zeros((8, 8), np.uint8)
    assert classify(PerceiverIO.from_pretrained(tmp_path), seven) == classify(model, seven)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"query_shape": (3,)}, "returns many outputs"), ({"with_decoder": False}, "has no decoder")],
)
def test_a_classifier_gives_one_class(fields, message):
    model = PerceiverIO(PRESETS["perceiver_io_digits"].spec.replace(**fields))
    model.preprocessing = create_model("perceiver_io_digits").preprocessing
    with pytest.raises(InputError, match=message):
        classify(model, np.zeros((8, 8), np.uint8))


@pytest.mark.parametrize("labels", [("one",), tuple("abcdefghijk")])
def test_a_classifier_has_a_label_for_each_class(tmp_path, labels):
    model = create_model("perceiver_io_digits", pretrained=True)
    model.labels = labels
    model.save_pretrained(tmp_path)
    again = PerceiverIO.from_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"{len(labels)} labels for 10 classes"):
        classify(again, np.zeros((8, 8), np.uint8))
    again.labels = None
    assert classify(again, np.zeros((8, 8), np.uint8))[0].label.startswith("class ")


def test_interrupted_saving_is_noticed(tmp_path, monkeypatch):
    old, new = PerceiverIO(small_spec()), PerceiverIO(small_spec(attn_dropout=0.1), seed=1)
    old.save_pretrained(tmp_path)
    replace, done = os.replace, []

    def replace_once(*paths):
        if done:
            raise OSError("No space left on device")
        done.append(replace(*paths))

    def nothing(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", nothing)
    with pytest.raises(WeightsError, match="No space left"):
        new.save_pretrained(tmp_path)
    assert same_weights(PerceiverIO.from_pretrained(tmp_path), old)
    monkeypatch.setattr(os, "replace", replace_once)
    with pytest.raises(WeightsError, match="No space left"):
        new.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="not written together"):
        PerceiverIO.from_pretrained(tmp_path)
    monkeypatch.setattr(os, "replace", replace)
    new.save_pretrained(tmp_path)
    assert same_weights(PerceiverIO.from_pretrained(tmp_path), new)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_preprocessing_of_ones_own_is_not_saved(tmp_path):
    model = PerceiverIO(small_spec())
    model.preprocessing = np.asarray
    with pytest.raises(WeightsError, match="cannot be saved"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ("{", WeightsError, "cannot be read"),
        ("[]", WeightsError, "JSON object"),
        ('{"task": 3}', WeightsError, "not a JSON object"),
        ("{}", SpecError, "needs more fields"),
    ],
)
def test_broken_configs_are_refused(tmp_path, config, error, message):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(error, match=message):
        PerceiverIO.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "task",
    [
        {"preprocessing": {"kind": "os.system"}},
        {"preprocessing": {"size": [8, 8]}},
        {"preprocessing": {"kind": "ImagePreprocessing"}},
        {"spec": 1},
    ],
)
def test_broken_tasks_are_refused(tmp_path, task):
    model = PerceiverIO(small_spec())
    model.save_pretrained(tmp_path / "a")
    from ivy_models.checkpoints.folder import write_native

    weights = {name: numpy_of(leaf) for name, leaf in flatten(model.v)}
    write_native(tmp_path / "a", model.spec, weights, task)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["task"] == task
    with pytest.raises(WeightsError, match="task"):
        PerceiverIO.from_pretrained(tmp_path / "a")


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="There is no folder"):
        PerceiverIO.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="it is not the name of a repository"):
        PerceiverIO.from_pretrained("no/such/folder")


def test_without_the_hubs_package_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DownloadError, match=r'pip install "\.\[hub\]"'):
        PerceiverIO.from_pretrained("owner/name")


def test_models_of_transformers_are_read_and_written(backend, rng, tmp_path):
    spec = PRESETS["perceiver_io_imagenet_fourier"].spec.replace(
        num_latents=3, latent_dim=16, queries_dim=16, num_lat_att_per_layer=1, exact_gelu=True
    )
    model = PerceiverIO(spec)
    model.save_pretrained(tmp_path, layout="huggingface")
    again = PerceiverIO.from_pretrained(tmp_path)
    assert again.spec == spec
    assert same_weights(again, model)


def test_other_layouts_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="layout must be one of"):
        PerceiverIO(small_spec()).save_pretrained(tmp_path, layout="onnx")
    with pytest.raises(WeightsError, match="no class for this model"):
        PerceiverIO(small_spec()).save_pretrained(tmp_path / "a", layout="huggingface")
    assert not (tmp_path / "a").exists()
