"""Folders of the package perceiver-io. Models and results were recorded with release 0.11."""

import json
import shutil

import numpy as np
import pytest
from helpers import TESTS
from helpers.arrays import numpy_of

from ivy_models.checkpoints.load import load_weights
from ivy_models.checkpoints.perceiver_io_package import PerceiverIOPackageFolder
from ivy_models.errors import WeightsError
from ivy_models.preprocessing import ByteTokenizer
from ivy_models.transformers.perceiver_io import PerceiverIO

FOLDER = TESTS / "reference" / "perceiver_io_package"
CASES = ("image", "masked_tokens", "text")


@pytest.mark.parametrize("case", CASES)
def test_models_compute_what_the_package_computes(backend, case, tmp_path):
    model = PerceiverIO.from_pretrained(FOLDER / case)
    recorded = np.load(FOLDER / case / "expected.npz")
    output, expected = numpy_of(model(recorded["data"])), recorded["output"]
    np.testing.assert_allclose(output, expected, atol=1e-5 * np.abs(expected).max())
    model.save_pretrained(tmp_path)
    assert PerceiverIO.from_pretrained(tmp_path).spec == model.spec


@pytest.fixture
def changed(tmp_path):
    """Write a folder with other options of a part; return it."""

    def write(case, part, **options):
        folder = shutil.copytree(FOLDER / case, tmp_path / "model")
        config = json.loads((folder / "config.json").read_text())
        inner = config if part is None else config["model_config"]
        inner = inner if part in (None, "model") else inner[part]
        inner.update(options)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return write


@pytest.mark.parametrize(
    ("part", "options", "match"),
    [
        (
            "encoder",
            {"rotary": True},
            "encoder has the option rotary, which this library does not support",
        ),
        ("model", {"experts": 2}, "model_config has the option experts, which this library"),
        ("encoder", {"num_cross_attention_layers": 2}, "num_cross_attention_layers is 2; this"),
        ("encoder", {"num_self_attention_blocks": "3"}, "num_self_attention_blocks must be an"),
        ("encoder", {"num_cross_attention_heads": 3}, "16 channels of cross-attention cannot"),
        ("decoder", {"num_classes": None}, "decoder.num_classes must be an integer"),
        ("encoder", {"image_shape": 5}, "encoder.image_shape must be a list"),
        ("model", {"decoder": 5}, "decoder must be a mapping of options"),
        (None, {"model_config": None}, "model_config must be a mapping"),
        (None, {"model_type": "perceiver-ar-causal-language-model"}, "model_type is perceiver-ar"),
        (None, {"model_type": "perceiver-io-optical-flow"}, "this library reads perceiver-io-im"),
        ("model", {"num_latents": 6}, "of another shape"),
    ],
)
def test_models_that_no_spec_describes_are_refused(changed, part, options, match):
    with pytest.raises(WeightsError, match=match):
        PerceiverIO.from_pretrained(changed("image", part, **options))


def test_labels_are_read(changed):
    config = json.loads((FOLDER / "image" / "config.json").read_text())
    number = config["model_config"]["decoder"]["num_classes"]
    names = [f"class {i}" for i in range(number)]
    folder = changed("image", None, id2label=dict(enumerate(names)))
    assert PerceiverIO.from_pretrained(folder).labels == tuple(names)


def test_placeholders_of_labels_are_none(changed):
    folder = changed("image", None, id2label={"0": "LABEL_0", "1": "LABEL_1"})
    assert PerceiverIO.from_pretrained(folder).labels is None


def test_a_vocabulary_of_bytes_has_their_tokenizer():
    config = json.loads((FOLDER / "text" / "config.json").read_text())
    config["model_config"]["encoder"] |= {"vocab_size": 262, "max_seq_len": 300}
    attributes = PerceiverIOPackageFolder.of(FOLDER, config).read_attributes()
    assert attributes == {"tokenizer": ByteTokenizer(max_length=300)}
    assert PerceiverIO.from_pretrained(FOLDER / "text").tokenizer is None  # of 11 tokens


def test_a_checkpoint_of_lightning_is_refused(tmp_path):
    model = PerceiverIO.from_pretrained(FOLDER / "text")
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(WeightsError, match="checkpoint of Lightning.*convert_checkpoint"):
        load_weights(tmp_path / "last.ckpt", model.spec)
