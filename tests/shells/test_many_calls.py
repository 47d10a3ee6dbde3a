"""Many calls of changing shapes on changing backends: what a process holds levels off."""

import gc
import sys

import numpy as np
from helpers import CHOSEN
from helpers.specs import small_spec

from ivy_models.measure.memory import resident
from ivy_models.ops import ops_named
from ivy_models.shells import compilation
from ivy_models.transformers.perceiver_io import PerceiverIO

KEPT = 2
"""Programs that the model keeps here, fewer than there are shapes to compile for."""


def held():
    """Objects that Python knows of, and MiB of memory where they can be measured."""
    memory = resident() / 2**20 if sys.platform == "linux" else 0
    return len(gc.get_objects()), memory


def test_many_calls(monkeypatch):
    monkeypatch.setattr(compilation, "MAX_PROGRAMS", KEPT)
    model = PerceiverIO(small_spec(network_depth=1, num_lat_att_per_layer=1))
    rounds = []
    for _ in range(3):
        # Ivy is set to no backend: at each change it would keep some objects of its own.
        for ops in map(ops_named, CHOSEN):
            for number in range(KEPT + 1 if ops.traces_loops else 30):
                shape = (1 + number % 2, 4 + number, 5, 3)
                assert ops.is_array(model(ops.asarray(np.ones(shape, np.float32))).data)
                assert len(model._compiled._programs) <= KEPT
        rounds.append(held())
    objects, memory = np.transpose(rounds)
    # JAX and TensorFlow keep of a program some hundred objects, and some MiB.
    assert objects[2] - objects[1] < 30, rounds
    assert memory[2] - memory[1] < 8, rounds
