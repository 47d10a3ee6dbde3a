"""Columns of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ivy_models.base.fields import check_fields, named_fields, text
from ivy_models.preprocessing.table.fields import instance
from ivy_models.preprocessing.text import TextTokens


@named_fields
@dataclass(frozen=True)
class TextColumn:
    """A column of texts.

    Parameters
    ----------
    name
        Name of the column.
    preprocessing
        Converts a text to tokens: a :class:`TextPreprocessing` or :class:`NgramPreprocessing`.

    Raises
    ------
    SpecError
        If a field has a wrong type.
    """

    name: str
    preprocessing: TextTokens

    kind: ClassVar[str] = "text"

    def __post_init__(self):
        check_fields(self, name=text, preprocessing=instance(TextTokens))
