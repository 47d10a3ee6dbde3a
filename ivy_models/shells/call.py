"""What every shell around the core does in a call: check, run, and give outputs their axes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ivy_models.arrays import to_native
from ivy_models.ops import Array, Ops
from ivy_models.transformers.perceiver_io.inputs import CheckedInputs
from ivy_models.transformers.perceiver_io.parameters import Tree
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


def checked_call(
    ops: Ops,
    spec: PerceiverIOSpec,
    run: Callable[..., Any],
    params: Tree,
    data: Any,
    mask: Any = None,
    queries: Any = None,
    dropout_key: Any = None,
) -> Array | dict[str, Array]:
    """Run a core on a user's arguments.

    Parameters
    ----------
    ops
        The framework of the weights.
    spec
        The model's description.
    run
        A :class:`.PerceiverIOCore`, or what calls it:
        ``run(params, data, mask, queries, dropout_key)``, the last one only if it is not None.
    params
        Weights, native arrays.
    data, mask, queries
        As :class:`.PerceiverIO` takes them.
    dropout_key
        In training, what dropout draws from, as :meth:`.Ops.dropout` takes it.

    Returns
    -------
    Array or dict
        Native arrays of the shapes that :class:`.PerceiverIO` gives.

    Raises
    ------
    InputError
        If an argument does not fit the model.
    """
    like = params["latents"]
    inputs = check_inputs(ops, spec, like, data, mask)
    queries, axes = check_queries(ops, spec, like, queries, inputs.batch_shape, inputs.grid_shape)
    key = () if dropout_key is None else (dropout_key,)
    output = run(params, inputs.data, inputs.mask, queries, *key)
    return with_axes(ops, output, inputs.batch_shape, axes)


def check_inputs(
    ops: Ops, spec: PerceiverIOSpec, like: Array, data: Any, mask: Any
) -> CheckedInputs:
    """Convert a call's data and mask to what the core takes; see :meth:`.InputKind.check`."""
    return spec.input().check(ops, ops.widen(like), data, mask, functools.partial(to_native, ops))


def check_queries(
    ops: Ops,
    spec: PerceiverIOSpec,
    like: Array,
    queries: Any,
    batch_shape: tuple[int, ...],
    grid_shape: tuple[int, ...] | dict[str, tuple[int, ...]] | None,
) -> tuple[Any, Any]:
    """Convert a call's queries to what the core takes; see :meth:`.Queries.check`."""
    convert = functools.partial(to_native, ops)
    return spec.queries().check(ops, like, queries, batch_shape, grid_shape, convert)


def with_axes(ops: Ops, output: Any, batch_shape: tuple, axes: Any) -> Any:
    """Outputs with one batch axis -> (*batch, *axes, channels), by modality where several."""
    if isinstance(output, dict):
        return {name: with_axes(ops, output[name], batch_shape, axes[name]) for name in output}
    return ops.reshape(output, (*batch_shape, *axes, output.shape[-1]))
