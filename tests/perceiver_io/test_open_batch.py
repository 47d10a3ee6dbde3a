"""TensorFlow programs that are traced with an unknown batch size, as in Keras' fit."""

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.specs import (
    columns_data,
    columns_spec,
    flow_spec,
    language_spec,
    multimodal_data,
    multimodal_spec,
    small_spec,
)

from ivy_models.layers.parameters import map_tree
from ivy_models.ops import ops_named
from ivy_models.shells.call import checked_call
from ivy_models.transformers.perceiver_io import Decoder, PerceiverIOCore, initialise

pytestmark = pytest.mark.skipif("tensorflow" not in CHOSEN, reason="needs tensorflow")
tf = pytest.importorskip("tensorflow")


def images(rng, *shape):
    return tf.constant(rng.standard_normal(shape, np.float32))


def cases(rng):
    mask = tf.constant(rng.random((2, 6, 5)) < 0.5)
    every_layer = {"cross_attend_in_every_layer": True, "num_cross_att_heads": 2}
    clip = map_tree(tf.constant, multimodal_data(rng))
    silent = {name: x for name, x in clip.items() if name != "label"}
    tokens = tf.constant(rng.integers(0, 262, (2, 9)))
    return {
        "masked image": (small_spec(), images(rng, 2, 6, 5, 3), mask),
        "every layer": (small_spec(cross_head_dim=3, **every_layer), images(rng, 2, 6, 5, 3), None),
        "convolution": (
            small_spec(stem="convolution", stem_dim=4),
            images(rng, 2, 9, 7, 3),
            None,
        ),
        "text": (language_spec(), tokens, tf.constant(rng.random((2, 9)) < 0.5)),
        "flow": (flow_spec(), images(rng, 2, 2, 9, 11, 3), None),
        "clip": (multimodal_spec(), clip, None),
        "clip without label": (multimodal_spec(), silent, None),
        "columns": (columns_spec(), *(map_tree(tf.constant, x) for x in columns_data(rng))),
    }


def open_batch(x):
    """A signature that leaves the first axis open."""
    if isinstance(x, dict):
        return {name: open_batch(part) for name, part in x.items()}
    return tf.TensorSpec((None, *x.shape[1:]), x.dtype)


@pytest.mark.parametrize("streams", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", cases(np.random.default_rng(0)))
def test_one_program_takes_any_batch(name, streams, rng, request, monkeypatch):
    if streams:
        request.getfixturevalue("always_streaming")
        monkeypatch.setattr(Decoder, "_folding_is_cheaper", lambda *_: True)
    spec, data, mask = cases(rng)[name]
    core, ops = PerceiverIOCore(spec), ops_named("tensorflow")
    params = map_tree(tf.constant, initialise(core.parameters()))
    arguments = (data,) if mask is None else (data, mask)

    def call(*arguments):
        return checked_call(ops, spec, core, params, *arguments)

    program = tf.function(call, input_signature=list(map(open_batch, arguments)), autograph=False)
    tf.nest.map_structure(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5),
        program(*arguments),
        call(*arguments),
    )
