"""Perceiver IO as an Ivy module: the shell around the functional core."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.arrays import current_ops, to_ivy, to_native
from ivy_models.checkpoints.attributes import ATTRIBUTES, attributes_to_json, checked_attribute
from ivy_models.checkpoints.check import CheckedWeights, check_tree
from ivy_models.checkpoints.download.hub import local_folder
from ivy_models.checkpoints.folder import in_float16, write_native
from ivy_models.checkpoints.hdf5 import write_hdf5
from ivy_models.checkpoints.huggingface.weights import write_huggingface
from ivy_models.checkpoints.load import load_weights, open_folder
from ivy_models.checkpoints.perceiver_pytorch.weights import read_perceiver_pytorch
from ivy_models.errors import (
    BackendError,
    InputError,
    SpecError,
    WeightsError,
    how_to_install,
    not_installed,
)
from ivy_models.layers.parameters import flatten, map_tree, unflatten
from ivy_models.ops import Ops, ops_named
from ivy_models.preprocessing.targets import Target
from ivy_models.shells.call import check_inputs, check_queries, checked_call, with_axes
from ivy_models.shells.compilation import CompiledCalls
from ivy_models.shells.inherited import WithoutInherited
from ivy_models.shells.ivy_weights import ModuleWithWeights
from ivy_models.shells.part_names import tree_name
from ivy_models.shells.shorter import shorter
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec
from ivy_models.transformers.perceiver_io.spec_checks import check_without_dropout
import ivy

if TYPE_CHECKING:
    import ivy_models.shells.jax
    import ivy_models.shells.keras
    import ivy_models.shells.paddle
    import ivy_models.shells.torch

LAYOUTS = ("native", "huggingface")
"""Formats of the folder that a model is written to."""

BUILD_MODES = ("on_init", "explicit", "on_call")
"""Of ``ivy.Module``."""


class PerceiverIO(WithoutInherited, ModuleWithWeights):
    """Perceiver IO (arXiv 2107.14795), in whichever backend Ivy is set to.

    Parameters
    ----------
    spec
        The model's description.
    seed
        Seed of the random weights; the same seed gives the same weights on every backend.
    v
        Weights to use instead, a nested dict or ``ivy.Container`` of arrays.
    device, dtype
        Instead of the spec's.
    with_partial_v
        Draw the weights that ``v`` lacks, instead of refusing it.
    buffers, build_mode, store_vars, dynamic_backend, training
        As ``ivy.Module`` takes them. The model has no buffers, the constructor always builds it
        and stores its weights, ``v`` may have arrays of any framework, and calls compute the same
        in training.

    Attributes
    ----------
    spec : PerceiverIOSpec
    core : PerceiverIOCore
        The model as a pure function of weights and arrays of a framework.
    preprocessing : ImagePreprocessing, SoundPreprocessing, ClipPreprocessing or None
        Converts images, sounds or clips to this model's data.
    labels : tuple of str or None
        Names of the classes.
    targets : tuple of ClassTarget or NumberTarget, or None
        What each channel of the output predicts, for a model that was trained on a table or on
        several targets.
    tokenizer : ByteTokenizer or None
        Converts text to this model's data.

    Raises
    ------
    BackendError
        If the spec's device is not available.
    SpecError
        If ``spec`` is not a spec, or an argument is not one that the model can follow.
    WeightsError
        If ``v`` does not have the names and shapes of the spec's weights.
    """

    def __new__(cls, *args, **kwargs):
        # Bypass Ivy's __new__: it appends every class to a global list, which then delays the
        # building of all later modules in the process.
        return object.__new__(cls)

    # A program may turn NumPy's warnings into exceptions. In a model, underflow is harmless.
    @np.errstate(all="ignore")
    def __init__(
        self,
        spec: PerceiverIOSpec,
        v: Mapping | CheckedWeights | None = None,
        *,
        seed: int = 0,
        device: Any = None,
        dtype: Any = None,
        with_partial_v: bool = False,
        buffers: Mapping | None = None,
        build_mode: str = "on_init",
        store_vars: bool = True,
        dynamic_backend: bool | None = None,
        training: bool = False,
    ):
        if not isinstance(spec, PerceiverIOSpec):
            raise SpecError(f"spec must be a PerceiverIOSpec, got {type(spec).__name__}.")
        if build_mode not in BUILD_MODES:
            raise SpecError(
                f"build_mode must be one of {', '.join(BUILD_MODES)}, got {build_mode!r}."
            )
        if buffers:
            raise SpecError(f"The model has no buffers, got {', '.join(map(str, buffers))}.")
        if device is not None:
            spec = spec.replace(device=device)
        if dtype is not None:
            spec = spec.replace(dtype=dtype)
        if training:
            check_without_dropout(spec)
        ops = current_ops()
        ops.check_device(spec.device)
        super().__init__(build_mode="explicit", training=training, device=spec.device)
        self.spec = spec
        self.preprocessing: Any = None
        self.labels: tuple[str, ...] | None = None
        self.targets: tuple[Target, ...] | None = None
        self.tokenizer: Any = None
        self.core = PerceiverIOCore(spec)
        self._compiled = CompiledCalls(self.core)
        self._v = self._place(ops, self._fitting(v, seed, with_partial_v))
        self._checked = ("", {})
        self._built = True

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, checked_attribute(name, value) if name in ATTRIBUTES else value)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_checked": ("", {})}  # copies check their own weights

    def build(self, *args: Any, **kwargs: Any) -> ivy.Container:
        """Do nothing: the constructor builds the whole model."""
        return self.v

    def train(self, mode: bool = True) -> PerceiverIO:
        """Do nothing for a model without dropout, which computes the same in training.

        Raises
        ------
        SpecError
            If the spec asks for dropout, which calls of this module do not apply.
        """
        if mode:
            check_without_dropout(self.spec)
        return self

    def to_device(self, device: Any) -> PerceiverIO:
        """Move the weights, so that calls compute on another device.

        Parameters
        ----------
        device
            As in :class:`PerceiverIOSpec`.

        Returns
        -------
        PerceiverIO
            This model.

        Raises
        ------
        BackendError
            If the device is not available.
        SpecError
            If it is not a device.
        """
        ops, spec = self._current_ops(), self.spec.replace(device=device)
        ops.check_device(spec.device)
        weights = self._numpy_weights()
        self.spec, self.core = spec, PerceiverIOCore(spec)
        self._compiled = CompiledCalls(self.core, self._compiled.asked)
        self._hold(self._place(ops, weights))
        return self

    @property
    def _spec(self) -> PerceiverIOSpec:
        """The spec, by its name in the first ``ivy_models``."""
        return self.spec

    @np.errstate(all="ignore")
    def __call__(self, *arguments: Any, v: Mapping | None = None, **named: Any) -> ivy.Array:
        """Run the model; see :meth:`_forward`. ``v`` are weights for this call only."""
        # Bypass Ivy's __call__: it takes 0.5 ms, and keeps ``v`` if the call is refused.
        return self._forward(*arguments, v=v, **named)

    def _forward(
        self,
        data: Any,
        mask: Any = None,
        queries: Any = None,
        positions: Any = None,
        *,
        query_mask: Any = None,
        v: Mapping | None = None,
        depth: int | None = None,
        num_layers: int | None = None,
        num_latents: int | None = None,
    ) -> ivy.Array:
        """Run the model; called through ``model(data, mask=None, queries=None, positions=None)``.

        Parameters
        ----------
        data
            Floats (*batch, *axes, input_dim), or tokens (*batch, length) if the spec has a
            ``vocabulary_size``: an ``ivy.Array``, an array of any framework, or a NumPy
            array. NaN in an input that is not masked out gives NaN in that element's output.
            With ``input_modalities``, a mapping from their names. A modality without axes may
            be left out, and is then masked.
        mask
            Booleans (*batch, *axes) or (*axes), True for inputs to read. If all are False, the
            latents see nothing, as in the original. With ``patch_shape`` the axes are those of
            the patches. With ``input_modalities``, a mapping from some of their names; the mask
            token replaces hidden inputs.
        queries
            (*batch, *query_axes, queries_dim), or (*query_axes, queries_dim) for a whole batch,
            if ``learn_query`` is False. With ``output_modalities``, a mapping from the names of
            those to decode to indices (n,) of their flattened queries (the last axis varies
            fastest), or None for all.
        positions
            Floats (*batch, M, num_position_axes), or (M, num_position_axes) for a whole batch, in
            the spec's ``position_range``, if it has ``num_position_axes``. With
            ``input_modalities``, a mapping from the names of those that have it.
        query_mask
            Booleans (*batch, *query_axes) or (*query_axes), False for queries of the call that are
            padding. These may be anything: they attend to nothing, and their outputs do not
            depend on them or on the data.
        v
            Weights for this call only, in the form of :attr:`v`.
        depth
            How often the processor's block is applied, at most ``network_depth``. None: that
            often. The call computes what a model of this depth with the same weights computes.
        num_layers
            Number of the block's first layers to apply, at most ``num_lat_att_per_layer``.
        num_latents
            Number of the first latents to use, at most the spec's.

        Returns
        -------
        ivy.Array or dict
            (*batch, *query_shape, output_dim), or (*batch, length, output_dim) with
            ``query_per_input``. Without the head, outputs have queries_dim channels; without the
            decoder, the result is the latents (*batch, num_latents, latent_dim). With
            ``output_modalities``, a dict of (*batch, *axes, output_dim), where ``axes`` is
            query_shape times patch_shape; with chosen queries, (*batch, n, *patch_shape,
            output_dim).

        Raises
        ------
        InputError
            If an argument does not fit the model, or cannot leave its framework.
        BackendError
            If the framework is not installed or lacks the spec's device or data type, or another
            thread changes Ivy's backend during the call.
        WeightsError
            If ``v`` does not have the names and shapes of the model's weights.
        """
        ops = current_ops(data)
        weights = self._native_weights(ops) if v is None else self._weights_for_once(ops, v)
        core, weights = shorter(
            self.core, weights, depth=depth, num_layers=num_layers, num_latents=num_latents
        )
        run = functools.partial(self._compiled.of(core), ops)
        arguments = data, mask, queries, None, positions, query_mask
        return _to_ivy(ops, checked_call(ops, core.spec, run, weights, *arguments))

    @np.errstate(all="ignore")
    def encode(
        self,
        data: Any,
        mask: Any = None,
        positions: Any = None,
        *,
        depth: int | None = None,
        num_layers: int | None = None,
        num_latents: int | None = None,
    ) -> ivy.Array:
        """Compute the latents of data without decoding, so that several decodings can share them.

        Parameters
        ----------
        data, mask, positions, depth, num_layers, num_latents
            As in a call of the model.

        Returns
        -------
        ivy.Array
            The latents (*batch, num_latents, latent_dim).

        Raises
        ------
        InputError
            For the same reasons as a call of the model.
        """
        ops = current_ops(data)
        params = self._native_weights(ops)
        with ops.on_device_of(params["latents"]):
            inputs = check_inputs(ops, self.spec, params["latents"], data, mask, positions)
            core, params = shorter(
                self.core, params, depth=depth, num_layers=num_layers, num_latents=num_latents
            )
            latents = self._compiled.of(core).encode(ops, params, inputs.data, inputs.mask)
            axes = (core.spec.num_latents,)
            return _to_ivy(ops, with_axes(ops, latents, inputs.batch_shape, axes))

    @np.errstate(all="ignore")
    def decode(
        self,
        latents: Any,
        queries: Any = None,
        *,
        query_mask: Any = None,
        num_latents: int | None = None,
    ) -> ivy.Array | dict[str, ivy.Array]:
        """Decode latents from :meth:`encode`.

        Parameters
        ----------
        latents
            (*batch, num_latents, latent_dim).
        queries, query_mask
            As in a call of the model.
        num_latents
            As in the call of :meth:`encode`.

        Returns
        -------
        ivy.Array or dict
            As from a call of the model.

        Raises
        ------
        InputError
            If an argument does not fit the model, or the queries depend on the data.
        """
        ops = current_ops(latents)
        core, params = shorter(self.core, self._native_weights(ops), num_latents=num_latents)
        spec = core.spec
        if not spec.with_decoder or spec.queries().needs_data:
            raise InputError(
                "The model has no decoder, or its queries depend on the data. Call the whole model "
                "instead."
            )
        like, latents = params["latents"], to_native(ops, latents, "latents")
        shape = tuple(latents.shape)
        if shape[-2:] != tuple(like.shape) or 0 in shape or not ops.is_float(latents):
            raise InputError(
                f"latents have shape {shape} and type {ops.dtype(latents)}; "
                f"expected floats (*batch, {spec.num_latents}, {spec.latent_dim})."
            )
        with ops.on_device_of(like):
            queries, axes = check_queries(ops, spec, like, queries, shape[:-2], None, query_mask)
            latents = ops.reshape(ops.match(latents, like), (-1, *like.shape))
            output = self._compiled.of(core).decode(ops, params, latents, queries)
            return _to_ivy(ops, with_axes(ops, output, shape[:-2], axes))

    def save_pretrained(
        self, folder: str | Path, layout: str = "native", half: bool = False
    ) -> None:
        """Write the model into a folder: config.json and model.safetensors.

        Weights in half precision are written in float32, without loss, unless ``half`` is set.

        Parameters
        ----------
        folder
            Created if it does not exist. A model in it is replaced.
        layout
            "native" is this library's format, with labels, preprocessing, targets and
            tokenizer.
            "huggingface" is the format that the Perceivers of transformers load.
        half
            Whether to write the weights in float16, rounded, in a file of half the size. The
            folder's model still computes in the spec's data type.

        Raises
        ------
        WeightsError
            If the folder cannot be written, the preprocessing is not one of this library's,
            transformers does not have the model, or a weight is too large for float16.
        """
        if layout not in LAYOUTS:
            raise WeightsError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}.")
        spec, weights = self.spec.replace(device=None), dict(flatten(self._numpy_weights()))
        if half:
            weights = {name: in_float16(name, array) for name, array in weights.items()}
        if layout == "native":
            write_native(folder, spec, weights, attributes_to_json(self))
        else:
            task = {name: getattr(self, name) for name in ATTRIBUTES}
            write_huggingface(folder, spec, weights, task)

    def save_weights(self, weights_path: str | Path) -> None:
        """Write the weights alone to an HDF5 file, as ``ivy.Module.save_weights`` does.

        Parameters
        ----------
        weights_path
            The file; its name often ends in ``.hdf5``. Its folders are created, and an existing
            file is replaced.

        Raises
        ------
        BackendError
            If the package h5py is not installed.
        WeightsError
            If the file cannot be written.
        """
        write_hdf5(weights_path, dict(flatten(self._numpy_weights())))

    def load_weights(self, weights_path: str | Path) -> None:
        """Replace the weights by those of a file; the model stays the same object.

        Parameters
        ----------
        weights_path
            A file or folder of any format that ``create_model(name, weights=...)`` takes.

        Raises
        ------
        BackendError
            If it is an HDF5 file and the package h5py is not installed.
        WeightsError, SpecError
            If the file cannot be read or does not fit the model, which then stays as it was.
        """
        weights = load_weights(weights_path, self.spec)
        self._hold(self._place(self._current_ops(), weights))

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, device: Any = None, dtype: Any = None
    ) -> PerceiverIO:
        """Build the model of a folder that :meth:`save_pretrained` or transformers wrote.

        Parameters
        ----------
        source
            A folder with config.json and model.safetensors (or pytorch_model.bin of
            transformers), or the name of a repository on the Hugging Face hub, such as
            "deepmind/optical-flow-perceiver".
        device, dtype
            As in :class:`PerceiverIOSpec`. None: the default device, and the data type that
            the model was saved with.

        Raises
        ------
        BackendError
            If the device is not available.
        DownloadError
            If there is no such folder and the repository cannot be downloaded.
        WeightsError, SpecError
            If the folder has no model, or a broken one.
        """
        folder = local_folder(source)
        saved = open_folder(folder)
        spec = saved.spec.replace(device=device, dtype=dtype or saved.spec.dtype)
        weights = saved.read_weights()
        model = cls(spec, v=CheckedWeights.of(spec, saved.description, weights, str(folder)))
        for name, value in saved.read_attributes().items():
            setattr(model, name, value)
        return model

    @classmethod
    def from_perceiver_pytorch(
        cls, source: Any, *, device: Any = None, dtype: Any = "float32", **arguments: Any
    ) -> PerceiverIO:
        """Build the model of a ``Perceiver``, ``PerceiverIO`` or ``PerceiverLM`` of the package
        perceiver-pytorch, with its weights.

        Parameters
        ----------
        source
            The module, or its ``state_dict()``, or that of a larger module with one of these in
            it, or a file of either, written by ``torch.save`` or as ``.safetensors``. A file needs
            neither perceiver-pytorch nor torch.
        device, dtype
            As in :class:`PerceiverIOSpec`.
        arguments
            The arguments of the constructor that made the model, unless ``source`` is the module:
            weights do not determine the numbers of heads and the frequencies.

        Raises
        ------
        BackendError
            If the device is not available.
        WeightsError
            If the source cannot be read, the arguments do not fit it, or the model has options
            that no spec describes.
        """
        read = read_perceiver_pytorch(source, arguments)
        return cls(read.spec.replace(device=device, dtype=dtype), v=read.tree)

    def to_torch_module(self, rematerialise: bool = False) -> ivy_models.shells.torch.PerceiverIO:
        """Copy the model into a ``torch.nn.Module``, in evaluation mode.

        Parameters
        ----------
        rematerialise
            Whether training stores only the input of a self-attention layer and recomputes the
            rest.

        Returns
        -------
        ivy_models.shells.torch.PerceiverIO
            Its parameters are copies; :meth:`with_weights` loads them back.

        Raises
        ------
        BackendError
            If torch is not installed or lacks the spec's device.
        """
        ops = ops_named("torch")
        from ivy_models.shells.torch import PerceiverIO

        return PerceiverIO(self.spec, self._copy_for(ops), rematerialise)

    def to_keras_model(
        self, rematerialise: bool = False, **named: Any
    ) -> ivy_models.shells.keras.PerceiverIO:
        """Copy the model into a ``keras.Model``, on whichever backend Keras is set to.

        Parameters
        ----------
        rematerialise
            As in :meth:`to_torch_module`.
        named
            Further arguments of ``keras.Model``, such as ``dtype="mixed_bfloat16"``.

        Returns
        -------
        ivy_models.shells.keras.PerceiverIO
            Its variables are copies; :meth:`with_weights` loads them back.

        Raises
        ------
        BackendError
            If Keras is not installed, or runs on a backend that the models do not support or
            that lacks the spec's device.
        """
        try:
            from ivy_models.shells.keras import PerceiverIO
        except ImportError as error:
            raise BackendError(
                f"Keras is not installed ({error}). It needs a backend of its own, such as "
                f"TensorFlow. {how_to_install('tensorflow')}"
            ) from error
        spec = self.spec.replace(device=self._wanted_device)
        return PerceiverIO(spec, self._numpy_weights(), rematerialise, **named)

    def to_paddle_module(self, rematerialise: bool = False) -> ivy_models.shells.paddle.PerceiverIO:
        """Copy the model into a ``paddle.nn.Layer``, in evaluation mode.

        Parameters
        ----------
        rematerialise
            As in :meth:`to_torch_module`.

        Returns
        -------
        ivy_models.shells.paddle.PerceiverIO
            Its parameters are copies; :meth:`with_weights` loads them back.

        Raises
        ------
        BackendError
            If Paddle is not installed or lacks the spec's device or data type.
        """
        ops = ops_named("paddle")
        from ivy_models.shells.paddle import PerceiverIO

        return PerceiverIO(self.spec, self._copy_for(ops), rematerialise)

    def to_jax(self, rematerialise: bool = False) -> ivy_models.shells.jax.JaxModel:
        """Copy the model into a pure function and its parameters.

        Parameters
        ----------
        rematerialise
            As in :meth:`to_torch_module`.

        Returns
        -------
        ivy_models.shells.jax.JaxModel
            ``apply, params``: ``apply(params, data, mask=None, queries=None)`` calls the model on
            JAX arrays. The parameters are copies; :meth:`with_weights` loads them back.

        Raises
        ------
        BackendError
            If JAX is not installed or lacks the spec's device.
        """
        ops = ops_named("jax")
        from ivy_models.shells.jax import split

        return split(self.spec, self._copy_for(ops), rematerialise)

    def to_onnx(
        self,
        path: str | Path,
        shape: Any = None,
        *,
        mask: bool = False,
        depth: int | None = None,
        num_layers: int | None = None,
        num_latents: int | None = None,
    ) -> None:
        """Write the model as an ONNX file, in float32, for runtimes such as ONNX Runtime.

        The graph's inputs are ``data``, ``positions``, ``mask`` and ``queries``, as far as the
        model takes them; its output is ``output``. By modality they are ``data.image``,
        ``output.image`` and so on. Tokens are int64. Metadata hold spec, labels, preprocessing and
        tokenizer.

        Parameters
        ----------
        path
            The file. A file that is already there is replaced.
        shape
            Shape of the data, batch first; None for sizes to leave open, such as
            ``(None, 224, 224, 3)`` for any batch of such images. With several modalities, or with
            positions beside the data, a mapping from their names. None: every size is open. With
            fixed axes the graph needs less memory and time.
        mask
            Whether the graph takes a mask (B, *axes), by modality if there are several.
        depth, num_layers, num_latents
            The part of the model to write, as in a call. None: all of it.

        Raises
        ------
        BackendError
            If ``onnx`` or ``spox`` is not installed.
        InputError
            If data of this shape, or masks, do not fit the model, or a part is not one of it.
        WeightsError
            If the file cannot be written, or would exceed 2 GiB.
        """
        try:
            from ivy_models.shells.onnx import export
        except ImportError as error:
            raise not_installed("Export to ONNX needs", error, "onnx") from error
        weights = self._numpy_weights()
        core, weights = shorter(
            self.core, weights, depth=depth, num_layers=num_layers, num_latents=num_latents
        )
        spec = core.spec.replace(device=None)
        export(path, spec, weights, attributes_to_json(self), shape, mask)

    def with_weights(self, weights: Any) -> PerceiverIO:
        """Copy the model with other weights, such as those of a trained torch module.

        Parameters
        ----------
        weights
            A model of this class, or one from :meth:`to_torch_module`, :meth:`to_keras_model`,
            :meth:`to_jax` or :meth:`to_paddle_module`; a wrapped torch or Paddle module, or the
            ``state_dict()`` of one; or a nested dict of arrays of any framework, with the names of
            :attr:`v`. Weights that training does not change may be left out of the nested dict.

        Returns
        -------
        PerceiverIO
            A model with this model's spec, labels, preprocessing, targets and tokenizer.

        Raises
        ------
        WeightsError
            If the names or shapes differ from the model's, or the result of a layer of the torch
            module depends on more than its weight.
        """
        weights = _tree_of(weights)
        if _is_state(weights) and _are_of_paddle(weights):
            weights = unflatten({tree_name(name): leaf for name, leaf in weights.items()})
        elif _is_state(weights):
            module = self.to_torch_module()
            try:
                module.load_state_dict(weights)
            except (RuntimeError, TypeError) as error:
                raise WeightsError(f"weights are not a state of this model: {error}") from error
            weights = module.weights()
        check_tree(weights, "weights")
        given = dict(flatten(weights))
        trainable = {n: parameter.trainable for n, parameter in flatten(self.core.parameters())}
        kept = {
            name: leaf
            for name, leaf in flatten(self._held())
            if name not in given and not trainable[name]
        }
        model = type(self)(self.spec, v=unflatten(given | kept))
        for name in ATTRIBUTES:
            setattr(model, name, getattr(self, name))
        return model

    def compile(self) -> PerceiverIO:
        """Compile from the next call on, by torch.compile, jax.jit or tf.function.

        JAX and TensorFlow always compile, because running single operations is slow there. NumPy
        and Paddle never do. ``compilation.py`` explains what is compiled when shapes change.

        Returns
        -------
        PerceiverIO
            This model.
        """
        self._compiled.asked = True
        return self

    def _extra_repr(self) -> str:
        return f"{self.num_parameters:,} parameters, {self.spec}"


def _tree_of(model: Any) -> Any:
    """The weights of a model or native module; anything else unchanged."""
    if isinstance(model, Mapping):
        return model
    if isinstance(model, PerceiverIO):
        return model.v
    if isinstance(model, tuple):  # from to_jax
        return getattr(model, "params", model)
    # A Keras model has a list called weights.
    # A torch module that is wrapped, such as by DistributedDataParallel, has a state only.
    for name in ("weight_tree", "weights", "state_dict"):
        if callable(tree := getattr(model, name, None)):
            return tree()
    return model


def _is_state(weights: Any) -> bool:
    """Whether weights are the state of a torch or Paddle module: not nested, names with dots."""
    return (
        isinstance(weights, Mapping)
        and not any(isinstance(weight, Mapping) for weight in weights.values())
        and any("." in name for name in weights if isinstance(name, str))
    )


def _are_of_paddle(weights: Mapping[str, Any]) -> bool:
    return any(type(leaf).__module__.partition(".")[0] == "paddle" for leaf in weights.values())


def _to_ivy(ops: Ops, output: Any) -> Any:
    """Wrap a native array, or several by modality, in ``ivy.Array``."""
    wrap = functools.partial(to_ivy, ops)
    return map_tree(wrap, output) if isinstance(output, dict) else wrap(output)
