"""The reader's sums over a grid on CPUs equal their formula, however the grid is cut."""

import numpy as np
import pytest

from ivy_models.ops import numpy_grid_sums
from ivy_models.ops.base import MASKED_SCORE

BATCH, ROWS, CHANNELS, OUTER, INNER = 2, 7, 3, 11, 10


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Cut the small grid of the tests into many tiles, blocks and groups."""
    monkeypatch.setattr(numpy_grid_sums, "TILE", 24)
    monkeypatch.setattr(numpy_grid_sums, "ROW_BLOCK", 3)
    monkeypatch.setattr(numpy_grid_sums, "INNER_BLOCK", 4)
    monkeypatch.setattr(numpy_grid_sums, "GROUP", 4 * INNER * (CHANNELS + 2))


def sources(dtype=np.float64, of_rows=BATCH, scale=1.0):
    rng = np.random.default_rng(0)
    shapes = (
        (BATCH, OUTER * INNER, CHANNELS),
        (BATCH, OUTER, INNER),
        (of_rows, ROWS, CHANNELS),
        (of_rows, ROWS, OUTER),
        (of_rows, ROWS, INNER),
    )
    x, inverse, *scores = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    return x, np.exp(inverse), *(scale * s for s in scores)


def formula(x, inverse, query, outer_scores, inner_scores, mask=None):
    """Plain attention: the logarithm of the total (B, R), and the other sums over the total."""
    scores = (query @ x.swapaxes(1, 2)).reshape(len(x), ROWS, OUTER, INNER)
    scores = (scores + outer_scores[..., None] + inner_scores[:, :, None]) * inverse[:, None]
    if mask is not None:
        scores = np.where(mask.reshape(inverse.shape)[:, None], scores, MASKED_SCORE)
    highest = scores.max((2, 3), keepdims=True)
    weights = np.exp(scores - highest)
    total = weights.sum((2, 3))
    weights = weights / total[..., None, None] * inverse[:, None]
    of_x = weights.reshape(len(x), ROWS, -1) @ x
    return highest[..., 0, 0] + np.log(total), of_x, weights.sum(3), weights.sum(2)


def relative(highest, total, *sums):
    """The results of ``grid_sums`` in the form of ``formula``."""
    return highest + np.log(total), *(s / total[..., None] for s in sums)


def assert_close(found, wanted, tolerance=1e-12):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("of_rows", [1, BATCH])
@pytest.mark.parametrize("scale", [1.0, 30.0])  # with 30, many tiles exceed the shift
def test_it_equals_the_formula(of_rows, scale):
    arrays = sources(of_rows=of_rows, scale=scale)
    found = relative(*numpy_grid_sums.grid_sums(*arrays, None, 1))
    assert_close(found, formula(*arrays))


def test_masked_inputs_take_no_part():
    arrays = sources(scale=30.0)
    mask = np.random.default_rng(1).random((BATCH, OUTER * INNER)) < 0.3
    mask[0, : 5 * INNER] = False  # whole tiles, the first ones among them
    arrays[0][~mask] = 1e6
    arrays[3][:] -= 500  # far below the score that an empty sum might start with
    found = relative(*numpy_grid_sums.grid_sums(*arrays, mask, 1))
    assert_close(found, formula(*arrays, mask), 1e-10)


def test_an_element_without_inputs_has_finite_sums():
    mask = np.ones((BATCH, OUTER * INNER), bool)
    mask[1] = False
    arrays = sources()
    sums = numpy_grid_sums.grid_sums(*arrays, mask, 1)
    assert all(np.isfinite(s).all() for s in sums)
    assert (sums[0][1] == MASKED_SCORE).all()
    assert (sums[1] > 0).all()
    assert_close([s[0] for s in relative(*sums)], [s[0] for s in formula(*arrays)])


def test_threads_change_nothing():
    arrays = sources(np.float32)
    alone = numpy_grid_sums.grid_sums(*arrays, None, 1)
    together = numpy_grid_sums.grid_sums(*arrays, None, 3)
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert all(s.dtype == np.float32 for s in alone)


def test_threads_follow_numpys_settings():
    arrays = sources()
    arrays[0][0, 0] = np.inf
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        numpy_grid_sums.grid_sums(*arrays, None, 3)


@pytest.mark.parametrize(
    ("variables", "threads"),
    [({"OMP_NUM_THREADS": "1"}, 1), ({"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "2"}, 2)],
)
def test_variables_limit_the_threads(monkeypatch, variables, threads):
    monkeypatch.setattr(numpy_grid_sums.os, "cpu_count", lambda: 8)
    monkeypatch.delattr(numpy_grid_sums.os, "sched_getaffinity", raising=False)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert numpy_grid_sums.num_threads() == 8
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert numpy_grid_sums.num_threads() == threads
