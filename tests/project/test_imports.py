"""Nothing is imported before it is needed, and every public name can be imported."""

import ast
import importlib
import subprocess
import sys

import pytest
from helpers import CHOSEN, ROOT

import ivy_models
from ivy_models import transformers
from ivy_models.base import moved

HEAVY = [
    "ivy",
    "torch",
    "jax",
    "tensorflow",
    "paddle",
    "flax",
    "PIL",
    "av",
    "requests",
    "safetensors",
    "click",
]


@pytest.mark.parametrize(
    "module",
    [
        "ivy_models",
        "ivy_models.transformers.perceiver_io",
        "ivy_models.datasets",
        "ivy_models.ops",
        "ivy_models.preprocessing",
        "ivy_models.transformers.perceiver_io.costs",
    ],
)
def test_importing_imports_no_framework(module):
    code = f"import sys, {module}; print(*[m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


def test_the_numpy_backend_needs_no_framework():
    """As on a machine where no framework is installed."""
    code = """
import sys
for name in ("torch", "jax", "tensorflow", "paddle", "flax"):
    sys.modules[name] = None
import numpy as np
from ivy_models import classify, create_model
import ivy
ivy.set_backend("numpy")
print(classify(create_model("perceiver_io_digits", pretrained=True), np.zeros((8, 8), np.uint8)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Prediction" in result.stdout


@pytest.mark.parametrize("package", [ivy_models, transformers, transformers.perceiver_io])
def test_public_names_exist(package):
    assert package.__all__
    for name in package.__all__:
        if name == "accelerate" and "torch" not in CHOSEN:
            continue  # the torch backend alone
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


@pytest.mark.parametrize(("former", "current"), moved.MOVED.items())
def test_former_paths_give_the_same_module(former, current):
    sys.modules.pop(former, None)
    with pytest.warns(DeprecationWarning, match=f"{former} is now {current}"):
        module = importlib.import_module(former)
    assert module is importlib.import_module(current)
    assert module.__spec__.name == current


def test_programs_of_the_repository_import_ivy_after_the_library():
    """Imported first, Ivy writes into the working folder."""
    for folder in ("benchmarks", "docs", "examples", "tests", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            imported = [
                name.partition(".")[0]
                for statement in ast.parse(path.read_text(encoding="utf-8")).body
                if isinstance(statement, (ast.Import, ast.ImportFrom))
                for name in (
                    [alias.name for alias in statement.names]
                    if isinstance(statement, ast.Import)
                    else [statement.module or ""]
                )
            ]
            names = [name for name in imported if name in ("ivy", "ivy_models", "helpers")]
            assert names[:1] != ["ivy"], path
