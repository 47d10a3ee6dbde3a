"""Checks of the data that a model is called with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivy_models.arrays import to_native
from ivy_models.errors import InputError
from ivy_models.ops import Array, Ops, is_shape
from ivy_models.shells.shape_checks import check_patches, check_shape
from ivy_models.transformers.perceiver_io.inputs import InputModality
from ivy_models.transformers.perceiver_io.inputs.grid import MIXING_STEMS
from ivy_models.transformers.perceiver_io.modality import check_names
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


@dataclass(frozen=True)
class CheckedInputs:
    """Data and mask with one batch axis, as the core takes them.

    ``batch_shape`` is what they were called with; ``grid_shape`` the axes of the inputs, None
    where there are several modalities.
    """

    data: Array | dict[str, Array]
    mask: Array | dict[str, Array] | None
    batch_shape: tuple[int, ...]
    grid_shape: tuple[int, ...] | None


def check_inputs(
    ops: Ops, spec: PerceiverIOSpec, like: Array, data: Any, mask: Any
) -> CheckedInputs:
    """Convert a model's data and mask to what its core takes.

    Parameters
    ----------
    ops
        The framework to convert to.
    spec
        The model's description.
    like
        A weight: arrays get its data type, float32 at least, and its device.
    data, mask
        As the user passed them.

    Raises
    ------
    InputError
        If one of them does not fit the model.
    """
    like = ops.widen(like)
    if spec.input_modalities is not None:
        return _check_modalities(ops, spec, like, data, mask)
    data = to_native(ops, data, "data")
    if spec.vocabulary_size is not None:
        return _check_token_inputs(ops, spec, like, data, mask)
    _check_data(ops, spec, data)
    batch_shape = ops.shape(data)[: -spec.num_input_axes - 1]
    axes = tuple(data.shape[len(batch_shape) : -1])
    data = ops.match(ops.reshape(data, (-1, *axes, spec.input_dim)), like)
    grid_shape = spec.adapter().grid_shape(axes)
    if mask is not None:
        _check_mask_is_possible(spec)
        mask = _convert_mask(ops, like, mask, "mask", batch_shape, grid_shape)
        data = _zero_where_masked(ops, data, mask, grid_shape)
    return CheckedInputs(data, mask, batch_shape, grid_shape)


def _check_token_inputs(
    ops: Ops, spec: PerceiverIOSpec, like: Array, tokens: Array, mask: Any
) -> CheckedInputs:
    _check_tokens(ops, spec, tokens)
    batch_shape, length = ops.shape(tokens)[:-1], tokens.shape[-1]
    tokens = ops.move(ops.cast(ops.reshape(tokens, (-1, length)), "int32"), like)
    if mask is not None:
        mask = _convert_mask(ops, like, mask, "mask", batch_shape, (length,))
    return CheckedInputs(tokens, mask, batch_shape, (length,))


def _check_tokens(ops: Ops, spec: PerceiverIOSpec, tokens: Array) -> None:
    check_shape(spec, tuple(tokens.shape))
    if "int" not in ops.dtype(tokens):
        raise InputError(f"data is of type {ops.dtype(tokens)}; the model takes tokens, integers.")
    if ops.is_traced(tokens):  # a program's numbers cannot be looked at
        return
    values = ops.to_numpy(tokens)
    lowest, highest = values.min(), values.max()
    if lowest < 0 or highest >= spec.vocabulary_size:
        raise InputError(
            f"data has tokens from {lowest} to {highest}; the model's are from 0 to "
            f"{spec.vocabulary_size - 1}."
        )


def _check_data(ops: Ops, spec: PerceiverIOSpec, data: Array) -> None:
    check_shape(spec, tuple(data.shape))
    if not ops.is_float(data):
        raise InputError(
            f"data is of type {ops.dtype(data)}; the model takes floats. Prepare images with "
            "the model's preprocessing, or in transformers with its image processor; or convert "
            "the array yourself if its numbers are already what the model expects."
        )


def _check_mask_is_possible(spec: PerceiverIOSpec) -> None:
    if spec.stem in MIXING_STEMS:
        raise InputError(
            f'mask is not possible with stem="{spec.stem}": it mixes neighbours, '
            "so no input of the reader belongs to one element of the data."
        )


def _convert_mask(
    ops: Ops,
    like: Array,
    mask: Any,
    name: str,
    batch_shape: tuple[int, ...],
    axes: tuple[int, ...],
) -> Array:
    """Mask (*batch, *axes); (*axes) or one row for a whole batch -> booleans (B, M)."""
    mask = to_native(ops, mask, name)
    one_row = (1,) * len(batch_shape)
    shapes = ((*batch_shape, *axes), axes, (*one_row, *axes))
    if not any(is_shape(mask.shape, shape) for shape in shapes):
        raise InputError(
            f"{name} has shape {tuple(mask.shape)}; expected {(*batch_shape, *axes)}, "
            f"or {axes} for the whole batch: True where an input takes part."
        )
    if ops.is_float(mask):
        raise InputError(
            f"{name} is of type {ops.dtype(mask)}; expected booleans, True where an input takes "
            "part."
        )
    batch, num_inputs = math.prod(batch_shape), math.prod(axes)
    mask = ops.reshape(ops.cast(mask, "bool"), (-1, num_inputs))
    return ops.move(ops.broadcast_to(mask, (batch, num_inputs)), like)


def _zero_where_masked(ops: Ops, data: Array, mask: Array, grid_shape: tuple[int, ...]) -> Array:
    """Data (B, *axes, C) without what stands at masked inputs: NaN too must not reach the sums."""
    batch, *axes, _ = ops.shape(data)
    patch_shape = [size // grid for size, grid in zip(axes, grid_shape, strict=True)]
    mask = ops.reshape(mask, [batch, *(n for grid in grid_shape for n in (grid, 1)), 1])
    spread = [batch, *(n for pair in zip(grid_shape, patch_shape, strict=True) for n in pair), 1]
    mask = ops.reshape(ops.broadcast_to(mask, spread), (batch, *axes, 1))
    return ops.where(mask, data, 0.0)


# Several modalities


def _check_modalities(
    ops: Ops, spec: PerceiverIOSpec, like: Array, data: Any, mask: Any
) -> CheckedInputs:
    modalities = {modality.name: modality for modality in spec.input_modalities}
    check_names("data", data, modalities)
    mask = {} if mask is None else mask
    check_names("mask", mask, modalities)
    arrays, batch_shapes = {}, {}
    for name in modalities:
        if name in data:
            arrays[name] = to_native(ops, data[name], name)
            batch_shapes[name] = _modality_batch_shape(ops, modalities[name], arrays[name])
    batch_shape = next(iter(batch_shapes.values()), None)
    if batch_shape is None or not all(is_shape(s, batch_shape) for s in batch_shapes.values()):
        raise InputError(f"The modalities have one batch shape in common, got {batch_shapes}.")
    converted, seen = {}, {}
    for name, modality in modalities.items():
        array, masked = arrays.get(name), mask.get(name)
        if array is None:
            _check_may_be_missing(modality, masked)
            zeros = ops.constant(np.zeros((modality.input_dim,), np.float32), like)
            array = ops.broadcast_to(zeros, (*batch_shape, modality.input_dim))
            masked = np.zeros((), bool)
        axes = tuple(array.shape[len(batch_shape) : -1])
        array = ops.reshape(array, (-1, *axes, modality.input_dim))
        converted[name] = ops.match(array, like)
        if masked is not None:
            grid_shape = modality.adapter().grid_shape(axes)
            seen[name] = _convert_mask(
                ops, like, masked, f'mask["{name}"]', batch_shape, grid_shape
            )
    return CheckedInputs(converted, seen or None, batch_shape, None)


def _modality_batch_shape(ops: Ops, modality: InputModality, array: Array) -> tuple[int, ...]:
    name, shape = modality.name, tuple(array.shape)
    axes = "".join(f"axis_{i}, " for i in range(modality.num_input_axes))
    if len(shape) < modality.num_input_axes + 1 or shape[-1] != modality.input_dim or 0 in shape:
        raise InputError(
            f"{name} has shape {shape}; expected (*batch, {axes}{modality.input_dim})."
        )
    if not ops.is_float(array):
        raise InputError(f"{name} is of type {ops.dtype(array)}; the model takes floats.")
    batch_axes = len(shape) - modality.num_input_axes - 1
    check_patches(name, shape[batch_axes:-1], modality.patch_shape)
    return ops.shape(array)[:batch_axes]


def _check_may_be_missing(modality: InputModality, mask: Any) -> None:
    """Without its data, the size of a modality with axes is not known."""
    if modality.num_input_axes:
        raise InputError(
            f"data has no {modality.name}. To hide it from the model pass it, zeros for one, "
            f'with mask={{"{modality.name}": ...}} False where its mask token is to stand.'
        )
    if mask is not None:
        raise InputError(
            f"mask has {modality.name}, but data has not; without its data it is masked."
        )
