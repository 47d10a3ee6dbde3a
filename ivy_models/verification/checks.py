"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a check ended."""

    RIGHT = "right"
    WRONG = "wrong"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Check:
    """One line of a verification.

    Parameters
    ----------
    what
        What was checked, such as "file" or "logits on torch".
    outcome
        How the check ended.
    detail
        What was found, by how much it is wrong, or why the check was not run.
    failed
        Whether the check is wrong, or could not be run although there is something to compare with.
    """

    what: str
    outcome: Outcome
    detail: str
    failed: bool = False


def right(what: str, detail: str) -> Check:
    return Check(what, Outcome.RIGHT, detail)


def wrong(what: str, detail: str) -> Check:
    return Check(what, Outcome.WRONG, _one_line(detail), failed=True)


def right_if(is_right: bool, what: str, detail: str) -> Check:
    return right(what, detail) if is_right else wrong(what, detail)


def not_run(what: str, why: str) -> Check:
    """A check that needs something that does not exist, such as a known checksum."""
    return Check(what, Outcome.NOT_RUN, _one_line(why))


def could_not_run(what: str, error: Exception | str) -> Check:
    """A check that an error prevented, such as a failed download."""
    return Check(what, Outcome.NOT_RUN, _one_line(str(error)), failed=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())
