"""Models that several test files share."""

import functools
import json

import numpy as np
import verify_reference

from helpers import TINY
from helpers.specs import multimodal_spec
from ivy_models import perceiver_io_video
from ivy_models.layers.parameters import map_tree
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore, initialise
import ivy

CLIPS = TINY / "video_autoencoding"


def video_model():
    config = json.loads((CLIPS / "config.json").read_text())
    spec = verify_reference.tiny_video_spec(config, CLIPS)
    return perceiver_io_video(spec, weights=CLIPS / "checkpoint.pystate")


def noisy(spec, seed=0):
    """Weights that all differ from zero and one."""
    rng = np.random.default_rng(seed)
    return map_tree(
        lambda w: w + 0.3 * rng.standard_normal(w.shape, dtype=np.float32),
        initialise(PerceiverIOCore(spec).parameters()),
    )


def new_model(**changes):
    spec = multimodal_spec(**changes)
    return PerceiverIO(spec, v=noisy(spec))


@functools.cache
def model_on(backend):
    return new_model()


def multimodal_model():
    """One model for all tests of a backend, so that its programs are compiled once."""
    return model_on(ivy.current_backend_str())
