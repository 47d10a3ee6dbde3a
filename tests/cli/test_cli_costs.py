"""``ivy-models info`` and ``ivy-models benchmark``."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from helpers import CHOSEN
from helpers.specs import columns_spec, multimodal_spec, small_spec

from ivy_models import create_model
from ivy_models.errors import SpecError
from ivy_models.measure.timing import time_calls
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import model_costs
from ivy_models.transformers.perceiver_io.spec_checks import MAX_AXES

DIGITS = "perceiver_io_digits"


@pytest.mark.parametrize("name", PRESETS)
def test_info(run, name):
    result = run("info", name)
    assert result.exit_code == 0
    total = next(line for line in result.stdout.splitlines() if line.startswith("total"))
    assert total.split()[1] == f"{PRESETS[name].num_parameters:,}"
    assert PRESETS[name].licence in result.stdout


def test_info_at_a_size_as_json(run):
    name, options = "perceiver_io_imagenet_fourier", ["--size", "64x96", "--batch-size", "2"]
    result = json.loads(run("info", name, *options, "--dtype", "bfloat16", "--json").stdout)
    assert result["data_shape"] == [64, 96, 3]
    spec = PRESETS[name].spec.replace(dtype="bfloat16")
    expected = model_costs(spec, (64, 96, 3), 2)
    assert result["costs"]["reader"] == vars(expected["reader"])
    assert result["costs"]["total"] == vars(expected["total"])
    assert result["latents"] == [512, 1024]
    assert result["licence"] == PRESETS[name].licence
    assert result["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert json.loads(run("info", "perceiver_io_video", "--json").stdout)["task"]


def test_info_of_a_folder(run, tmp_path):
    create_model(DIGITS, pretrained=True).save_pretrained(tmp_path)
    of_folder = json.loads(run("info", str(tmp_path), "--json").stdout)
    of_name = json.loads(run("info", DIGITS, "--json").stdout)
    assert of_folder["data_shape"] == [8, 8, 1]
    assert of_folder["costs"] == of_name["costs"]
    assert "licence" not in run("info", str(tmp_path)).stdout


def test_info_of_several_modalities(run, tmp_path):
    (tmp_path / "config.json").write_text(columns_spec().to_json())
    result = run("info", str(tmp_path), "--json")
    assert result.exit_code == 1
    assert "photo: The spec does not fix the size" in result.stderr
    sizes = ["--size", "photo=24x32", "--size", "relief=4x6"]
    shape = json.loads(run("info", str(tmp_path), *sizes, "--json").stdout)["data_shape"]
    assert (shape["photo"], shape["a comment"], shape["city"]) == ([24, 32, 3], [11], [])
    result = run("info", str(tmp_path), *sizes)
    assert "a comment 1 x 11, city 1, numbers 1 x 3 x 2" in " ".join(result.stdout.split())
    assert run("info", str(tmp_path), "--size", "24", *sizes).exit_code == 2


MULTIMODAL = multimodal_spec()
HOSTILE = {
    "a long axis": small_spec(max_fourier_freq=(1e12, 7)),
    "axes beyond integers": small_spec(max_fourier_freq=1e300),
    "channels": small_spec(input_dim=10**4000, max_fourier_freq=7),
    "bands": small_spec(num_fourier_freq_bands=10**15, max_fourier_freq=7),
    "a stem": small_spec(stem="projection", stem_dim=10**15, max_fourier_freq=7),
    "patches": small_spec(patch_shape=(10**12, 10**12), max_fourier_freq=7),
    "outputs": MULTIMODAL.replace(
        output_modalities=[
            replace(m, query_shape=[10**15] * len(m.query_shape))
            for m in MULTIMODAL.output_modalities
        ]
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_info_of_a_hostile_folder(run, tmp_path, name):
    (tmp_path / "config.json").write_text(HOSTILE[name].to_json())
    result = run("info", str(tmp_path))
    assert result.exit_code == 1
    assert "have more than 67,108,864 numbers, which is MAX_NUMBERS of" in result.stderr


def test_info_of_as_many_axes_as_there_may_be(run, tmp_path):
    spec = small_spec(num_input_axes=MAX_AXES, max_fourier_freq=2, num_fourier_freq_bands=2)
    (tmp_path / "config.json").write_text(spec.to_json())
    assert run("info", str(tmp_path)).exit_code == 0
    with pytest.raises(SpecError, match="at most"):
        spec.replace(num_input_axes=MAX_AXES + 1)


def test_info_imports_no_framework():
    code = """
import sys
from ivy_models.cli import main
assert not {"ivy", "torch", "PIL"} & set(sys.modules)
main(["info", "perceiver_io_language"], standalone_mode=False)
main(["list"], standalone_mode=False)
assert not {"ivy", "torch", "jax", "tensorflow"} & set(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["info", "resnet"], "There is no model 'resnet'. Expected one of", 2),
        (["info", DIGITS, "--size", "8x8x8"], "2 axes, got (8, 8, 8)", 1),
        (["info", DIGITS, "--size", "big"], "'big' is not a size", 2),
        (["info", DIGITS, "--size", "0"], "'0' is not a size", 2),
        (["info", "perceiver_io_language", "--size", "4000"], "positions for 2048", 1),
        (["benchmark", "resnet"], "There is no model 'resnet'", 2),
        (["benchmark", DIGITS, "--size", "1x2x3"], "2 axes, got (1, 2, 3)", 1),
        (["benchmark", DIGITS, "--dtype", "float16"], "Use another backend", 1),
        (["benchmark", DIGITS, "--repeats", "0"], "0 is not in the range", 2),
    ],
)
def test_user_errors_have_no_traceback(run, arguments, message, code):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_without_a_model(run, tmp_path):
    result = run("info", str(tmp_path))
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr


@pytest.mark.parametrize("backend_name", CHOSEN)
def test_benchmark(run, backend_name):
    options = ["--backend", backend_name, "--repeats", "3", "--batch-size", "2", "--size", "9x7"]
    result = run("benchmark", DIGITS, *options, "--json")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"Measuring {DIGITS} on {backend_name}: 5 calls.\n")
    measured = json.loads(result.stdout)
    assert measured["backend"] == backend_name
    assert len(measured["seconds"]) == 3
    assert min(measured["seconds"]) <= measured["median_seconds"] <= max(measured["seconds"])
    assert sys.platform != "linux" or measured["extra_bytes"] >= 0


@pytest.mark.slow
def test_benchmark_of_several_backends(run, tmp_path, capfd, monkeypatch):
    """The table has a row for each that works; the others say what is wrong."""
    (tmp_path / "tensorflow.py").write_text("raise ImportError('not installed')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    options = [part for name in ("numpy", "tensorflow") for part in ("--backend", name)]
    result = run("benchmark", DIGITS, "--repeats", "1", *options)
    assert result.exit_code == 1
    assert "1 of 2 backends failed." in result.stderr
    assert "The tensorflow backend needs a package" in capfd.readouterr().err
    heads, *rows = result.stdout.splitlines()
    assert heads.startswith("backend")
    assert [row.split()[0] for row in rows] == ["numpy"]


def test_time_calls():
    calls = []

    class Meter:
        def extra(self, call):
            call()
            return len(calls)

    timing = time_calls(lambda: calls.append(None), Meter(), repeats=3)
    assert len(calls) == 5
    assert timing.extra_bytes == 2  # the second call, after compilation
    assert len(timing.seconds) == 3
