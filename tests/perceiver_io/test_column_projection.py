"""The stem that has a linear layer for each column of a table."""

import numpy as np
import pytest

from ivy_models.layers.parameters import initialise
from ivy_models.ops import ops_for
from ivy_models.transformers.perceiver_io.inputs.stems import ColumnProjection

COLUMNS, CHANNELS, DIM = 5, 3, 4


def drawn(rng):
    """The stem, its layer with a bias, and data (2, 5, 3)."""
    stem = ColumnProjection(CHANNELS, DIM, COLUMNS)
    layer = initialise(stem.parameters())["column_projection"]
    layer["bias"] = rng.standard_normal(DIM, np.float32)
    return stem, layer, rng.standard_normal((2, COLUMNS, CHANNELS), np.float32)


@pytest.mark.parametrize("is_called", [False, True])
def test_each_column_has_weights_of_its_own(is_called, rng):
    stem, layer, data = drawn(rng)

    def call(rows):
        return rows @ layer["weight"] + layer["bias"]

    found = stem(ops_for(data), {"column_projection": call if is_called else layer}, data)
    own = np.split(layer["weight"], COLUMNS)
    expected = np.stack([data[:, i] @ own[i] for i in range(COLUMNS)], 1) + layer["bias"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_new_weights_do_not_shrink_with_the_number_of_columns():
    parameters = ColumnProjection(16, 32, 100).parameters()
    deviation = initialise(parameters)["column_projection"]["weight"].std()
    assert 0.8 < deviation * 16**0.5 < 1
