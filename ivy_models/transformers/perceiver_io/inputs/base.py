"""Base class of the kinds of inputs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ivy_models.errors import InputError, SpecError
from ivy_models.layers.features import Inputs
from ivy_models.layers.parameters import Tree
from ivy_models.ops import Array, Ops, is_shape

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.inputs.modalities import InputModality
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

    InputFields = PerceiverIOSpec | InputModality
    """Both describe inputs by fields of the same names."""

Axes = tuple[int, ...]

OpenAxes = tuple[int | None, ...]
"""Sizes of axes. Unknown sizes are None."""

SPACINGS = ("linear", "logarithmic")
"""How the frequencies of Fourier features are spaced."""

Convert = Callable[[Any, str], Array]
"""``convert(x, name)`` converts a user's array to the model's framework; errors use ``name``."""


@dataclass(frozen=True)
class CheckedInputs:
    """Data and mask with one batch axis, for the core.

    Parameters
    ----------
    data
        (B, *axes, channels), or tokens (B, M); by modality if there are several. With positions
        that the call gave, a dict: "data" (B, M, channels) and "positions", (B, M, A) or (1, M, A).
    mask
        Booleans (B, M); by modality if there are several. None: no input is masked out.
    batch_shape
        Batch axes of the user's data.
    grid_shape
        Axes of the inputs; by modality, in the order in which they are read.
    """

    data: Array | dict[str, Array]
    mask: Array | dict[str, Array] | None
    batch_shape: Axes
    grid_shape: Axes | dict[str, Axes]


class InputKind(ABC):
    """A kind of inputs: turns data into the inputs of the reader."""

    has_modalities: ClassVar[bool] = False
    """Whether the data are a mapping from names of modalities."""

    num_channels: int
    """C, channels of an input."""

    @classmethod
    @abstractmethod
    def of(cls, spec: PerceiverIOSpec) -> InputKind:
        """Make the kind that a spec describes.

        Raises
        ------
        SpecError
            If the spec's fields contradict this kind.
        """

    def takes_tokens(self, _name: str = "data") -> bool:
        """Whether the data, or those of one modality, are tokens, which are integers."""
        return False

    @property
    def longest_padding(self) -> int | None:
        """Length up to which data can be padded with a mask, or None if they cannot."""
        return None

    @abstractmethod
    def open_shape(self) -> OpenAxes | dict[str, OpenAxes]:
        """Shape of the data of one batch element, by modality if there are several.

        Sizes are None where data can have any.
        """

    @abstractmethod
    def parameters(self) -> Tree:
        """Describe the weights."""

    def with_positions(self, data: Any, positions: Any) -> Any:
        """Combine the data and the positions of a call, or their shapes, for the other methods.

        Raises
        ------
        InputError
            If the model needs positions that the call does not give, or takes none.
        """
        if positions is not None:
            raise InputError(
                "positions were passed to a model whose spec has no num_position_axes: its inputs "
                "have no positions that a call gives. Leave positions out."
            )
        return data

    def unmapped(self, data: Any) -> Any:
        """Undo what :meth:`check` did to positions, in NumPy."""
        return data

    def by_argument(self, data: Any) -> dict[str, Any]:
        """Undo :meth:`with_positions`: the arguments by their names in a call."""
        return {"data": data}

    @abstractmethod
    def check(self, ops: Ops, like: Array, data: Any, mask: Any, convert: Convert) -> CheckedInputs:
        """Convert the data and the mask that a call passed.

        Parameters
        ----------
        ops
            The model's framework.
        like
            A weight of at least float32. Arrays get its data type and device.
        data, mask
            The user's arguments; data as ``with_positions`` returned them.
        convert
            Converts an array to the model's framework.

        Raises
        ------
        InputError
            If one of them does not fit the model.
        """

    @abstractmethod
    def split_shape(self, shape: Any) -> tuple[OpenAxes, OpenAxes | dict[str, OpenAxes]]:
        """Return the batch axes and the axes of the inputs for data of a shape.

        Parameters
        ----------
        shape
            Shape of the data, by modality if there are several. Sizes may be None.

        Raises
        ------
        InputError
            If data of this shape do not fit the model.
        """

    @abstractmethod
    def data_shape(self, size: Any, output_shapes: Mapping[str, Axes]) -> Axes | dict[str, Axes]:
        """Return the shape of the data of one batch element, by modality if there are several.

        Parameters
        ----------
        size
            Size of each axis, or one number for all axes; if there are several modalities, a
            mapping from some of their names. None: the size that the spec fixes.
        output_shapes
            Axes of the outputs by modality, if there are several.

        Raises
        ------
        InputError
            If the size does not fit the model, or is needed and not given.
        """

    @abstractmethod
    def adapt(
        self, params: Tree, data: Any, mask: Any
    ) -> tuple[Inputs | Sequence[Inputs], Array | None]:
        """Turn checked data and mask into the reader's inputs and their mask (B, M).

        Parameters
        ----------
        params
            Weights as :meth:`parameters` describes them.
        data, mask
            The results of :meth:`check`.
        """


def convert_mask(
    ops: Ops,
    like: Array,
    mask: Any,
    batch_shape: Axes,
    axes: Axes,
    convert: Convert,
    modality: str | None = None,
    argument: str = "mask",
    element: str = "an input",
) -> Array:
    """Turn a mask (*batch, *axes), or (*axes) or one row for a batch, into booleans (B, M).

    In the mask of a modality all axes may have the size 1, for one element that all inputs share.
    Errors name the ``argument``, and the ``element`` that each boolean is for.

    Raises
    ------
    InputError
        If it has another shape, or holds floats or integers other than 0 and 1.
    """
    name = argument if modality is None else f'{argument}["{modality}"]'
    mask = convert(mask, name)
    one_row = (1,) * len(batch_shape)
    shapes = ((*batch_shape, *axes), axes, (*one_row, *axes))
    given = ops.known_shape(mask)
    fits = any(is_shape(given, shape) for shape in shapes)
    of_all = (*batch_shape, *(1 for _ in axes))
    is_whole = modality is not None and not fits and is_shape(given, of_all)
    if not fits and not is_whole:
        shared = f", or {axes} for the whole batch" if batch_shape else ""
        shared += f", or {of_all} for all inputs alike" if modality is not None and axes else ""
        raise InputError(
            f"{name} has shape {given}; expected {(*batch_shape, *axes)}{shared}: True where "
            f"{element} takes part."
        )
    if ops.is_float(mask):
        raise InputError(
            f"{name} is of type {ops.dtype(mask)}; expected booleans, True where {element} takes "
            "part."
        )
    if "int" in ops.dtype(mask) and not ops.is_traced(mask):  # a traced array has no values yet
        _check_zeros_and_ones(ops.to_numpy(mask), name, element)
    batch, num_inputs = math.prod(batch_shape), math.prod(axes)
    mask = ops.reshape(ops.cast(mask, "bool"), (-1, 1 if is_whole else num_inputs))
    return ops.move(ops.broadcast_to(mask, (batch, num_inputs)), like)


def _check_zeros_and_ones(mask: np.ndarray, name: str, element: str) -> None:
    """Refuse masks that are added to scores, in which 0 marks the elements that take part."""
    if mask.min() < 0 or mask.max() > 1:
        raise InputError(
            f"{name} has integers from {mask.min()} to {mask.max()}; expected booleans, or 1 where "
            f"{element} takes part and 0 elsewhere."
        )


def size_of_axes(size: Sequence[int], num_axes: int) -> Axes:
    """Return a size for each axis, from one size per axis or one number for all.

    Raises
    ------
    InputError
        If there is another number of sizes.
    """
    size = tuple(size)
    if len(size) not in (min(1, num_axes), num_axes):
        raise InputError(
            f"size must have one number for each of the data's {num_axes} axes, got {size}."
        )
    return size * num_axes if len(size) == 1 else size


def check_spacing(spec: InputFields, has_features: bool) -> None:
    """Check the spacing of the frequency bands.

    Raises
    ------
    SpecError
        If there is no such spacing, or there are no bands.
    """
    spacing = spec.fourier_band_spacing
    if spacing not in SPACINGS:
        raise SpecError(
            f"fourier_band_spacing must be one of {', '.join(map(repr, SPACINGS))}, got "
            f"{spacing!r}."
        )
    if spacing != "linear" and not has_features:
        raise SpecError(
            f"fourier_band_spacing={spacing!r} needs Fourier features, and there are none."
        )


def check_one_an_axis(spec: InputFields, name: str, num_axes: int) -> None:
    """Check that a field has one number for each axis.

    Raises
    ------
    SpecError
        If it has not.
    """
    value = getattr(spec, name)
    if isinstance(value, tuple) and len(value) != num_axes:
        raise SpecError(
            f"{name} needs one number for each of the {num_axes} input axes with positions, "
            f"got {value}."
        )
