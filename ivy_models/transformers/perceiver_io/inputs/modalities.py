"""Several kinds of data at once, such as the images, the sound and the label of a video."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ivy_models.base.fields import (
    check_fields,
    count,
    named_fields,
    optional,
    positive_int,
    ranges,
    sizes,
    text,
)
from ivy_models.errors import InputError, SpecError
from ivy_models.layers.features import Inputs
from ivy_models.layers.parameters import Tree, vector
from ivy_models.ops import Array, Ops, is_shape, ops_for
from ivy_models.transformers.perceiver_io.inputs.base import (
    Axes,
    CheckedInputs,
    Convert,
    InputKind,
    OpenAxes,
    check_one_an_axis,
    check_spacing,
)
from ivy_models.transformers.perceiver_io.inputs.coordinates import CoordinateInput
from ivy_models.transformers.perceiver_io.inputs.grid import GridAdapter
from ivy_models.transformers.perceiver_io.inputs.hidden import hidden_points
from ivy_models.transformers.perceiver_io.inputs.stems import check_stem
from ivy_models.transformers.perceiver_io.inputs.tokens import TokenAdapter
from ivy_models.transformers.perceiver_io.modality import VALIDATORS, check_modality, check_names

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

Adapter = GridAdapter | TokenAdapter | CoordinateInput


@named_fields
@dataclass(frozen=True)
class InputModality:
    """One kind of data among several: (*batch, *axes, input_dim), or tokens (*batch, *axes).

    Parameters
    ----------
    name
        Name of the data, the mask and the weights.
    input_dim
        Channels of the data, or of the tokens' embedding.
    num_input_axes
        Axes of the data between batch and channels; 0 for one vector, such as a row of a table, or
        one token, such as a category.
    num_fourier_freq_bands
        Frequency bands of the positions' Fourier features for each axis. None: positions are
        learned, or there are none. 0: the positions alone.
    max_fourier_freq, fourier_band_spacing, patch_shape
        As in :class:`PerceiverIOSpec`.
    vocabulary_size
        Number of different tokens, if the data are tokens, integers: a sequence (*batch, length)
        with ``num_input_axes=1`` and ``learned_position_shape=[longest sequence]``, or one token
        (*batch,) with ``num_input_axes=0``.
    learned_position_shape, learned_position_dim, stem, stem_dim
        As in :class:`PerceiverIOSpec`. With a stem of convolution a mask has one element for each
        output of the stem, which neighbours' outputs may have read as well.
    num_position_axes, position_range
        As in :class:`PerceiverIOSpec`: each call gives ``positions={name: (*batch, M, A)}``. They
        get Fourier features, or else a projection to ``learned_position_dim`` channels.

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
    vocabulary_size: int | None = None
    learned_position_shape: Sequence[int] | None = None
    learned_position_dim: int | None = None
    stem: str | None = None
    stem_dim: int | None = None
    num_position_axes: int | None = None
    position_range: Sequence[float] | Sequence[Sequence[float]] = (-1.0, 1.0)
    fourier_band_spacing: str = "linear"

    def __post_init__(self):
        check_fields(self, **_VALIDATORS)
        check_modality(self, self.num_position_axes or self.num_input_axes)
        is_learned = self.learned_position_shape is not None
        if not self.num_input_axes and (self.fourier_encode_input or is_learned):
            raise SpecError(f"{self.name}: without axes (num_input_axes=0) there are no positions.")
        if self.fourier_encode_input and is_learned:
            raise SpecError(
                f"{self.name}: positions are either learned or Fourier features: leave out "
                "num_fourier_freq_bands or learned_position_shape."
            )
        if self.position_range != (-1, 1) and self.num_position_axes is None:
            raise SpecError(f"{self.name}: position_range needs num_position_axes.")
        try:
            check_stem(self)
            check_spacing(self, self.fourier_encode_input)
            self.adapter()
        except SpecError as error:
            raise SpecError(f"{self.name}: {error}") from error

    def adapter(self) -> Adapter:
        """The adapter from data to inputs, before these are padded to the common width."""
        return self._adapter

    @functools.cached_property
    def _adapter(self) -> Adapter:
        if self.num_position_axes is not None:
            return CoordinateInput.of(self)
        return (GridAdapter if self.vocabulary_size is None else TokenAdapter).of(self)

    # The adapters read this of a spec.

    @property
    def fourier_encode_input(self) -> bool:
        """Whether inputs get Fourier features of their positions."""
        return self.num_fourier_freq_bands is not None


_VALIDATORS = {
    **VALIDATORS,
    "input_dim": positive_int,
    "num_input_axes": count,
    "vocabulary_size": optional(positive_int),
    "learned_position_shape": optional(sizes),
    "learned_position_dim": optional(positive_int),
    "stem": optional(text),
    "stem_dim": optional(positive_int),
    "num_position_axes": optional(positive_int),
    "position_range": ranges,
    "fourier_band_spacing": text,
}


@dataclass(frozen=True)
class MultimodalInput(InputKind):
    """Pad modalities to one width and concatenate them.

    Each modality is padded to C channels with a learned vector, by which the model distinguishes
    it. A learned mask token replaces hidden inputs (Perceiver IO, section 4.3).

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

    @functools.cached_property
    def _adapters(self) -> dict[str, Adapter]:
        return {modality.name: modality.adapter() for modality in self.modalities}

    def takes_tokens(self, name: str = "data") -> bool:
        return name in self._adapters and self._adapters[name].takes_tokens()

    def open_shape(self) -> dict[str, Any]:
        return {name: adapter.open_shape() for name, adapter in self._adapters.items()}

    def parameters(self) -> Tree:
        """Describe the adapter's weights."""
        tree: Tree = {}
        for name, adapter in self._adapters.items():
            tree[name] = {**adapter.parameters(), "mask_token": vector(self.num_channels)}
            if padding := self.num_channels - adapter.num_channels:
                tree[name]["padding"] = vector(padding)
        return tree

    def with_positions(self, data: Any, positions: Any) -> dict[str, Any]:
        check_names("data", data, self._adapters)
        positions = {} if positions is None else positions
        check_names("positions", positions, self._adapters)
        if absent := [name for name in positions if name not in data]:
            raise InputError(
                f"positions has {', '.join(absent)}, but data does not. Leave out the positions of "
                "a modality without data."
            )

        def combined(name: str) -> Any:
            try:
                return self._adapters[name].with_positions(data[name], positions.get(name))
            except InputError as error:
                raise InputError(f"{name}: {error}") from error

        return {name: combined(name) for name in data}

    def unmapped(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._adapters[name].unmapped(own) for name, own in data.items()}

    def by_argument(self, data: Any) -> dict[str, Any]:
        parts = {name: self._adapters[name].by_argument(own) for name, own in data.items()}
        names = dict.fromkeys(argument for part in parts.values() for argument in part)
        return {
            argument: {name: part[argument] for name, part in parts.items() if argument in part}
            for argument in names
        }

    def check(self, ops: Ops, like: Array, data: Any, mask: Any, convert: Convert) -> CheckedInputs:
        mask = {} if mask is None else mask
        check_names("mask", mask, self._adapters)

        def checked(name: str, array: Any, masked: Any) -> CheckedInputs:
            return self._adapters[name].check(ops, like, array, masked, convert, name)

        parts = {name: checked(name, data[name], mask.get(name)) for name in data}
        batch_shape = _shared({name: part.batch_shape for name, part in parts.items()})
        for modality in self.modalities:
            if modality.name not in parts:
                _check_may_be_missing(modality, mask.get(modality.name))
                zeros = self._zeros(ops, like, modality, batch_shape)
                hidden = ops.cast(ops.full((), 0, like), "bool")
                parts[modality.name] = checked(modality.name, zeros, hidden)
        parts = {name: parts[name] for name in self._adapters}
        grid_shapes: Any = {name: part.grid_shape for name, part in parts.items()}
        return CheckedInputs(
            {name: part.data for name, part in parts.items()},
            {name: part.mask for name, part in parts.items() if part.mask is not None} or None,
            batch_shape,
            grid_shapes,
        )

    def _zeros(self, ops: Ops, like: Array, modality: InputModality, batch_shape: Axes) -> Array:
        """Data in place of those of a modality without axes that a call leaves out."""
        if self.takes_tokens(modality.name):
            zero = ops.cast(ops.full((), 0, like), "int32")
            return ops.broadcast_to(zero, batch_shape)
        zeros = ops.full((modality.input_dim,), 0, like)
        return ops.broadcast_to(zeros, (*batch_shape, modality.input_dim))

    def split_shape(self, shape: Mapping[str, OpenAxes]) -> tuple[OpenAxes, dict[str, OpenAxes]]:
        check_names("data", shape, self._adapters)
        batch_shapes, grid_shapes = {}, {}
        for name, own in shape.items():
            adapter: Any = self._adapters[name]
            own = own if isinstance(own, Mapping) else tuple(own)
            split = adapter.split_shape(own, name)
            batch_shapes[name], grid_shapes[name] = split
        return _shared(batch_shapes), grid_shapes

    def data_shape(
        self, size: Mapping[str, Sequence[int]] | None, output_shapes: Mapping[str, Axes]
    ) -> dict[str, Axes]:
        size = {} if size is None else size
        check_names("size", size, self._adapters)
        shapes = {}
        for modality in self.modalities:
            # Data of an autoencoder have the size of its outputs.
            fallback = output_shapes.get(modality.name) if modality.num_input_axes else ()
            try:
                given = size.get(modality.name, fallback)
                shapes[modality.name] = modality.adapter().data_shape(given, {})
            except InputError as error:
                raise InputError(f"{modality.name}: {error}") from error
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
            (B, *axes, input_dim), or tokens (B, *axes), by modality; with positions that the
            call gave, a dict of "data" and "positions".
        seen
            Booleans (B, M) by modality, with its M inputs: False for inputs that the mask token
            replaces. A modality that is not named is not hidden.
        """
        return tuple(
            self._adapt(modality, params[modality.name], data[modality.name], seen)
            for modality in self.modalities
        )

    def _adapt(self, modality: InputModality, params: Tree, data: Any, seen) -> Inputs:
        ops = ops_for(params["mask_token"])
        padding = ops.widen(params["padding"]) if "padding" in params else None
        inputs, _ = modality.adapter().adapt(params, data, None)
        inputs = replace(inputs, padding=padding)
        if modality.name not in seen:
            return inputs
        token = ops.widen(params["mask_token"])
        if modality.num_position_axes is not None:
            return hidden_points(ops, inputs, seen[modality.name], token)
        dense = inputs.dense(ops, like=token)
        token = ops.broadcast_to(token, ops.shape(dense))
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
