"""Base class of the kinds of queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ivy_models.errors import InputError
from ivy_models.layers.attention import Dropout, Record
from ivy_models.layers.features import Inputs
from ivy_models.layers.parameters import Tree
from ivy_models.ops import Array, Ops
from ivy_models.transformers.perceiver_io.decoder import Decoder
from ivy_models.transformers.perceiver_io.inputs.base import Axes, Convert, OpenAxes

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


class Queries(ABC):
    """A kind of queries, with which the decoder attends to the latents."""

    needs_data: ClassVar[bool] = False
    """Whether the queries come from the data, so that latents alone cannot be decoded."""

    @classmethod
    @abstractmethod
    def of(cls, spec: PerceiverIOSpec) -> Queries:
        """Make the queries that a spec describes.

        Raises
        ------
        SpecError
            If the spec's fields contradict this kind.
        """

    def parameters(self, decoder: Decoder) -> Tree:
        """Describe the weights of this kind, as branches of the model's."""
        return {}

    def argument_shape(self) -> OpenAxes | None:
        """Shape (*axes, E) of the queries that each call passes, without its batch axes.

        Sizes are None where calls can pass any. None: a call need not pass queries.
        """
        return None

    def call_shape(self) -> Axes | None:
        """Shape (O, E) of the queries that each call passes, or None if it passes none.

        Raises
        ------
        InputError
            If any number of queries can be passed.
        """
        return None

    def with_mask(self, given: Any, query_mask: Any) -> Any:
        """Combine the queries of a call and their mask, for the other methods.

        Raises
        ------
        InputError
            If there is a mask, and the queries do not come from the call.
        """
        if query_mask is not None:
            raise InputError(
                "query_mask is for queries that the call passes as an array. Leave it out: the "
                "queries of this model or call have no padding."
            )
        return given

    @abstractmethod
    def check(
        self,
        ops: Ops,
        like: Array,
        given: Any,
        batch_shape: Axes,
        grid_shape: Axes | dict[str, Axes] | None,
        convert: Convert,
    ) -> tuple[Any, Any]:
        """Convert the queries that a call passed.

        Parameters
        ----------
        ops
            The model's framework.
        like
            A weight. Arrays get its device, and its data type, but at least float32.
        given
            The user's queries, as :meth:`with_mask` returned them.
        batch_shape
            Batch axes of the data.
        grid_shape
            Axes of the inputs, or None if there are several modalities or only latents.
        convert
            Converts an array to the model's framework.

        Returns
        -------
        tuple
            The queries for :meth:`decode`, and the axes of the result between batch and channels,
            by modality if there are several.

        Raises
        ------
        InputError
            If they do not fit the model.
        """

    def unmapped(self, checked: Any) -> Any:
        """Undo what :meth:`check` did to coordinates, in NumPy."""
        return checked

    @abstractmethod
    def output_axes(self, given: Any, batch_shape: OpenAxes, grid_shape: Any) -> Any:
        """Return the axes of the result between batch and channels.

        Parameters
        ----------
        given
            Shape of the queries that a call passes, by modality if there are several, or None if
            it passes none. Sizes may be None, here and below.
        batch_shape, grid_shape
            As in :meth:`check`.

        Returns
        -------
        tuple or dict
            The axes, by modality if there are several.
        """

    def __call__(
        self,
        params: Tree,
        latents: Array,
        given: Any,
        inputs: Inputs | Sequence[Inputs] | None,
        input_mask: Array | None,
    ) -> tuple[Array | Inputs, Array | None]:
        """Return the queries (B, O, E), or (1, O, E) for a batch, and their mask (B, O), if any.

        Parameters
        ----------
        params
            Weights of the whole model.
        latents
            (B, N, D).
        given
            The result of :meth:`check`.
        inputs, input_mask
            The inputs that the latents have read, and their mask (B, M).
        """
        raise NotImplementedError

    def decode(
        self,
        decoder: Decoder,
        params: Tree,
        latents: Array,
        given: Any,
        inputs: Inputs | Sequence[Inputs] | None = None,
        input_mask: Array | None = None,
        dropout: Dropout | None = None,
        record: Record | None = None,
    ) -> Any:
        """Decode latents (B, N, D) at the queries; arguments as in a call of this object."""
        queries, query_mask = self(params, latents, given, inputs, input_mask)
        return decoder(params["decoder"], queries, latents, query_mask, dropout, record)


def refuse(given: Any, why: str) -> None:
    """Refuse queries that were passed to a model that takes none.

    Raises
    ------
    InputError
        If there are any.
    """
    if given is not None:
        raise InputError(f"queries were passed to a model {why}")
