"""Parts of Perceiver IO as layers of Keras, for models of other kinds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import keras

from ivy_models.layers.parameters import initialise
from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.layers.streaming import layer
from ivy_models.shells.attention_call import converted_attention
from ivy_models.shells.keras_parts import ArrayLayer, add_parts, assign, keras_ops, tensors
from ivy_models.shells.resampler_call import converted_call
from ivy_models.transformers.perceiver_io.resampler.spec import ResamplerSpec


@keras.saving.register_keras_serializable("ivy_models")
class GridCrossAttention(ArrayLayer):
    """Queries attend to data on a grid and its Fourier features, exactly and without building them.

    The layer norm and cross-attention of :class:`.layer.GridCrossAttention`, as a layer of
    other models.

    Parameters
    ----------
    query_dim, data_dim, num_axes, num_heads, qk_dim, v_dim
        As in that class.
    num_bands, max_resolution
        As in :class:`.FourierPositionEncoding`.
    seed
        Seed of the random weights.
    named
        Further arguments of ``keras.layers.Layer``.
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
        if isinstance(max_resolution, list):  # from JSON
            max_resolution = tuple(max_resolution)
        positions = FourierPositionEncoding(num_bands, max_resolution)
        self.core = layer.GridCrossAttention(
            query_dim, data_dim, positions, num_axes, num_heads, qk_dim, v_dim
        )
        self.seed, self._ops = seed, keras_ops()
        self.parts = add_parts(self, self.core.parameters())
        assign(self, initialise(self.core.parameters(), seed))

    def build(  # pyright: ignore[reportIncompatibleMethodOverride]: Keras passes them by name
        self, queries_shape: Any, data_shape: Any, mask_shape: Any = None
    ) -> None:
        """Do nothing, because the variables already exist. Keras records the shapes."""

    def compute_output_shape(
        self, queries_shape: Any, data_shape: Any, mask_shape: Any = None
    ) -> tuple[int | None, ...]:
        """Return the shape of the output, (B, N, D)."""
        return (data_shape[0], *queries_shape[1:])

    def call(self, queries: Any, data: Any, mask: Any = None) -> Any:
        """Attend: queries (B, N, D), data (B, *axes, data_dim) and mask (B, *axes) -> (B, N, D).

        The output has the compute type of the layer's dtype policy.
        """
        weights = tensors(self, self.compute_dtype)
        attended = converted_attention(self._ops, self.core, weights, queries, data, mask)
        return keras.ops.cast(attended, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that Keras saves beside the weights."""
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


@keras.saving.register_keras_serializable("ivy_models")
class Resampler(ArrayLayer):
    """Read any number of inputs into a fixed number of outputs, as a layer of other models.

    Parameters
    ----------
    spec
        The description, or a dict of its fields.
    seed
        Seed of the random weights.
    named
        Further arguments of ``keras.layers.Layer``.

    Raises
    ------
    BackendError
        If Keras runs on a backend that the models do not support.
    """

    def __init__(self, spec: ResamplerSpec | dict[str, Any], seed: int = 0, **named: Any):
        super().__init__(**named, autocast=False)
        self.spec = ResamplerSpec(**spec) if isinstance(spec, dict) else spec
        self.seed, self._ops = seed, keras_ops()
        self.parts = add_parts(self, self.spec.parameters())
        assign(self, initialise(self.spec.parameters(), seed))

    def build(self, inputs_shape: Any, **_others: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Do nothing, because the variables already exist. Keras records the shapes."""

    def compute_output_shape(
        self, inputs_shape: Any, latents_shape: Any = None, **_others: Any
    ) -> tuple[int | None, ...]:
        """Return the shape of the output, (B, N, O), or (B, O) if ``pooled``."""
        spec = self.spec
        first = inputs_shape[0] if isinstance(inputs_shape[0], (list, tuple)) else inputs_shape
        num_outputs = spec.num_latents if latents_shape is None else latents_shape[1]
        rows = () if spec.pooled else (num_outputs,)
        return (first[0], *rows, spec.output_dim or spec.latent_dim)

    def call(
        self,
        inputs: Any,
        latents: Any = None,
        mask: Any = None,
        positions: Any = None,
        latent_positions: Any = None,
    ) -> Any:
        """Resample; arguments, result and errors as of :func:`.resample`.

        The output has the compute type of the layer's dtype policy.
        """
        weights = tensors(self, self.compute_dtype)
        arguments = inputs, latents, mask, positions, latent_positions
        output = converted_call(self._ops, self.spec, weights, *arguments)
        return keras.ops.cast(output, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that Keras saves beside the weights."""
        return super().get_config() | {"spec": asdict(self.spec), "seed": self.seed}
