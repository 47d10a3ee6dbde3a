"""The models of the page: loaded on first use, kept in memory, and run one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from threading import Lock
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ivy_models.arrays import set_backend, to_numpy
from ivy_models.errors import InputError
from ivy_models.interpret.letters import attention_to_letters
from ivy_models.interpret.looking import pixels_of, where_it_looked
from ivy_models.models.factories import create_model
from ivy_models.models.presets import PRESETS
from ivy_models.ops import BACKENDS
from ivy_models.shells.ivy import PerceiverIO
from ivy_models.tasks.classification import Prediction, check_classifier, most_probable
from ivy_models.tasks.identification import MODEL, Language, identify_language
import ivy

TASK = "image classifier"
TOP = 5


class Answer(NamedTuple):
    """A model's answer for an image.

    Parameters
    ----------
    predictions
        The most probable classes, most probable first.
    seconds
        Time to read the image and call the model.
    seen
        uint8 (height, width, channels), the image as the model receives it.
    looked
        (rows, columns), the share of attention on each part of the image; None if not requested.
    """

    predictions: list[Prediction]
    seconds: float
    seen: np.ndarray
    looked: np.ndarray | None


class LanguageAnswer(NamedTuple):
    """The language of a text.

    Parameters
    ----------
    found
        The language.
    seconds
        Time to read the text and call the model.
    letters, shares
        The characters that the model read first, and the share of attention on each.
    """

    found: Language
    seconds: float
    letters: str
    shares: np.ndarray


class Models:
    """Image classifiers by name, on any backend that is installed.

    Ivy has one backend for the whole process, so calls take turns.

    Parameters
    ----------
    folders
        Saved models to offer besides the published ones.
    device
        Device of the weights; None: the framework's default.
    """

    def __init__(self, folders: Sequence[str] = (), device: str | None = None):
        self.descriptions = dict.fromkeys(folders, "a saved model") | image_classifiers()
        self.backends = tuple(name for name in BACKENDS if find_spec(name))
        self._device = device
        self._loaded: dict[str, Any] = {}
        self._lock = Lock()

    def answer(self, name: str, backend: str, image: Any, look: bool) -> Answer:
        """Classify an image.

        Parameters
        ----------
        name, backend
            The model, and the framework that runs it.
        image
            An image that :class:`.ImagePreprocessing` accepts.
        look
            Whether to compute where the model looked.

        Raises
        ------
        IvyModelsError
            If there is no such model or backend, or the weights or the image cannot be read.
        """
        _check("model", name, self.descriptions)
        _check("backend", backend, self.backends)
        with self._lock:
            self._use(backend)
            model = self._load(name)
            start = perf_counter()
            data = model.preprocessing(image)
            logits = to_numpy(model(data[None]), "logits").ravel()
            seconds = perf_counter() - start
            looked = where_it_looked(model, data) if look else None
        return Answer(
            most_probable(logits, model.labels, TOP),
            seconds,
            pixels_of(data, model.preprocessing),
            looked,
        )

    def language(self, backend: str, text: str) -> LanguageAnswer:
        """Identify the language of a text.

        Raises
        ------
        IvyModelsError
            If there is no such backend, or the text has no letters.
        """
        _check("backend", backend, self.backends)
        with self._lock:
            self._use(backend)
            if MODEL not in self._loaded:
                self._loaded[MODEL] = create_model(MODEL, pretrained=True, device=self._device)
            model = self._loaded[MODEL]
            start = perf_counter()
            found = identify_language(text, model, top=TOP)
            seconds = perf_counter() - start
            return LanguageAnswer(found, seconds, *attention_to_letters(model, text))

    def _use(self, backend: str) -> None:
        if ivy.current_backend_str() != backend:
            set_backend(backend)
            del ivy.backend_stack[:-1]  # it would grow with each change

    def _load(self, name: str) -> Any:
        if name not in self._loaded:
            if name in PRESETS:
                model = create_model(name, pretrained=True, device=self._device)
            else:
                model = PerceiverIO.from_pretrained(name, device=self._device)
            check_classifier(model)
            self._loaded[name] = model
        return self._loaded[name]


def image_classifiers() -> dict[str, str]:
    """Names and descriptions of the package's image classifiers, the smallest first."""
    presets = [(name, preset) for name, preset in PRESETS.items() if preset.task == TASK]
    presets.sort(key=lambda named: named[1].num_parameters)
    return {name: preset.description for name, preset in presets}


def _check(kind: str, name: str, known: Mapping[str, str] | Sequence[str]) -> None:
    if name not in known:
        raise InputError(f"There is no {kind} {name!r} here; there are {', '.join(known)}.")
