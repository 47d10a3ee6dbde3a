"""Programs that let NumPy raise floating-point errors, by ``np.seterr(all="raise")``."""

import numpy as np
import pytest
from helpers.arrays import image, numpy_of
from helpers.specs import language_spec, small_spec

from ivy_models import classify, fill_mask
from ivy_models.interpret.attention_maps import attention_maps
from ivy_models.interpret.depth import latents_over_depth
from ivy_models.interpret.rollout import attention_rollout
from ivy_models.layers.parameters import map_tree
from ivy_models.ops import ops_named
from ivy_models.preprocessing import ByteTokenizer, ImagePreprocessing
from ivy_models.tasks.classification import most_probable
from ivy_models.tasks.flow import draw_flow
from ivy_models.training.losses import (
    classification_loss,
    end_point_error,
    masked_token_loss,
    reconstruction_loss,
    weighted_sum,
)
from ivy_models.transformers.perceiver_io import PerceiverIO


@pytest.fixture(autouse=True)
def raising():
    with np.errstate(all="raise"):
        yield


def far_apart():
    """Logits (1, 1, 3) of which softmax underflows."""
    return np.float32([[[-1000, 1000, 3]]])


TINY = np.full((1, 4, 4, 2), 1e-30, np.float32)
LARGE = np.full(4, 3e38, np.float32)

LOSSES = {
    "masked tokens": lambda a: masked_token_loss(a(far_apart()), a([[0]]), a([[True]])),
    "classes": lambda a: classification_loss(a(far_apart()), a([[0]])),
    "reconstruction": lambda a: reconstruction_loss(a(LARGE), a(-LARGE)),
    "flow": lambda a: end_point_error(a(TINY), a(2 * TINY)),
    "sum": lambda a: weighted_sum({"image": a(np.float32(1e-38))}, {"image": 1e-20}),
}
VALUES = {
    "masked tokens": 2000,
    "classes": 2000,
    "reconstruction": np.inf,
    "flow": 0,
    "sum": 0,
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(ops, name):
    loss = LOSSES[name](lambda x: ops.asarray(np.asarray(x)))
    assert float(ops.to_numpy(loss)) == pytest.approx(VALUES[name], abs=1e-20)


def test_probabilities():
    for dtype in (np.float16, np.float32, np.float64):
        logits = far_apart()[0, 0].astype(dtype)
        assert most_probable(logits, None, 2) == [("class 1", 1.0), ("class 0", 0.0)]


def test_flow_is_drawn():
    assert draw_flow(TINY[0]).shape == (4, 4, 3)


def scaled(model, factor):
    """A model whose weights are so large that its softmaxes underflow."""
    return model.with_weights(map_tree(lambda weight: numpy_of(weight) * factor, model.v))


def test_models(backend, rng):
    model = scaled(PerceiverIO(small_spec()), np.float32(50))
    model.preprocessing = ImagePreprocessing((6, 5))
    assert len(classify(model, rng.integers(0, 256, (9, 9, 3), np.uint8))) == 5
    maps = attention_maps(model, image(rng, 2, 6, 5, 3))
    assert np.isfinite(numpy_of(attention_rollout(maps))).all()
    assert np.isfinite(numpy_of(latents_over_depth(model, image(rng, 2, 6, 5, 3))[-1])).all()
    text = scaled(PerceiverIO(language_spec()), np.float32(50))
    text.tokenizer = ByteTokenizer(16)
    assert len(fill_mask(text, "a[MASK]", top=3)[0]) == 3


def test_preprocessing_of_tiny_numbers(rng):
    tiny = np.full((9, 9, 3), 1e-40)
    assert np.isfinite(ImagePreprocessing((4, 4))(tiny)).all()
    assert ops_named("numpy").dtype(ImagePreprocessing((4, 4))(tiny)) == "float32"
