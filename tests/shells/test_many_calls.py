"""The memory of a process levels off over many calls with changing shapes and backends."""

import json

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.processes import ONE_HEAP, python

CALLS = """
import gc, json, sys
import numpy as np
from helpers.specs import small_spec
from ivy_models.measure.memory import resident
from ivy_models.ops import ops_named
from ivy_models.shells import compilation
from ivy_models.transformers.perceiver_io import PerceiverIO

compilation.MAX_PROGRAMS = kept = 2  # fewer than there are shapes to compile for
model = PerceiverIO(small_spec(network_depth=1, num_lat_att_per_layer=1))
rounds = []
for _ in range(3):
    # No backend is set in Ivy, which keeps some objects of its own at each change.
    for ops in map(ops_named, sys.argv[1:]):
        for number in range(kept + 1 if ops.traces_loops else 30):
            shape = (1 + number % 2, 4 + number, 5, 3)
            assert ops.is_array(model(ops.asarray(np.ones(shape, np.float32))).data)
            assert len(model._compiled._programs) <= kept
    memory = resident() / 2**20 if sys.platform == "linux" else 0
    rounds.append((len(gc.get_objects()), memory))
print(json.dumps(rounds))
"""
"""Prints, after each round, the number of Python's objects and the resident MiB."""


@pytest.mark.slow
def test_many_calls():
    rounds = json.loads(python(CALLS, *CHOSEN, **ONE_HEAP))
    objects, memory = np.transpose(rounds)
    # JAX and TensorFlow keep some hundreds of objects and a few MiB for each program.
    assert objects[2] - objects[1] < 30, rounds
    assert memory[2] - memory[1] < 8, rounds
