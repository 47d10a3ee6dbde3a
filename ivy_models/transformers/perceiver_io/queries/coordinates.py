"""Queries from coordinates that each call passes: decode a field anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivy_models.errors import SpecError
from ivy_models.layers.features import Inputs
from ivy_models.layers.parameters import Tree, lecun_normal, linear, map_tree
from ivy_models.ops import Array, Ops, ops_for
from ivy_models.transformers.perceiver_io.coordinates import Coordinates
from ivy_models.transformers.perceiver_io.decoder import Decoder
from ivy_models.transformers.perceiver_io.inputs.stems import projected
from ivy_models.transformers.perceiver_io.queries.given import GivenQueries, parts_of

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


@dataclass(frozen=True)
class CoordinateQueries(GivenQueries):
    """The Fourier features of coordinates (*batch, *axes, A), through a linear layer.

    Parameters
    ----------
    shape
        As :class:`GivenQueries` takes it.
    dim
        A, the number of coordinates of a query.
    rescales
        False.
    coordinates
        Their ranges and Fourier features.
    """

    coordinates: Coordinates

    @classmethod
    def of(cls, spec: PerceiverIOSpec) -> CoordinateQueries:
        if (
            spec.learn_query
            or not spec.with_decoder
            or spec.queries_from_inputs
            or spec.query_per_input
            or spec.output_modalities is not None
        ):
            raise SpecError(
                "With num_query_position_axes each call passes the coordinates of its queries: set "
                "learn_query=False and with_decoder=True, and leave out queries_from_inputs, "
                "query_per_input and output_modalities."
            )
        coordinates = Coordinates.of(spec, "num_query_position_axes")
        shape = None if spec.query_shape is None else tuple(spec.query_shape)
        return cls(shape, coordinates.num_axes, False, coordinates)

    def parameters(self, decoder: Decoder) -> Tree:
        projection = linear(self.coordinates.num_channels, decoder.query_dim, lecun_normal)
        return {"queries": {"projection": projection}}

    def _prepared(self, ops: Ops, queries: Array, mask: Array | None = None) -> Array:
        return self.coordinates.mapped(ops, queries, "queries", mask)

    def unmapped(self, checked: Any) -> Any:
        return self.coordinates.unmapped(checked)

    def __call__(self, params, latents, given, inputs, input_mask):
        ops, (given, mask) = ops_for(latents), parts_of(given)
        projection = map_tree(ops.widen, params["queries"]["projection"])
        features = projected(projection, given, self.coordinates.encoding)
        return Inputs((ops.shape(given)[1],), features), mask
