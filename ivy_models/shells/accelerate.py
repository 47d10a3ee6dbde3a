"""Hugging Face transformers' Perceivers on this library's core, in place."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeVar

from ivy_models.checkpoints.huggingface.config import CLASSES
from ivy_models.errors import WeightsError

if TYPE_CHECKING:
    import torch

Model = TypeVar("Model", bound="torch.nn.Module")


def accelerate(model: Model) -> Model:
    """Make a Perceiver of transformers faster, with less memory and the same results.

    Its ``perceiver`` then runs on this library's core, with the model's own parameters, which are
    trained, moved and saved as before. The core runs only if it computes the same as transformers'
    own code. That code still runs for:

    - calls that ask for attention maps, hidden states or interpolated positions, dropout and
      batch norm in training, texts in which no token is attended to, and all outputs of the
      multimodal model at once;
    - programs of ``torch.compile``, ``torch.export`` and ``torch.jit.trace``, transforms of
      ``torch.func``, forward-mode derivatives, and modes that watch torch's operations;
    - models whose modules are not exactly what transformers makes of their configuration: with
      adapters, hooks of any kind, replaced methods or classes, other settings, quantised, pruned
      or offloaded weights, or fewer or more layers;
    - functions of torch or transformers that another package has replaced;
    - configurations that this library does not have, such as another activation.

    Each call checks for changes of the model and of functions, so it does not matter whether they
    are made before ``accelerate`` or after. Once they are undone, the core runs again.

    Parameters
    ----------
    model
        A ``PerceiverForMaskedLM``, ``PerceiverForSequenceClassification``, one of the three
        ``PerceiverForImageClassification``, ``PerceiverForOpticalFlow`` or
        ``PerceiverForMultimodalAutoencoding``. It is changed in place.

    Returns
    -------
    model
        The same object, of the same class.

    Raises
    ------
    WeightsError
        If the model is of another class, or is wrapped.

    Warns
    -----
    UserWarning
        If the model runs transformers' own code for now, with the reason. Accelerating it again
        gives the current reason.
    """
    perceiver: Any = getattr(model, "perceiver", None)
    names = [name for name in _class_names(model) if name in CLASSES]
    if not names or "PerceiverModel" not in _class_names(perceiver):
        raise WeightsError(
            f"A {type(model).__name__} cannot be accelerated; pass a Perceiver of transformers "
            "with a head, such as PerceiverForImageClassificationFourier, before it is wrapped."
        )
    # This imports transformers, which made the model.
    from ivy_models.shells.accelerated.model import AcceleratedPerceiverModel

    if reason := AcceleratedPerceiverModel.take(perceiver, names[0]):
        warnings.warn(
            f"This {type(model).__name__} runs transformers' own code for now: {reason}.",
            stacklevel=2,
        )
    return model


def _class_names(value: object) -> list[str]:
    return [kind.__name__ for kind in type(value).__mro__]
