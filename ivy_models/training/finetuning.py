"""Helpers for fine-tuning that the frameworks do not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ivy_models.arrays import unwrap
from ivy_models.errors import SpecError
from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.ops import ops_for
from ivy_models.preprocessing import ImagePreprocessing
from ivy_models.shells.part_names import tree_name
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOSpec
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

__all__ = ["layer_wise_scales", "resize_positions", "tree_name"]

POSITIONS = "input/positions"


def layer_wise_scales(spec: PerceiverIOSpec, decay: float) -> dict[str, float]:
    """Scale the learning rate of each weight, smaller towards the input.

    Layer-wise learning rate decay (arXiv 2003.10555, section 3.1; as in BEiT, arXiv 2106.08254).
    Decoder, queries and heads get 1, and the last self-attention layer gets ``decay``. Each earlier
    layer gets another factor of ``decay``. Reader, latents and input get the smallest scale.

    Parameters
    ----------
    spec
        The model's description. Layers that share weights count once.
    decay
        Ratio of a layer's scale to that of the next layer, in (0, 1].

    Returns
    -------
    dict
        The scale of each weight, by its name in the parameter tree.

    Raises
    ------
    SpecError
        If the decay is outside (0, 1].
    """
    if not 0 < decay <= 1:
        raise SpecError(f"decay must be in (0, 1], got {decay!r}.")
    names = [name for name, _ in flatten(PerceiverIOCore(spec).parameters())]
    layers = dict.fromkeys(_layer(name) for name in names if name.startswith("processor/"))
    depths = {layer: depth for depth, layer in enumerate(layers, 1)}

    def depth(name):
        if name.startswith(("decoder/", "queries", "outputs/")):
            return len(layers) + 1
        return depths.get(_layer(name), 0)

    return {name: decay ** (len(layers) + 1 - depth(name)) for name in names}


def _layer(name: str) -> tuple[str, ...]:
    """The layer of the processor that a weight belongs to: ("processor", "layer_0", ...)."""
    return tuple(name.split("/")[:3])


def resize_positions(model: PerceiverIO, shape: Sequence[int]) -> PerceiverIO:
    """Copy a model with learned positions for data of another size, such as larger images.

    The positions are interpolated linearly along each axis, between the centres of the old
    cells. Fourier positions need no resizing, because they are computed for any size.

    Parameters
    ----------
    model
        A model with ``learned_position_shape`` that does not read tokens.
    shape
        The new ``learned_position_shape``, such as (384, 384).

    Returns
    -------
    PerceiverIO
        A new model. Its preprocessing resizes images to the new shape.

    Raises
    ------
    SpecError
        If the model has no learned positions, reads tokens, or does not fit the shape.
    """
    old_shape = model.spec.learned_position_shape
    if old_shape is None or model.spec.vocabulary_size is not None:
        raise SpecError(
            "The model has no learned positions on a grid that could be resized. Fourier positions "
            "fit data of any size; positions beyond a text model's length were never trained."
        )
    new_shape = tuple(shape)
    spec = model.spec.replace(learned_position_shape=new_shape)
    weights = dict(flatten(model.v))
    positions = unwrap(weights[POSITIONS])
    ops = ops_for(positions)
    table = ops.to_numpy(ops.detach(positions)).reshape(*old_shape, -1)
    for axis, (old, new) in enumerate(zip(old_shape, new_shape, strict=True)):
        table = np.moveaxis(np.tensordot(_linear(old, new), table, (1, axis)), 0, axis)
    weights[POSITIONS] = table.reshape(-1, table.shape[-1]).astype(np.float32)
    resized = PerceiverIO(spec, v=unflatten(weights))
    resized.labels, resized.preprocessing = model.labels, model.preprocessing
    if isinstance(model.preprocessing, ImagePreprocessing):
        resized.preprocessing = replace(model.preprocessing, size=spec.learned_position_shape)
    return resized


def _linear(old: int, new: int) -> np.ndarray:
    """Matrix (new, old) for linear interpolation between the centres of ``old`` cells."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    return np.stack([np.interp(centres, np.arange(old), row) for row in np.eye(old)], 1)
