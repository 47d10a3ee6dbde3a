"""The bytes of an ONNX model, without a second copy of its weights in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import ModelProto, TensorProto

# Fields of protobuf messages that hold bytes: the field's number times 8, plus 2.
_GRAPH = b"\x3a"
"""ModelProto.graph"""
_INITIALIZER = b"\x2a"
"""GraphProto.initializer"""
_RAW_DATA = b"\x4a"
"""TensorProto.raw_data"""


def serialized(model: ModelProto, weights: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """Yield the parts of the file of a model whose graph lacks these float32 initializers.

    protobuf would hold every weight twice, and the file once more.
    """
    rest, graph = ModelProto(), model.graph.SerializeToString()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    heads = {name: _head(name, weight) for name, weight in weights.items()}
    size = sum(len(heads[name]) + weight.nbytes for name, weight in weights.items())
    yield rest.SerializeToString() + _GRAPH + _varint(len(graph) + size) + graph
    for name, weight in weights.items():
        yield heads[name]
        yield np.asarray(weight, "<f4").tobytes()


def _head(name: str, weight: np.ndarray) -> bytes:
    """What precedes the numbers of an initializer."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=weight.shape)
    head = tensor.SerializeToString() + _RAW_DATA + _varint(weight.nbytes)
    return _INITIALIZER + _varint(len(head) + weight.nbytes) + head


def _varint(number: int) -> bytes:
    """A whole number in groups of 7 bits, the lowest first; all but the last group have bit 8."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
