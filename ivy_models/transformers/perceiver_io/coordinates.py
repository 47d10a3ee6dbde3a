"""Positions that each call gives as numbers: points, time stamps, latitude and longitude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ivy_models.errors import InputError, SpecError
from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.ops import Array, Ops
from ivy_models.ops.base import read_only

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.inputs.base import InputFields

ROUNDING = 1e-6
"""How far coordinates may exceed their range, relative to the largest: the rounding of float32."""

COARSEST = 1e-4
"""Largest distance of neighbouring numbers of a data type, where a range is mapped to [-1, 1]."""


@dataclass(frozen=True)
class Coordinates:
    """The coordinates of positions: their ranges and their Fourier features.

    Parameters
    ----------
    ranges
        Lowest and highest value of each of the A axes. They are mapped to -1 and 1.
    encoding
        None: no Fourier features.
    """

    ranges: tuple[tuple[float, float], ...]
    encoding: FourierPositionEncoding | None = None

    @classmethod
    def of(cls, spec: InputFields, field: str, has_features: bool = True) -> Coordinates:
        """Make the coordinates of which a spec's ``field`` has the number of axes.

        Raises
        ------
        SpecError
            If the spec's fields contradict them.
        """
        num_axes, highest = getattr(spec, field), spec.max_fourier_freq
        ranges = np.atleast_2d(spec.position_range)
        if len(ranges) not in (1, num_axes):
            raise SpecError(
                f"position_range needs one pair (lowest, highest), or one for each of the "
                f"{num_axes} axes of {field}, got {spec.position_range}."
            )
        ranges = tuple((float(low), float(high)) for low, high in ranges)
        ranges = ranges * num_axes if len(ranges) == 1 else ranges
        if not has_features:
            return cls(ranges)
        is_missing = highest is None and spec.num_fourier_freq_bands
        if is_missing or (isinstance(highest, Sequence) and len(highest) != num_axes):
            raise SpecError(
                f"{field}={num_axes} needs max_fourier_freq, one number or one for each axis, got "
                f"{highest}. Coordinates have no grid whose size could be the default."
            )
        assert spec.num_fourier_freq_bands is not None  # has_features says so
        encoding = FourierPositionEncoding(
            spec.num_fourier_freq_bands, highest, spacing=spec.fourier_band_spacing
        )
        return cls(ranges, encoding)

    @property
    def num_axes(self) -> int:
        """A, the number of axes."""
        return len(self.ranges)

    @property
    def num_channels(self) -> int:
        """Channels of an encoded position."""
        return self.num_axes if self.encoding is None else self.encoding.num_channels(self.num_axes)

    def mapped(self, ops: Ops, given: Array, name: str, mask: Array | None = None) -> Array:
        """Check coordinates (..., A), and map them to [-1, 1].

        Parameters
        ----------
        given
            An array. It is mapped in its own data type, at least float32.
        name
            Name of the argument, for errors.
        mask
            Booleans (..., 1). Where they are False, coordinates may be anything and become 0.

        Raises
        ------
        InputError
            If there is another number of axes, or coordinates are not floats, too coarse for the
            range, or not in it. Coordinates of a traced program have no values yet, and those on a
            device that works on its own are not read: they become NaN where they are out of range,
            and so does the output.
        """
        shape = ops.known_shape(given, self.num_axes)
        if not shape or shape[-1] != self.num_axes:
            raise InputError(
                f"{name} has shape {shape}; expected (..., {self.num_axes}), with one coordinate "
                "per axis."
            )
        if 0 in shape:
            raise InputError(f"{name} has shape {shape}, which is empty; pass at least one.")
        if not ops.is_float(given):
            raise InputError(
                f"{name} is of type {ops.dtype(given)}; coordinates are floats. Convert them, such "
                'as by astype("float32") of NumPy.'
            )
        given = ops.widen(given if mask is None else ops.move(given, like=mask))
        self._check_steps(ops.dtype(given), name)
        centre, half, limit = (ops.constant(x, like=given) for x in _scale(self.ranges))
        mapped = (given - centre) / half
        if mask is not None:
            mapped = ops.where(mask, mapped, 0.0)
        if ops.is_traced(mapped) or ops.waits_for(mapped):
            is_outside = ops.maximum(mapped, 0 - mapped) > limit
            return ops.where(is_outside, float("nan"), mapped)
        self._check_values(ops.to_numpy(ops.detach(mapped)), name)
        return mapped

    def unmapped(self, mapped: np.ndarray) -> np.ndarray:
        """Undo :meth:`mapped`, in float64."""
        centre, half, _ = _scale(self.ranges)
        return mapped * half + centre

    def _check_steps(self, dtype: str, name: str) -> None:
        """Refuse a data type in which positions of a range far from 0 would be the same."""
        for axis, (low, high) in enumerate(self.ranges):
            farthest = max(abs(low), abs(high))
            step = np.spacing(np.dtype(dtype).type(farthest))
            if step > COARSEST * (high - low) / 2:
                raise InputError(
                    f"{name} is read in {dtype}, in which numbers near {farthest:g} are {step:g} "
                    f"apart: too coarse for axis {axis}, from {low!r} to {high!r}. Subtract "
                    f"{low!r} in float64, and set the spec's position_range to (0, {high - low!r})."
                )

    def _check_values(self, mapped: np.ndarray, name: str) -> None:
        """Refuse coordinates outside [-1, 1]; they are reported as the call gave them."""
        limits = _scale(self.ranges)[2]
        for axis, ((low, high), limit) in enumerate(zip(self.ranges, limits, strict=True)):
            values = mapped[..., axis]
            smallest, largest = values.min(), values.max()
            if not (smallest >= -limit and largest <= limit):
                smallest, largest = ((x + 1) / 2 * (high - low) + low for x in (smallest, largest))
                raise InputError(
                    f"{name} has coordinates from {smallest:g} to {largest:g} on axis {axis}; "
                    f"expected finite numbers from {low:g} to {high:g}. Rescale them, or set the "
                    "spec's position_range; a mask hides those that are padding."
                )


@lru_cache(maxsize=32)
def _scale(ranges: tuple[tuple[float, float], ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The centre of each range, half its length, and the largest size of a mapped coordinate."""
    low, high = np.array(ranges).T
    half = (high - low) / 2
    largest = np.maximum(np.maximum(np.abs(low), np.abs(high)) / half, 1)
    return read_only((high + low) / 2), read_only(half), read_only(1 + ROUNDING * largest)
