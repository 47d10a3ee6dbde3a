"""Compilation of a model's calls.

JAX and TensorFlow compile the whole model, once for each shape of the input, because that
determines the shapes of all arrays. A batch is split into powers of two (13 = 8 + 4 + 1), so that
batches of all sizes need only a few programs for each resolution and nothing is padded. Tokens are
padded to a power of two, with a mask. Only the most recent programs are kept.

PyTorch compiles only on request, and then only the processor's block: nearly all of the work is
there, and its shapes do not depend on the input's size. On CPU this gains nothing.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ivy_models.layers.parameters import Tree
from ivy_models.ops import Array, Ops
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

MAX_PROGRAMS = 32
"""Maximum number of compiled programs that a model keeps."""

MIN_LENGTH = 64
"""Minimum number of tokens of a compiled program."""


class CompiledCalls:
    """Runs a core, compiled if that is fast or was requested."""

    def __init__(self, core: PerceiverIOCore, asked: bool = False):
        self.core = core
        self.asked = asked
        self._programs: OrderedDict[tuple, Callable] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_programs": OrderedDict()}  # copies compile their own

    def of(self, core: PerceiverIOCore) -> CompiledCalls:
        """The same for another core of this model, with the same store of programs."""
        if core is self.core:
            return self
        others = copy.copy(self)
        others.core, others._programs = core, self._programs
        return others

    def __call__(self, ops: Ops, params: Tree, data: Any, input_mask: Any, queries: Any) -> Any:
        """Run ``core(params, data, input_mask, queries)``."""
        length, longest = None, self._longest_padding(ops, data)
        if longest is not None:
            length = data.shape[1]
            data, input_mask = _padded(ops, data, input_mask, longest)
        output = self._run(ops, "__call__", params, data, input_mask, queries)
        if length is None or not self.core.spec.queries().needs_data:
            return output
        return ops.slice(output, 0, length, 1)

    def encode(self, ops: Ops, params: Tree, data: Any, input_mask: Any) -> Array:
        """Run ``core.encode(params, data, input_mask)``."""
        longest = self._longest_padding(ops, data)
        if longest is not None:
            data, input_mask = _padded(ops, data, input_mask, longest)
        return self._run(ops, "encode", params, data, input_mask)

    def decode(self, ops: Ops, params: Tree, latents: Array, queries: Any) -> Any:
        """Run ``core.decode(params, latents, queries)``."""
        return self._run(ops, "decode", params, latents, queries)

    def _longest_padding(self, ops: Ops, data: Any) -> int | None:
        """Maximum length of padded data, or None if data are not padded."""
        if not ops.traces_loops or ops.is_traced(data):
            return None
        return self.core.spec.input().longest_padding

    def _run(self, ops: Ops, method: str, params: Tree, *arguments: Any) -> Any:
        if not ops.traces_loops:
            return getattr(self._eager(ops), method)(params, *arguments)
        if any(map(ops.is_traced, _leaves(arguments))):  # the caller compiles
            return getattr(self.core, method)(params, *arguments)
        batch = next(_leaves(arguments)).shape[0]
        sizes = _powers_of_two(batch)
        if len(sizes) == 1:
            return self._program(ops, method, arguments)(params, *arguments)

        def part(start: int, size: int, argument: Any, is_queries: bool) -> Any:
            def cut(x):  # places of queries, one axis of whole numbers, are those of all examples
                is_shared = x.shape[0] != batch or (is_queries and len(x.shape) == 1)
                return x if is_shared else ops.slice(x, start, size, 0)

            return _map(cut, argument)

        outputs, start = [], 0
        are_queries = [False] * (len(arguments) - 1) + [method != "encode"]
        for size in sizes:
            cut = functools.partial(part, start, size)
            some = tuple(map(cut, arguments, are_queries))
            outputs.append(self._program(ops, method, some)(params, *some))
            start += size
        return _map(lambda *parts: ops.concat(parts, 0), *outputs)

    def _eager(self, ops: Ops) -> PerceiverIOCore:
        if not self.asked:
            return self.core
        processor = self.core.spec.processor()
        return self._kept(
            (ops.name, self.core), lambda: replace(self.core, processor=ops.compile(processor))
        )

    def _program(self, ops: Ops, method: str, arguments: Sequence[Any]) -> Callable:
        shapes = _shapes(arguments)
        return self._kept(
            (ops.name, self.core, method, shapes), lambda: ops.compile(getattr(self.core, method))
        )

    def _kept(self, key: tuple, make: Callable[[], Any]) -> Any:
        if (program := self._programs.get(key)) is None:
            program = self._programs.setdefault(key, make())
            while len(self._programs) > MAX_PROGRAMS:
                self._programs.popitem(last=False)
        with contextlib.suppress(KeyError):  # another thread has removed it
            self._programs.move_to_end(key)
        return program


# Arguments and outputs are arrays, None, or dicts of these by modality.


def _leaves(tree: Any) -> Iterator[Array]:
    if isinstance(tree, (dict, tuple)):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(branch)
    elif tree is not None:
        yield tree


def _map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _map(function, tree[key], *(other[key] for other in others)) for key in tree}
    if isinstance(tree, tuple):
        return tuple(_map(function, *branches) for branches in zip(tree, *others, strict=True))
    return None if tree is None else function(tree, *others)


def _shapes(tree: Any) -> Any:
    if isinstance(tree, dict):
        return tuple((key, _shapes(branch)) for key, branch in tree.items())
    if isinstance(tree, tuple):
        return tuple(map(_shapes, tree))
    return None if tree is None else (len(tree.shape), *tree.shape)


def _padded(
    ops: Ops, tokens: Array, mask: Array | None, longest: int
) -> tuple[Array, Array | None]:
    """Pad tokens and mask (B, M) with masked tokens to a power of two, at most ``longest``."""
    batch, num_tokens = tokens.shape
    length = min(longest, max(MIN_LENGTH, 1 << (num_tokens - 1).bit_length()))
    if num_tokens == length:
        return tokens, mask

    def zeros_after(x):
        zeros = ops.constant(np.zeros((batch, length - num_tokens), np.int32), like=x)
        return ops.concat([x, zeros], 1)

    if mask is None:
        mask = ops.constant(np.ones((batch, num_tokens), np.int32), like=tokens)
    mask = ops.cast(zeros_after(ops.cast(mask, "int32")), "bool")
    return zeros_after(tokens), mask


def _powers_of_two(number: int) -> list[int]:
    """The powers of two whose sum is ``number``, largest first."""
    return [1 << bit for bit in reversed(range(number.bit_length())) if number >> bit & 1]
