import math

import numpy as np
import pytest

from ivy_models.transformers.perceiver_io import FourierPositionEncoding


def test_channels_are_position_then_sines_then_cosines():
    encoding = FourierPositionEncoding(3, (8, 10))
    encoded = encoding((5, 7))
    assert encoded.shape == (5, 7, encoding.num_channels(2)) == (5, 7, 14)
    for row, column in [(0, 0), (2, 3), (4, 6), (1, 5)]:
        y, x = -1 + 2 * row / 4, -1 + 2 * column / 6
        y_angles = [math.pi * y * f for f in (1, 2.5, 4)]
        x_angles = [math.pi * x * f for f in (1, 3, 5)]
        angles = y_angles + x_angles
        expected = [y, x, *map(math.sin, angles), *map(math.cos, angles)]
        np.testing.assert_allclose(encoded[row, column], expected, atol=1e-6)


def test_default_resolution_is_the_grids_own():
    np.testing.assert_array_equal(
        FourierPositionEncoding(4)((6, 9)), FourierPositionEncoding(4, (6, 9))((6, 9))
    )


def test_one_resolution_serves_every_axis():
    np.testing.assert_array_equal(
        FourierPositionEncoding(4, 11)((6, 9)), FourierPositionEncoding(4, (11, 11))((6, 9))
    )


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4), (2, 1, 3, 2), (1, 1)])
def test_axis_tables_hold_every_channel(shape):
    encoding = FourierPositionEncoding(3, 7)
    encoded = encoding(shape)
    tables, channels = encoding.axis_tables(shape), encoding.axis_channels(len(shape))
    assert sorted(np.concatenate(channels)) == list(range(encoded.shape[-1]))
    for axis, (table, which) in enumerate(zip(tables, channels, strict=True)):
        spread = table.reshape([-1 if a == axis else 1 for a in range(len(shape))] + [len(which)])
        np.testing.assert_array_equal(
            encoded[..., which], np.broadcast_to(spread, (*shape, len(which)))
        )


def test_positions_by_coordinate():
    encoding = FourierPositionEncoding(3, 7)
    positions = np.array([[-1.0, 1.0], [0.0, 0.5]])
    encoded = encoding.encode(positions)
    np.testing.assert_allclose(encoded[0], encoding((3, 5))[0, 4], atol=1e-6)
    np.testing.assert_allclose(encoded[1], encoding((3, 5))[1, 3], atol=1e-6)
