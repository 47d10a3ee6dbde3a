"""Functions that build models, by purpose and by name."""

from pathlib import Path

import numpy as np
import pytest
from helpers import CHOSEN, TINY, unset_backends
from helpers.specs import small_spec
from PIL import Image

import ivy_models
from ivy_models import classify, create_model, list_models, perceiver_io_img_classification
from ivy_models.base.cache import CACHE_VARIABLE
from ivy_models.checkpoints.download import cache as download
from ivy_models.errors import BackendError, DownloadError, InputError, SpecError, WeightsError
from ivy_models.models import factories
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import PerceiverIOSpec
import ivy

MISSION = {
    "input_dim": 3,
    "num_input_axes": 2,
    "output_dim": 1000,
    "queries_dim": 1024,
    "network_depth": 8,
    "learn_query": True,
    "query_shape": [1],
    "num_fourier_freq_bands": 64,
    "num_lat_att_per_layer": 6,
}
FASHION = [
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
]
TINY_OVERRIDES = {"num_latents": 4, "latent_dim": 16, "queries_dim": 8, "network_depth": 1}


@pytest.fixture
def offline(monkeypatch, tmp_path, closed_address):
    """No server answers, and the cache is empty."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    for preset in PRESETS.values():
        if isinstance(preset.weights, download.PublishedFile):
            file = download.PublishedFile(closed_address + preset.weights.name)
            monkeypatch.setitem(preset.__dict__, "weights", file)
    return tmp_path


@pytest.fixture
def loaded(monkeypatch):
    """Specs for which published weights were requested; random ones are used instead."""
    specs = []
    monkeypatch.setattr(factories, "_load_published", lambda _, spec, *fresh: specs.append(spec))
    monkeypatch.setattr(factories, "PerceiverIO", lambda spec, **_: small_model(spec))
    return specs


def small_model(spec):
    return type("Model", (), {"spec": spec})()


def test_the_mission_spec_gets_the_published_bands(loaded):
    model = perceiver_io_img_classification(PerceiverIOSpec(**MISSION))
    assert loaded == [PRESETS["perceiver_io_imagenet_fourier"].spec]
    assert model.spec.max_fourier_freq == (224, 224)
    assert model.labels[281] == "tabby, tabby cat"
    assert model.preprocessing.size == (224, 224)


@pytest.mark.parametrize("name", list_models("*imagenet*"))
def test_each_published_model_is_recognised(loaded, name):
    spec = PRESETS[name].spec
    assert perceiver_io_img_classification(spec.replace(device="cpu")).spec.stem == spec.stem
    assert loaded == [spec.replace(device="cpu")]


def test_a_spec_that_does_not_fit_is_refused_with_a_table():
    spec = PerceiverIOSpec(**MISSION | {"num_latents": 256, "output_dim": 10})
    with pytest.raises(WeightsError) as refusal:
        perceiver_io_img_classification(spec)
    rows = [line.split() for line in str(refusal.value).splitlines() if line.startswith("  ")]
    assert rows == [
        ["field", "this", "spec", "the", "weights"],
        ["output_dim", "10", "1000"],
        ["num_latents", "256", "512"],
    ]
    with pytest.raises(WeightsError, match="network_depth  4"):
        create_model("perceiver_io_imagenet_conv", pretrained=True, network_depth=4)


def test_without_a_network_the_error_says_what_to_do(offline, closed_address):
    with pytest.raises(DownloadError) as refusal:
        perceiver_io_img_classification(PerceiverIOSpec(**MISSION))
    message = str(refusal.value)
    file = "imagenet_fourier_position_encoding.pystate"
    for part in (f"{closed_address}{file}", str(offline / file), f'weights="path/to/{file}"'):
        assert part in message
    assert [path.name for path in offline.iterdir()] == [f"{file}.lock"]


def test_a_downloaded_file_that_is_not_a_checkpoint_is_named(offline):
    path = offline / "imagenet_fourier_position_encoding.pystate"
    path.write_bytes(b"<html>Log in first.</html>")
    with pytest.raises(WeightsError) as refusal:
        perceiver_io_img_classification(PerceiverIOSpec(**MISSION))
    assert str(refusal.value).startswith(f"{path} is not a pickle of arrays")
    assert f"Remove {path};" in str(refusal.value)


def test_a_missing_device_is_refused_before_the_download(backend, offline):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(BackendError, match="cuda"):
        perceiver_io_img_classification(PerceiverIOSpec(**MISSION, device="cuda"))


def test_random_weights_keep_the_spec_as_it_is(backend):
    spec = small_spec()
    model = perceiver_io_img_classification(spec, pretrained=False, seed=3)
    assert model.spec == spec
    assert model.labels is None


@pytest.mark.parametrize(
    "make",
    [
        ivy_models.perceiver_io_img_classification,
        ivy_models.perceiver_io_language,
        ivy_models.perceiver_io_optical_flow,
        ivy_models.perceiver_io_video,
    ],
)
def test_pretrained_can_follow_the_spec_without_its_name(make):
    spec = small_spec()
    assert make(spec, False).spec == spec


def test_local_weights_are_taken_for_any_fitting_spec():
    import json

    from verify_reference import tiny_spec

    folder = TINY / "imagenet_fourier"
    spec = tiny_spec(json.loads((folder / "config.json").read_text()))
    model = perceiver_io_img_classification(spec, weights=folder / "checkpoint.pystate")
    assert model.spec == spec
    with pytest.raises(WeightsError, match="do not fit the model"):
        perceiver_io_img_classification(
            spec.replace(num_latents=5), weights=str(folder / "checkpoint.pystate")
        )


def test_create_model_overrides_any_field(backend):
    model = create_model(
        "perceiver_io_imagenet_learned",
        learned_position_shape=(12, 10),
        learned_position_dim=4,
        stem_dim=4,
        output_dim=7,
        num_self_att_heads=2,
        **TINY_OVERRIDES,
    )
    assert model.preprocessing.size == (12, 10)
    assert model.labels is None
    image = np.zeros((20, 30, 3), np.uint8)
    assert ivy.to_numpy(model(model.preprocessing(image))).shape == (1, 7)


def test_unknown_names_and_fields_are_refused():
    with pytest.raises(SpecError, match="no model 'resnet'.*perceiver_io_digits"):
        create_model("resnet")
    with pytest.raises(SpecError, match="no field depth"):
        create_model("perceiver_io_digits", depth=3)


def test_list_models():
    assert list_models() == list(PRESETS)
    assert list_models("*digits") == ["perceiver_io_digits"]
    assert list_models("nothing*") == []
    assert ivy_models.list_models is list_models


@pytest.mark.parametrize(
    "name", list_models("*imagenet*") + list_models("*digits") + list_models("*fashion")
)
def test_labels_are_as_many_as_outputs(name):
    preset = PRESETS[name]
    assert len(set(preset.label_names())) >= 0.99 * preset.spec.output_dim
    assert len(preset.label_names()) == preset.spec.output_dim


def test_digits_on_the_held_out_split():
    import json
    from importlib.resources import files

    from digits import digits_split

    record = json.loads(
        (files("ivy_models") / "data/perceiver_io_digits/training.json").read_text()
    )
    *_, images, classes, test = digits_split()
    assert sorted(test.tolist()) == record["test"]
    assert not set(record["test"]) & set(record["train"])
    predictions = {}
    for name in CHOSEN:
        ivy.set_backend(name)
        model = create_model("perceiver_io_digits", pretrained=True)
        logits = ivy.to_numpy(model(model.preprocessing(list(images))))[:, 0]
        predictions[name] = logits.argmax(-1)
    unset_backends()
    accuracy = (predictions[CHOSEN[0]] == classes).mean()
    assert accuracy >= 0.97
    assert accuracy == pytest.approx(record["test_accuracy"], abs=0.003)
    assert accuracy == pytest.approx(PRESETS["perceiver_io_digits"].accuracy / 100, abs=0.005)
    for name in CHOSEN:
        np.testing.assert_array_equal(predictions[name], predictions[CHOSEN[0]])


def test_fashion_names_test_images():
    """The first of each class of Fashion-MNIST's test images, side by side in ``fashion.png``."""
    strip = Image.open(Path(__file__).with_name("fashion.png"))
    images = [strip.crop((28 * i, 0, 28 * (i + 1), 28)) for i in range(10)]
    for name in CHOSEN:
        ivy.set_backend(name)
        model = create_model("perceiver_io_fashion", pretrained=True)
        found = [best.label for (best,) in classify(model, images, top=1)]
        assert found == FASHION
    # The preprocessing takes the square in the middle of an image of another shape.
    wide = np.pad(np.asarray(images[-1].resize((56, 56))), ((0, 0), (20, 20)))
    assert classify(model, wide, top=1)[0].label == "ankle boot"
    data = model.preprocessing(wide)
    assert data.shape == (28, 28, 1)
    with pytest.raises(InputError, match="shape"):
        model(data[..., [0, 0, 0]])
    unset_backends()
