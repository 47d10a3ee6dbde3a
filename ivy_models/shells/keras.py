"""Models as ``keras.Model``, on Keras' own backend: TensorFlow, JAX or PyTorch."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.global_state import get_global_attribute

from ivy_models.base.devices import parse_device
from ivy_models.errors import InputError
from ivy_models.layers.parameters import Tree, initialise
from ivy_models.ops import Ops, is_known
from ivy_models.shells.call import checked_call
from ivy_models.shells.keras_layers import (
    GridCrossAttention as GridCrossAttention,
    Resampler as Resampler,
)
from ivy_models.shells.keras_parts import (
    ArrayLayer,
    Branch,
    add_parts,
    assign,
    check_arrays,
    keras_ops,
    tensors,
)
from ivy_models.shells.shorter import shorter, shorter_core
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.inputs.stems import PADDED_POOLS
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

_OTHERS = "mask", "queries", "positions", "query_mask"
"""Arguments of a model's call besides the data."""


def _shape(argument: Any) -> Any:
    """Shape of an argument of a call, by modality if it has several; None for None.

    A size that the program leaves open is None.
    """
    if isinstance(argument, Mapping):
        shapes = {name: _shape(part) for name, part in argument.items()}
        # Keras passes data of several modalities with a mask of None for each.
        return None if all(shape is None for shape in shapes.values()) else shapes
    if argument is None:
        return None
    return tuple(size if is_known(size) else None for size in np.shape(argument))


def _symbolic(shape: Any) -> Any:
    """Undo :func:`_shape`: tensors without values, nested like the shapes."""
    if isinstance(shape, Mapping):
        return {name: _symbolic(part) for name, part in shape.items()}
    if shape is None:
        return None
    if all(size is None or isinstance(size, int) for size in shape):
        return keras.KerasTensor(tuple(shape))
    return tuple(_symbolic(part) for part in shape)


def _is_open(signature: Any) -> bool:
    """Whether a signature leaves a size open, other than that of the batch."""
    shapes = [spec.shape for spec in keras.tree.flatten(signature) if hasattr(spec, "shape")]
    return any(None in shape[1:] for shape in shapes)


def _check_sizes_are_fixed(signature: Any) -> None:
    """Refuse open sizes, which Keras' torch backend fixes to 1 or cannot export."""
    shapes = [spec.shape for spec in keras.tree.flatten(signature) if hasattr(spec, "shape")]
    if not shapes or any(None in shape for shape in shapes):
        raise InputError(
            "On Keras' torch backend the sizes of an exported program are fixed, the batch's too. "
            "Call export with input_signature=[keras.InputSpec(shape=..., dtype=...)] without "
            f"None; got {shapes or 'no input_signature'}. For open sizes, use the model's "
            "to_onnx() or to_torch_module()."
        )


def _refuse_legacy_format() -> InputError:
    return InputError(
        "A file .h5 or .hdf5 has Keras' legacy format, which cannot hold this model. Save it as "
        '"....keras", or its weights alone with save_weights("....weights.h5").'
    )


def _on_device(ops: Ops, name: str | None) -> contextlib.AbstractContextManager[Any]:
    """Context in which Keras makes variables on a device. None: on its default."""
    if name is None:
        return contextlib.nullcontext()
    ops.check_device(name)
    device = parse_device(name)
    if ops.name == "torch" and device.kind == "cpu":
        # To torch, "cpu:0" is another device, to which Keras would copy parameters: the copies
        # are no leaves, so that they get no gradients.
        return keras.device("cpu")
    kind = "gpu" if device.kind == "cuda" else device.kind
    return keras.device(f"{kind}:{device.index or 0}")


@keras.saving.register_keras_serializable("ivy_models")
class PerceiverIO(ArrayLayer, keras.Model):
    """Perceiver IO as a ``keras.Model``; made by ``PerceiverIO.to_keras_model()``.

    Each branch of the parameter tree is a layer, and the path of a variable is its name in the
    tree, such as ``perceiver_io/processor/layer_0/self_attention_0/mlp/hidden/weight``.

    Parameters
    ----------
    spec
        The model's description, or the dict of its JSON.
    weights
        Tree of NumPy arrays, which are copied. None: random ones.
    rematerialise
        As in :meth:`.PerceiverIO.to_keras_model`.
    named
        Further arguments of ``keras.Model``.

    Raises
    ------
    BackendError
        If Keras runs on a backend that the models do not support, or lacks the spec's device.
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
        # Data are not cast, because half precision would be too coarse for the reader.
        super().__init__(**{"dtype": spec.dtype} | named, autocast=False)
        self.spec, self._ops = spec, keras_ops()
        self.core = PerceiverIOCore(spec, rematerialise=rematerialise)
        self.seed_generator = keras.random.SeedGenerator()  # follows keras.utils.set_random_seed
        if weights is None:
            weights = initialise(self.core.parameters())
        with _on_device(self._ops, spec.device):
            self.parts = add_parts(self, self.core.parameters())
            assign(self, weights, self._ops, spec.device)

    def weight_tree(self) -> Tree:
        """The weights as a nested dict of tensors, for ``PerceiverIO.with_weights``.

        They have the data type in which they are stored, such as float32 with mixed precision.
        """
        return tensors(self, self.variable_dtype)

    # Keras converts arrays before these call the model, as before a call.

    def fit(self, *arguments: Any, **named: Any) -> Any:
        """Train as ``keras.Model`` does."""
        check_arrays(arguments, named)
        return super().fit(*arguments, **named)

    def evaluate(self, *arguments: Any, **named: Any) -> Any:
        """Evaluate as ``keras.Model`` does."""
        check_arrays(arguments, named)
        return super().evaluate(*arguments, **named)

    def predict(self, *arguments: Any, **named: Any) -> Any:
        """Predict as ``keras.Model`` does."""
        check_arrays(arguments, named)
        return super().predict(*arguments, **named)

    def call(
        self,
        data: Any,
        mask: Any = None,
        queries: Any = None,
        training: bool = False,
        positions: Any = None,
        *,
        query_mask: Any = None,
        depth: int | None = None,
        num_layers: int | None = None,
        num_latents: int | None = None,
    ) -> Any:
        """Run the model.

        Parameters
        ----------
        data, mask, queries, positions, query_mask
            As in a call of ``ivy_models``' ``PerceiverIO``. ``fit``, ``evaluate`` and ``predict``
            pass one argument, so ``data`` may hold all of them: a tuple (data, mask) or
            (data, mask, queries), or a dict of "data" and any of "mask", "queries", "positions"
            and "query_mask". With ``input_modalities`` a dict is the data by modality, unless its
            ``"data"`` is itself a dict.
        training
            Whether to apply dropout.
        depth, num_layers, num_latents
            As in a call of that class.

        Returns
        -------
        tensor or dict
            The outputs of ``PerceiverIO``, as tensors of Keras' backend.

        Raises
        ------
        InputError
            If an argument does not fit the model.
        """
        arguments = self._unpacked(data, mask, queries, positions, query_mask)
        data, mask, queries, positions, query_mask = arguments
        key = self._dropout_key() if training else None
        weights = tensors(self, self.compute_dtype)
        core, weights = shorter(
            self.core, weights, depth=depth, num_layers=num_layers, num_latents=num_latents
        )
        given = data, mask, queries, key, positions, query_mask
        output = checked_call(self._ops, core.spec, core, weights, *given)
        self._record_shapes(*arguments, output=output)
        return output

    def _unpacked(self, data: Any, *others: Any) -> tuple[Any, ...]:
        """Unpack ``data`` if it holds all arguments; the others are in the order of ``_OTHERS``."""
        names = "data", *_OTHERS
        if isinstance(data, Mapping):
            if self.spec.input().has_modalities and not isinstance(data.get("data"), Mapping):
                return data, *others
            parts = dict(data)
        elif isinstance(data, (tuple, list)) and len(data) and not np.isscalar(data[0]):
            if not (hasattr(data[0], "shape") or isinstance(data[0], Mapping)):
                return data, *others  # numbers in nested lists
            parts = dict[str, Any](zip((*names[:3], "a fourth part"), data, strict=False))
        else:
            return data, *others
        if "data" not in parts or not set(parts) <= set(names):
            raise InputError(
                f"The model got {', '.join(map(str, parts))}; expected the data, a tuple (data, "
                'mask[, queries]) or a dict of "data" and, if needed, "mask", "queries", '
                '"positions" and "query_mask".'
            )
        # Keras passes a mask that is nested like the data and has None for each plain array.
        if any(x is not None for x in keras.tree.flatten(others)):
            raise InputError(
                f"{', '.join(_OTHERS)}: some are in data and also passed as arguments. Pass them "
                "once."
            )
        return tuple(parts.get(name) for name in names)

    def build(
        self,
        input_shape: Any,
        mask_shape: Any = None,
        queries_shape: Any = None,
        positions_shape: Any = None,
        query_mask_shape: Any = None,
    ) -> None:
        """Do nothing, because the variables already exist. Keras records the shapes."""

    def _record_shapes(self, *arguments: Any, output: Any) -> None:
        """Record the shapes of the first call, for ``summary``, ``export`` and TFLite."""
        if self.get_build_config() is not None:
            return
        data, *others = map(_shape, arguments)
        pairs = zip(_OTHERS, others, strict=True)
        given = {f"{name}_shape": shape for name, shape in pairs if shape is not None}
        self.build(data, **given)
        spec, kind = self.spec, self.spec.input()
        batch_shape, grid_shape = kind.split_shape(
            kind.with_positions(data, given.get("positions_shape"))
        )
        grids: Any = grid_shape.values() if isinstance(grid_shape, Mapping) else [grid_shape]
        sizes = [size for axes in grids for size in axes]
        num_inputs = None if None in sizes else sum(map(math.prod, grids))
        latents = (*batch_shape, spec.num_latents, spec.latent_dim)
        shapes = {
            "input": (*batch_shape, num_inputs, kind.num_channels),
            "reader": latents,
            "processor": latents,
            "queries": (sum(m.num_queries for m in spec.output_modalities or ()), spec.queries_dim),
            "decoder": _shape(output),
            "outputs": _shape(output),
        }
        for name, shape in shapes.items():
            if isinstance(part := self.parts.get(name), Branch):
                part.build(shape)

    @property
    def input_dtype(self) -> str:
        """Data type of the data in exported programs."""
        return self._dtype_of("data")

    def _dtype_of(self, name: str) -> str:
        """Data type of the data, or of those of one modality, in exported programs."""
        if self.spec.input().takes_tokens(name):
            return "int32"
        return "float64" if self.compute_dtype == "float64" else "float32"

    def compute_output_shape(
        self,
        input_shape: Any,
        mask_shape: Any = None,
        queries_shape: Any = None,
        positions_shape: Any = None,
        query_mask_shape: Any = None,
    ) -> Any:
        """Return the shape of the output for shapes of arguments, whose sizes may be None.

        Raises
        ------
        InputError
            If arguments of these shapes do not fit the model.
        """
        shapes = input_shape, mask_shape, queries_shape, positions_shape, query_mask_shape
        return _shape(self._output_spec(self.spec, *self._unpacked(*map(_symbolic, shapes))))

    def compute_output_spec(
        self,
        data: Any,
        mask: Any = None,
        queries: Any = None,
        training: bool = False,
        positions: Any = None,
        *,
        query_mask: Any = None,
        depth: int | None = None,
        num_layers: int | None = None,
        num_latents: int | None = None,
    ) -> Any:
        """Return the output as ``keras.KerasTensor``, by modality if there are several.

        Raises
        ------
        InputError
            If arguments of these shapes do not fit the model.
        """
        arguments = self._unpacked(data, mask, queries, positions, query_mask)
        core = shorter_core(self.core, depth=depth, num_layers=num_layers, num_latents=num_latents)
        output = self._output_spec(core.spec, *arguments)
        self._record_shapes(*arguments, output=output)
        return output

    def _output_spec(self, spec: PerceiverIOSpec, *arguments: Any) -> Any:
        data_shape, _, queries_shape, positions_shape, _ = map(_shape, arguments)
        kind = spec.input()
        data_shape = kind.with_positions(data_shape, positions_shape)
        batch_shape, grid_shape = kind.split_shape(data_shape)
        axes = spec.queries().output_axes(queries_shape, batch_shape, grid_shape)

        def tensor(axes: tuple, channels: int) -> keras.KerasTensor:
            return keras.KerasTensor((*batch_shape, *axes, channels), self.compute_dtype)

        if isinstance(axes, Mapping):
            modalities = spec.output_modalities or ()
            return {
                m.name: tensor(axes[m.name], m.output_dim) for m in modalities if m.name in axes
            }
        decoder = spec.decoder()
        if decoder is None:
            return tensor(axes, spec.latent_dim)
        return tensor(axes, decoder.num_channels)

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: Any = None,
        input_signature: Any = None,
        **named: Any,
    ) -> None:
        """Export as ``keras.Model`` does.

        Raises
        ------
        InputError
            If the first call had a mask, queries or positions and ``input_signature`` is not given,
            or a size is open in a program of Keras' torch backend.
        """
        if input_signature is None and "shapes_dict" in (self.get_build_config() or {}):
            raise InputError(
                "The first call of the model had a mask, queries or positions, and Keras records "
                "only their shapes. Call export with input_signature=[keras.InputSpec(shape=..., "
                "dtype=...), ...], one for each of data, mask and queries; or with "
                'input_signature=[{"data": keras.InputSpec(...), "positions": ...}].'
            )
        if self._ops.name == "torch" and "dynamic_shapes" not in named:
            _check_sizes_are_fixed(input_signature)
        if input_signature is None and self.spec.input().has_modalities:
            input_signature = self._modality_signature()
        if self._ops.name == "jax" and self.spec.stem in PADDED_POOLS and _is_open(input_signature):
            # JAX cannot differentiate this stem's padded pool if sizes are open.
            named["jax2tf_kwargs"] = {"with_gradient": False, **named.get("jax2tf_kwargs", {})}
        super().export(filepath, format, verbose, input_signature, **named)

    @property
    def _default_save_signature(self) -> Any:
        """TensorFlow's own signature, beside that of :meth:`export`.

        Keras gives all data one type, which tokens among other modalities do not have.
        """
        return None if self.spec.input().has_modalities else super()._default_save_signature

    def _modality_signature(self) -> list | None:
        """The signature of the first call, for which Keras knows only one data type."""
        recorded = self.get_build_config()
        if recorded is None:
            return None
        shapes = recorded["input_shape"].items()
        return [
            {n: keras.InputSpec(self._dtype_of(n), shape=(None, *shape[1:])) for n, shape in shapes}
        ]

    def save(self, filepath: Any, *arguments: Any, **named: Any) -> None:
        """Save as ``keras.Model`` does, except in Keras' legacy format ``.h5``.

        Raises
        ------
        InputError
            If the file's name ends in ``.h5`` or ``.hdf5``.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise _refuse_legacy_format()
        super().save(filepath, *arguments, **named)

    @property
    def layers(  # pyright: ignore[reportIncompatibleMethodOverride]: Keras' setter only raises
        self,
    ) -> list[keras.layers.Layer]:
        """The parts of the model that have weights of their own.

        Raises
        ------
        InputError
            While Keras writes the model in its legacy format ``.h5``, which
            ``keras.saving.save_model`` does without calling :meth:`save`.
        """
        if get_global_attribute("use_legacy_config"):
            raise _refuse_legacy_format()
        return super().layers

    def _dropout_key(self) -> Any:
        if not self.spec.has_dropout:
            return None
        seed = self.seed_generator.next()  # a key of two numbers
        if self._ops.name != "jax":
            return keras.ops.cast(seed, "int32")
        import jax

        return jax.random.fold_in(jax.random.key(seed[0]), seed[1])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that Keras saves beside the weights, without the device."""
        settings = {
            "spec": json.loads(self.spec.replace(device=None).to_json()),
            "rematerialise": self.core.rematerialise,
        }
        return super().get_config() | settings
