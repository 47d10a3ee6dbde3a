"""Repairs of Ivy: needed on the releases that they name, complete, and absent elsewhere."""

import os
import subprocess
import sys
from importlib.metadata import version
from types import ModuleType

import numpy as np
import pytest
from helpers import CHOSEN, ROOT
from helpers.specs import small_spec

from ivy_models import PerceiverIO
from ivy_models.base import ivy_repairs
from ivy_models.base.ivy_repairs import REPAIRS
from ivy_models.layers.parameters import unflatten
from ivy_models.ops import ops_named
import ivy


def backend_of(repair):
    return repair.module.split(".")[3]


HERE = [repair for repair in REPAIRS if backend_of(repair) in CHOSEN]


def python(code, tmp_path):
    """Run a program in a new process, with Ivy's files in a folder of the test."""
    variables = {"PYTHONPATH": str(ROOT), "IVY_ROOT": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )


def set_and_print(repair):
    """A program that prints an array of Ivy, which ``ivy.to_numpy`` converts."""
    return f"import ivy\nivy.set_backend({backend_of(repair)!r})\nx = ivy.array([1.5])\nprint(x)\n"


@pytest.mark.slow
@pytest.mark.parametrize("repair", HERE, ids=backend_of)
def test_ivy_alone_fails_where_a_repair_is_needed(repair, tmp_path):
    """Fails once a release of Ivy no longer needs the repair: remove it then."""
    assert version("ivy") == repair.ivy, "try the repair on this release of Ivy"
    printed = python(set_and_print(repair), tmp_path)
    assert (printed.returncode != 0) == repair.is_needed(), printed.stdout + printed.stderr


@pytest.mark.slow
@pytest.mark.parametrize("repair", HERE, ids=backend_of)
def test_ivy_may_be_imported_and_used_first(repair, tmp_path):
    """Printing makes Ivy load a copy of its modules, which must be repaired too."""
    first = set_and_print(repair).replace(
        "print(x)", "try:\n    print(x)\nexcept Exception:\n    pass"
    )
    then = "import ivy_models\nprint('then', x, ivy.to_numpy(x), repr(x))"
    printed = python(first + then, tmp_path)
    assert printed.stdout.endswith("then ivy.array([1.5]) [1.5] ivy.array([1.5])\n"), printed.stderr


@pytest.mark.parametrize("repair", HERE, ids=backend_of)
def test_functions_are_ivys_own_where_they_work(repair):
    ivy.set_backend(backend_of(repair))
    function = getattr(sys.modules[repair.module], repair.function)
    is_ours = function.__code__ is repair.replacement.__code__
    ivy.unset_backend()
    assert is_ours == repair.is_needed()


@pytest.mark.parametrize("repair", REPAIRS, ids=backend_of)
@pytest.mark.parametrize(
    ("ivys", "offset", "needed"), [("", 0, True), ("", -1, False), ("1.0.0.6", 0, False)]
)
def test_repairs_are_for_the_releases_they_name(repair, ivys, offset, needed, monkeypatch):
    major, minor = repair.since
    installed = {"ivy": ivys or repair.ivy, repair.dependency: f"{major}.{minor + offset}.1"}
    monkeypatch.setattr(ivy_repairs, "version", installed.get)
    module = ModuleType(repair.module)
    exec(f"def {repair.function}(x): pass", module.__dict__)
    ivy_repairs.repair(module)
    function = getattr(module, repair.function)
    assert (function.__code__ is repair.replacement.__code__) == needed


@pytest.mark.slow
def test_a_users_own_conversions_of_an_output_work(backend, rng):
    y = PerceiverIO(small_spec(output_dim=2))(rng.standard_normal((6, 5, 3), np.float32))
    native = ops_named(backend).to_numpy(y.data)
    np.testing.assert_array_equal(ivy.to_numpy(y), native)
    np.testing.assert_array_equal(np.asarray(ivy.to_list(y), np.float32), native)
    assert repr(y).startswith("ivy.array([")
    assert str(y[0, 0]) == repr(y[0, 0])
    assert ivy.to_scalar(y[0, 0]) == native[0, 0]
    assert "ivy.array" in repr(ivy.Container(unflatten({"a/b": y})))


@pytest.mark.skipif("jax" not in CHOSEN, reason="the repair is for JAX")
def test_the_array_inside_a_tracer_of_jax_is_found():
    import jax

    found = []

    def look(x):
        found.append(ivy_repairs._to_array(x))
        return x

    jax.vmap(look)(np.ones((3, 2)))
    jax.jvp(look, (np.float32(2),), (np.float32(1),))
    jax.jit(look)(np.ones((3, 2), np.float32))
    batched, differentiated, traced = found
    assert batched.shape == (3, 2)
    assert float(differentiated) == 2
    assert isinstance(traced, jax.core.ShapedArray)
    assert ivy_repairs._to_array(found) is found


@pytest.mark.skipif("tensorflow" not in CHOSEN, reason="the repair is for TensorFlow")
@pytest.mark.parametrize("shape", [(), (2,), (2, 3, 1)])
def test_the_number_of_axes_of_a_tensor_is_counted(shape):
    import tensorflow as tf

    tensor = tf.zeros(shape)
    assert ivy_repairs._get_num_dims(tensor) == len(shape)
    counted = ivy_repairs._get_num_dims(tensor, as_array=True)
    assert counted.dtype == tf.int64
    assert int(counted) == len(shape)
