"""Checks of the data's shape alone, before there are data."""

from __future__ import annotations

from ivy_models.errors import InputError
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


def check_shape(spec: PerceiverIOSpec, shape: tuple[int, ...]) -> None:
    """Check the shape of a model's data, (*batch, *axes, input_dim) or tokens' (*batch, length).

    Raises
    ------
    InputError
        If it does not fit the model.
    """
    (_check_tokens if spec.vocabulary_size is not None else _check_grid)(spec, shape)


def check_patches(name: str, size: tuple[int, ...], patch_shape: tuple[int, ...] | None) -> None:
    """Check that axes are multiples of the patches'.

    Raises
    ------
    InputError
        If one of them is not.
    """
    if patch_shape and any(s % p for s, p in zip(size, patch_shape, strict=True)):
        raise InputError(
            f"{name} has axes {size}, which are no multiples of the patches' {patch_shape}. "
            "Crop or pad it."
        )


def _check_tokens(spec: PerceiverIOSpec, shape: tuple[int, ...]) -> None:
    (max_length,) = spec.learned_position_shape
    if not shape or 0 in shape:
        raise InputError(f"data has shape {shape}; expected tokens (*batch, length), at least one.")
    if shape[-1] > max_length:
        raise InputError(
            f"data has {shape[-1]} tokens; the model has positions for {max_length}. Truncate or "
            "split the sequence."
        )


def _check_grid(spec: PerceiverIOSpec, shape: tuple[int, ...]) -> None:
    axes = ", ".join(f"axis_{i}" for i in range(spec.num_input_axes))
    expected = f"(*batch, {axes}, {spec.input_dim})"
    if len(shape) < spec.num_input_axes + 1:
        raise InputError(f"data has shape {shape}; expected {expected}: it has too few axes.")
    if shape[-1] != spec.input_dim:
        hint = ""
        if spec.input_dim in shape:
            hint = " The channels go last."
        raise InputError(
            f"data has shape {shape}, {shape[-1]} channels; expected {expected}, "
            f"{spec.input_dim} channels.{hint}"
        )
    if 0 in shape:
        raise InputError(f"data has shape {shape}, which holds nothing; expected {expected}.")
    size = shape[-spec.num_input_axes - 1 : -1]
    if spec.stem == "frame_pair" and size[0] != 2:
        raise InputError(
            f"data has shape {shape}; expected two frames, (*batch, 2, height, width, "
            f"{spec.input_dim})."
        )
    check_patches("data", size, spec.patch_shape)
    positions, size = spec.learned_position_shape, spec.adapter().grid_shape(size)
    if 0 in size:
        raise InputError(
            f'data has shape {shape}; with stem="{spec.stem}" each axis has 5 elements at least.'
        )
    if positions is not None and size != positions:
        raise InputError(
            f"The model has learned positions for inputs of size {positions}; got {size}. "
            "Resize the data, or build the model with another learned_position_shape."
        )
