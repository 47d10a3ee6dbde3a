"""Weights of an Ivy module: of any framework, checked when they change."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ivy_models.arrays import (
    current_ops,
    default_device,
    device_of,
    is_on,
    to_ivy,
    to_native,
    to_numpy,
    unwrap,
    unwrap_tree,
)
from ivy_models.checkpoints.check import CheckedWeights, check_tree, check_weights
from ivy_models.errors import BackendError, InputError, WeightsError
from ivy_models.layers.parameters import Tree, count, flatten, initialise, map_tree, unflatten
from ivy_models.ops import Ops, ops_for
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec
import ivy

_FORMER_NAMES = {"z_latents": "latents", "decoder_queries": "queries"}
"""Name of a weight in the first ``ivy_models`` -> name in ``model.v``."""


class ModuleWithWeights(ivy.Module):
    """An ``ivy.Module`` that holds the weights of a spec.

    The weights follow Ivy's backend and may be replaced at any time. So they are checked, and
    converted to arrays of the backend, when they are used and have changed.
    """

    spec: PerceiverIOSpec
    core: PerceiverIOCore
    _v: Any
    _checked: tuple[str, Tree]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "v" and not isinstance(value, ivy.Container):
            check_tree(value, "model.v")
            value = _container(value)
        super().__setattr__(name, value)

    @property
    def device(self) -> str:
        """The device of the weights, such as ``"cpu"``, ``"gpu:0"`` or ``"mps:0"``."""
        return device_of(self._native_weights(self._current_ops())["latents"])

    @property
    def dtype(self) -> str:
        """The data type of the weights, such as ``"float32"``."""
        ops = self._current_ops()
        return ops.dtype(self._native_weights(ops)["latents"])

    @property
    def v(self) -> ivy.Container:
        """The weights. They follow ``ivy.set_backend``: a call converts them when needed.

        They may be replaced, one or all; the next use checks their names and shapes. In an
        ``ivy.Module``, they are that module's. ``z_latents`` and ``decoder_queries``, the names of
        the older library, also work for ``latents`` and ``queries``.
        """
        return self._held()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        latents = unwrap(self._v["latents"])
        ops, backend = ops_for(latents), ivy.current_backend_str()
        # JAX and TensorFlow copy to their default device.
        if backend in ("", ops.name) and not is_on(latents, self.spec.device):
            self._v = self._place(ops, _converted(self._v, _detached))

    @property
    def num_parameters(self) -> int:
        """Number of trainable weights."""
        return count(self.core.parameters())

    def _fitting(self, v: Mapping | CheckedWeights | None, seed: int, partial: bool) -> Tree:
        """Weights for this model as NumPy arrays: drawn, or given and checked."""
        if v is None:
            return initialise(self.core.parameters(), seed)
        are_checked = isinstance(v, CheckedWeights) and v.spec == self.spec
        tree = v.tree if isinstance(v, CheckedWeights) else v
        check_tree(tree, "v")
        tree = _converted(tree, _detached)
        if partial:
            drawn = initialise(self.core.parameters(), seed)
            tree = unflatten(dict(flatten(drawn)) | dict(flatten(tree)))
        if not are_checked:
            CheckedWeights.of(self.spec, self.core.parameters(), dict(flatten(tree)), "v")
        return tree

    @property
    def _wanted_device(self) -> str | None:
        """The spec's device, or Ivy's where none is given."""
        return self.spec.device or default_device()

    def _current_ops(self) -> Ops:
        """Ivy's backend, or the framework of the weights where none is set."""
        return current_ops(self._held().get("latents"))

    def _held(self) -> Any:
        """The container of the weights: of this model, or of the ``ivy.Module`` around it.

        Ivy gives each part of a module a ``__call__`` of its own, which finds the part's weights
        in those of the module.
        """
        if (call := vars(self).get("__call__")) is None:
            return _with_former_names(self._v)
        names = ("v_fn", "keychain_mappings", "orig_key_chain")
        find, *where = (call.keywords[name] for name in names)
        return _with_former_names(find(call.func.__self__.v, *where) or self._v)

    def _hold(self, weights: Any) -> None:
        """Replace the weights, also in the module around this model."""
        if "__call__" in vars(self):
            held = self._held()
            for name, leaf in flatten(weights):
                held[name] = leaf
            weights = held
        self._v = weights

    def _native_weights(self, ops: Ops) -> Tree:
        """The weights as native arrays, checked and converted first where they have changed."""
        held = self._held()
        if held is not self._v:  # the module around this model was given others
            return self._weights_for_once(ops, held)
        params = unwrap_tree(held)
        leaves = dict(flatten(params))
        name, known = self._checked
        if (
            name == ops.name
            and leaves.keys() == known.keys()
            and all(leaf is known[name] for name, leaf in leaves.items())
        ):
            return params
        fitting = self._fit(ops, params)
        if fitting is not params:
            self._hold(fitting)
        params = unwrap_tree(fitting)  # not self._v, which another thread may replace
        self._checked = ops.name, dict(flatten(params))
        return params

    def _fit(self, ops: Ops, params: Tree) -> Any:
        """Weights of one framework and data type, or ``params`` themselves if they are."""
        self._check(params, "model.v")
        if not _are_native(ops, params):
            return self._place(ops, _converted(params, _detached))
        if len({ops.dtype(leaf) for _, leaf in flatten(params)}) > 1:
            return _wrapped(ops, map_tree(lambda leaf: ops.cast(leaf, self.spec.dtype), params))
        return params

    def _check(self, params: Mapping, source: str) -> None:
        """Refuse weights whose names or shapes are not those of the model."""
        given = {name: _shape_and_type(leaf) for name, leaf in flatten(params)}
        check_weights(self.core.parameters(), given, source)

    def _weights_for_once(self, ops: Ops, v: Mapping) -> Tree:
        """Weights for one call as native arrays: unchanged, with gradients, or converted."""
        check_tree(v, "v")
        params = unwrap_tree(v)
        are_native = ops.name != "numpy" and _are_native(ops, params)
        params = _converted(params, functools.partial(to_native, ops) if are_native else _detached)
        self._check(params, "v")
        return params if are_native else unwrap_tree(self._place(ops, params))

    def _numpy_weights(self) -> Tree:
        """The weights as NumPy arrays, checked."""
        held = self._held()
        self._check(held, "model.v")
        return map_tree(np.ascontiguousarray, _converted(held, _detached))

    def _place(self, ops: Ops, weights: Tree) -> Any:
        """Copy NumPy weights to a container on the spec's device, in the spec's data type."""
        dtype, device = self.spec.dtype, self._wanted_device

        def place(name, leaf):
            is_matrix = name.endswith("/weight") and leaf.ndim == 2
            copy = ops.matrix if is_matrix else ops.asarray
            # A matrix of another framework may be transposed in memory, which rounds otherwise.
            return copy(np.ascontiguousarray(leaf), dtype, device)

        return _wrapped(ops, unflatten({n: place(n, leaf) for n, leaf in flatten(weights)}))

    def _copy_for(self, ops: Ops) -> Tree:
        """The weights as native arrays of another framework, or copied within it."""
        dtype, device = self.spec.dtype, self._wanted_device

        def copy(leaf):
            if ops.lacks_numbers(native := unwrap(leaf)):
                return ops.cast(native, dtype)
            return ops.asarray(_detached(leaf, "a weight"), dtype, device)

        held = self._held()
        self._check(held, "model.v")
        return map_tree(copy, held)


def _are_native(ops: Ops, params: Tree) -> bool:
    one_of_each_type = {type(leaf): leaf for _, leaf in flatten(params)}
    return all(map(ops.is_array, one_of_each_type.values()))


def _converted(weights: Mapping, convert: Callable[[Any, str], Any]) -> Tree:
    """Convert each weight by ``convert(weight, name)`` to an array of one framework."""
    try:
        return unflatten({name: convert(leaf, name) for name, leaf in flatten(weights)})
    except InputError as error:
        raise WeightsError(f"The weights cannot be used: {error}") from error


def _with_former_names(v: Any) -> Any:
    """Let attributes of an ``ivy.Container`` with former names read and replace its weights."""
    for former, name in _FORMER_NAMES.items():
        if former in v:  # a script has assigned v.z_latents
            v[name] = v.pop(former)
        if name in v:
            vars(v)[former] = v[name]
    return v


def _detached(leaf: Any, name: str) -> np.ndarray:
    """A weight as a NumPy array, without gradients."""
    leaf = unwrap(leaf)
    try:
        ops = ops_for(leaf)
    except BackendError:  # a list, or an array of another library
        return to_numpy(leaf, name)
    return to_numpy(ops.detach(leaf), name)


def _shape_and_type(leaf: Any) -> np.ndarray:
    """A NumPy array of zeros with a weight's shape and a float or integer type like its own."""
    leaf = unwrap(leaf)
    try:
        ops = ops_for(leaf)
    except BackendError:  # a list, a number, or an array of another library
        return to_numpy(leaf, "a weight")
    kind = np.float32 if ops.is_float(leaf) else np.int32
    return np.broadcast_to(np.zeros((), kind), tuple(leaf.shape))


def _wrapped(ops: Ops, weights: Tree) -> ivy.Container:
    """Native arrays as a container of ``ivy.Array``."""
    return _container(map_tree(functools.partial(to_ivy, ops), weights))


def _container(weights: Mapping) -> ivy.Container:
    return ivy.Container(weights)
