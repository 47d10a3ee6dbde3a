"""Data at positions that each call gives, such as a cloud of points: (B, M, channels)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ivy_models.errors import InputError, SpecError
from ivy_models.layers.features import Features, Inputs
from ivy_models.layers.parameters import Tree, lecun_normal, linear, map_tree
from ivy_models.ops import Array, Ops, is_shape, ops_for
from ivy_models.transformers.perceiver_io.coordinates import Coordinates
from ivy_models.transformers.perceiver_io.inputs.base import (
    Axes,
    CheckedInputs,
    Convert,
    InputKind,
    OpenAxes,
    size_of_axes,
)
from ivy_models.transformers.perceiver_io.inputs.grid import GridAdapter
from ivy_models.transformers.perceiver_io.inputs.stems import STEMS, projected

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.inputs.base import InputFields


@dataclass(frozen=True)
class CoordinateInput(InputKind):
    """Turn data and the coordinates of their positions into inputs.

    The argument ``data`` of its methods is a mapping of both, "data" and "positions".

    Parameters
    ----------
    values
        The adapter of the data without positions.
    coordinates
        The positions' coordinates.
    num_channels
        C, channels of an input.
    projection_dim
        Channels of the learned projection of the coordinates. None: their Fourier features.
    """

    values: GridAdapter
    coordinates: Coordinates
    num_channels: int
    projection_dim: int | None = None

    @classmethod
    def of(cls, spec: InputFields) -> CoordinateInput:
        if (
            spec.num_input_axes != 1
            or STEMS[spec.stem].mixes
            or STEMS[spec.stem].needs_positions
            or spec.vocabulary_size is not None
            or spec.patch_shape is not None
            or spec.learned_position_shape is not None
        ):
            raise SpecError(
                "With num_position_axes each input has a position of its own: set "
                'num_input_axes=1 and stem=None or "projection", and leave out vocabulary_size, '
                "patch_shape and learned_position_shape."
            )
        if spec.fourier_encode_input == (spec.learned_position_dim is not None):
            raise SpecError(
                "With num_position_axes set either fourier_encode_input=True, for Fourier "
                "features of the positions, or learned_position_dim, for a learned projection of "
                f"that many channels; got fourier_encode_input={spec.fourier_encode_input} and "
                f"learned_position_dim={spec.learned_position_dim}."
            )
        values = GridAdapter(spec.input_dim, 1, spec.stem, spec.stem_dim)
        coordinates = Coordinates.of(spec, "num_position_axes", spec.fourier_encode_input)
        position_dim = spec.learned_position_dim or coordinates.num_channels
        num_channels = values.num_channels + position_dim
        return cls(values, coordinates, num_channels, spec.learned_position_dim)

    def open_shape(self) -> dict[str, OpenAxes]:
        return {"data": self.values.open_shape(), "positions": (None, self.coordinates.num_axes)}

    def parameters(self) -> Tree:
        """Describe the adapter's weights."""
        tree = self.values.parameters()
        if self.projection_dim is not None:
            num_axes = self.coordinates.num_axes
            tree |= {"position_projection": linear(num_axes, self.projection_dim, lecun_normal)}
        return tree

    def with_positions(self, data: Any, positions: Any) -> dict[str, Any]:
        if positions is None:
            raise InputError(
                "The model has num_position_axes, so each call passes positions=..., of shape "
                f"(*batch, M, {self.coordinates.num_axes})."
            )
        return {"data": data, "positions": positions}

    def unmapped(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "positions": self.coordinates.unmapped(data["positions"])}

    def by_argument(self, data: Any) -> dict[str, Any]:
        return dict(data)

    def check(
        self,
        ops: Ops,
        like: Array,
        data: Any,
        mask: Any,
        convert: Convert,
        modality: str | None = None,
    ) -> CheckedInputs:
        """Do as the base class says, for all data or for one modality."""
        checked = self.values.check(ops, like, data["data"], mask, convert, modality)
        name = "positions" if modality is None else f'positions["{modality}"]'
        positions = convert(data["positions"], name)
        num_axes = self.coordinates.num_axes
        axes: Any = checked.grid_shape
        seen: Any = checked.mask
        self._check_shape(ops.known_shape(positions, num_axes), checked.batch_shape, axes, name)
        positions = ops.reshape(positions, (-1, *axes, num_axes))
        seen = None if seen is None else seen[..., None]
        positions = ops.match(self.coordinates.mapped(ops, positions, name, seen), like)
        return replace(checked, data={"data": checked.data, "positions": positions})

    def _check_shape(
        self, shape: OpenAxes, batch_shape: Any, grid_shape: Any, name: str = "positions"
    ) -> None:
        shared = (*grid_shape, self.coordinates.num_axes)
        if not (is_shape(shape, shared) or is_shape(shape, (*batch_shape, *shared))):
            raise InputError(
                f"{name} has shape {shape}; expected {(*batch_shape, *shared)}, as many as the "
                f"data with {self.coordinates.num_axes} coordinates each, or {shared} for the "
                "whole batch."
            )

    def split_shape(
        self, shape: Mapping[str, OpenAxes], name: str = "data"
    ) -> tuple[OpenAxes, OpenAxes]:
        batch_shape, grid_shape = self.values.split_shape(tuple(shape["data"]), name)
        self._check_shape(tuple(shape["positions"]), batch_shape, grid_shape)
        return batch_shape, grid_shape

    def data_shape(
        self, size: Sequence[int] | None, output_shapes: Mapping[str, Axes]
    ) -> dict[str, Axes]:
        if size is None:
            raise InputError("The spec does not fix the number of inputs: pass a size.")
        axes = size_of_axes(size, 1)
        return {
            "data": (*axes, self.values.data_dim),
            "positions": (*axes, self.coordinates.num_axes),
        }

    def adapt(
        self, params: Tree, data: Mapping[str, Array], mask: Array | None
    ) -> tuple[Inputs, Array | None]:
        return self(params, data["data"], data["positions"]), mask

    def __call__(self, params: Tree, data: Array, positions: Array) -> Inputs:
        """Adapt data (B, M, data_dim) at positions (B, M, A) or (1, M, A) in [-1, 1]."""
        inputs = self.values(params, data)
        if self.projection_dim is None:
            encoded = Features(positions, encoding=self.coordinates.encoding)
        else:
            projection = map_tree(ops_for(data).widen, params["position_projection"])
            encoded = projected(projection, positions)
        return replace(inputs, positions=encoded)
