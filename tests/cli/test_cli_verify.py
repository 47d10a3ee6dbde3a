"""``ivy-models verify``."""

import pytest
from PIL import Image

from ivy_models.checkpoints.download.cache import PublishedFile
from ivy_models.models.presets import PRESETS

CONV = "perceiver_io_imagenet_conv"


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("IVY_MODELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IVY_MODELS_OFFLINE", "1")


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["resnet"], "There is no model 'resnet'. Expected one of", 2),
        (["perceiver_io_imagenet_con"], f"Did you mean {CONV}?", 2),
        (["perceiver_io_digits"], "its weights are in the package", 2),
        ([CONV, "--backend", "theano"], "is not one of 'numpy', 'torch'", 2),
        (["--weights", "a.pystate"], "is the file of one model: name that model", 2),
        ([CONV, "--weights", "none.pystate"], "There is no weights file none.pystate", 1),
        ([CONV, "--imagenet", "val"], "choose one --backend", 2),
        ([CONV, "--imagenet", "none", "--backend", "numpy"], "There is no folder", 1),
        ([CONV, "--image", "none.jpg"], "none.jpg cannot be read: No such file", 1),
        ([CONV, "--image", "http://a.org/a.jpg"], "is an address; download", 2),
        ([CONV, "--device", "cuda", "--batch-size", "0"], "0 is not in the range", 2),
    ],
)
def test_wrong_arguments(run, arguments, message, code):
    result = run("verify", *arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


def test_another_image(run, tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (640, 480)).save(path)
    result = run("verify", CONV, "--image", str(path))
    assert result.exit_code == 1
    assert "is not the photo for which results are known: its SHA-256 is" in result.output


def test_without_a_network_every_model_says_so(run, tmp_path):
    result = run("verify")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    models = [line for line in lines if not line.startswith(" ")]
    published = [n for n, preset in PRESETS.items() if isinstance(preset.weights, PublishedFile)]
    assert models == published
    for name in models:
        assert lines.pop(0) == name
        assert lines[0].startswith("  not run  file ")
        assert "could not be downloaded (IVY_MODELS_OFFLINE is set)" in lines.pop(0)
        assert lines.pop(0).startswith("  not run  results ")
    assert result.stderr == "6 of 12 checks are wrong or were prevented.\n"


def test_an_interruption(run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ivy_models.verification.verify.verify_model", interrupt)
    result = run("verify", CONV)
    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n"


def test_a_file_of_something_else(run, tmp_path):
    path = tmp_path / "weights.pystate"
    path.write_bytes(b"<html>not found</html>")
    result = run("verify", CONV, "--weights", str(path))
    assert result.exit_code == 1
    file, checksum, structure, results = result.stdout.splitlines()[1:]
    assert file.startswith(f"  right    file                     {path}: 22 bytes, SHA-256 ")
    assert checksum.startswith("  not run  known SHA-256 ")
    assert structure.startswith("  wrong    structure ")
    assert "is not a pickle of arrays" in structure
    assert results.startswith("  not run  results ")
