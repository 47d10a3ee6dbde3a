"""Models as ONNX files, which a runtime executes without this library and its frameworks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from spox import Tensor, argument, build
from spox._future import TypeWarningLevel, type_warning_level

from ivy_models import __version__
from ivy_models.base.atomic_files import replaced
from ivy_models.base.paths import user_path
from ivy_models.checkpoints.folder import config_text
from ivy_models.checkpoints.onnx_file import CONFIG, write_sealed
from ivy_models.checkpoints.onnx_weights import serialized
from ivy_models.errors import InputError, WeightsError
from ivy_models.layers.parameters import Tree, flatten, unflatten
from ivy_models.ops.onnx_loops import hoist, used_by
from ivy_models.ops.onnx_ops import OnnxArray, OnnxOps
from ivy_models.shells.call import checked_call
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.inputs.base import OpenAxes
from ivy_models.transformers.perceiver_io.modality import check_names
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

Shape = OpenAxes | Mapping[str, OpenAxes]

IR_VERSION = 10
"""Version of the file format: the first for operator set 20, so that most runtimes read it."""

MAX_BYTES = 2**31
"""Upper bound of protobuf on the size of a file."""


def export(
    path: str | Path,
    spec: PerceiverIOSpec,
    weights: Tree,
    task: Mapping[str, Any],
    shape: Any = None,
    mask: bool = False,
) -> None:
    """Write a model as an ONNX file; see :meth:`.PerceiverIO.to_onnx`."""
    named = {f"weights.{name}": np.asarray(x, np.float32) for name, x in flatten(weights)}
    size = sum(weight.nbytes for weight in named.values())
    if size >= MAX_BYTES:
        raise WeightsError(f"The weights have {size:,} bytes; an ONNX file holds less than 2 GiB.")
    model = graph(spec, {name: weight.shape for name, weight in named.items()}, shape, mask)
    used = {name for node in model.graph.node for name in used_by(node)}
    named = {name: weight for name, weight in named.items() if name in used}
    model.producer_name, model.producer_version = "ivy_models", __version__
    onnx.helper.set_model_props(model, {CONFIG: config_text(spec, task)})
    path = user_path(path)
    try:
        with replaced(path) as temporary:
            write_sealed(temporary, serialized(model, named))
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror}.") from error


def graph(
    spec: PerceiverIOSpec,
    weights: Mapping[str, tuple[int, ...]],
    shape: Any = None,
    mask: bool = False,
) -> onnx.ModelProto:
    """Build the graph of a call, without the numbers of its weights.

    Parameters
    ----------
    weights
        Shapes of the weights by their names in the graph, such as ``weights.latents``.
    shape, mask
        As :meth:`.PerceiverIO.to_onnx` takes them.

    Raises
    ------
    InputError
        If data of this shape do not fit the model.
    """
    kind = spec.input()
    shape = _checked_shape(kind.open_shape(), shape)
    (batch, *more), axes = kind.split_shape(shape)
    if more:
        raise InputError(f"An exported model has one batch axis; got the shape {shape}.")
    inputs: dict[str, Any] = {}

    def given(name: str, dtype: Any, sizes: Any) -> Any:
        """An argument of the graph, or a dict of them by modality. None: the data's type."""
        if isinstance(sizes, Mapping):
            return {part: given(f"{name}.{part}", dtype, s) for part, s in sizes.items()}
        if dtype is None:
            dtype = np.int64 if kind.takes_tokens(name.partition(".")[2]) else np.float32
        named = [f"{name}_{i}" if size is None else size for i, size in enumerate(sizes)]
        named[0] = "batch" if sizes[0] is None else sizes[0]
        inputs[name] = argument(Tensor(dtype, tuple(named)))
        return OnnxArray(inputs[name], sizes)

    data = {name: given(name, None, sizes) for name, sizes in kind.by_argument(shape).items()}
    seen = given("mask", np.bool_, _map_shapes(lambda s: (batch, *s), axes)) if mask else None
    queries = spec.queries().argument_shape() if spec.with_decoder else None
    if queries is not None:
        queries = given("queries", np.float32, (batch, *queries))
    ops, core = OnnxOps(), PerceiverIOCore(spec)
    params = {name: argument(Tensor(np.float32, sizes)) for name, sizes in weights.items()}
    tree = unflatten(
        {
            name.removeprefix("weights."): OnnxArray(var, weights[name])
            for name, var in params.items()
        }
    )
    with type_warning_level(TypeWarningLevel.NONE):  # OnnxArray knows the shapes that spox does not
        output = checked_call(ops, spec, core, tree, **data, mask=seen, queries=queries)
    results = output if isinstance(output, dict) else {"": output}
    outputs = {f"output.{name}" if name else "output": x.var for name, x in results.items()}
    model = build(inputs | params, outputs)
    hoist(model.graph)
    arguments = [x for x in model.graph.input if x.name not in params]
    del model.graph.input[:]
    model.graph.input.extend(arguments)
    model.ir_version = IR_VERSION
    return model


def _checked_shape(open_shape: Shape, shape: Any) -> Any:
    """The shape that was asked for: by modality if there are several. None: every size is open."""
    if shape is None:
        return _map_shapes(lambda sizes: (None, *sizes), open_shape)
    by_modality = isinstance(open_shape, Mapping)
    if isinstance(shape, Mapping) != by_modality:
        expected = f"a mapping of {', '.join(open_shape)}" if by_modality else "a sequence of sizes"
        raise InputError(f"shape must be {expected}, got {shape!r}.")
    if by_modality:
        check_names("shape", shape, open_shape)
        return {name: _checked_shape(open_shape[name], sizes) for name, sizes in shape.items()}
    return _checked_sizes(shape)


def _checked_sizes(sizes: Any) -> tuple:
    sizes = tuple(sizes) if isinstance(sizes, Sequence) else (sizes,)
    if not all(size is None or (isinstance(size, Integral) and int(size) > 0) for size in sizes):
        raise InputError(f"shape holds sizes, and None for those to leave open; got {sizes}.")
    return tuple(None if size is None else int(size) for size in sizes)


def _map_shapes(function: Callable[[Sequence], tuple], shapes: Any) -> Any:
    if isinstance(shapes, Mapping):
        return {name: _map_shapes(function, shape) for name, shape in shapes.items()}
    return function(shapes)
