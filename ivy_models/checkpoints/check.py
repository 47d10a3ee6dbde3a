"""Checks that a set of weights fits a model, before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ivy_models.errors import SpecError, WeightsError, shown
from ivy_models.layers.parameters import (
    Tree,
    flatten,
    is_within,
    unflatten,
)
from ivy_models.transformers.perceiver_io.inputs.grid import LARGEST
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec
from ivy_models.transformers.perceiver_io.spec_checks import DROPOUT_RATES

LISTED = 10
"""Maximum number of names that an error lists for each kind of mismatch."""


@dataclass(frozen=True)
class CheckedWeights:
    """Weights that fit a spec, so that its model takes them without another check.

    Parameters
    ----------
    spec
        The spec that they were checked for.
    tree
        Parameter tree of NumPy arrays.
    """

    spec: PerceiverIOSpec
    tree: Tree

    @classmethod
    def of(
        cls,
        spec: PerceiverIOSpec,
        description: Tree,
        weights: Mapping[str, np.ndarray],
        source: str,
    ) -> CheckedWeights:
        """Check flat weights.

        Raises
        ------
        WeightsError
            As :func:`check_weights` and :func:`check_magnitudes`.
        """
        check_weights(description, weights, source)
        check_magnitudes(spec, weights, source)
        return cls(spec, unflatten(weights))


def check_tree(weights: Any, source: str) -> None:
    """Check that weights are nested dicts whose keys are text. Leaves are not checked.

    Raises
    ------
    WeightsError
        If they are not.
    """
    if not isinstance(weights, Mapping):
        raise WeightsError(
            f"{source} must be a nested dict of weights by name, like model.v; got a "
            f"{type(weights).__name__}."
        )
    for name, branch in weights.items():
        if not isinstance(name, str):
            raise WeightsError(f"The names in {source} must be text, got {shown(name)}.")
        if isinstance(branch, Mapping):
            check_tree(branch, source)


def check_weights(description: Tree, weights: Mapping[str, Any], source: str) -> None:
    """Check names and shapes of flat weights against a model's description.

    Raises
    ------
    WeightsError
        Lists the weights that are missing, unexpected, of another shape or not floats.
    """
    expected = dict(flatten(description))
    shared = [name for name in expected if name in weights]
    misfits = {
        "missing": [name for name in expected if name not in weights],
        "unexpected": [shown(name) for name in weights if name not in expected],
        "of another shape": [
            f"{name}: {weights[name].shape}, expected {expected[name].shape}"
            for name in shared
            if tuple(weights[name].shape) != expected[name].shape
        ],
        "not numbers": [
            f"{name}: {weights[name].dtype}"
            for name in shared
            if not np.issubdtype(weights[name].dtype, np.floating)
        ],
    }
    lines = [line for kind, names in misfits.items() for line in _listing(kind, names)]
    if lines:
        raise WeightsError(
            f"The weights in {source} do not fit the model, which was left as it was:\n"
            + "\n".join(lines)
        )


def check_magnitudes(spec: PerceiverIOSpec, weights: Mapping[str, np.ndarray], source: str) -> None:
    """Check that the squares of flat weights do not overflow float32 in layer norm.

    With an overflow, layer norm returns zeros and the model a plausible but wrong answer. NaN is
    allowed, because it shows in the output.

    Raises
    ------
    WeightsError
        If one of them is larger than :data:`.LARGEST`, except in a float64 model.
    """
    if spec.dtype == "float64":
        return
    huge = [
        f"{name}: up to {largest:.3g}"
        for name, array in weights.items()
        if array.size and (largest := _largest(array)) > LARGEST
    ]
    if huge:
        raise WeightsError(
            f"Weights in {source} are larger than {LARGEST:g}, so layer norm would overflow in "
            f'{spec.dtype}. Use dtype="float64":\n' + "\n".join(_listing("too large", huge))
        )


def _largest(array: np.ndarray) -> float:
    """Largest absolute value, ignoring NaN."""
    return max(float(np.fmax.reduce(array, axis=None)), -float(np.fmin.reduce(array, axis=None)))


def _listing(kind: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = [f"    and {len(names) - LISTED} more"] if len(names) > LISTED else []
    return [f"  {len(names)} {kind}:", *(f"    {name}" for name in names[:LISTED]), *more]


def fresh_branches(description: Tree, fresh: Sequence[str]) -> tuple[str, ...]:
    """Return the branches to draw at random, and those that a new decoder does not need.

    A new decoder may have no queries, or no outputs of modalities. The file's weights for those
    are ignored as well.

    Raises
    ------
    SpecError
        If the model has no such branch.
    """
    if isinstance(fresh, str):
        raise SpecError(f"fresh must be a list of branches, such as [{fresh!r}], got {fresh!r}.")
    names = [name for name, _ in flatten(description)]
    for branch in fresh:
        if not any(is_within(name, [branch]) for name in names):
            raise SpecError(
                f"fresh names {branch!r}, but no weight of the model is in such a branch; the "
                f"outermost are {', '.join(description)}."
            )
    unread = {"queries", "outputs"} - description.keys() if "decoder" in fresh else set()
    return (*fresh, *sorted(unread))


NOT_COMPARED = ("device", "dtype", *DROPOUT_RATES)
"""Fields that may differ between a model and its weights."""

ONLY_CONCERNS = {
    "output_dim": ("decoder/head",),
    "with_final_head": ("decoder/head",),
    "tied_head": ("decoder/head",),
    "output_scale": ("decoder/head",),
    "learn_query": ("queries",),
    "query_shape": ("queries",),
    "query_per_input": ("queries",),
    "queries_from_inputs": ("queries",),
    "num_query_position_axes": ("queries",),
    "decoder_widening_factor": ("decoder",),
    "queries_dim": ("queries", "decoder"),
    "query_residual": ("decoder",),
    "decoder_v_dim": ("decoder",),
    "num_decoder_heads": ("decoder",),
    "decoder_head_dim": ("decoder",),
    "output_modalities": ("queries", "outputs"),
    "pooling": ("queries", "decoder"),
    "with_decoder": ("queries", "decoder"),
}
"""Fields that may differ too if these branches are fresh: no trained weight depends on them."""

OF_POSITIONS = {
    "position_range": "num_position_axes",
    "num_fourier_freq_bands": "fourier_encode_input",
    "max_fourier_freq": "fourier_encode_input",
    "fourier_band_spacing": "fourier_encode_input",
}
"""Fields of positions, of inputs and of queries. Each concerns inputs if another field is set."""


def concerned(field: str, *specs: PerceiverIOSpec) -> tuple[str, ...] | None:
    """Branches of the weights that depend on a field in which specs differ. None: all may."""
    if field in OF_POSITIONS and not any(getattr(spec, OF_POSITIONS[field]) for spec in specs):
        return ("queries",)
    return ONLY_CONCERNS.get(field)


def differing_fields(
    published: PerceiverIOSpec, spec: PerceiverIOSpec, fresh: Sequence[str] = ()
) -> list[str]:
    """Names of the fields in which two models differ, except those that only affect ``fresh``."""
    return [
        field.name
        for field in fields(spec)
        if field.name not in NOT_COMPARED
        and _compared(spec, field.name) != _compared(published, field.name)
        and not (
            (branches := concerned(field.name, published, spec))
            and all(is_within(branch, fresh) for branch in branches)
        )
    ]


def _compared(spec: PerceiverIOSpec, name: str) -> Any:
    """A field's value; axes of size 1 in query_shape change no weight and no number."""
    value = getattr(spec, name)
    if name == "query_shape" and value is not None:
        return tuple(size for size in value if size != 1)
    return value


def check_spec(
    published: PerceiverIOSpec, spec: PerceiverIOSpec, source: str, fresh: Sequence[str] = ()
) -> None:
    """Check that a spec describes the model that weights were trained in.

    Fields that only affect ``fresh`` branches may differ.

    Raises
    ------
    WeightsError
        With a table of the fields that differ.
    """
    names = differing_fields(published, spec, fresh)
    if not names:
        return
    rows = [(name, repr(getattr(spec, name)), repr(getattr(published, name))) for name in names]
    rows.insert(0, ("field", "this spec", "the weights"))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    table = "\n".join(f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows)
    advice = "Change these fields, or build the model with pretrained=False."
    # Without a head or learned queries there is no branch to retrain.
    branches = [concerned(name, published, spec) for name in names]
    if spec.with_final_head and spec.learn_query and all(branches):
        retrained = sorted({*fresh, *(branch for some in branches for branch in some or ())})
        advice += f" To retrain these branches, pass fresh={retrained}."
    raise WeightsError(f"The spec does not describe the model of {source}:\n{table}\n{advice}")
