"""Ivy's transpiler and tracer, and torch's compiler, are imported when they are used."""

import pytest
from helpers import CHOSEN
from helpers.processes import python

UNUSED = """
import sys
import ivy_models
import ivy
import numpy as np

backend = sys.argv[1]
ivy.set_backend(backend)
ivy_models.create_model("perceiver_io_digits")(np.zeros((1, 8, 8, 1), np.float32))
for name in ("ivy.transpiler", "ivy.tracer"):
    assert not hasattr(sys.modules[name], "__warningregistry__")  # as unittest and pytest look
assert not {"torch._dynamo", "ivy.transpiler.main", "ivy.tracer.tracer"} & {*sys.modules}
assert ("torch" in sys.modules) == (backend == "torch")
"""

USED = """
import sys
import ivy_models
import ivy

main = "ivy.transpiler.main"
if "broken" in sys.argv:  # as where a dependency of the transpiler is missing
    sys.modules[main] = None
    for _ in range(2):
        try:
            ivy.transpile(3)
        except ImportError as error:
            assert main in str(error)
        else:
            raise AssertionError
    del sys.modules[main]
assert main not in sys.modules
try:
    ivy.transpile(len, no_such_argument=3)
except TypeError as error:
    assert "no_such_argument" in str(error)
from ivy.transpiler import profiling_utils, transpile
assert transpile is sys.modules[main].transpile
assert ivy.transpiler.source_to_source is sys.modules[main].source_to_source
import ivy.tracer
assert callable(ivy.tracer.clear_graph_cache)
assert ivy.tracer.trace_graph is not ivy.trace_graph
"""


COMPILER = """
import sys
import ivy_models
import ivy

if "first" in sys.argv:
    import torch._dynamo
ivy.set_backend("torch")
import torch
assert ("torch._dynamo" in sys.modules) == ("first" in sys.argv)
assert torch._dynamo.config.traceable_tensor_subclasses == (ivy.Array,)
assert "torch._dynamo" in sys.modules
"""


@pytest.mark.parametrize("name", CHOSEN)
def test_a_model_needs_none_of_them(name):
    python(UNUSED, name)


@pytest.mark.parametrize("when", ["first", "later"])
def test_torchs_compiler_knows_ivys_arrays(when):
    pytest.importorskip("torch")
    python(COMPILER, when)


@pytest.mark.parametrize("installed", ["whole", "broken"])
def test_they_are_imported_when_they_are_used(installed):
    pytest.importorskip("torch")
    python(USED, installed)
