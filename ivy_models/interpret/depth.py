"""The latents of a model after each block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.arrays import to_ivy
from ivy_models.interpret.attention_maps import layer_by_layer
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
import ivy

if TYPE_CHECKING:
    from ivy_models.shells.ivy import PerceiverIO


@np.errstate(all="ignore")
def latents_over_depth(
    model: PerceiverIO, data: Any, mask: Any = None, positions: Any = None
) -> tuple[ivy.Array, ...]:
    """Return the latents after the reader, and after each block of the processor.

    Parameters
    ----------
    model
        A ``PerceiverIO``.
    data, mask, positions
        As in a call of the model.

    Returns
    -------
    tuple of ivy.Array
        ``network_depth`` + 1 arrays (*batch, N, D) of the current backend. The one at index
        ``depth`` > 0 equals ``model.encode(data, mask, depth=depth)``. Decoded, it shows what a
        call with fewer blocks loses (an early exit, arXiv 2511.18105). If the latents read the
        inputs again before each block, the block's array includes that read.

    Raises
    ------
    InputError, BackendError
        For the same reasons as a call of the model.
    """
    ops, spec, params, inputs = layer_by_layer(model, data, mask, positions)
    block, states = spec.processor(), []

    def process(weights, latents):
        if not states:
            states.append(latents)
        states.append(block(weights, latents))
        return states[-1]

    with ops.on_device_of(params["latents"]):
        PerceiverIOCore(spec, processor=process).encode(params, inputs.data, inputs.mask)
        shape = (*inputs.batch_shape, spec.num_latents, spec.latent_dim)
        return tuple(to_ivy(ops, ops.reshape(latents, shape)) for latents in states)
