"""perceiver-pytorch's models with a ``forward`` that runs the core if it can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from perceiver_pytorch import Perceiver, PerceiverIO, PerceiverLM, perceiver_io, perceiver_pytorch

from ivy_models.checkpoints.perceiver_pytorch.arguments import (
    CLASSES,
    arguments_of,
    class_of,
    spec_of,
)
from ivy_models.checkpoints.perceiver_pytorch.names import Source, canonical, source_of
from ivy_models.errors import WeightsError
from ivy_models.layers.parameters import Tree, flatten, unflatten
from ivy_models.ops import ops_named
from ivy_models.shells.accelerated.inspection import Code, Inspected, Inspection
from ivy_models.shells.accelerated.interception import is_intercepted
from ivy_models.shells.accelerated.kinds import is_plain
from ivy_models.shells.accelerated.structure import Structure, structure_of
from ivy_models.shells.call import check_inputs, check_queries
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

_DTYPES = (torch.float32, torch.float64)
"""In half precision their positions and layer norms are less exact than the core's."""

_ORIGINALS = {"Perceiver": Perceiver, "PerceiverIO": PerceiverIO, "PerceiverLM": PerceiverLM}


@dataclass(frozen=True)
class _Plan:
    """How a model runs on the core; shared by all of its copies.

    ``sources`` are the places of the core's weights in the model, by the core's names: a path and
    a :class:`.Source`. ``repeats`` says which modules are the same object.
    """

    class_name: str
    arguments: Mapping[str, Any]
    core: PerceiverIOCore
    expected: Structure
    repeats: tuple[int, ...]
    code: Code
    sources: Mapping[str, tuple[str | None, Source]]
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, class_name: str, arguments: Mapping[str, Any]) -> _Plan:
        """Make the plan of a model that a class makes of its arguments.

        Raises
        ------
        WeightsError
            If this library has no such model.
        """
        original = _ORIGINALS[class_name]
        core = PerceiverIOCore(spec_of(class_name, arguments))
        with torch.device("meta"):
            fresh = original(**arguments)
        expected = structure_of(fresh)
        code = Code((perceiver_pytorch, perceiver_io), (original,), tuple(expected.settings))
        theirs = dict(fresh.named_parameters(remove_duplicate=False))
        paths = {canonical(path, class_name): f"perceiver.{path}" for path in theirs}
        sources, shapes = {}, {}
        for name, parameter in flatten(core.parameters()):
            source = source_of(name, core.spec, class_name)
            sources[name] = None if source.name is None else paths[source.name], source
            shapes[name] = parameter.shape
        repeats = _repeats(fresh)
        return cls(class_name, arguments, core, expected, repeats, code, sources, shapes)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Plan.of, (self.class_name, self.arguments)

    def difference(self, model: torch.nn.Module) -> str | None:
        """How a model differs from the expected one, except in its tensors, or None."""
        if found := Inspection.difference(self.expected, model, self.code):
            return found
        return None if _repeats(model) == self.repeats else "its layers share other weights"

    def remembered(self, model: torch.nn.Module) -> Inspection:
        return Inspection(self.expected, model, self.code)

    def knows(self, inspection: Inspection) -> bool:
        return True  # they have no configurations

    def __deepcopy__(self, memo: dict[int, Any]) -> _Plan:
        return self


def _repeats(model: torch.nn.Module) -> tuple[int, ...]:
    """For each path to a module, in order, the number of the first path to the same module."""
    first: dict[torch.nn.Module, int] = {}
    modules = [module for _, module in model.named_modules(remove_duplicate=False)]
    return tuple(first.setdefault(module, number) for number, module in enumerate(modules))


class _Accelerated(Inspected, torch.nn.Module):
    """What the accelerated classes share. :meth:`take` sets one as an instance's ``__class__``.

    ``AcceleratedPerceiverModel`` of ``model.py`` says why it does not set ``forward``.
    """

    _plan: _Plan

    def _computed(
        self, data: Any, mask: Any = None, queries: Any = None, only_latents: bool = False
    ) -> torch.Tensor | None:
        """The result of a call, or None if the core cannot compute the same."""
        inspection = None if is_intercepted() else self._inspected()
        if inspection is None:
            return None
        path, _ = self._plan.sources["latents"]
        assert path is not None
        like = inspection.tensor(path)
        if not self._takes(like, data, mask, queries):
            return None
        ops, core, params = ops_named("torch"), self._plan.core, self._weights(inspection, like)
        checked = check_inputs(ops, core.spec, like, data, mask)
        if only_latents or not core.spec.with_decoder:
            return core.encode(params, checked.data, checked.mask)
        queries, axes = check_queries(
            ops, core.spec, like, queries, checked.batch_shape, checked.grid_shape
        )
        outputs: Any = core(params, checked.data, checked.mask, queries)
        return outputs.reshape(data.shape[0], *axes, outputs.shape[-1])

    def _takes(self, like: torch.Tensor, data: Any, mask: Any, queries: Any) -> bool:
        """Whether the core returns the same for these arguments."""
        spec = self._plan.core.spec
        if like.dtype not in _DTYPES or (self.training and spec.seq_dropout):
            return False
        if not is_plain(data, like) or data.numel() == 0:
            return False
        if spec.vocabulary_size is not None:
            axes, fits = data.shape[1:], data.ndim == 2 and not data.is_floating_point()
        else:
            axes = data.shape[1:-1]
            fits = data.ndim == spec.num_input_axes + 2 and data.dtype == like.dtype
        if queries is not None:
            fits = fits and is_plain(queries, like) and queries.dtype == like.dtype
            fits = fits and queries.ndim in (2, 3) and queries.numel() > 0
        if not fits or mask is None:
            return fits
        # If all inputs are masked, their latents attend to all of them, and the core's to none.
        return (
            is_plain(mask, like)
            and mask.dtype is torch.bool
            and mask.shape == (data.shape[0], *axes)
            and bool(mask.flatten(1).any(-1).all())
        )

    def _weights(self, inspection: Inspection, like: torch.Tensor) -> Tree:
        """The current parameters, in this library's layout."""
        plan, weights = self._plan, {}
        for name, (path, source) in plan.sources.items():
            if path is None:
                weights[name] = like.new_zeros(plan.shapes[name])
            else:
                weights[name] = source.view(inspection.tensor(path))
        return unflatten(weights)


class AcceleratedPerceiver(_Accelerated, Perceiver):
    """A ``Perceiver`` that runs the core."""

    def forward(
        self,
        data: Any,
        mask: Any = None,
        return_embeddings: bool = False,
        *others: Any,
        **named: Any,
    ) -> Any:
        """Run the core or ``Perceiver.forward``, with the same arguments and outputs."""
        output = None
        if not _asks_for_more(others, named):
            output = self._computed(data, mask, only_latents=return_embeddings)
        if output is None:
            return Perceiver.forward(self, data, mask, return_embeddings, *others, **named)
        return output


class AcceleratedPerceiverIO(_Accelerated, PerceiverIO):
    """A ``PerceiverIO`` that runs the core."""

    def forward(
        self, data: Any, mask: Any = None, queries: Any = None, *others: Any, **named: Any
    ) -> Any:
        """Run the core or ``PerceiverIO.forward``, with the same arguments and outputs."""
        output = None
        if not _asks_for_more(others, named):
            output = self._computed(data, mask, queries, only_latents=queries is None)
        if output is None:
            return PerceiverIO.forward(self, data, mask, queries, *others, **named)
        return output


class AcceleratedPerceiverLM(_Accelerated, PerceiverLM):
    """A ``PerceiverLM`` that runs the core."""

    def forward(self, x: Any, mask: Any = None) -> Any:
        """Run the core or ``PerceiverLM.forward``, with the same arguments and outputs."""
        output = self._computed(x, mask)
        return PerceiverLM.forward(self, x, mask) if output is None else output


def _asks_for_more(others: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    """Whether a call asks for the results of each layer."""
    return any(value is not None and value is not False for value in (*others, *named.values()))


_ACCELERATED = {
    "Perceiver": AcceleratedPerceiver,
    "PerceiverIO": AcceleratedPerceiverIO,
    "PerceiverLM": AcceleratedPerceiverLM,
}
for _name in CLASSES:
    _ACCELERATED[_name].__name__ = _name


def take(model: Any) -> str | None:
    """Turn a model into one of an accelerated class, if this library has it.

    Returns
    -------
    str or None
        Why it runs perceiver-pytorch's own code for now, if it does.
    """
    class_name = class_of(model)
    assert class_name is not None
    try:
        plan = _Plan.of(class_name, arguments_of(model))
    except WeightsError as error:
        return str(error).removesuffix(".")
    except (AttributeError, IndexError, KeyError, TypeError):
        return f"its modules are not those of a {class_name}"
    return _ACCELERATED[class_name]._taken(model, plan)
