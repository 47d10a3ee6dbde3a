"""Several kinds of data at once, such as the images, the sound and the label of a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivy_models.base.fields import check_fields, count, named_fields, positive_int
from ivy_models.errors import InputError, SpecError
from ivy_models.ops import Array, Ops, is_shape, ops_for
from ivy_models.transformers.perceiver_io.inputs.base import (
    Axes,
    CheckedInputs,
    Convert,
    InputKind,
    OpenAxes,
    check_one_an_axis,
    convert_mask,
)
from ivy_models.transformers.perceiver_io.inputs.features import Inputs
from ivy_models.transformers.perceiver_io.inputs.grid import GridAdapter
from ivy_models.transformers.perceiver_io.modality import VALIDATORS, check_modality, check_names
from ivy_models.transformers.perceiver_io.parameters import Tree, map_tree, vector
from ivy_models.transformers.perceiver_io.position_encoding import FourierPositionEncoding

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


@named_fields
@dataclass(frozen=True)
class InputModality:
    """One kind of data among several: (*batch, *axes, input_dim).

    Parameters
    ----------
    name
        Name of the data, the mask and the weights.
    input_dim
        Channels of the data.
    num_input_axes
        Axes of the data between batch and channels; 0 for one vector, such as a label's
        one-hot code or a row of a table.
    num_fourier_freq_bands
        Frequency bands of the positions' Fourier features for each axis. None: no positions.
    max_fourier_freq, patch_shape
        As in :class:`PerceiverIOSpec`.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """

    name: str
    input_dim: int
    num_input_axes: int
    num_fourier_freq_bands: int | None = None
    max_fourier_freq: float | Sequence[float] | None = None
    patch_shape: Sequence[int] | None = None

    def __post_init__(self):
        check_fields(self, input_dim=positive_int, num_input_axes=count, **VALIDATORS)
        check_modality(self, self.num_input_axes)
        if not self.num_input_axes and self.num_fourier_freq_bands is not None:
            raise SpecError(f"{self.name}: without axes (num_input_axes=0) there are no positions.")

    def adapter(self) -> GridAdapter:
        """The adapter from data to inputs, before these are padded to the common width."""
        positions = None
        if self.num_fourier_freq_bands is not None:
            positions = FourierPositionEncoding(self.num_fourier_freq_bands, self.max_fourier_freq)
        return GridAdapter(
            self.input_dim,
            self.num_input_axes,
            positions=positions,
            patch_shape=self.patch_shape,
        )


@dataclass(frozen=True)
class MultimodalInput(InputKind):
    """Pad modalities to one width and concatenate them.

    Each is padded to C channels with a learned vector, by which the model distinguishes it. A
    learned mask token replaces hidden inputs (Perceiver IO, section 4.3).

    Parameters
    ----------
    modalities
        In the order in which the reader reads them.
    num_channels
        C, channels of an input.
    """

    modalities: tuple[InputModality, ...]
    num_channels: int

    has_modalities = True

    @classmethod
    def of(cls, spec: PerceiverIOSpec) -> MultimodalInput:
        if (
            spec.num_input_axes != 1
            or spec.fourier_encode_input
            or spec.stem is not None
            or spec.patch_shape is not None
            or spec.vocabulary_size is not None
            or spec.learned_position_shape is not None
            or spec.learned_position_dim is not None
            or spec.num_position_axes is not None
        ):
            raise SpecError(
                "With input_modalities each modality has its own axes, positions and patches: "
                "set num_input_axes=1 and fourier_encode_input=False, and leave out stem, "
                "patch_shape, vocabulary_size, num_position_axes and learned positions."
            )
        check_one_an_axis(spec, "max_fourier_freq", 1)
        modalities = tuple(spec.input_modalities or ())
        widths = {m.name: m.adapter().num_channels for m in modalities}
        if max(widths.values()) > spec.input_dim:
            raise SpecError(
                f"input_dim={spec.input_dim} is less than the channels of an input modality: "
                f"{widths}."
            )
        return cls(modalities, spec.input_dim)

    def open_shape(self) -> dict[str, OpenAxes]:
        return {modality.name: modality.adapter().open_shape() for modality in self.modalities}

    def parameters(self) -> Tree:
        """Describe the adapter's weights."""
        tree: Tree = {}
        for modality in self.modalities:
            tree[modality.name] = {"mask_token": vector(self.num_channels)}
            if padding := self.num_channels - modality.adapter().num_channels:
                tree[modality.name]["padding"] = vector(padding)
        return tree

    def check(self, ops: Ops, like: Array, data: Any, mask: Any, convert: Convert) -> CheckedInputs:
        modalities = {modality.name: modality for modality in self.modalities}
        check_names("data", data, modalities)
        mask = {} if mask is None else mask
        check_names("mask", mask, modalities)
        arrays, batch_shapes = {}, {}
        for name in modalities:
            if name in data:
                arrays[name] = convert(data[name], name)
                adapter = modalities[name].adapter()
                batch_shapes[name] = adapter.check_data(ops, arrays[name], name)
        batch_shape = _shared(batch_shapes)
        converted, seen, grid_shapes = {}, {}, {}
        for name, modality in modalities.items():
            array, masked = arrays.get(name), mask.get(name)
            if array is None:
                _check_may_be_missing(modality, masked)
                zeros = ops.full((modality.input_dim,), 0, like)
                array = ops.broadcast_to(zeros, (*batch_shape, modality.input_dim))
                masked = ops.cast(ops.full((), 0, like), "bool")
            axes = ops.shape(array)[len(batch_shape) : -1]
            array = ops.reshape(array, (-1, *axes, modality.input_dim))
            converted[name] = ops.match(array, like)
            grid_shapes[name] = modality.adapter().grid_shape(axes)
            if masked is not None:
                what = f'mask["{name}"]'
                seen[name] = convert_mask(
                    ops, like, masked, what, batch_shape, grid_shapes[name], convert
                )
        return CheckedInputs(converted, seen or None, batch_shape, grid_shapes)

    def split_shape(self, shape: Mapping[str, OpenAxes]) -> tuple[OpenAxes, dict[str, OpenAxes]]:
        modalities = {modality.name: modality for modality in self.modalities}
        check_names("data", shape, modalities)
        batch_shapes, grid_shapes = {}, {}
        for name, own in shape.items():
            split = modalities[name].adapter().split_shape(tuple(own), name)
            batch_shapes[name], grid_shapes[name] = split
        return _shared(batch_shapes), grid_shapes

    def data_shape(
        self, size: Sequence[int] | None, output_shapes: Mapping[str, Axes]
    ) -> dict[str, Axes]:
        """Return the shapes of an autoencoder's data, which have the size of its outputs."""
        if size is not None:
            raise InputError(
                "The sizes of a model of several modalities are fixed: leave out size."
            )
        shapes = {}
        for modality in self.modalities:
            axes = output_shapes.get(modality.name, ()) if modality.num_input_axes else ()
            if len(axes) != modality.num_input_axes:
                raise InputError(f"The spec does not fix the size of {modality.name}.")
            shapes[modality.name] = (*axes, modality.input_dim)
        return shapes

    def adapt(
        self, params: Tree, data: Mapping[str, Array], mask: Mapping[str, Array] | None
    ) -> tuple[tuple[Inputs, ...], None]:
        return self(params, data, mask or {}), None

    def __call__(
        self, params: Tree, data: Mapping[str, Array], seen: Mapping[str, Array]
    ) -> tuple[Inputs, ...]:
        """Adapt each modality's data.

        Parameters
        ----------
        params
            Weights as :meth:`parameters` describes them.
        data
            (B, *axes, input_dim) by modality.
        seen
            Booleans (B, M) by modality, with its M inputs: False for inputs that the mask token
            replaces. A modality that is not named is not hidden.
        """
        return tuple(
            self._adapt(modality, params[modality.name], data[modality.name], seen)
            for modality in self.modalities
        )

    def _adapt(self, modality: InputModality, params: Tree, data: Array, seen) -> Inputs:
        ops = ops_for(data)
        params = map_tree(ops.widen, params)
        inputs = modality.adapter()({}, data)
        inputs = Inputs(inputs.shape, inputs.data, inputs.positions, params.get("padding"))
        if modality.name not in seen:
            return inputs
        dense = inputs.dense(ops, like=data)
        token = ops.broadcast_to(params["mask_token"], ops.shape(dense))
        return Inputs.from_array(ops.where(seen[modality.name][..., None], dense, token))


def _shared(batch_shapes: Mapping[str, Any]) -> Any:
    """Return the batch axes that all modalities share."""
    batch_shape = next(iter(batch_shapes.values()), None)
    if batch_shape is None or not all(is_shape(s, batch_shape) for s in batch_shapes.values()):
        raise InputError(f"The modalities must share one batch shape, got {batch_shapes}.")
    return batch_shape


def _check_may_be_missing(modality: InputModality, mask: Any) -> None:
    """Check that data may be left out; the size of a modality with axes would be unknown."""
    if modality.num_input_axes:
        raise InputError(
            f"{modality.name} is missing from data. To hide it from the model, pass zeros and "
            f'mask={{"{modality.name}": array of False}}.'
        )
    if mask is not None:
        raise InputError(
            f"mask has {modality.name}, but data does not. A modality without data is masked as a "
            "whole: leave it out of mask."
        )
