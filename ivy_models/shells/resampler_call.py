"""The call of a resampler in every shell: convert the arguments, then run the core."""

from __future__ import annotations

from typing import Any

from ivy_models.arrays import to_native
from ivy_models.layers.parameters import Tree
from ivy_models.ops import Array, Ops
from ivy_models.transformers.perceiver_io.resampler.resample import resample
from ivy_models.transformers.perceiver_io.resampler.spec import ResamplerSpec


def converted_call(
    ops: Ops,
    spec: ResamplerSpec,
    params: Tree,
    inputs: Any,
    latents: Any = None,
    mask: Any = None,
    positions: Any = None,
    latent_positions: Any = None,
) -> Array:
    """Call :func:`.resample` on arrays of any framework.

    Raises
    ------
    InputError
        If an argument does not fit the resampler.
    """

    def native(name: str, x: Any) -> Any:
        if isinstance(x, (list, tuple)) and any(hasattr(each, "shape") for each in x):
            return [to_native(ops, each, name) for each in x]
        return None if x is None else to_native(ops, x, name)

    return resample(
        spec,
        params,
        native("inputs", inputs),
        native("latents", latents),
        native("mask", mask),
        native("positions", positions),
        native("latent_positions", latent_positions),
    )
