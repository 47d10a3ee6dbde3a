"""Run the tests on the oldest releases that pyproject.toml allows, or on the newest.

    python tools/versions.py oldest --pin torch==2.13.0
    python tools/versions.py newest --python python3.13 --extras jax tensorflow
    python tools/versions.py newest --pin numpy==2.4.6 jax==0.10.2 torch==2.13.0
    python tools/versions.py oldest --extras jax -- tests/shells/test_model.py
    python tools/versions.py newest --python python3.11 python3.12 python3.13 --extras jax

Makes a fresh virtual environment with the package and its extras, for one interpreter after the
other. ``oldest`` pins each of their dependencies to its lower bound, ``newest`` lets pip choose the
newest that fit together; pip chooses the indirect dependencies. The tests run on NumPy and on the
backends among the extras. Prints the versions, and exits with the first status of pytest that is
not 0.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "h5py")
BACKENDS = ("torch", "jax", "tensorflow", "paddle")
EXTRAS = {
    # Paddle's only release so far needs newer safetensors than the lower bound.
    "oldest": ("torch", "jax", "tensorflow", "examples", "media", "hub"),
    "newest": (*BACKENDS, "examples", "media", "hub"),
}
# These tests need packages outside the default extras, some of which require newer releases than
# the lower bounds: transformers, perceiver-pytorch, onnx, onnxruntime, peft, captum, sphinx,
# nbclient, mypy, twine, datasets, pandas, kornia.
NEED_MORE = (
    "cli/test_cli_engines",
    "cli/test_cli_predict",
    "preprocessing/test_table",
    "shells/test_accelerate",
    "shells/test_accelerate_perceiver_pytorch",
    "shells/test_accelerate_with_tools",
    "project/test_docs",
    "checkpoints/test_huggingface",
    "checkpoints/test_perceiver_pytorch",
    "project/test_notebooks",
    "project/test_packaging",
    "project/test_site",
    "project/test_types",
    "shells/test_distributed",
    "shells/test_onnx",
    "shells/test_onnx_model",
    "shells/test_open_sizes",
    "shells/test_resampler_modules",
    "shells/test_torch_layers",
    "shells/test_torch_module",
    "shells/test_transformers_suite",
    "datasets/test_folders",
    "datasets/test_tables",
    "training/test_train_command",
    "training/test_train_page",
)
IGNORED = [f"--ignore=tests/{name}.py" for name in NEED_MORE]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=("oldest", "newest"))
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters")
    parser.add_argument("--extras", nargs="*", help="instead of the frameworks and a few more")
    parser.add_argument("--pin", nargs="*", default=[], help="NAME==VERSION instead of its bound")
    arguments, tests = parser.parse_known_args()
    if arguments.extras is None:
        arguments.extras = EXTRAS[arguments.which]
    tests = [argument for argument in tests if argument != "--"] or ["-m", "not slow"]
    results = [run(arguments, python, [*tests, *IGNORED]) for python in arguments.python]
    return next(filter(None, results), 0)


def run(arguments: argparse.Namespace, interpreter: str, tests: list[str]) -> int:
    """Run the tests in a new environment of one interpreter; return the status of pytest."""
    named = requirements(arguments.extras)
    pins = {Requirement(pin).name: pin for pin in arguments.pin}
    oldest = lower_bounds(named) if arguments.which == "oldest" else {}
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "bin", "python")
        constraints = Path(folder, "constraints.txt")
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
        constraints.write_text("\n".join((oldest | pins).values()) + "\n")
        package = f"{ROOT}[{','.join(arguments.extras)}]"
        install = ["-m", "pip", "install", "-q", "-c", constraints, "-e", package, *TOOLS]
        subprocess.run([python, *install], check=True)
        tested = " ".join(["numpy", *(name for name in BACKENDS if name in arguments.extras)])
        environment = os.environ | {"IVY_MODELS_TEST_BACKENDS": tested}
        status = subprocess.run([python, "-m", "pytest", *tests], cwd=ROOT, env=environment)
        print(versions(python, named), flush=True)
    result = "failed" if status.returncode else "passed"
    print(f"{arguments.which}, {interpreter}: {result}", flush=True)
    return status.returncode


def requirements(extras: Iterable[str]) -> list[Requirement]:
    """Dependencies of the package and of the extras that apply to this machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional, found = project["optional-dependencies"], []
    lists = [project["dependencies"], *(optional[extra] for extra in extras)]
    for requirement in (Requirement(line) for lines in lists for line in lines):
        if requirement.name == project["name"]:  # one extra names another
            lists += [optional[extra] for extra in requirement.extras]
        else:
            found.append(requirement)
    return [r for r in found if r.marker is None or r.marker.evaluate()]


def lower_bounds(named: Iterable[Requirement]) -> dict[str, str]:
    """Pins such as ``numpy==2.0`` to the lower bounds, by name."""
    return {
        requirement.name: f"{requirement.name}=={bound.version}"
        for requirement in named
        for bound in requirement.specifier
        if bound.operator == ">="
    }


def versions(python: Path, named: Iterable[Requirement]) -> str:
    """Installed versions of the given dependencies, one per line."""
    freeze = [python, "-m", "pip", "freeze"]
    lines = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout.splitlines()
    names = {canonicalize_name(requirement.name) for requirement in named}
    return "\n".join(
        line for line in lines if canonicalize_name(line.split("==")[0].split(" @")[0]) in names
    )


if __name__ == "__main__":
    sys.exit(main())
