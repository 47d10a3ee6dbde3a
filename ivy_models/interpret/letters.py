"""The letters of a text that a model of n-grams attended to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.interpret.attention_maps import attention_maps, layer_by_layer
from ivy_models.interpret.rollout import attention_rollout
from ivy_models.layers.attention import norm, project
from ivy_models.layers.features import dense
from ivy_models.tasks.identification import pieces, read_letters, text_column
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

if TYPE_CHECKING:
    from ivy_models.shells.ivy import PerceiverIO


def attention_to_letters(model: PerceiverIO, text: str) -> tuple[str, np.ndarray]:
    """Find the share of each character in the answer of a model of languages.

    A token's share is that of :func:`attention_rollout`, times the length of the value that the
    latents get from it (arXiv 2004.10102); each character of its n-gram gets an equal part of it.

    Parameters
    ----------
    model
        A model that reads texts as n-grams, such as ``perceiver_io_languages``.
    text
        A text. Only the first piece of a long text is read.

    Returns
    -------
    tuple
        The characters that were read, in lower case, and their shares (characters,), which sum
        to 1.

    Raises
    ------
    InputError
        If the text is empty or has no letters, or the model reads something else.
    """
    column = text_column(model)
    prepare = column.preprocessing
    read = prepare.normalised(pieces(read_letters(text), prepare)[0])
    data, mask = model.preprocessing({column.name: read})
    (name,) = data
    shares = to_numpy(attention_rollout(attention_maps(model, data, mask))[name], "shares").ravel()
    shares = shares * _lengths_of_values(model, data, mask)
    shares = np.where(mask[name], shares, 0).reshape(-1, len(prepare.sizes))
    letters = np.zeros(len(shares) + max(prepare.sizes))
    for size, own in zip(prepare.sizes, shares.T, strict=True):
        for offset in range(size):
            letters[offset : offset + len(own)] += own / size
    letters = letters[: len(read)]
    return read, letters / max(letters.sum(), 1e-30)


def _lengths_of_values(model: PerceiverIO, data: Any, mask: Any) -> np.ndarray:
    """Lengths (M,) of the values that the latents get from the inputs when they first read."""
    ops, spec, params, checked = layer_by_layer(model, data, mask, None)
    inputs, _ = PerceiverIOCore(spec).adapt(params, checked.data, checked.mask)
    reader, like = params["reader"]["layer_0"], params["latents"]
    normed = norm(ops, reader["input_norm"], dense(ops, inputs, like))
    values = project(ops, reader["attention"]["value"], ops.match(normed, like))
    return np.linalg.norm(ops.to_numpy(ops.widen(values))[0], axis=-1)
