"""``--engine`` of the commands that run a model."""

import json

import numpy as np
import pytest
from helpers.specs import flow_spec, language_spec
from PIL import Image

from ivy_models.preprocessing import ByteTokenizer
from ivy_models.shells.engines import ENGINES
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy


def picture(path, rng, *shape):
    Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path)
    return str(path)


def test_classify(run, tmp_path, rng):
    photo, model = picture(tmp_path / "photo.png", rng, 20, 20), str(tmp_path / "digits.onnx")
    assert run("export", "perceiver_io_digits", model).exit_code == 0
    expected = json.loads(run("classify", photo, "--json").stdout)["predictions"]
    for engine in ENGINES:
        result = run("classify", photo, "--json", "--model", model, "--engine", engine)
        assert result.exit_code == 0, result.output
        got = json.loads(result.stdout)["predictions"]
        assert [p["label"] for p in got] == [p["label"] for p in expected]
        np.testing.assert_allclose(
            [p["probability"] for p in got], [p["probability"] for p in expected], atol=1e-5
        )


def test_fill_mask_and_flow(run, tmp_path, rng):
    ivy.set_backend("numpy")
    model, path = PerceiverIO(language_spec()), str(tmp_path / "model.onnx")
    model.tokenizer = ByteTokenizer()
    model.save_pretrained(tmp_path / "model")
    assert run("export", str(tmp_path / "model"), path).exit_code == 0
    for engine in ENGINES:
        result = run("fill-mask", "a [MASK]", "--model", path, "--engine", engine, "--top", "2")
        assert result.exit_code == 0, result.output
        assert result.stdout.count("%") == 2
    ivy.set_backend("numpy")
    PerceiverIO(flow_spec()).to_onnx(path)
    frames = [picture(tmp_path / f"{i}.png", rng, 9, 11, 3) for i in range(2)]
    for engine in ENGINES:
        output = tmp_path / f"{engine}.flo"
        result = run("flow", *frames, str(output), "--model", path, "--engine", engine)
        assert result.exit_code == 0, result.output
        assert output.exists()
    result = run("classify", *frames, "--model", path, "--engine", "onnxruntime")
    assert result.exit_code == 1
    assert "no preprocessing" in result.output


ENGINE = ["--model", "x.onnx", "--engine", "openvino"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "x.onnx"], "choose what runs it"),
        (["--engine", "openvino"], "runs an ONNX file, not perceiver_io_digits"),
        (
            [*ENGINE, "--backend", "torch"],
            "leave out --backend",
        ),
        ([*ENGINE, "--device", "cpu"], "leave out --device"),
        ([*ENGINE, "--weights", "w"], "leave out --weights"),
        (["--engine", "tensorrt"], "is not one of"),
    ],
)
def test_options_that_contradict_each_other(run, options, message):
    result = run("classify", "photo.png", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_other_commands_take_no_onnx_file(run):
    result = run("video", "clip.mp4", "out.mp4", "--model", "x.onnx")
    assert result.exit_code == 2
    assert "It is not a folder either" in " ".join(result.output.split())


def test_a_file_that_is_missing_or_damaged(run, tmp_path, rng):
    photo, model = picture(tmp_path / "photo.png", rng, 20, 20), tmp_path / "model.onnx"
    arguments = "classify", photo, "--model", str(model), "--engine", "onnxruntime"
    assert "No such file" in run(*arguments).output
    model.write_bytes(b"hello")
    result = run(*arguments)
    assert result.exit_code == 1
    assert "model.onnx is not an ONNX file that this library exported" in result.output
