"""How frozen dataclasses with cached properties are copied and pickled."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


class PickledByFields:
    """A dataclass whose copies and pickles contain its fields alone.

    Values of ``functools.cached_property`` are left out and computed again. So a pickle does not
    depend on which of them were used, nor on the classes of these values in another version.
    """

    def __getstate__(self) -> dict[str, Any]:
        instance: Any = self
        return {field.name: getattr(self, field.name) for field in fields(instance)}
