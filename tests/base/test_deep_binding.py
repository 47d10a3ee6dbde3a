"""Packages whose libraries have functions of TensorFlow's."""

import importlib.util
import os
import subprocess
import sys

import pytest
from helpers import CHOSEN

needs_deep_binding = pytest.mark.skipif(
    not hasattr(os, "RTLD_DEEPBIND"), reason="the system has no RTLD_DEEPBIND"
)


def run(code, **environment):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment
    )
    assert result.returncode == 0, result.stderr
    assert "ccache" not in result.stderr
    return result.stdout.split()


@needs_deep_binding
@pytest.mark.parametrize("name", ["paddle", "triton"])
def test_a_package_is_bound_to_its_own_functions(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("import sys\nflags = sys.getdlopenflags()\n")
    code = f"""
import os, sys
import ivy_models
before = sys.getdlopenflags()
import {name}
print({name}.flags == before | os.RTLD_DEEPBIND, sys.getdlopenflags() == before)
"""
    assert run(code, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])) == ["True", "True"]


@pytest.mark.skipif(not {"paddle", "tensorflow"} <= set(CHOSEN), reason="needs both frameworks")
def test_paddle_is_imported_after_tensorflow():
    code = """
import tensorflow
import ivy_models
import paddle
print(float(paddle.ones([2]).sum()))
"""
    assert run(code) == ["2.0"]


@pytest.mark.skipif(
    "tensorflow" not in CHOSEN or importlib.util.find_spec("triton") is None,
    reason="needs TensorFlow and Triton",
)
def test_triton_is_imported_after_tensorflow():
    code = """
import tensorflow
import ivy_models
import triton
print(triton.cdiv(5, 2))
"""
    assert run(code) == ["3"]
