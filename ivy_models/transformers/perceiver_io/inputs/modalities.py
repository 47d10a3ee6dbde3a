"""Several kinds of data at once, such as the images, the sound and the label of a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ivy_models.base.fields import Count, check_fields
from ivy_models.errors import SpecError
from ivy_models.ops import Array, ops_for
from ivy_models.transformers.perceiver_io.inputs.features import Inputs
from ivy_models.transformers.perceiver_io.inputs.grid import GridAdapter
from ivy_models.transformers.perceiver_io.modality import check_modality
from ivy_models.transformers.perceiver_io.parameters import Tree, map_tree, vector
from ivy_models.transformers.perceiver_io.position_encoding import FourierPositionEncoding


@dataclass(frozen=True)
class InputModality:
    """One kind of data among several: (*batch, *axes, input_dim).

    Parameters
    ----------
    name
        What the data, the mask and the weights are called by.
    input_dim
        Channels of the data.
    num_input_axes
        Axes of the data between batch and channels; 0 for one vector, such as a label's
        one-hot code or a row of a table.
    num_fourier_freq_bands
        Frequency bands an axis of the positions' Fourier features. None: no positions.
    max_fourier_freq, patch_shape
        As in :class:`PerceiverIOSpec`.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """

    name: str
    input_dim: int
    num_input_axes: Count
    num_fourier_freq_bands: int | None = None
    max_fourier_freq: float | Sequence[float] | None = None
    patch_shape: Sequence[int] | None = None

    def __post_init__(self):
        check_fields(self)
        check_modality(self, self.num_input_axes)
        if not self.num_input_axes and self.num_fourier_freq_bands is not None:
            raise SpecError(f"{self.name}: without axes (num_input_axes=0) there are no positions.")

    def adapter(self) -> GridAdapter:
        """From data to inputs, before they get the other modalities' width."""
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
class MultimodalInput:
    """Bring modalities to one width and put them one after the other.

    Each is padded to C channels by a learned vector, which tells it from the others. Where a
    modality is not seen, a learned mask token stands (Perceiver IO, section 4.3).

    Parameters
    ----------
    modalities
        In the order in which the reader gets them.
    num_channels
        C, channels of an input.
    """

    modalities: tuple[InputModality, ...]
    num_channels: int

    def parameters(self) -> Tree:
        """Describe the adapter's weights."""
        tree: Tree = {}
        for modality in self.modalities:
            tree[modality.name] = {"mask_token": vector(self.num_channels)}
            if padding := self.num_channels - modality.adapter().num_channels:
                tree[modality.name]["padding"] = vector(padding)
        return tree

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
            Booleans (B, M) by modality, M its inputs: False where the mask token stands
            instead. A modality that is not named is seen.
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
