"""Names of ``ivy.Module`` that do not fit these models. Their errors name the right ones."""

from __future__ import annotations

from typing import NoReturn

SAVE = "model.save_pretrained(folder) saves a model with its spec, labels and preprocessing"
LOAD = "PerceiverIO.from_pretrained(folder) loads what save_pretrained or transformers wrote"
COPY = "copy the trained weights into a model of the same spec with model.with_weights(weights)"
WEIGHTS = "the weights are those of the spec; change their values with model.with_weights(weights)"
JAX = "model.to_jax() gives a function and its parameters, which a Flax or Haiku module can hold"
COMPILE = "model.compile() compiles the model on every backend"

INSTEAD = {
    "to_keras_module": "model.to_keras_model() gives a keras.Model",
    "to_flax_module": JAX,
    "to_haiku_module": JAX,
    "from_torch_module": COPY,
    "from_keras_module": COPY,
    "from_flax_module": COPY,
    "from_haiku_module": COPY,
    "from_paddle_module": COPY,
    "save": SAVE,
    "load": LOAD,
    "trace_graph": COMPILE,
    "show_graph": "`ivy-models info` and model_costs(spec, shape) describe the parts of a model",
    "register_buffer": WEIGHTS,
    "register_parameter": WEIGHTS,
}
"""Refused names, and what to do instead."""


class Refused:
    """An attribute that a class does not have, although its base class has it."""

    def __init__(self, name: str, instead: str):
        self.name, self.instead = name, instead

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__} does not support {self.name}: {self.instead}.")


class WithoutInherited:
    """Base class, before ``ivy.Module``, that refuses the names of ``INSTEAD``."""

    def __dir__(self) -> list[str]:
        return sorted(set(super().__dir__()) - set(INSTEAD))


for _name, _instead in INSTEAD.items():
    setattr(WithoutInherited, _name, Refused(_name, _instead))
