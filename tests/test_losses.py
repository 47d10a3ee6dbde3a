"""The tasks' losses, against their definitions."""

import numpy as np
import pytest
from scipy.special import log_softmax

from ivy_models.losses import end_point_error, masked_token_loss


def test_masked_token_loss_is_cross_entropy(ops, rng):
    logits = 5 * rng.standard_normal((2, 7, 11), dtype=np.float32)
    tokens, masked = rng.integers(0, 11, (2, 7)).astype(np.int32), rng.random((2, 7)) < 0.5
    expected = -np.take_along_axis(log_softmax(logits, -1), tokens[..., None], -1)[masked].mean()
    native = [ops.asarray(x) for x in (logits, tokens, masked)]
    assert float(masked_token_loss(*native)) == pytest.approx(expected, rel=1e-5)
    assert float(masked_token_loss(*native[:2], ops.asarray(np.zeros((2, 7), bool)))) == 0


def test_end_point_error_is_the_mean_distance(ops, rng):
    flow, target = rng.standard_normal((2, 3, 5, 7, 2), dtype=np.float32)
    valid = rng.random((3, 5, 7)) < 0.5
    distance = np.linalg.norm(flow - target, axis=-1)
    native = [ops.asarray(x) for x in (flow, target, valid)]
    assert float(end_point_error(*native[:2])) == pytest.approx(distance.mean(), rel=1e-5)
    assert float(end_point_error(*native)) == pytest.approx(distance[valid].mean(), rel=1e-5)


def test_gradients_are_finite_where_the_estimate_is_exact():
    torch = pytest.importorskip("torch")
    flow = torch.tensor([[[[1.0, 2.0], [0.0, 3.0]]]], requires_grad=True)
    end_point_error(flow, torch.tensor([[[[1.0, 2.0], [0.0, 1.0]]]])).backward()
    assert flow.grad.tolist() == [[[[0.0, 0.0], [0.0, 0.5]]]]


def test_a_model_learns_what_stands_at_a_mask(rng):
    torch = pytest.importorskip("torch")
    import ivy
    from specs import language_spec

    from ivy_models import perceiver_io_language
    from ivy_models.arrays import unwrap
    from ivy_models.transformers.perceiver_io.parameters import flatten, map_tree

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
    assert losses[-1] < 0.1
