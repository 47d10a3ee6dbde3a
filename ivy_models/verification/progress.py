"""Progress of a long measurement, kept in a file so that an interrupted one continues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ivy_models.base.atomic_files import replaced
from ivy_models.base.cache import cache_folder
from ivy_models.checkpoints.files import read_json
from ivy_models.errors import WeightsError


@dataclass
class Counts:
    """What was measured so far.

    Parameters
    ----------
    done
        Number of images.
    top_1, top_5
        How many of them have their class as the most probable one, or among the first five.
    """

    done: int = 0
    top_1: int = 0
    top_5: int = 0


class ProgressFile:
    """The file of one measurement, in the cache folder.

    Parameters
    ----------
    purpose
        Everything that the counts depend on. A measurement with another purpose has another file.
    """

    def __init__(self, purpose: Mapping[str, str]):
        self.purpose = dict(purpose)
        text = json.dumps(self.purpose, sort_keys=True)
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        self.path: Path = cache_folder() / f"imagenet-{digest[:16]}.json"

    def read(self, total: int) -> Counts:
        """The counts of an interrupted measurement of ``total`` images; zeros if there is none."""
        try:
            content = read_json(self.path)
            counts = Counts(**content["counts"])
        except (WeightsError, KeyError, TypeError):  # missing or damaged: measure all again
            return Counts()
        values = (0, counts.top_1, counts.top_5, counts.done, total)
        is_sound = all(type(value) is int for value in values) and list(values) == sorted(values)
        return counts if is_sound and content.get("purpose") == self.purpose else Counts()

    def write(self, counts: Counts) -> None:
        """Replace the file atomically.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(self.path) as temporary:
            content = {"purpose": self.purpose, "counts": asdict(counts)}
            temporary.write_text(json.dumps(content, indent=2) + "\n", "utf-8")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
