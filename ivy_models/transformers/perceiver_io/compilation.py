"""When and what a model compiles.

JAX and TensorFlow compile the whole model, once for each shape of the input: the shapes of
a Perceiver's arrays follow from it. So that batches of changing size do not cause a new
compilation each, a batch runs as sums of powers of two (13 = 8 + 4 + 1): at most a few
programs a resolution, and no work that is thrown away. Tokens are padded to a power of two,
behind a mask. The latest programs are kept, the others are forgotten.

PyTorch compiles, when asked, the processor's block alone: nearly all of the work is there,
and its shapes do not depend on the input's size. Without being asked it does not: on CPU
that gains nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ivy_models.ops import Array, Ops
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.parameters import Tree

MAX_PROGRAMS = 32
"""Compiled programs that a model keeps."""

MIN_LENGTH = 64
"""Tokens that a compiled program takes at least."""


class CompiledCalls:
    """Runs a core, compiled where that pays or was asked for."""

    def __init__(self, core: PerceiverIOCore):
        self.core = core
        self.asked = False
        self._programs: OrderedDict[tuple, Callable] = OrderedDict()

    def __call__(
        self,
        ops: Ops,
        params: Tree,
        data: Array,
        input_mask: Array | None,
        queries: Array | None,
    ) -> Array:
        """Run ``core(params, data, input_mask, queries)``."""
        if not ops.traces_loops:
            return self._eager(ops)(params, data, input_mask, queries)
        if ops.is_traced(data):  # the caller compiles
            return self.core(params, data, input_mask, queries)
        spec, length = self.core.spec, data.shape[1]
        if spec.vocabulary_size is not None:
            (max_length,) = spec.learned_position_shape
            padded = min(max_length, max(MIN_LENGTH, 1 << (length - 1).bit_length()))
            data, input_mask = _pad(ops, data, input_mask, padded)
        output = self._compiled(ops, params, data, input_mask, queries)
        return ops.slice(output, 0, length, 1) if spec.query_per_input else output

    def _compiled(self, ops, params, data, input_mask, queries) -> Array:
        batch, arguments = data.shape[0], (data, input_mask, queries)
        sizes = _powers_of_two(batch)
        if len(sizes) == 1:
            return self._program(ops, arguments)(params, *arguments)
        outputs, start = [], 0
        for size in sizes:
            part = [
                x if x is None or x.shape[0] != batch else ops.slice(x, start, size, 0)
                for x in arguments
            ]
            outputs.append(self._program(ops, part)(params, *part))
            start += size
        return ops.concat(outputs, 0)

    def _eager(self, ops: Ops) -> Callable:
        if not self.asked:
            return self.core
        processor = self.core.spec.processor()
        return self._kept((ops.name,), lambda: replace(self.core, processor=ops.compile(processor)))

    def _program(self, ops: Ops, arguments: Sequence[Array | None]) -> Callable:
        shapes = (None if x is None else tuple(x.shape) for x in arguments)
        return self._kept((ops.name, *shapes), lambda: ops.compile(self.core))

    def _kept(self, key: tuple, make: Callable[[], Callable]) -> Callable:
        if key not in self._programs:
            self._programs[key] = make()
            while len(self._programs) > MAX_PROGRAMS:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]


def _pad(ops: Ops, tokens: Array, mask: Array | None, length: int) -> tuple[Array, Array | None]:
    """Tokens and mask (B, M) with masked tokens added up to ``length``."""
    batch, num_tokens = tokens.shape
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
    """The powers of two that ``number`` is the sum of, largest first."""
    return [1 << bit for bit in reversed(range(number.bit_length())) if number >> bit & 1]
