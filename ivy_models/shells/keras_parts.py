"""A tree of weights as layers of Keras."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.errors import BackendError
from ivy_models.layers.parameters import Tree
from ivy_models.ops import BACKENDS, Ops, ops_named


def keras_ops() -> Ops:
    """Operations of Keras' backend."""
    name = keras.backend.backend()
    if name not in BACKENDS or name == "numpy":
        raise BackendError(
            f"Keras runs on {name}; this library's Keras models run on tensorflow, jax and torch. "
            "Set the environment variable KERAS_BACKEND before Keras is imported."
        )
    return ops_named(name)


def check_arrays(*arguments: Any) -> None:
    """Refuse arrays of NumPy that are more than numbers."""
    for array in keras.tree.flatten(arguments):
        if isinstance(array, np.ndarray) and type(array) is not np.ndarray:
            to_numpy(array, "An argument")


class ArrayLayer(keras.layers.Layer):
    """A layer whose call takes plain arrays, and whose weights Keras cannot quantize."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        # Keras converts arrays before it calls a layer, and would drop masks and units.
        check_arrays(arguments, named)
        return super().__call__(*arguments, **named)

    def quantize(self, *_arguments: Any, **_named: Any) -> None:
        """Refuse. Keras turns this into a warning when it quantizes a model around this layer.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(
            f"{self.name} cannot be quantized by Keras, which quantizes its own layers, such as "
            "Dense. Its weights stay as they are."
        )


class Branch(ArrayLayer):
    """A branch of the parameter tree: its variables, and a layer for each of its branches."""

    def __init__(self, description: Tree, dtype: Any, name: str):
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.parts = add_parts(self, description)

    def build(self, output_shape: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Do nothing. Keras records the shape of this part's output."""

    def compute_output_shape(self, output_shape: Any) -> Any:
        """Return the recorded shape, for ``summary``."""
        return output_shape


def add_parts(layer: keras.layers.Layer, description: Tree) -> dict[str, Any]:
    """Add the variables (zeros) and layers of a branch of the tree to a layer."""
    parts = {}
    for name, part in description.items():
        if isinstance(part, Mapping):
            # A modality's name can be one that TensorFlow refuses.
            keras_name = re.sub(r"[^A-Za-z0-9_.>-]", "_", name)
            # A part's path begins with its branch's.
            with keras.name_scope(layer.name, caller=layer):
                parts[name] = Branch(dict(part), layer.dtype_policy, keras_name)
        else:
            parts[name] = layer.add_weight(
                shape=part.shape, initializer="zeros", trainable=part.trainable, name=name
            )
    layer.built = True
    return parts


def tensors(layer: keras.layers.Layer, dtype: str) -> Tree:
    """The weights as a tree of the backend's tensors, in a data type."""
    return {
        name: tensors(part, dtype)
        if isinstance(part, Branch)
        else keras.ops.cast(part.value, dtype)
        for name, part in layer.parts.items()
    }


def assign(
    layer: keras.layers.Layer, weights: Tree, ops: Ops | None = None, device: str | None = None
) -> None:
    """Copy NumPy weights into the variables; into those of JAX as arrays of the device, if any."""
    for name, part in layer.parts.items():
        if isinstance(part, Branch):
            assign(part, weights[name], ops, device)
        elif ops is None or device is None:
            part.assign(weights[name])
        else:  # JAX computes on the default device with arrays of no device in particular
            part.assign(ops.asarray(weights[name], part.dtype, device))
