"""Models as ``keras.Model``, on Keras' own backend: TensorFlow, JAX or PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import keras

from ivy_models.errors import BackendError
from ivy_models.ops import BACKENDS, Ops, ops_named
from ivy_models.shells.call import checked_call
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.parameters import Tree, initialise
from ivy_models.transformers.perceiver_io.position_encoding import FourierPositionEncoding
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec
from ivy_models.transformers.perceiver_io.streaming import layer


def _keras_ops() -> Ops:
    """Operations of the backend that Keras runs on."""
    name = keras.backend.backend()
    if name not in BACKENDS or name == "numpy":
        raise BackendError(
            f"Keras runs on {name}; its models of this library run on tensorflow, jax and torch. "
            "Set the environment variable KERAS_BACKEND before Keras is imported."
        )
    return ops_named(name)


class _Branch(keras.layers.Layer):
    """A branch of the parameter tree: variables, and a layer for each branch of its own."""

    def __init__(self, description: Tree, dtype: Any, name: str):
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.parts = _add_parts(self, description)


def _add_parts(layer: keras.layers.Layer, description: Tree) -> dict[str, Any]:
    """Give a layer what its branch of the tree has; the variables are zeros."""
    parts = {}
    for name, part in description.items():
        if isinstance(part, Mapping):
            with keras.name_scope(
                layer.name, caller=layer
            ):  # a part's path begins with its branch's
                parts[name] = _Branch(part, layer.dtype_policy, name)
        else:
            parts[name] = layer.add_weight(
                shape=part.shape, initializer="zeros", trainable=part.trainable, name=name
            )
    layer.built = True
    return parts


def _tensors(layer: keras.layers.Layer) -> Tree:
    """The weights as a tree of the backend's tensors, in the policy's compute type."""
    return {
        name: _tensors(part)
        if isinstance(part, _Branch)
        else keras.ops.cast(part.value, layer.compute_dtype)
        for name, part in layer.parts.items()
    }


def _assign(layer: keras.layers.Layer, weights: Tree) -> None:
    """Copy NumPy weights into the variables."""
    for name, part in layer.parts.items():
        if isinstance(part, _Branch):
            _assign(part, weights[name])
        else:
            part.assign(weights[name])


@keras.saving.register_keras_serializable("ivy_models")
class PerceiverIO(keras.Model):
    """Perceiver IO as a ``keras.Model``; made by ``PerceiverIO.to_keras_model()``.

    A layer of it is a branch of the parameter tree, and a variable's path its name there, such as
    ``perceiver_io/processor/layer_0/self_attention_0/mlp/hidden/weight``.

    Parameters
    ----------
    spec
        The model's description, or the dict of its JSON.
    weights
        Tree of NumPy arrays, which are copied. None: random ones.
    rematerialise
        As :meth:`.PerceiverIO.to_keras_model` takes it.
    named
        As ``keras.Model`` takes them.

    Raises
    ------
    BackendError
        If Keras runs on a backend that the models do not.
    """

    def __init__(
        self,
        spec: PerceiverIOSpec | dict[str, Any],
        weights: Tree | None = None,
        rematerialise: bool = False,
        **named: Any,
    ):
        if isinstance(spec, dict):
            spec = PerceiverIOSpec.from_json(json.dumps(spec))
        # Data are not cast: of half precision they would be too coarse for the reader.
        super().__init__(**{"dtype": spec.dtype} | named, autocast=False)
        self.spec, self._ops = spec, _keras_ops()
        self.core = PerceiverIOCore(spec, rematerialise=rematerialise)
        self.seed_generator = keras.random.SeedGenerator()  # of keras.utils.set_random_seed
        self.parts = _add_parts(self, self.core.parameters())
        _assign(self, initialise(self.core.parameters()) if weights is None else weights)

    def weight_tree(self) -> Tree:
        """The weights as a nested dict of tensors, for ``PerceiverIO.with_weights``."""
        return _tensors(self)

    def call(self, data: Any, mask: Any = None, queries: Any = None, training: bool = False) -> Any:
        """Run the model; arguments and errors as in a call of ``ivy_models``' ``PerceiverIO``.

        Returns
        -------
        tensor or dict
            What that gives, as tensors of Keras' backend.
        """
        key = self._dropout_key() if training else None
        weights = _tensors(self)
        return checked_call(self._ops, self.spec, self.core, weights, data, mask, queries, key)

    def _dropout_key(self) -> Any:
        if not (self.spec.attn_dropout or self.spec.fc_dropout):
            return None
        seed = self.seed_generator.next()  # two numbers
        if self._ops.name != "jax":
            return keras.ops.cast(seed, "int32")
        import jax

        return jax.random.fold_in(jax.random.key(seed[0]), seed[1])

    def get_config(self) -> dict[str, Any]:
        """What Keras saves beside the weights."""
        settings = {
            "spec": json.loads(self.spec.to_json()),
            "rematerialise": self.core.rematerialise,
        }
        return super().get_config() | settings


@keras.saving.register_keras_serializable("ivy_models")
class GridCrossAttention(keras.layers.Layer):
    """Queries attend to data on a grid and its Fourier features, exactly and without building them.

    The layer norm and cross-attention of :class:`.layer.GridCrossAttention`, as a layer of
    other models.

    Parameters
    ----------
    query_dim, data_dim, num_axes, num_heads, qk_dim, v_dim
        As there.
    num_bands, max_resolution
        As in :class:`.FourierPositionEncoding`.
    seed
        Seed of the random weights.
    named
        As ``keras.layers.Layer`` takes them.
    """

    def __init__(
        self,
        query_dim: int,
        data_dim: int,
        num_bands: int,
        max_resolution: float | tuple[float, ...] | None = None,
        num_axes: int = 2,
        num_heads: int = 1,
        qk_dim: int | None = None,
        v_dim: int | None = None,
        seed: int = 0,
        **named: Any,
    ):
        super().__init__(**named, autocast=False)
        if isinstance(max_resolution, list):  # as JSON has it
            max_resolution = tuple(max_resolution)
        positions = FourierPositionEncoding(num_bands, max_resolution)
        self.core = layer.GridCrossAttention(
            query_dim, data_dim, positions, num_axes, num_heads, qk_dim, v_dim
        )
        self.seed = seed
        self.parts = _add_parts(self, self.core.parameters())
        _assign(self, initialise(self.core.parameters(), seed))

    def call(self, queries: Any, data: Any, mask: Any = None) -> Any:
        """Attend: queries (B, N, D), data (B, *axes, data_dim) and mask (B, *axes) -> (B, N, D)."""
        return self.core(_tensors(self), queries, data, mask)

    def get_config(self) -> dict[str, Any]:
        """What Keras saves beside the weights."""
        fields = asdict(self.core)
        positions = fields.pop("positions")
        return (
            super().get_config()
            | fields
            | {
                "num_bands": positions["num_bands"],
                "max_resolution": positions["max_resolution"],
                "seed": self.seed,
            }
        )
