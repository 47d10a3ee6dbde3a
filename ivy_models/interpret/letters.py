"""The letters of a text that a model of n-grams attended to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.interpret.attention_maps import attention_maps
from ivy_models.interpret.rollout import attention_rollout
from ivy_models.tasks.identification import pieces, read_letters, text_column

if TYPE_CHECKING:
    from ivy_models.shells.ivy import PerceiverIO


def attention_to_letters(model: PerceiverIO, text: str) -> tuple[str, np.ndarray]:
    """Find the share of each character in the answer of a model of languages.

    A token's share is that of :func:`attention_rollout`; each character of its n-gram gets an equal
    part of it.

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
    shares = np.where(mask[name], shares, 0).reshape(-1, len(prepare.sizes))
    letters = np.zeros(len(shares) + max(prepare.sizes))
    for size, own in zip(prepare.sizes, shares.T, strict=True):
        for offset in range(size):
            letters[offset : offset + len(own)] += own / size
    letters = letters[: len(read)]
    return read, letters / max(letters.sum(), 1e-30)
