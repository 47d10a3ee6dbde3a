"""Contents of the distributions, and the project's name and version."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from helpers import ROOT
from packaging.version import Version

import ivy_models

HERE = str(Path(__file__).relative_to(ROOT))
FETCHES = re.compile(r"pip3? install (-\S+ )*[\"'\\]*ivy[-_.]models|ivy[-_.]models\[[a-z]")
"""A command or a requirement that installs a library of this name from the package index."""
TEXTS = {".py", ".pyi", ".rst", ".md", ".toml", ".ipynb", ".html", ".js", ".yml", ".yaml", ".cff"}


def sources():
    """The files of the repository, or of an unpacked sdist, relative to ROOT."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return sorted(name for name in listed.stdout.splitlines() if (ROOT / name).is_file())
    made = {"build", "dist", "__pycache__", "PKG-INFO", "setup.cfg"}
    return sorted(
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*")
        if path.is_file()
        and not made & set(path.relative_to(ROOT).parts)
        and not any(part.endswith((".egg-info", "_cache")) for part in path.relative_to(ROOT).parts)
    )


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("output")
    for name in sources():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", output, source]
    # Without this PYTHONPATH the build uses only its own folder.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(command, env=environment, cwd=output, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (sdist,) = output.glob("*.tar.gz")
    (wheel,) = output.glob("*.whl")
    return sdist, wheel


def test_the_sdist_is_the_repository(distributions):
    sdist, _ = distributions
    assert sdist.name == f"ivy_models-{ivy_models.__version__}.tar.gz"
    with tarfile.open(sdist) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    assert set(sources()) - inside == set()


def test_the_wheel_is_the_package(distributions):
    _, wheel = distributions
    assert wheel.name == f"ivy_models-{ivy_models.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        inside = set(file.namelist())
    package = {name for name in sources() if name.startswith("ivy_models/")}
    metadata = {name for name in inside if ".dist-info/" in name}
    assert inside - metadata == package
    assert {
        "ivy_models/py.typed",
        "ivy_models/__init__.pyi",
        "ivy_models/transformers/perceiver_io/__init__.pyi",
        "ivy_models/data/perceiver_io_digits/model.safetensors",
        "ivy_models/demo/page/index.html",
    } <= package
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)


def test_the_wheel_does_the_main_job(distributions, tmp_path):
    """``pip install`` and ``ivy-models classify``, away from the checkout."""
    _, wheel = distributions
    site = tmp_path / "site"
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run([sys.executable, *install], check=True)

    def run(*command):
        return subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
        )

    result = run(site / "bin/ivy-models", "classify", ROOT / "examples/seven.png")
    assert re.search(r"89\.1%\s+seven", result.stdout), result.stderr
    where = run("-c", "import ivy_models; print(ivy_models.__file__)").stdout.strip()
    assert Path(where).is_relative_to(site)


def test_the_version_is_said_once_and_agrees():
    """A literal, which setuptools reads without importing the package and with it Ivy."""
    tree = ast.parse((ROOT / "ivy_models/__init__.py").read_text("utf-8"))
    (version,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    )
    assert version == ivy_models.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == version
    changes = (ROOT / "CHANGELOG.rst").read_text("utf-8")
    assert re.search(r"^(\d+\.\d+\.\d+) .*\n-+$", changes, re.MULTILINE)[1] == version


def test_the_version_is_above_the_other_library():
    """``pip install -U`` takes the highest version, whichever library it is of."""
    assert Version(ivy_models.__version__) > Version("1.1.9")


@pytest.mark.parametrize(
    ("text", "fetches"),
    [
        ('pip install "ivy_models[torch]"', True),
        ("pip install -U ivy-models", True),
        ("get ivy_models[jax]", True),
        ("pip install . && ivy-models classify", False),
        ('pip install ".[torch]"', False),
    ],
)
def test_instructions_that_fetch_the_other_library_are_found(text, fetches):
    assert bool(FETCHES.search(text)) == fetches


def test_no_instruction_fetches_the_other_library():
    found = [
        f"{name}: {line}"
        for name in sources()
        if Path(name).suffix in TEXTS and name not in ("pyproject.toml", HERE)
        for line in (ROOT / name).read_text("utf-8").splitlines()
        if FETCHES.search(line)
    ]
    assert found == []
