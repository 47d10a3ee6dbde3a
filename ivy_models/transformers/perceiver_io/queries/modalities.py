"""Several kinds of outputs from the same latents, each at all of its positions or at some."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ivy_models.base.fields import axes, check_fields, named_fields, optional, positive_int
from ivy_models.errors import InputError, SpecError
from ivy_models.layers.attention import Dropout, Record, project
from ivy_models.layers.features import Features, Inputs
from ivy_models.layers.parameters import (
    Tree,
    lecun_normal,
    linear,
    map_tree,
    table,
    vector,
)
from ivy_models.layers.patches import depth_to_space
from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.ops import Array, Ops, ops_for
from ivy_models.transformers.perceiver_io.decoder import Decoder
from ivy_models.transformers.perceiver_io.modality import VALIDATORS, check_modality, check_names
from ivy_models.transformers.perceiver_io.queries.base import Axes, Convert, OpenAxes, Queries
from ivy_models.transformers.perceiver_io.unread import rows_at

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


@named_fields
@dataclass(frozen=True)
class OutputModality:
    """One kind of output among several, with a query for each of its positions.

    Parameters
    ----------
    name
        Name of the output and of its weights.
    output_dim
        Channels of an output.
    query_shape
        Axes of the queries: ``[]`` for a class, ``[frames, height, width]`` for a video. ``[1]`` is
        the same as ``[]``, with an axis of size 1 in the output.
    num_fourier_freq_bands
        Frequency bands of the queries' Fourier features for each axis. Position i of n along an
        axis is -1 + 2 i / n. 0: the positions alone. None: the queries are learned.
    max_fourier_freq
        As in :class:`PerceiverIOSpec`.
    learned_query_dim
        Channels of learned queries. None: they are Fourier features.
    patch_shape
        Size, along each axis, of the patch that one query decodes. None: one element.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """

    name: str
    output_dim: int
    query_shape: Sequence[int]
    num_fourier_freq_bands: int | None = None
    max_fourier_freq: float | Sequence[float] | None = None
    learned_query_dim: int | None = None
    patch_shape: Sequence[int] | None = None

    def __post_init__(self):
        check_fields(
            self,
            output_dim=positive_int,
            query_shape=axes,
            learned_query_dim=optional(positive_int),
            **VALIDATORS,
        )
        check_modality(self, len(self.query_shape))
        if not self.query_shape and self.num_fourier_freq_bands is not None:
            raise SpecError(f"{self.name}: without axes (query_shape=[]) there are no positions.")
        if (self.num_fourier_freq_bands is None) == (self.learned_query_dim is None):
            raise SpecError(
                f"{self.name}: queries are Fourier features (num_fourier_freq_bands) or learned "
                "(learned_query_dim); set one of the two."
            )

    @property
    def num_queries(self) -> int:
        """O, number of queries."""
        return math.prod(self.query_shape)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Axes of the whole output: query_shape times patch_shape."""
        patch_shape = self.patch_shape or (1,) * len(self.query_shape)
        return tuple(
            size * patch for size, patch in zip(self.query_shape, patch_shape, strict=True)
        )

    @property
    def query_dim(self) -> int:
        """Channels of a query, before it is padded to the common width."""
        return self.learned_query_dim or self.positions().num_channels(len(self.query_shape))

    @property
    def head_dim(self) -> int:
        """Channels that a query decodes: those of its whole patch."""
        return math.prod(self.patch_shape or ()) * self.output_dim

    def positions(self) -> FourierPositionEncoding:
        """The encoding of the queries' positions, if queries are not learned."""
        assert self.num_fourier_freq_bands is not None
        return FourierPositionEncoding(
            self.num_fourier_freq_bands, self.max_fourier_freq, endpoint=False
        )


@dataclass(frozen=True)
class MultimodalOutput:
    """Decode each modality from the same latents, with a linear head of its own.

    Queries are padded to one width with a learned vector, by which the decoder distinguishes the
    modalities (Perceiver IO, section 4.3).

    Parameters
    ----------
    modalities
        The modalities to decode.
    decoder
        The decoder that they share.
    """

    modalities: tuple[OutputModality, ...]
    decoder: Decoder

    def query_parameters(self) -> Tree:
        """Describe the queries' weights."""
        tree: Tree = {}
        for modality in self.modalities:
            tree[modality.name] = {}
            if modality.learned_query_dim is not None:
                queries = table(modality.num_queries, modality.learned_query_dim)
                tree[modality.name]["queries"] = queries
            if padding := self.decoder.query_dim - modality.query_dim:
                tree[modality.name]["padding"] = vector(padding)
        return {name: branch for name, branch in tree.items() if branch}

    def head_parameters(self) -> Tree:
        """Describe the heads' weights."""
        decoded = self.decoder.output_dim or self.decoder.query_dim
        return {m.name: linear(decoded, m.head_dim, lecun_normal) for m in self.modalities}

    def __call__(
        self,
        params: Tree,
        latents: Array,
        indices: Mapping[str, Array | None] | None = None,
        dropout: Dropout | None = None,
        record: Record | None = None,
    ) -> dict[str, Array]:
        """Decode the modalities in ``indices``.

        Parameters
        ----------
        params
            Weights of the whole model.
        latents
            (B, N, D).
        indices
            For each modality to decode, the indices (n,) of its flattened queries (the last axis
            varies fastest), or None for all. None: all queries of all modalities.
        dropout
            Dropout in training, if any.
        record
            Function to call with the attention weights of each modality, if any.

        Returns
        -------
        dict
            By modality (B, *axes, output_dim), where ``axes`` is query_shape times
            patch_shape; for some of the queries (B, n, *patch_shape, output_dim).
        """
        if indices is None:
            indices = {modality.name: None for modality in self.modalities}
        return {
            modality.name: self._decode(
                modality,
                params,
                latents,
                indices[modality.name],
                dropout and dropout.at(ops_for(latents), number),
                record,
            )
            for number, modality in enumerate(self.modalities)
            if modality.name in indices
        }

    def _decode(self, modality, params, latents, indices, dropout, record) -> Array:
        ops = ops_for(latents)
        queries = modality_queries(
            ops, modality, params.get("queries", {}).get(modality.name, {}), latents, indices
        )
        weights = params["decoder"]
        head = _head(ops, weights.get("head"), params["outputs"][modality.name])
        weights = {**weights, "head": head}
        decoder = replace(self.decoder, output_dim=modality.head_dim)
        outputs = decoder(weights, queries, latents, dropout=dropout, record=record)
        patch_shape = modality.patch_shape or ()
        if indices is not None:
            number = ops.shape(outputs)[1]
            return ops.reshape(outputs, (-1, number, *patch_shape, modality.output_dim))
        outputs = ops.reshape(outputs, (-1, *modality.query_shape, modality.head_dim))
        return depth_to_space(outputs, patch_shape) if patch_shape else outputs


@dataclass(frozen=True)
class ModalityQueries(Queries):
    """Queries of several modalities, or of some of them at some of their positions.

    Parameters
    ----------
    modalities
        The modalities to decode.
    """

    modalities: tuple[OutputModality, ...]

    @classmethod
    def of(cls, spec: PerceiverIOSpec) -> ModalityQueries:
        if (
            not spec.with_decoder
            or spec.learn_query
            or spec.query_shape is not None
            or spec.queries_from_inputs
            or spec.output_scale != 1
        ):
            raise SpecError(
                "With output_modalities each modality has its own queries: set "
                "learn_query=False and with_decoder=True, and leave out query_shape, "
                "queries_from_inputs and output_scale."
            )
        modalities = tuple(spec.output_modalities or ())
        widths = {m.name: m.query_dim for m in modalities}
        if max(widths.values()) > spec.queries_dim:
            raise SpecError(
                f"queries_dim={spec.queries_dim} is less than the channels of an output "
                f"modality's queries: {widths}."
            )
        return cls(modalities)

    def parameters(self, decoder: Decoder) -> Tree:
        output = MultimodalOutput(self.modalities, decoder)
        return {"queries": output.query_parameters(), "outputs": output.head_parameters()}

    def check(
        self,
        ops: Ops,
        like: Array,
        given: Any,
        batch_shape: Axes,
        grid_shape: Axes | dict[str, Axes] | None,
        convert: Convert,
    ) -> tuple[dict[str, Array | None], dict[str, Axes]]:
        modalities = {modality.name: modality for modality in self.modalities}
        given = dict.fromkeys(modalities) if given is None else given
        check_names("queries", given, modalities)
        if not given:
            raise InputError(
                f"queries must name at least one modality to decode, of {', '.join(modalities)}."
            )
        indices, axes = {}, {}
        for name in sorted(given):
            modality = modalities[name]
            if given[name] is None:
                indices[name], axes[name] = None, modality.output_shape
            else:
                indices[name] = _indices(ops, like, modality, given[name], convert)
                axes[name] = (ops.shape(indices[name])[0], *(modality.patch_shape or ()))
        return indices, axes

    def output_axes(
        self, given: Any, batch_shape: OpenAxes, grid_shape: Any
    ) -> dict[str, OpenAxes]:
        modalities = {modality.name: modality for modality in self.modalities}
        given = dict.fromkeys(modalities) if given is None else given
        check_names("queries", given, modalities)
        return {
            name: modalities[name].output_shape
            if given[name] is None
            else (given[name][0], *(modalities[name].patch_shape or ()))
            for name in given
        }

    def decode(
        self,
        decoder,
        params,
        latents,
        given,
        inputs=None,
        input_mask=None,
        dropout=None,
        record=None,
    ) -> dict[str, Array]:
        return MultimodalOutput(self.modalities, decoder)(params, latents, given, dropout, record)


def _indices(ops: Ops, like: Array, modality: OutputModality, given: Any, convert: Convert):
    """Convert the indices (n,) of the queries of a modality that a call asks for."""
    name = f'queries["{modality.name}"]'
    indices = convert(given, name)
    shape = ops.known_shape(indices)
    if len(shape) != 1 or 0 in shape or "int" not in ops.dtype(indices):
        raise InputError(
            f"{name} must be indices of queries, integers (n,); got shape "
            f"{shape} of type {ops.dtype(indices)}."
        )
    # A traced array has no values yet.
    if not (ops.is_traced(indices) or ops.waits_for(indices)):
        values = ops.to_numpy(indices)
        if values.min() < 0 or values.max() >= modality.num_queries:
            raise InputError(
                f"{name} go from {values.min()} to {values.max()}; the model's are from 0 to "
                f"{modality.num_queries - 1}."
            )
    return ops.move(ops.cast(indices, "int32"), like)


def modality_queries(
    ops: Ops, modality: OutputModality, params: Tree, like: Array, indices: Array | None
) -> Inputs:
    """All queries of a modality, or those at ``indices`` (n,)."""
    like, params = ops.widen(like), map_tree(ops.widen, params)
    padding = params.get("padding")
    if modality.learned_query_dim is not None:
        queries = params["queries"]
        if indices is not None:
            learned = functools.partial(ops.look_up, queries)
            queries = rows_at(ops, learned, indices, modality.num_queries)
        return Inputs((queries.shape[0],), Features(queries[None]), padding=padding)
    positions, shape = modality.positions(), tuple(modality.query_shape)
    if indices is None:
        return Inputs(shape, positions=positions, padding=padding)

    def encoded(indices):
        features, stride = [], 1
        for size, axis_table in zip(shape[::-1], positions.axis_tables(shape)[::-1], strict=True):
            along_axis = indices // stride % size
            features.append(ops.look_up(ops.constant(axis_table, like=like), along_axis))
            stride *= size
        return ops.take(ops.concat(features[::-1], -1), positions.order(len(shape)), -1)

    queries = rows_at(ops, encoded, indices, modality.num_queries)
    return Inputs(ops.shape(indices), Features(queries[None]), padding=padding)


def _head(ops: Ops, shared: Any, own: Any) -> Any:
    """Merge the decoder's head and a modality's, because two linear layers in a row are one."""
    if shared is None:
        return own
    if callable(shared) or callable(own):
        return lambda x: project(ops, own, project(ops, shared, x))
    bias = ops.matmul(shared["bias"][None], own["weight"])[0] + own["bias"]
    return {"weight": ops.matmul(shared["weight"], own["weight"]), "bias": bias}
