"""Costs of each part of a model: parameters, floating-point operations and memory.

The model itself runs on arrays that have only shapes (:mod:`ivy_models.ops.shape_ops`). So the
counts are those of the actual computation, including the choices of reader and decoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ivy_models.errors import InputError
from ivy_models.layers.parameters import count, flatten, map_tree
from ivy_models.ops.shape_ops import BYTES, ShapeArray, Tally
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

PARTS = {
    "input adapter": ("input",),
    "reader": ("latents", "reader"),
    "processor": ("processor",),
    "decoder": ("queries", "decoder", "outputs"),
}
"""Branches of the weights of each part."""

MAX_NUMBERS = 1 << 26
"""Upper bound on the numbers of position features, which are computed for any spec."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """The costs of a part of a model, or of a whole model.

    Parameters
    ----------
    parameters
        Trainable weights.
    weight_bytes
        Memory of all weights, also those that training does not change.
    flops
        Floating-point operations of the matrix products and convolutions of a call; a
        multiply-add counts as two. Elementwise operations are not counted.
    plain_flops
        The same if all attention is computed as in the paper, with all queries, keys, values and
        scores.
    call_bytes
        Peak memory of the arrays of a call, without weights and data. Temporary memory of a
        framework's kernels and savings by its compiler are not included.
    """

    parameters: int
    weight_bytes: int
    flops: int
    plain_flops: int
    call_bytes: int


def model_costs(
    spec: PerceiverIOSpec, shape: Shape | Mapping[str, Shape], batch: int = 1
) -> dict[str, Cost]:
    """Count the costs of a call of a model, without weights and without a framework.

    Parameters
    ----------
    spec
        The model's description.
    shape
        Shape of the data of one batch element: (*axes, input_dim), or (length,) for tokens; with
        ``input_modalities`` a dict by modality; with ``num_position_axes`` a dict of "data" and
        "positions".
    batch
        B, the batch size.

    Returns
    -------
    dict
        The costs of each of ``PARTS``, and their "total".

    Raises
    ------
    InputError
        If each call passes queries and the spec has no ``query_shape`` for their number, or if
        the positions have more than ``MAX_NUMBERS`` numbers.
    """
    if spec.num_position_axes is None:  # else features are not computed here
        _check_positions(spec, shape)
    tally = _run(PerceiverIOCore(spec), shape, batch)
    plain = PerceiverIOCore(spec, plain_reader=True, plain_decoder=True)
    plain_tally = _run(plain, shape, batch)
    tree, costs = plain.parameters(), {}
    for part, branches in PARTS.items():
        weights = {name: tree[name] for name in branches if name in tree}
        numbers = sum(math.prod(parameter.shape) for _, parameter in flatten(weights))
        costs[part] = Cost(
            count(weights),
            numbers * BYTES[spec.dtype],
            tally.flops[part],
            plain_tally.flops[part],
            tally.peak[part],
        )
    parts = costs.values()
    costs["total"] = Cost(
        sum(cost.parameters for cost in parts),
        sum(cost.weight_bytes for cost in parts),
        sum(cost.flops for cost in parts),
        sum(cost.plain_flops for cost in parts),
        max(cost.call_bytes for cost in parts),
    )
    return costs


def _check_positions(spec: PerceiverIOSpec, shape: Shape | Mapping[str, Shape]) -> None:
    """Limit the memory that a small untrusted file can cause to be used."""
    shapes = shape.values() if isinstance(shape, Mapping) else [shape]
    # Upper bound: all channels for every axis. Features of coordinates are not computed here.
    axes = [(sum(s), spec.encoded_dim) for s in shapes if not isinstance(s, Mapping)]
    axes += [(sum(m.query_shape), m.query_dim) for m in spec.output_modalities or ()]
    if max((positions * channels for positions, channels in axes), default=0) > MAX_NUMBERS:
        raise InputError(
            "The positions along the axes of data or queries have more than "
            f"{MAX_NUMBERS:,} numbers, which is MAX_NUMBERS of {__name__}: too many to count with."
        )


def _run(core: PerceiverIOCore, shape: Any, batch: int) -> Tally:
    """Run the core on shapes, and count its operations and memory."""
    spec, tally = core.spec, Tally()
    params = map_tree(lambda p: ShapeArray(p.shape, spec.dtype, tally), core.parameters())
    wide = "float64" if spec.dtype == "float64" else "float32"

    def array(shape: Shape, name: str = "data") -> ShapeArray:
        dtype = "int32" if spec.input().takes_tokens(name) else wide
        return ShapeArray((batch, *shape), dtype, tally)

    def arrays(shape: Any, name: str = "data") -> Any:
        if isinstance(shape, Mapping):
            return {name: arrays(s, name) for name, s in shape.items()}
        return array(shape, name)

    data = arrays(shape)
    queries = None
    if (query_shape := spec.queries().call_shape()) is not None:
        queries = ShapeArray((batch, *query_shape), wide, tally)
    tally.restart()

    block = spec.processor()

    def processor(weights, latents):
        with tally.part("processor"):
            return block(weights, latents)

    core = replace(core, processor=processor)
    with tally.part("input adapter"):
        inputs, mask = core.adapt(params, data, None)
    with tally.part("reader"):
        latents = core.to_latents(params, inputs, mask)
    if spec.with_decoder:
        with tally.part("decoder"):
            core.to_outputs(params, latents, queries, inputs, mask)
    return tally
