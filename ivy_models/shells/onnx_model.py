"""Models that an engine runs from an ONNX file, without a framework."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.base.paths import user_path
from ivy_models.checkpoints.attributes import ATTRIBUTES, attributes_from_json, checked_attribute
from ivy_models.checkpoints.files import parse_json
from ivy_models.checkpoints.folder import split_config
from ivy_models.checkpoints.onnx_file import read_sealed
from ivy_models.errors import BackendError, InputError, IvyModelsError, WeightsError, did_you_mean
from ivy_models.layers.parameters import map_tree
from ivy_models.ops import ops_named
from ivy_models.preprocessing.targets import Target
from ivy_models.shells.call import checked_call
from ivy_models.shells.engines import ENGINES, Feeds


class OnnxModel:
    """A model in an ONNX file that :meth:`.PerceiverIO.to_onnx` wrote.

    It computes in ONNX Runtime or OpenVINO on the CPU, and needs neither a framework nor Ivy's
    backends. :func:`.classify`, :func:`.fill_mask` and :func:`.estimate_flow` take it in place of a
    ``PerceiverIO``. Several threads may call it.

    Parameters
    ----------
    path
        The file.
    engine
        "onnxruntime" or "openvino".
    dtype
        Type of the computation: "float32", or "bfloat16" in OpenVINO on a processor that has it.

    Attributes
    ----------
    spec : PerceiverIOSpec
        The model's description.
    preprocessing, labels, targets, tokenizer
        As in ``PerceiverIO``.

    Raises
    ------
    BackendError
        If there is no such engine, it is not installed, or it does not compute in ``dtype``.
    WeightsError, SpecError
        If the file cannot be read, was not written by this library, was written with another
        version of its format, is damaged, or does not run in the engine.
    """

    preprocessing: Any = None
    labels: tuple[str, ...] | None = None
    targets: tuple[Target, ...] | None = None
    tokenizer: Any = None

    def __init__(self, path: str | Path, engine: str = "onnxruntime", *, dtype: str = "float32"):
        if engine not in ENGINES:
            raise BackendError(f"There is no engine {engine!r}. {did_you_mean(engine, ENGINES)}")
        path = user_path(path)
        content = read_sealed(path)
        try:
            self._engine = ENGINES[engine](content, dtype)
        except IvyModelsError:
            raise
        except Exception as error:  # engines have error classes of their own
            raise WeightsError(f"{path} does not run in {engine}: {_last_line(error)}") from error
        config = parse_json(self._engine.config.encode(), path)
        spec, task = split_config(config, str(path))
        self.path, self.spec = path, spec.replace(dtype=dtype)
        for name, value in attributes_from_json(task, str(path)).items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, checked_attribute(name, value) if name in ATTRIBUTES else value)

    def __repr__(self) -> str:
        return f"OnnxModel({str(self.path)!r}, {self._engine.name!r}, dtype={self.spec.dtype!r})"

    @np.errstate(all="ignore")
    def __call__(
        self, data: Any, mask: Any = None, queries: Any = None, positions: Any = None
    ) -> Any:
        """Run the model.

        If the file fixes the batch size B, the engine is called as often as needed.

        Parameters
        ----------
        data, mask, queries, positions
            As in a call of ``PerceiverIO``. With ``output_modalities`` there are no
            ``queries``, because the file decodes all outputs.

        Returns
        -------
        numpy.ndarray or dict
            Float32, with the shapes of a call of ``PerceiverIO``.

        Raises
        ------
        InputError
            If an argument does not fit the model, or the sizes and arguments that the file was
            exported for.
        BackendError
            If the engine fails.
        """
        if queries is not None and self.spec.output_modalities is not None:
            raise InputError(f"{self.path} decodes all outputs: leave out queries.")
        like = {"latents": np.zeros((), np.float32)}
        arguments = data, mask, queries, None, positions
        return checked_call(ops_named("numpy"), self.spec, self._run, like, *arguments)

    def encode(self, *arguments: Any, **named: Any) -> Any:
        """Refuse: an exported graph runs as a whole.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            f"{self.path} only runs as a whole, so it cannot encode without decoding. Call the "
            "model that it was exported from."
        )

    def _run(self, params: Any, data: Any, mask: Any, queries: Any) -> Any:
        """Do what the core does with checked arguments, which have one batch axis."""
        feeds = self._feeds(data, mask, queries)
        batch = max(len(array) for array in feeds.values())
        feeds = {n: np.broadcast_to(x, (batch, *x.shape[1:])) for n, x in feeds.items()}
        fixed = self._engine.input_shapes["data" if "data" in feeds else next(iter(feeds))][0]
        outputs = self._in_batches(feeds, batch, fixed or batch)
        if self.spec.output_modalities is None:
            return outputs["output"]
        return {name.removeprefix("output."): array for name, array in outputs.items()}

    def _feeds(self, data: Any, mask: Any, queries: Any) -> dict[str, np.ndarray]:
        """The graph's inputs from the arguments of the core."""
        kind = self.spec.input()
        feeds = dict(_by_name(kind.by_argument(kind.unmapped(data))))
        if any(name.split(".")[0] == "mask" for name in self._engine.input_shapes):
            shapes = map_tree(np.shape, data) if isinstance(data, dict) else data.shape
            _, axes = kind.split_shape(shapes)
            feeds |= _by_name({"mask": _masks(mask, len(next(iter(feeds.values()))), axes)})
        elif mask is not None:
            raise InputError(
                f"{self.path} takes no mask, which hides inputs and modalities that are left out. "
                "Export the model with mask=True."
            )
        if queries is not None and self.spec.output_modalities is None:
            sizes = self._engine.input_shapes["queries"][1:]
            queries = queries.reshape(len(queries), *(size or -1 for size in sizes))
            feeds["queries"] = _of_graph(self.spec.queries().unmapped(queries))
        for name, array in feeds.items():
            expected = self._engine.input_shapes.get(name, ())
            pairs = zip(array.shape[1:], expected[1:], strict=False)
            if len(array.shape) != len(expected) or any(b not in (None, a) for a, b in pairs):
                raise InputError(
                    f"{name} has shape {array.shape}, batch first; {self.path} was exported for "
                    f"{_shown(expected)}. Export the model for this shape or for any size."
                )
        return feeds

    def _in_batches(self, feeds: Feeds, batch: int, size: int) -> dict[str, np.ndarray]:
        """Run the engine on ``size`` elements at a time; the last ones are repeated if needed."""
        parts = []
        for start in range(0, batch, size):
            rows = np.minimum(np.arange(start, start + size), batch - 1)
            part = feeds if size == batch else {name: x[rows] for name, x in feeds.items()}
            try:
                parts.append(self._engine({n: np.ascontiguousarray(x) for n, x in part.items()}))
            except Exception as error:  # engines have error classes of their own
                raise BackendError(
                    f"{self._engine.name} failed to run {self.path}: {_last_line(error)}"
                ) from error
        return {name: np.concatenate([part[name] for part in parts])[:batch] for name in parts[0]}


def _by_name(arguments: dict[str, Any]) -> Any:
    """Pairs of the graph's inputs: ("data", array), or ("data.image", array) by modality."""
    for name, value in arguments.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{part}", _of_graph(array)) for part, array in value.items())
        else:
            yield name, _of_graph(value)


def _of_graph(array: np.ndarray) -> np.ndarray:
    """An array in the type that the graph takes: float32, int64 for tokens, or booleans."""
    kinds = {"f": np.float32, "b": np.bool_}
    return array.astype(kinds.get(array.dtype.kind, np.int64), copy=False)


def _masks(mask: Any, batch: int, axes: Any) -> Any:
    """The core's masks (B, M) with the axes of the inputs. Where there is none, all are read."""
    if isinstance(axes, dict):
        return {n: _masks(None if mask is None else mask.get(n), batch, axes[n]) for n in axes}
    shape = (batch, *axes)
    return np.ones(shape, bool) if mask is None else mask.reshape(shape)


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def _last_line(error: Exception) -> str:
    """What an engine says, without the places of its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
