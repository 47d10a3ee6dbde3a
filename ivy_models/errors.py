"""The errors of this library."""

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any


class IvyModelsError(Exception):
    """Base class of every error that this library raises on purpose."""


class SpecError(IvyModelsError, ValueError):
    """A model description that contradicts itself."""


class InputError(IvyModelsError, ValueError):
    """An array, image, sound, video or mask that a model or preprocessing cannot use."""


class WeightsError(IvyModelsError, ValueError):
    """A weights file that cannot be read or does not fit the model."""


class DownloadError(IvyModelsError, OSError):
    """A weights file that could not be downloaded."""


class TrainingError(IvyModelsError, RuntimeError):
    """A training run that cannot start or go on."""


class BackendError(IvyModelsError, RuntimeError):
    """A framework, other package, device or data type that is not available here."""


def not_installed(needs: str, error: ImportError, extra: str) -> BackendError:
    """Error for a missing optional package. ``needs`` begins the sentence: "Drawings need"."""
    return BackendError(
        f"{needs} a package that is not installed: {error}. {how_to_install(extra)}"
    )


def package_missing(needs: str, package: str) -> BackendError:
    """Error for one optional package. ``needs`` begins the sentence: "Augmenting images needs"."""
    return BackendError(f"{needs} {package}, which is not installed. Use: pip install {package}")


def how_to_install(extra: str) -> str:
    """Return a sentence with the command that installs one of this library's extras.

    The command names a folder because the package index has another library named ``ivy_models``.
    """
    return (
        "Install it with this library's extra, in the folder of its pyproject.toml: "
        f'pip install ".[{extra}]"'
    )


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a sentence with the name that is most like a wrong one, else with all names."""
    names = list(names)
    if close := difflib.get_close_matches(name, names, n=1):
        return f"Did you mean {close[0]}?"
    return f"Expected one of {', '.join(names)}."


def printable(text: str) -> str:
    """A text on one line, with escapes for control characters, which could change a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(value: Any) -> str:
    """Format a value from a file for a message: short, and without terminal control characters."""
    if isinstance(value, str):
        value = value if len(value) <= 100 else f"{value[:50]}...{value[-47:]}"
        return value if value.isprintable() else ascii(value)
    return reprlib.repr(value)
