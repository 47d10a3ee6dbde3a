"""Labels, preprocessing and tokenizer of transformers folders, read and written."""

import json

import numpy as np
import pytest
from PIL import Image

from ivy_models import classify, fill_mask
from ivy_models.errors import InputError, WeightsError
from ivy_models.preprocessing import ByteTokenizer, ImagePreprocessing
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

transformers = pytest.importorskip("transformers")
NAMES = {0: "cat", 1: "dog", 2: "emu"}
SIZES = {
    "num_latents": 8,
    "d_latents": 16,
    "num_blocks": 1,
    "num_self_attends_per_block": 1,
    "num_self_attention_heads": 2,
    "num_cross_attention_heads": 1,
}


@pytest.fixture(autouse=True)
def numpy_backend():
    ivy.set_backend("numpy")
    yield
    ivy.unset_backend()


@pytest.fixture
def classifier(tmp_path):
    """The folder of a classifier that transformers saved."""
    labels = {"id2label": NAMES, "label2id": {name: label for label, name in NAMES.items()}}
    config = transformers.PerceiverConfig(**SIZES, **labels)
    transformers.PerceiverForImageClassificationFourier(config).save_pretrained(tmp_path / "theirs")
    transformers.PerceiverImageProcessorPil().save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


@pytest.mark.parametrize("size", [(300, 401), (255, 333), (257, 257)])
def test_preprocessing_is_theirs_to_the_pixel(classifier, rng, size):
    small = rng.integers(0, 256, (9, 11, 3), np.uint8)
    image = Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)
    model = PerceiverIO.from_pretrained(classifier)
    assert model.preprocessing.crop_rounding == "down"
    processor = transformers.PerceiverImageProcessorPil.from_pretrained(classifier)
    theirs = processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    np.testing.assert_allclose(model.preprocessing(image), theirs, atol=1e-5)


def test_a_classifier_goes_there_and_back(classifier, tmp_path, rng):
    model = PerceiverIO.from_pretrained(classifier)
    assert model.labels == ("cat", "dog", "emu")
    image = Image.fromarray(rng.integers(0, 256, (70, 61, 3), np.uint8))
    model.save_pretrained(tmp_path / "ours", layout="huggingface")
    pipeline = transformers.pipeline("image-classification", str(tmp_path / "ours"))
    theirs = {answer["label"]: answer["score"] for answer in pipeline(image)}
    assert dict(classify(model, image)) == pytest.approx(theirs, abs=0.01)
    again = PerceiverIO.from_pretrained(tmp_path / "ours")
    assert (again.labels, again.preprocessing) == (model.labels, model.preprocessing)


def test_a_language_model_goes_there_and_back(tmp_path):
    config = transformers.PerceiverConfig(
        **SIZES | {"num_cross_attention_heads": 2},
        d_model=16,
        qk_channels=16,
        v_channels=16,
        max_position_embeddings=64,
    )
    transformers.PerceiverForMaskedLM(config).save_pretrained(tmp_path / "theirs")
    model = PerceiverIO.from_pretrained(tmp_path / "theirs")
    assert model.tokenizer == ByteTokenizer(64)
    assert len(fill_mask(model, "a[MASK]", top=2)[0]) == 2
    model.save_pretrained(tmp_path / "ours", layout="huggingface")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    text = "a[MASK] b"
    pipeline = transformers.pipeline("fill-mask", str(tmp_path / "ours"))
    theirs = pipeline(text, top_k=262)
    theirs = {answer["token"]: answer["score"] for answer in theirs}
    inputs = pipeline.tokenizer(text)["input_ids"]
    logits = ivy.to_numpy(model(np.array([inputs])))[0, inputs.index(3)]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose([theirs[n] for n in range(262)], expected, atol=1e-5)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    np.testing.assert_array_equal(ids, model.tokenizer.encode(text))
    assert tokenizer.model_max_length == 64


def test_files_of_another_model_do_not_remain(classifier, tmp_path):
    model = PerceiverIO.from_pretrained(classifier)
    (classifier / "tokenizer_config.json").write_text("{}")
    (classifier / "notes.txt").write_text("the user's own")
    model.save_pretrained(classifier, layout="huggingface")
    kept = {"config.json", "model.safetensors", "notes.txt", "preprocessor_config.json"}
    assert {path.name for path in classifier.iterdir()} == kept
    model.preprocessing = model.labels = None
    model.save_pretrained(classifier, layout="huggingface")
    assert {path.name for path in classifier.iterdir()} == kept - {"preprocessor_config.json"}
    again = PerceiverIO.from_pretrained(classifier)
    assert again.preprocessing is None
    assert again.labels is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("labels", "cat"),
        ("labels", b"cat"),
        ("labels", 3),
        ("labels", [1, 2, 3]),
        ("labels", {"cat": 0, "dog": 1, "emu": 2}),
        ("labels", {"cat", "dog", "emu"}),
        ("preprocessing", 224),
        ("preprocessing", "imagenet"),
        ("preprocessing", np.zeros(3)),
        ("preprocessing", ByteTokenizer()),
        ("tokenizer", 2048),
        ("tokenizer", ImagePreprocessing((8, 8))),
    ],
)
def test_attributes_of_a_wrong_type_are_refused(classifier, name, value):
    model = PerceiverIO.from_pretrained(classifier)
    before = getattr(model, name)
    with pytest.raises(InputError, match=f"{name} "):
        setattr(model, name, value)
    assert getattr(model, name) == before


def test_placeholders_are_not_labels(classifier):
    path = classifier / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = {str(n): f"LABEL_{n}" for n in range(3)}
    path.write_text(json.dumps(config))
    assert PerceiverIO.from_pretrained(classifier).labels is None


@pytest.mark.parametrize(
    "change",
    [
        {"do_center_crop": False},
        {"resample": 2},
        {"rescale_factor": 1.0},
        {"size": {"shortest_edge": 224}},
        {"size": {"height": 224, "width": 192}},
    ],
)
def test_unknown_preprocessing_warns(classifier, change):
    path = classifier / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.warns(UserWarning, match="does not have, so the model has none"):
        assert PerceiverIO.from_pretrained(classifier).preprocessing is None


def test_preprocessing_unknown_to_transformers_warns(classifier, tmp_path):
    model = PerceiverIO.from_pretrained(classifier)
    model.preprocessing = ImagePreprocessing((8, 8), 1)
    with pytest.warns(UserWarning, match="This preprocessing is not written"):
        model.save_pretrained(tmp_path / "ours", layout="huggingface")
    assert not (tmp_path / "ours" / "preprocessor_config.json").exists()
    model.labels = ["one"]
    with pytest.raises(WeightsError, match="1 labels for 3 classes"):
        model.save_pretrained(tmp_path / "ours", layout="huggingface")


def test_a_path_from_home(classifier, monkeypatch):
    monkeypatch.setenv("HOME", str(classifier.parent))
    monkeypatch.setenv("USERPROFILE", str(classifier.parent))
    assert PerceiverIO.from_pretrained("~/theirs").labels == ("cat", "dog", "emu")
