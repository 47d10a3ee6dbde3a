"""Perceivers of transformers and perceiver-pytorch on this library's core, in place."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeVar

from ivy_models.checkpoints.huggingface.config import CLASSES
from ivy_models.checkpoints.perceiver_pytorch.arguments import class_of
from ivy_models.errors import WeightsError

if TYPE_CHECKING:
    import torch

Model = TypeVar("Model", bound="torch.nn.Module")


def accelerate(model: Model) -> Model:
    """Make a Perceiver of another package faster, with less memory and the same results.

    It then runs on this library's core, with its own parameters, which are trained, moved and saved
    as before. The core runs only if it computes the same as the package's own code. That code still
    runs for:

    - calls with an attention mask on a device other than the CPU, which would wait for it;
    - calls that ask for attention maps, hidden states or interpolated positions, dropout and
      batch norm in training, texts in which no token is attended to, and all outputs of the
      multimodal model at once; with perceiver-pytorch, half precision too;
    - programs of ``torch.compile``, ``torch.export`` and ``torch.jit.trace``, transforms of
      ``torch.func``, forward-mode derivatives, and modes that watch torch's operations;
    - models whose modules are not exactly what the package makes of their configuration: with
      adapters, hooks of any kind, replaced methods or classes, other settings, quantised, pruned
      or offloaded weights, or fewer or more layers;
    - functions of torch or of the model's package that another one has replaced;
    - configurations that this library does not have, such as another activation.

    Each call checks for changes of the model and of functions, so it does not matter whether they
    are made before ``accelerate`` or after. Once they are undone, the core runs again.

    Parameters
    ----------
    model
        Of transformers: a ``PerceiverForMaskedLM``, ``PerceiverForSequenceClassification``, one of
        the three ``PerceiverForImageClassification``, ``PerceiverForOpticalFlow`` or
        ``PerceiverForMultimodalAutoencoding``. Of perceiver-pytorch: a ``Perceiver``,
        ``PerceiverIO`` or ``PerceiverLM``. It is changed in place.

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
        If the model runs the package's own code for now, with the reason. Accelerating it again
        gives the current reason.
    """
    if class_of(model) is not None:
        # This imports perceiver-pytorch, which made the model.
        from ivy_models.shells.accelerated.perceiver_pytorch import take

        if reason := take(model):
            _warn(model, "perceiver-pytorch", reason)
        return model
    perceiver: Any = getattr(model, "perceiver", None)
    names = [name for name in _class_names(model) if name in CLASSES]
    if not names or "PerceiverModel" not in _class_names(perceiver):
        raise WeightsError(
            f"A {type(model).__name__} cannot be accelerated; pass a Perceiver of transformers "
            "with a head, such as PerceiverForImageClassificationFourier, or a Perceiver, "
            "PerceiverIO or PerceiverLM of perceiver-pytorch, before it is wrapped."
        )
    # This imports transformers, which made the model.
    from ivy_models.shells.accelerated.model import AcceleratedPerceiverModel

    if reason := AcceleratedPerceiverModel.take(perceiver, names[0]):
        _warn(model, "transformers", reason)
    return model


def _warn(model: object, package: str, reason: str) -> None:
    owner = f"{package}'" if package.endswith("s") else f"{package}'s"
    warnings.warn(
        f"This {type(model).__name__} runs {owner} own code for now: {reason}.", stacklevel=3
    )


def _class_names(value: object) -> list[str]:
    return [kind.__name__ for kind in type(value).__mro__]
