"""Engines that run ONNX files: ONNX Runtime and OpenVINO, on the CPU."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from ivy_models.checkpoints.onnx_file import CONFIG
from ivy_models.errors import BackendError, not_installed

Feeds = Mapping[str, np.ndarray]


class Engine(ABC):
    """A graph that an engine has compiled."""

    name: str
    """The name of the engine's package, and of this library's extra."""

    config: str
    """The text of the model's description in the file's metadata."""

    input_shapes: dict[str, tuple[int | None, ...]]
    """Sizes of each input, batch first. Open sizes are None."""

    def __init__(self, content: bytes, dtype: str):
        """Compile the content of a file, to compute in ``dtype``."""
        try:
            self._compile(content, dtype)
        except ImportError as error:
            raise not_installed(f"The engine {self.name!r} needs", error, self.name) from error

    @abstractmethod
    def _compile(self, content: bytes, dtype: str) -> None: ...

    @abstractmethod
    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Run the graph: arrays by the names of its inputs -> arrays by the names of its outputs.

        Several threads may call it.
        """


class OnnxRuntime(Engine):
    name = "onnxruntime"

    def _compile(self, content, dtype):
        import onnxruntime

        if dtype != "float32":
            raise BackendError(f'onnxruntime runs these files in "float32", got dtype {dtype!r}.')
        self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.config = self._session.get_modelmeta().custom_metadata_map.get(CONFIG, "")
        self.input_shapes = {
            x.name: tuple(size if isinstance(size, int) else None for size in x.shape)
            for x in self._session.get_inputs()
        }
        self._outputs = [x.name for x in self._session.get_outputs()]

    def __call__(self, feeds):
        arrays: Any = self._session.run(self._outputs, feeds)
        return dict(zip(self._outputs, arrays, strict=True))


class OpenVino(Engine):
    name = "openvino"

    def _compile(self, content, dtype):
        core = _openvino_core()
        # By itself, OpenVINO would compute in bfloat16 on some processors.
        precisions = {"float32": "f32", "bfloat16": "bf16"}
        if dtype not in precisions:
            raise BackendError(
                f"openvino runs these files in {' or '.join(precisions)}, got dtype {dtype!r}."
            )
        if dtype == "bfloat16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise BackendError("This processor does not compute in bfloat16: use dtype float32.")
        graph = core.read_model(content)
        metadata = ["framework", CONFIG]
        self.config = graph.get_rt_info(metadata).astype(str) if graph.has_rt_info(metadata) else ""
        self.input_shapes = {
            x.any_name: tuple(
                None if size.is_dynamic else size.get_length() for size in x.partial_shape
            )
            for x in graph.inputs
        }
        # After compilation a value may have several names.
        self._outputs = [x.any_name for x in graph.outputs]
        compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": precisions[dtype]})
        self._request, self._lock = compiled.create_infer_request(), threading.Lock()

    def __call__(self, feeds):
        with self._lock:  # a request holds the memory of one call
            results = self._request.infer([feeds[name] for name in self.input_shapes])
            return {name: np.array(results[i]) for i, name in enumerate(self._outputs)}


def _openvino_core() -> Any:
    """OpenVINO's core of this process, which is never freed.

    It registers its own memory as the stack on which the calling thread handles signals. If another
    thread freed it, the next handler would run on memory that is no longer there.
    """
    import openvino

    with _MAKING_A_CORE:
        core = _CORES.get(os.getpid())  # a forked process has none of the threads of its parent's
        if core is None:
            core = _CORES[os.getpid()] = openvino.Core()
        return core


_CORES: dict[int, Any] = {}
_MAKING_A_CORE = threading.Lock()

ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (OnnxRuntime, OpenVino)}
"""The engines by name."""
