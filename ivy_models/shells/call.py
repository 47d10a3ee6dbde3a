"""The call of a model in every shell: check the arguments, run the core, restore batch axes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ivy_models.arrays import to_native
from ivy_models.errors import InputError
from ivy_models.layers.parameters import Tree
from ivy_models.ops import Array, Ops
from ivy_models.transformers.perceiver_io.inputs import CheckedInputs
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
    positions: Any = None,
    query_mask: Any = None,
) -> Array | dict[str, Array]:
    """Run a core on a user's arguments.

    Parameters
    ----------
    ops
        The framework of the weights.
    spec
        The model's description.
    run
        A :class:`.PerceiverIOCore`, or a function that calls it:
        ``run(params, data, mask, queries, dropout_key)``. The last argument is passed only if it
        is not None.
    params
        Weights, native arrays.
    data, mask, queries, positions, query_mask
        As in a call of :class:`.PerceiverIO`.
    dropout_key
        In training, the key of :meth:`.Ops.dropout`.

    Returns
    -------
    Array or dict
        Native arrays with the shapes of a call of :class:`.PerceiverIO`.

    Raises
    ------
    InputError
        If an argument does not fit the model.
    """
    arguments = data, mask, queries, dropout_key, positions, query_mask
    try:
        with ops.on_device_of(params["latents"]):
            return ops.as_written(_checked_call)(ops, spec, run, params, *arguments)
    except ops.open_size_errors as error:
        raise InputError(
            "The program leaves open a size that the model must know. Fix the sizes of the data to "
            'numbers, or state what holds for them, such as export.SymbolicScope(["length <= '
            f'512"]) of JAX: {error}'
        ) from error


def _checked_call(ops, spec, run, params, data, mask, queries, dropout_key, positions, query_mask):
    like = params["latents"]
    inputs = check_inputs(ops, spec, like, data, mask, positions)
    shapes = inputs.batch_shape, inputs.grid_shape
    queries, axes = check_queries(ops, spec, like, queries, *shapes, query_mask)
    key = () if dropout_key is None else (dropout_key,)
    output = run(params, inputs.data, inputs.mask, queries, *key)
    return with_axes(ops, output, inputs.batch_shape, axes)


def check_inputs(
    ops: Ops, spec: PerceiverIOSpec, like: Array, data: Any, mask: Any, positions: Any = None
) -> CheckedInputs:
    """Convert a call's arguments about inputs to the core's; see :meth:`.InputKind.check`."""
    kind = spec.input()
    data = kind.with_positions(data, positions)
    return kind.check(ops, ops.widen(like), data, mask, functools.partial(to_native, ops))


def check_queries(
    ops: Ops,
    spec: PerceiverIOSpec,
    like: Array,
    queries: Any,
    batch_shape: tuple[int, ...],
    grid_shape: tuple[int, ...] | dict[str, tuple[int, ...]] | None,
    query_mask: Any = None,
) -> tuple[Any, Any]:
    """Convert a call's queries to the core's arguments; see :meth:`.Queries.check`."""
    convert, kind = functools.partial(to_native, ops), spec.queries()
    queries = kind.with_mask(queries, query_mask)
    return kind.check(ops, like, queries, batch_shape, grid_shape, convert)


def with_axes(ops: Ops, output: Any, batch_shape: tuple, axes: Any) -> Any:
    """Reshape outputs with one batch axis to (*batch, *axes, channels), for each modality."""
    if isinstance(output, dict):
        return {name: with_axes(ops, output[name], batch_shape, axes[name]) for name in output}
    return ops.reshape(output, (*batch_shape, *axes, ops.shape(output)[-1]))
