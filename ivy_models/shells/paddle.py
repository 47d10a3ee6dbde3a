"""Models as ``paddle.nn.Layer``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle
from paddle.nn.initializer import Assign

from ivy_models.errors import InputError
from ivy_models.ops import ops_named
from ivy_models.shells.call import checked_call
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.parameters import Tree
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

_GLOBAL_GENERATOR = "paddle"
"""The only key of dropout: Paddle's own generator."""


class Branch(paddle.nn.Layer):
    """A branch of the parameter tree. Trainable weights are parameters, the others are buffers.

    Parameters
    ----------
    description, weights
        The branch's parameters and their values.
    """

    def __init__(self, description: Tree, weights: Tree):
        super().__init__()
        self._names = list(description)
        for name, part in description.items():
            weight = weights[name]
            if isinstance(part, Mapping):
                self.add_sublayer(name, Branch(dict(part), weight))
            elif part.trainable:
                self.add_parameter(name, _parameter(weight))
            else:
                self.register_buffer(name, weight)

    def weights(self) -> Tree:
        """The weights as a tree of tensors that share this layer's memory and gradients.

        Raises
        ------
        InputError
            If a part of the model has a hook or was replaced by another layer.
        """
        tree: Tree = {}
        for name in self._names:
            part = getattr(self, name)
            if isinstance(part, paddle.nn.Layer):
                _check_plain(name, part)
                part = part.weights()
            tree[name] = part
        return tree

    def forward(self, *_arguments: Any) -> None:
        """Refuse.

        Raises
        ------
        InputError
            Always: a part of a model groups weights.
        """
        raise InputError("This part of the model groups weights. Call the whole model.")


class PerceiverIO(Branch):
    """Perceiver IO as a ``paddle.nn.Layer``; made by ``PerceiverIO.to_paddle_module()``.

    It starts in evaluation mode. In training, the spec's dropout uses Paddle's own generator
    (``paddle.seed``). Parameters have the names of the parameter tree, with dots, such as
    ``processor.layer_0.self_attention_0.mlp.hidden.weight``, and its shapes. The parts of the model
    hold weights and are never called, so a hook on a part and a replaced part are refused.

    Parameters
    ----------
    spec
        The model's description. Its device and data type are those of the weights.
    weights
        A tree of tensors, which are copied.
    rematerialise
        As in :meth:`.PerceiverIO.to_paddle_module`.
    """

    def __init__(self, spec: PerceiverIOSpec, weights: Tree, rematerialise: bool = False):
        core = PerceiverIOCore(spec, rematerialise=rematerialise)
        super().__init__(core.parameters(), weights)
        self.spec, self.core = spec, core
        self.eval()

    @paddle.jit.not_to_static
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, data: Any, mask: Any = None, queries: Any = None
    ) -> Any:
        """Run the model; arguments and errors as in a call of ``ivy_models``' ``PerceiverIO``.

        Returns
        -------
        paddle.Tensor or dict
            The outputs of that call, as tensors.
        """
        key = _GLOBAL_GENERATOR if self.training else None
        ops, weights = ops_named("paddle"), self.weights()
        return checked_call(ops, self.spec, self.core, weights, data, mask, queries, key)


def _parameter(weight: paddle.Tensor) -> paddle.Tensor:
    parameter = paddle.create_parameter(
        weight.shape, weight.dtype, default_initializer=Assign(weight)
    )
    return parameter.to(weight.place)


def _check_plain(name: str, part: paddle.nn.Layer) -> None:
    hooked = bool(part._forward_pre_hooks or part._forward_post_hooks)
    if hooked or not isinstance(part, Branch):
        raise InputError(
            f"The part {name} of the model {'has a hook' if hooked else 'was replaced'}, but parts "
            "hold weights and are never called. Register hooks on the whole model, and leave its "
            "parts as they are."
        )
