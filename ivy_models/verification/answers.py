"""Known results of the published models, and their comparison with what a model computes.

The numbers are those of transformers' test suite, which ran the published weights in transformers'
variants of the models. So the comparison runs these variants too: the fields in ``variant`` differ
from the original's. The answers that the numbers stand for, a class or a text, are expected from
the original's model as well, which is the one that users of this library build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ivy_models.models.presets import Preset
from ivy_models.preprocessing import ImagePreprocessing
from ivy_models.preprocessing.text import MASK
from ivy_models.verification.checks import Check, right_if

Run = Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]
"""From data, without a batch axis, and changed fields of the spec to logits, without one."""


class Answer(Protocol):
    """What is known about the results of one model."""

    @property
    def needs_photo(self) -> bool: ...

    def checks(self, preset: Preset, run: Run, photo: Path | None) -> Iterator[Check]:
        """Compare what ``run`` computes with what is known."""
        ...


@dataclass(frozen=True)
class PhotoAnswer:
    """Results of a classifier for :data:`.PHOTO`.

    Parameters
    ----------
    classes
        Classes of which one must be the most probable.
    logits
        The first logits.
    tolerance
        Largest difference of a logit that counts as right.
    variant
        Fields of the spec in which the source of the logits differs from the published model.
    """

    classes: tuple[int, ...]
    logits: tuple[float, ...]
    tolerance: float
    variant: Mapping[str, Any]
    needs_photo = True

    def checks(self, preset: Preset, run: Run, photo: Path | None) -> Iterator[Check]:
        assert isinstance(preset.preprocessing, ImagePreprocessing)
        data = preset.preprocessing(photo)
        labels = preset.label_names()

        def name(index):
            return labels[index] if labels else f"class {index}"

        found = run(data, {}).reshape(-1)
        best = int(found.argmax())
        is_right = bool(np.isfinite(found).all()) and best in self.classes
        expected = "" if is_right else f"; expected {' or '.join(map(name, self.classes))}"
        yield right_if(is_right, "class", name(best) + expected)
        numbers = run(data, self.variant).reshape(-1)[: len(self.logits)]
        yield compare("logits", numbers, np.array(self.logits), self.tolerance)


@dataclass(frozen=True)
class TextAnswer:
    """Results of a masked language model for a text.

    Parameters
    ----------
    text
        The text, with special tokens by name.
    filled
        The text in place of the masks.
    logits
        The first logits of the first tokens.
    tolerance
        Largest difference of a logit that counts as right.
    variant
        Fields of the spec in which the source of the logits differs from the published model.
    """

    text: str
    filled: str
    logits: tuple[tuple[float, ...], ...]
    tolerance: float
    variant: Mapping[str, Any]
    needs_photo = False

    def checks(self, preset: Preset, run: Run, photo: Path | None) -> Iterator[Check]:
        assert preset.tokenizer is not None
        tokens = preset.tokenizer.encode(self.text)
        found = run(tokens, {})[tokens == MASK]
        filled = preset.tokenizer.decode(found.argmax(-1))
        is_right = bool(np.isfinite(found).all()) and filled == self.filled
        yield right_if(is_right, "masked text", f"{filled!r}, expected {self.filled!r}")
        expected = np.array(self.logits)
        numbers = run(tokens, self.variant)[: len(expected), : expected.shape[1]]
        yield compare("logits", numbers, expected, self.tolerance)


@np.errstate(all="ignore")
def compare(what: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> Check:
    """Compare numbers by their largest difference; NaN is wrong."""
    differences = np.abs(found.astype(np.float64) - expected)
    worst = np.unravel_index(differences.argmax(), differences.shape)  # NaN comes first
    is_right = bool(differences[worst] <= tolerance)
    detail = f"largest difference {differences[worst]:.2g}, tolerance {tolerance:g}"
    if not is_right:
        detail += f": got {found[worst]:.4f}, expected {expected[worst]:.4f}"
    return right_if(is_right, what, detail)
