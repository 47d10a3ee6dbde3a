"""The command line, in this process and once as a separate program."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import CHOSEN, ROOT
from helpers.specs import flow_spec, language_spec
from PIL import Image

from ivy_models import perceiver_io_language, perceiver_io_optical_flow, read_flo
from ivy_models.checkpoints.download.cache import PublishedFile
from ivy_models.checkpoints.folder import read_native
from ivy_models.cli import main
from ivy_models.models import factories
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import PerceiverIO

SEVEN = str(ROOT / "examples" / "seven.png")


@pytest.mark.parametrize("backend_name", CHOSEN)
def test_classify(run, backend_name):
    result = run("classify", SEVEN, "--backend", backend_name, "--top", "2")
    assert result.exit_code == 0
    path, first, second = result.output.splitlines()
    assert path == f"{SEVEN}:"
    share, label = first.split()
    assert label == "seven"
    assert 50 < float(share.rstrip("%")) <= 100
    assert float(second.split()[0].rstrip("%")) < float(share.rstrip("%"))


def test_one_bad_image_does_not_stop_the_others(run, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    result = run("classify", str(bad), SEVEN, str(tmp_path / "none.png"))
    assert result.exit_code == 1
    assert "seven" in result.output
    assert "bad.png is not an image" in result.output
    assert "2 of 3 files could not be classified" in result.output


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (
            ["classify", SEVEN, "--model", "resnet"],
            "There is no model 'resnet'. Expected one of",
            2,
        ),
        (["classify", SEVEN, "--backend", "theano"], "is not one of 'numpy', 'torch'", 2),
        (["classify", SEVEN, "--device", "cuda"], 'runs on "cpu" only', 1),
        (["classify", SEVEN, "--weights", "none.pystate"], "There is no weights file", 1),
        (["classify", SEVEN, "--top", "0"], "0 is not in the range", 2),
        (["classify"], "Name at least one file or folder", 2),
        (["classify", SEVEN, "--model", "perceiver_io_language"], "is not an image classifier", 2),
        (["fill-mask", "[MASK]", "--model", "perceiver_io_digits"], "is not a language model", 2),
        (["flow", SEVEN, SEVEN, "flow.txt"], "must end in .flo, or in", 2),
        (["flow", SEVEN, SEVEN, "none/flow.flo"], "There is no folder", 2),
        (["flow", SEVEN, SEVEN, "a.flo", "--model", "perceiver_io_digits"], "is not a model of", 2),
        (["fill-mask", "[MASK]", "--weights", "none.pickle"], "There is no weights file", 1),
        (["convert", "none", "b"], "There is no file or folder none", 2),
        (["convert", "a", "b", "--model", "perceiver_io_digit"], "mean perceiver_io_digits?", 2),
        (["list", "resnet*"], "No model matches 'resnet*'", 1),
        (["classify", "https://example.com/a.jpg"], "https://example.com/a.jpg is an address", 2),
        (["flow", "HTTP://a.org/b.png", SEVEN, "a.flo"], "is an address; download", 2),
        (["classify", "none.png", "no.png"], "There is no file none.png", 2),
        (["benchmark"], "Missing argument 'NAME'", 2),
    ],
)
def test_user_errors_have_no_traceback(run, arguments, message, code):
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_failed_download_has_no_traceback(run, monkeypatch, tmp_path, closed_address):
    monkeypatch.setenv("IVY_MODELS_CACHE", str(tmp_path))
    closed = PublishedFile(f"{closed_address}weights.pystate")
    monkeypatch.setattr(factories, "download", lambda _: real_download(closed))
    from ivy_models.checkpoints.download.cache import download as real_download

    result = run("classify", SEVEN, "--model", "perceiver_io_imagenet_conv")
    assert result.exit_code == 1
    assert "could not be downloaded" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("backend_name", CHOSEN)
def test_fill_mask(run, backend_name, monkeypatch):
    monkeypatch.setattr(
        factories,
        "create_model",
        lambda *_, **__: perceiver_io_language(language_spec(), pretrained=False),
    )
    result = run("fill-mask", "a[MASK]b[MASK]", "--backend", backend_name, "--top", "2")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line for line in lines if line.startswith("[MASK]")] == ["[MASK] 1:", "[MASK] 2:"]
    assert len(lines) == 6
    asked = "fill-mask", "a[MASK]b[MASK]", "--backend", backend_name, "--top", "2", "--json"
    records = [json.loads(line) for line in run(*asked).output.splitlines()]
    assert [record["mask"] for record in records] == [1, 2]
    assert [candidate.keys() for candidate in records[0]["candidates"]] == [
        {"text", "probability"},
        {"text", "probability"},
    ]
    assert run("fill-mask", "no mask").exit_code == 1


def test_convert(run, tmp_path):
    spec = PRESETS["perceiver_io_imagenet_fourier"].spec
    small = spec.replace(num_latents=3, latent_dim=16, queries_dim=16, num_lat_att_per_layer=1)
    model = PerceiverIO(small)
    folders = [str(tmp_path / name) for name in ("a", "b", "c")]
    model.save_pretrained(folders[0])
    assert run("convert", *folders[:2], "--layout", "huggingface").exit_code == 0
    result = run("convert", *folders[1:])
    assert result.output.endswith(f": {model.num_parameters:,} parameters.\n")
    original, again = (read_native(folder) for folder in (folders[0], folders[2]))
    assert original.keys() == again.keys()
    assert all(np.array_equal(original[name], again[name]) for name in original)
    digits = ROOT / "ivy_models" / "data" / "perceiver_io_digits" / "model.safetensors"
    result = run("convert", str(digits), folders[0], "--model", "perceiver_io_digits")
    assert result.exit_code == 0
    assert run("convert", folders[0], folders[1], "--half").exit_code == 0
    assert {array.dtype for array in read_native(folders[1]).values()} == {np.dtype("float16")}
    assert PerceiverIO.from_pretrained(folders[0]).labels[7] == "seven"
    for arguments in ((str(digits), "d"), (folders[0], "d", "--model", "perceiver_io_digits")):
        result = run("convert", *arguments)
        assert (result.exit_code, "--model" in result.output) == (2, True)
    assert run("convert", "none.pystate", "d", "--model", "perceiver_io_digits").exit_code == 1


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_convert_from_perceiver_pytorch(run, tmp_path):
    pytest.importorskip("perceiver_pytorch")
    import torch
    from helpers.perceiver_pytorch import IO, original

    model, path, folder = original("io"), str(tmp_path / "w.pt"), str(tmp_path / "converted")
    torch.save(model.state_dict(), path)
    option = "--perceiver-pytorch"
    result = run("convert", path, folder, option, json.dumps(IO))
    assert result.exit_code == 0, result.output
    expected = PerceiverIO.from_perceiver_pytorch(model)
    assert result.output.endswith(f": {expected.num_parameters:,} parameters.\n")
    assert PerceiverIO.from_pretrained(folder).spec == expected.spec
    for source, arguments, message, code in (
        (path, [option, "{"], "is not JSON", 2),
        (path, [option, "[1]"], "must be a JSON object", 2),
        (path, [option, "{}"], "needs depth, dim, queries_dim", 1),
        (path, [option, "{}", "--model", "perceiver_io_digits"], "not both", 2),
        (folder, [option, "{}"], "leave out --model and --perceiver-pytorch", 2),
    ):
        result = run("convert", source, folder, *arguments)
        assert (result.exit_code, message in " ".join(result.output.split())) == (code, True)


@pytest.mark.parametrize("backend_name", CHOSEN)
def test_flow(run, backend_name, monkeypatch, tmp_path, rng):
    monkeypatch.setattr(
        factories,
        "create_model",
        lambda *_, **__: perceiver_io_optical_flow(flow_spec(), pretrained=False),
    )
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (12, 15, 3), np.uint8)).save(tmp_path / name)
    frames = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for name in ("flow.flo", "flow.png"):
        options = ["--backend", backend_name, "--batch-size", "2"]
        result = run("flow", *frames, str(tmp_path / name), *options)
        assert result.exit_code == 0
        assert "15 x 12 pixels" in result.output
    assert read_flo(tmp_path / "flow.flo").shape == (12, 15, 2)
    assert Image.open(tmp_path / "flow.png").size == (15, 12)
    assert run("flow", frames[0], "none.png", str(tmp_path / "c.flo")).exit_code == 1
    assert not (tmp_path / "c.flo").exists()


def test_a_file_that_cannot_be_written(run, monkeypatch, tmp_path):
    def write_flo(path, _):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("ivy_models.tasks.flow.write_flo", write_flo)
    monkeypatch.setattr("ivy_models.tasks.flow.estimate_flow", lambda *_, **__: np.zeros((2, 2, 2)))
    monkeypatch.setattr(factories, "create_model", lambda *_, **__: None)
    result = run("flow", SEVEN, SEVEN, str(tmp_path / "a.flo"))
    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path / 'a.flo'}: Permission denied.\n"
    result = run("flow", SEVEN, SEVEN, str(tmp_path / "folder.png"))
    assert result.exit_code == 0
    (tmp_path / "folder.flo").mkdir()
    result = run("flow", SEVEN, SEVEN, str(tmp_path / "folder.flo"))
    assert (result.exit_code, "is a folder. Name a file" in result.stderr) == (2, True)


def test_list(run):
    assert len(run("list").output.splitlines()) == len(PRESETS)
    assert run("list", "*digits").output.startswith("perceiver_io_digits ")
    listed = json.loads(run("list", "*imagenet*", "--json").output)
    assert [(model["model"], model["accuracy"]) for model in listed] == [
        (name, preset.accuracy) for name, preset in PRESETS.items() if "imagenet" in name
    ]
    result = run("list", "resnet", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fill-mask", "no mask here"], 'The text has no "[MASK]"'),
        (["flow", SEVEN, "none.png", "o.flo"], "none.png cannot be read"),
        (["flow", SEVEN, "PHOTO", "o.flo"], "must have the same size"),
        (["video", "none.mp4", "o.mp4"], "none.mp4 cannot be read"),
        (["classify", "none.png", "--model", "perceiver_io_imagenet_conv"], "There is no file"),
        (["classify", "-", "--model", "perceiver_io_language"], "is not an image classifier"),
    ],
)
def test_inputs_are_checked_before_a_download(run, arguments, message, monkeypatch, tmp_path):
    def download(_):
        raise AssertionError("a download has begun")

    monkeypatch.setattr(factories, "download", download)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (5, 4)).save("photo.png")
    result = run(*["photo.png" if part == "PHOTO" else part for part in arguments])
    assert result.exit_code in (1, 2)
    assert message in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_names_of_models_are_completed(shell):
    name = "perceiver_io_imagenet_conv"
    for words in (["info"], ["benchmark"], ["classify", "--model"], ["demo", "--model"]):
        found = complete(shell, words, "perceiver_io_imagenet_c")
        assert name in found
        assert "fourier" not in found
    assert "dir" in complete(shell, ["info"], "./my_mod")


def complete(shell, words, incomplete):
    """Do what the shell's script does when Tab is pressed."""
    line = " ".join(["ivy-models", *words, incomplete])
    position = str(len(words) + 1) if shell == "bash" else incomplete
    variables = {
        "_IVY_MODELS_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": line if shell != "fish" else " ".join(["ivy-models", *words]),
        "COMP_CWORD": str(len(words) + 1) if shell != "fish" else position,
    }
    result = CliRunner().invoke(main, [], env=variables, prog_name="ivy-models")
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("command", main.commands)
def test_help_has_an_example(run, command):
    for option in ("-h", "--help"):
        text = run(command, option).output
        assert text.startswith("Usage:")
        assert f"Example: ivy-models {command} " in text


def test_help_lists_the_commands(run):
    text = run("--help").output
    assert all(f"\n  {command} " in text for command in main.commands)
    assert "..." not in text.split("Commands:")[1]  # no description is cut off


def test_as_a_program():
    command = [sys.executable, "-m", "ivy_models", "classify", SEVEN]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "seven" in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="closes a stream in the shell's way")
@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize("arguments", [["list"], ["classify", SEVEN, "none.png"], ["info", "none"]])
def test_a_closed_stream_has_no_traceback(arguments, stream):
    command = [sys.executable, "-m", "ivy_models", *arguments]
    shell = ["sh", "-c", f'exec "$@" {stream}>&-', "sh"]
    result = subprocess.run([*shell, *command], capture_output=True, text=True)
    assert result.returncode == {"list": 0, "classify": 1, "info": 2}[arguments[0]]
    assert "Traceback" not in result.stderr
    closed, other = (result.stdout, result.stderr)[:: 1 if stream == 1 else -1]
    assert not closed
    assert stream == 2 or ("Error" in other) == (arguments != ["list"])


def test_a_broken_pipe_of_a_list_is_quiet():
    command = [sys.executable, "-m", "ivy_models", "list"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    program.stdout.close()  # as `| head -0` does
    assert program.stderr.read() == ""
    assert program.wait() == 1
    program.stderr.close()
