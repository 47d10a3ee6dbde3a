"""The model that a run starts from."""

import pytest
from helpers.training import SPEC

from ivy_models.checkpoints.folder import write_native
from ivy_models.layers.parameters import flatten
from ivy_models.training.starting import pretrained_model
from ivy_models.transformers.perceiver_io import PerceiverIOCore, initialise


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_in_half_precision_is_trained_in_float32(backend, dtype, tmp_path):
    weights = initialise(PerceiverIOCore(SPEC).parameters(), 0)
    write_native(tmp_path, SPEC.replace(dtype=dtype), dict(flatten(weights)), {})
    model = pretrained_model(str(tmp_path))
    assert model.spec == SPEC
    assert {str(weight.dtype) for _, weight in flatten(model.v)} == {"float32"}
