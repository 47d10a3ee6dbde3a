"""The tasks' losses, compared with their definitions."""

import numpy as np
import pytest
from helpers.gradients import GRADIENTS, TRAINED
from scipy.special import log_softmax

from ivy_models.errors import InputError
from ivy_models.ops import ops_named
from ivy_models.training.losses import (
    VIDEO_LOSS_WEIGHTS,
    classification_loss,
    end_point_error,
    masked_token_loss,
    reconstruction_loss,
    weighted_sum,
)


def test_masked_token_loss_is_cross_entropy(ops, rng):
    logits = 5 * rng.standard_normal((2, 7, 11), dtype=np.float32)
    tokens, masked = rng.integers(0, 11, (2, 7)).astype(np.int32), rng.random((2, 7)) < 0.5
    expected = -np.take_along_axis(log_softmax(logits, -1), tokens[..., None], -1)[masked].mean()
    native = [ops.asarray(x) for x in (logits, tokens, masked)]
    assert float(masked_token_loss(*native)) == pytest.approx(expected, rel=1e-5)
    assert float(masked_token_loss(*native[:2], ops.asarray(np.zeros((2, 7), bool)))) == 0


def test_losses_of_several_modalities_are_weighted_and_added(ops, rng):
    pixels, target = rng.standard_normal((2, 3, 5, 7, 2), dtype=np.float32)
    logits, classes = rng.standard_normal((3, 1, 11), dtype=np.float32), np.int32([[4], [0], [10]])
    native = [ops.asarray(x) for x in (pixels, target, logits, classes)]
    losses = {
        "image": reconstruction_loss(*native[:2]),
        "audio": reconstruction_loss(native[1], native[0]),
        "label": classification_loss(*native[2:]),
    }
    difference = np.abs(pixels - target).mean()
    entropy = -np.take_along_axis(log_softmax(logits, -1), classes[..., None], -1).mean()
    for name, expected in (("image", difference), ("audio", difference), ("label", entropy)):
        assert float(losses[name]) == pytest.approx(expected, rel=1e-5)
    total = float(weighted_sum(losses, VIDEO_LOSS_WEIGHTS))
    assert total == pytest.approx(1.03 * difference + 0.0001 * entropy, rel=1e-5)


def test_losses_that_would_compare_the_wrong_elements_are_refused():
    with pytest.raises(InputError, match="expected equal shapes"):
        reconstruction_loss(np.zeros((3, 5)), np.zeros((3, 1)))
    with pytest.raises(InputError, match="same modalities"):
        weighted_sum({"image": np.float32(1)}, VIDEO_LOSS_WEIGHTS)


def test_end_point_error_is_the_mean_distance(ops, rng):
    flow, target = rng.standard_normal((2, 3, 5, 7, 2), dtype=np.float32)
    valid = rng.random((3, 5, 7)) < 0.5
    distance = np.linalg.norm(flow - target, axis=-1)
    native = [ops.asarray(x) for x in (flow, target, valid)]
    assert float(end_point_error(*native[:2])) == pytest.approx(distance.mean(), rel=1e-5)
    assert float(end_point_error(*native)) == pytest.approx(distance[valid].mean(), rel=1e-5)


def test_the_error_of_nan_is_nan(ops):
    flow, target = (np.zeros((1, 2, 2, 2), np.float32) for _ in range(2))
    flow[0, 0, 1, 0] = np.nan
    target[0, 1, 0, 1] = np.nan
    flow[0, 1, 1] = 3, 4
    native = [ops.asarray(x) for x in (flow, target)]
    assert np.isnan(float(end_point_error(*native)))
    for hidden in ([0, 1], [1, 0]):
        valid = np.ones((1, 2, 2), bool)
        valid[0, *hidden] = False
        assert np.isnan(float(end_point_error(*native, ops.asarray(valid))))
    known = ops.asarray(np.array([[[True, False], [False, True]]]))
    assert float(end_point_error(*native, known)) == 2.5


def test_unknown_pixels_count_for_nothing(ops, rng):
    flow, target = rng.standard_normal((2, 2, 5, 7, 2)).astype(np.float32)
    known = rng.random((2, 5, 7)) < 0.5
    expected = float(end_point_error(*(ops.asarray(x) for x in (flow, target, known))))
    target[~known] = 1666666752.0
    native = [ops.asarray(x) for x in (flow, target)]
    assert float(end_point_error(*native)) == pytest.approx(expected, rel=1e-5)
    everywhere = ops.asarray(np.ones(known.shape, bool))
    assert float(end_point_error(*native, everywhere)) == pytest.approx(expected, rel=1e-5)
    target[:] = 1e10
    assert float(end_point_error(native[0], ops.asarray(target))) == 0


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_are_finite_where_the_estimate_is_exact_or_not_known(name):
    ops = ops_named(name)
    flow = ops.asarray(np.float32([[[[1, 2], [0, 3], [np.nan, 0], [0, 0]]]]))
    target = ops.asarray(np.float32([[[[1, 2], [0, 1], [0, 0], [0, np.nan]]]]))
    valid = ops.asarray(np.array([[[True, True, False, False]]]))

    def loss(leaves):
        error = end_point_error(leaves["flow"], target, valid)
        return {"": error}, error

    _, gradients = GRADIENTS[name](loss, {"flow": flow})
    expected = [[[[0, 0], [0, 0.5], [0, 0], [0, 0]]]]
    np.testing.assert_array_equal(ops.to_numpy(gradients["flow"]), expected)


def test_a_model_learns_masked_tokens(rng):
    torch = pytest.importorskip("torch")
    from helpers.specs import language_spec

    from ivy_models import perceiver_io_language
    from ivy_models.arrays import unwrap
    from ivy_models.layers.parameters import flatten, map_tree
    import ivy

    ivy.set_backend("torch")
    model = perceiver_io_language(language_spec(), pretrained=False)
    params = map_tree(unwrap, model.v)
    ivy.unset_backend()
    leaves = [leaf.requires_grad_() for _, leaf in flatten(params)]
    tokens = torch.from_numpy(model.tokenizer.encode("abcabcabcabc")[None])
    masked = torch.arange(12)[None] % 3 == 1
    optimizer = torch.optim.Adam(leaves, 1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = masked_token_loss(model.core(params, tokens.where(~masked, 3)), tokens, masked)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 4
    assert losses[-1] < 0.1  # below 0.001 with each of 5 seeds
