"""Columns of categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ivy_models.base.fields import check_fields, named_fields, text
from ivy_models.preprocessing.table.cells import to_category
from ivy_models.preprocessing.table.fields import categories


@named_fields
@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories.

    Parameters
    ----------
    name
        Name of the column.
    categories
        The categories of the training examples. Others are masked, as missing ones are.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """

    name: str
    categories: Sequence[str]

    kind: ClassVar[str] = "category"

    def __post_init__(self):
        check_fields(self, name=text, categories=categories)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {category: place for place, category in enumerate(self.categories)}

    def encode(self, value: Any) -> int | None:
        """The number of a category, or None if it is missing or unknown."""
        category = to_category(value)
        return None if category is None else self._places.get(category)
