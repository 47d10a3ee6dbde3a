"""Pickles of weights are read; anything else is refused and not executed."""

import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
from helpers import TINY

from ivy_models.checkpoints.pickles.unpickle import unpickle
from ivy_models.errors import WeightsError


@pytest.fixture
def write(tmp_path):
    def write(content, protocol=4):
        path = tmp_path / "weights.pystate"
        data = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
        path.write_bytes(data)
        return path

    return write


ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "scalar": np.int32(3),
    "none": np.zeros((0, 3), np.float16),
    "big_endian": np.arange(3, dtype=">f4"),
}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_of_every_protocol(write, protocol):
    read = unpickle(write({"scope": ARRAYS, "other": OrderedDict(a=ARRAYS["b"])}, protocol))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read["scope"][name], array)
        assert read["scope"][name].dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(read["other"]["a"], ARRAYS["b"])


@pytest.mark.parametrize("name", ["FlatMapping", "FlatMap", "frozendict"])
def test_haikus_mappings_without_haiku(write, monkeypatch, name):
    module = types.ModuleType("haiku._src.data_structures")
    mapping = type(name, (), {"__reduce__": lambda self: (mapping, (dict(ARRAYS),))})
    mapping.__module__, mapping.__qualname__ = module.__name__, name
    setattr(module, name, mapping)
    with monkeypatch.context() as haiku:
        for parent in ("haiku", "haiku._src"):
            haiku.setitem(sys.modules, parent, types.ModuleType(parent))
        haiku.setitem(sys.modules, module.__name__, module)
        data = pickle.dumps({"scope": mapping()})
    np.testing.assert_array_equal(unpickle(write(data))["scope"]["b"], ARRAYS["b"])


def test_jax_arrays(write):
    jnp = pytest.importorskip("jax.numpy")
    read = unpickle(write({"scope": {"w": jnp.arange(3.0), "s": jnp.float32(2)}}))
    np.testing.assert_array_equal(read["scope"]["w"], [0, 1, 2])
    assert read["scope"]["s"] == 2


class Evil:
    """Calls a given function when it is unpickled."""

    ran = False

    def __init__(self, *reduction):
        self.reduction = reduction

    def __reduce__(self):
        return self.reduction


def run_evil(*_args):
    Evil.ran = True


def evil_content():
    import builtins
    import os

    return {
        "a function of this process": Evil(run_evil, ()),
        "os.system": Evil(os.system, ("true",)),
        "eval": Evil(builtins.eval, ("1",)),
        "getattr": Evil(builtins.getattr, ("a", "upper")),
        "numpy's loader": Evil(np.load, ("file.npy",)),
        "a numpy function": Evil(np.frombuffer, (b"1234",)),
        "any other class": {"scope": {"w": types.SimpleNamespace(a=1)}},
        "objects in an array": {"scope": {"w": np.array([Evil(run_evil, ())], dtype=object)}},
        "records": {"scope": {"w": np.zeros(2, [("a", "f4")])}},
        "text in an array": {"scope": {"w": np.array(["a"])}},
        "complex numbers": {"scope": {"w": np.zeros(2, complex)}},
        "a list": [1, 2],
        "a number": {"scope": {"w": 3}},
        "nested too deep": {"a": {"b": {"c": {"d": {}}}}},
        "a name that is not text": {"scope": {3: ARRAYS["b"]}},
    }


@pytest.mark.parametrize("case", evil_content())
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_anything_else_is_refused(write, case, protocol):
    path = write(evil_content()[case], protocol)
    with pytest.raises(WeightsError, match="was refused.*Nothing in it was executed") as refusal:
        unpickle(path)
    assert str(path) in str(refusal.value)
    assert not Evil.ran


def test_the_refusal_names_what_the_file_asks_for(write):
    with pytest.raises(WeightsError, match="asks for posix.system"):
        unpickle(write(evil_content()["os.system"]))


NUMPY_RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(
    "program",
    {
        "extension": b"\x80\x02\x82\x01.",
        "persistent id": b"Pid\n.",
        "binary persistent id": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "inst": b"(ios\nsystem\n.",
        "obj": b"(cos\nsystem\no.",
        "state of a function": b"\x80\x02" + NUMPY_RECONSTRUCT + b"}X\x01\x00\x00\x00aK\x01sb.",
        "state of a class": b"\x80\x02cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.",
        "defaults of a function": b"\x80\x02"
        + NUMPY_RECONSTRUCT
        + b"N}X\x0c\x00\x00\x00__defaults__)s\x86b.",
        "out of band buffer": b"\x80\x05\x97.",
        "empty": b"",
        "text": b"hello",
        "html": b"<!DOCTYPE html><html></html>",
        "stack underflow": b"\x80\x02R.",
        "self reference": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    }.items(),
    ids=lambda item: item[0],
)
def test_hand_made_programs_are_refused(write, program):
    with pytest.raises(WeightsError):
        unpickle(write(program[1]))


def test_absurd_shapes_are_refused(write):
    array = np.zeros(2, np.float32)
    reconstruct, arguments, (version, _, dtype, order, raw) = array.__reduce__()

    class Fake:
        def __init__(self, state):
            self.state = state

        def __reduce__(self):
            return reconstruct, arguments, self.state

    for shape in [(10**12,), (3,), (-2,), (2, -1), ("2",), (2**62, 4)]:
        with pytest.raises(WeightsError, match="array of shape"):
            unpickle(write({"s": {"w": Fake((version, shape, dtype, order, raw))}}))


def test_truncated_files_are_refused(tmp_path):
    data = (TINY / "imagenet_fourier" / "checkpoint.pystate").read_bytes()
    path = tmp_path / "truncated.pystate"
    for length in range(0, len(data), 1000):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError, match="truncated.pystate"):
            unpickle(path)


def test_too_many_opcodes_are_refused(write):
    with pytest.raises(WeightsError, match="opcodes"):
        unpickle(write(b"\x80\x02" + b"}0" * 600_000 + b"}."))


@pytest.mark.parametrize("case", sorted(folder.name for folder in TINY.iterdir()))
def test_published_layouts_are_read(case):
    assert unpickle(TINY / case / "checkpoint.pystate")
