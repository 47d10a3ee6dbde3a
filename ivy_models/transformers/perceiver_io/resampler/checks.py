"""Checks of a call's arguments."""

from __future__ import annotations

from itertools import repeat
from typing import Any, NamedTuple

from ivy_models.errors import InputError
from ivy_models.ops import Array, Ops, is_shape
from ivy_models.transformers.perceiver_io.resampler.attention import Source
from ivy_models.transformers.perceiver_io.resampler.spec import ResamplerSpec


class Call(NamedTuple):
    """The arguments of a call."""

    latents: Array
    """(B, N, D)."""
    latent_positions: Array | None
    """(B, N) or (1, N), at least float32."""
    sources: list[Source]
    """The inputs, one for each layer, or one for all."""


def checked(
    ops: Ops,
    spec: ResamplerSpec,
    like: Array,
    learned: Array | None,
    inputs: Any,
    latents: Any,
    mask: Any,
    positions: Any,
    latent_positions: Any,
) -> Call:
    """Check the arguments of :func:`.resample`, and convert them to the data type of ``like``.

    Parameters
    ----------
    learned
        The learned latents (N, D), if any.
    """
    several = isinstance(inputs, (list, tuple))
    if several and len(inputs) != spec.num_layers:
        raise InputError(
            f"inputs is a list of {len(inputs)} arrays; expected one array, or a list of "
            f"num_layers={spec.num_layers}, one for each cross-attention."
        )
    masks, places = (_one_each(name, x, inputs) for name, x in
                     (("mask", mask), ("positions", positions)))  # fmt: skip
    sources = [
        _source(ops, spec, like, *each)
        for each in zip(inputs if several else [inputs], masks, places, strict=False)
    ]
    sizes = [ops.known_shape(source.array)[0] for source in sources]
    if len({size for size in sizes if size is not None}) > 1:
        raise InputError(f"inputs have batches of {sizes}; expected one size.")
    batch = ops.shape(sources[0].array)[0]
    latents = _latents(ops, spec, like, learned, latents, sizes[0])
    latents = ops.broadcast_to(latents, (batch, *ops.shape(latents)[1:]))
    places = _positions(ops, spec, "latent_positions", latent_positions, latents)
    return Call(latents, places, sources)


def _one_each(name: str, x: Any, inputs: Any) -> Any:
    """The mask or positions of each input."""
    if not isinstance(x, (list, tuple)):
        return repeat(x)
    if not isinstance(inputs, (list, tuple)) or len(x) != len(inputs):
        raise InputError(
            f"{name} is a list of {len(x)} arrays; expected one array, or with a list of inputs "
            "a list of as many."
        )
    return x


def _source(
    ops: Ops, spec: ResamplerSpec, like: Array, inputs: Any, mask: Any, positions: Any
) -> Source:
    _check_floats(ops, "inputs", inputs)
    sizes = ops.known_shape(inputs, spec.input_dim)
    if len(sizes) != 3 or sizes[-1] != spec.input_dim or 0 in sizes:
        raise InputError(f"inputs has shape {sizes}; expected (B, M, {spec.input_dim}).")
    inputs = ops.match(inputs, like)
    if mask is not None:
        _check_array(ops, "mask", mask)
        shape, dtype = ops.known_shape(mask), ops.dtype(mask)
        if not is_shape(shape, sizes[:-1]) or "bool" not in dtype:
            raise InputError(
                f"mask has shape {shape} and type {dtype}; expected booleans {sizes[:-1]}, True "
                "where an input is read."
            )
        mask = ops.move(mask, like=inputs)
        inputs = ops.where(mask[..., None], inputs, 0.0)  # NaN there must not reach the sums
    return Source(inputs, mask, _positions(ops, spec, "positions", positions, inputs))


def _latents(
    ops: Ops, spec: ResamplerSpec, like: Array, learned: Any, latents: Any, batch: int | None
) -> Array:
    if (latents is None) == (spec.num_latents is None):
        raise InputError(
            "latents are missing: the spec has no num_latents, so each call passes them."
            if latents is None
            else f"latents were passed, but the spec has num_latents={spec.num_latents} learned "
            "ones. Leave them out, or describe a resampler with num_latents=None."
        )
    if latents is None:
        assert learned is not None
        return learned[None]
    _check_floats(ops, "latents", latents)
    sizes = ops.known_shape(latents, spec.latent_dim)
    shapes = [(size, *sizes[1:2], spec.latent_dim) for size in (batch, 1)]
    if len(sizes) != 3 or 0 in sizes or not any(is_shape(sizes, shape) for shape in shapes):
        raise InputError(
            f"latents has shape {sizes}; expected ({batch}, N, {spec.latent_dim}), or "
            f"(1, N, {spec.latent_dim}) for the whole batch."
        )
    return ops.match(latents, like)


def _positions(ops: Ops, spec: ResamplerSpec, name: str, positions: Any, of: Array) -> Any:
    """Positions of an array (B, M, C), as (B, M) or (1, M)."""
    if (positions is None) != (spec.rotary_dim is None):
        raise InputError(
            f"{name} is missing: the spec has rotary_dim={spec.rotary_dim}, so each call passes it."
            if positions is None
            else f"{name} was passed, but the spec has no rotary_dim, so positions have no effect."
        )
    if positions is None:
        return None
    _check_array(ops, name, positions)
    sizes, (batch, length, _) = ops.known_shape(positions), ops.known_shape(of)
    dtype = ops.dtype(positions)
    fits = any(is_shape(sizes, shape) for shape in ((batch, length), (length,)))
    if not fits or not ("float" in dtype or "int" in dtype):
        raise InputError(
            f"{name} has shape {sizes} and type {dtype}; expected numbers ({batch}, {length}), or "
            f"({length},) for the whole batch."
        )
    wide = "float64" if "float64" in (dtype, ops.dtype(of)) else "float32"
    positions = ops.move(ops.cast(positions, wide), of)
    return positions if len(sizes) == 2 else positions[None]


def _check_floats(ops: Ops, name: str, x: Any) -> None:
    _check_array(ops, name, x)
    if not ops.is_float(x):
        raise InputError(f"{name} is of type {ops.dtype(x)}; expected floats.")


def _check_array(ops: Ops, name: str, x: Any) -> None:
    if not ops.is_array(x):
        raise InputError(
            f"{name} is a {type(x).__name__}; expected an array of {ops.name}, as the weights."
        )
