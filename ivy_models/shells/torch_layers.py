"""The layers and blocks of torch modules, and when they are called.

The core computes from weights. If a layer or block has a hook or was replaced (by LoRA, a quantised
layer, a checkpoint wrapper), the core gets a function that calls the module instead of its weights.
So hooks and replacements take effect, and fused kernels compute everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as global_hooks

from ivy_models.checkpoints.wrappers import WRAPPERS
from ivy_models.errors import InputError, WeightsError
from ivy_models.layers.parameters import Tree
from ivy_models.ops.base import LAYER_NORM_EPSILON
from ivy_models.ops.torch_linear import autocasts
from ivy_models.shells.part_names import attribute_name
from ivy_models.transformers.perceiver_io.inputs.stems import STRIDES

_STAGES = ("reader", "processor", "decoder")
"""Branches that are blocks, and so are all branches within."""

# Other packages may replace these later; then the layers are called.
_CALL = nn.Module.__call__
_LINEAR, _CONVOLUTION = nn.Linear.forward, nn.Conv2d.forward
_NORM, _RMS_NORM = nn.LayerNorm.forward, nn.RMSNorm.forward
_EMBEDDING = nn.Embedding.forward

_GLOBAL_HOOKS = [
    global_hooks._global_forward_hooks,
    global_hooks._global_forward_pre_hooks,
    global_hooks._global_backward_hooks,
    global_hooks._global_backward_pre_hooks,
]


class LayerNorm(nn.LayerNorm):
    """Layer norm whose weight and bias are parameters called scale and offset."""

    def __init__(self, scale: torch.Tensor, offset: torch.Tensor):
        nn.Module.__init__(self)
        self.normalized_shape, self.eps = tuple(scale.shape), LAYER_NORM_EPSILON
        self.elementwise_affine = True
        self.scale, self.offset = nn.Parameter(scale), nn.Parameter(offset)

    @property
    def weight(self) -> torch.Tensor:
        return self.scale

    @property
    def bias(self) -> torch.Tensor:
        return self.offset


class RMSNorm(nn.RMSNorm):
    """RMS norm whose weight is a parameter called scale.

    Parameters
    ----------
    scale
        The weight.
    eps
        What the core adds to the mean square.
    """

    def __init__(self, scale: torch.Tensor, eps: float):
        nn.Module.__init__(self)
        self.normalized_shape, self.eps, self.core_eps = tuple(scale.shape), eps, eps
        self.elementwise_affine = True
        self.scale = nn.Parameter(scale)

    @property
    def weight(self) -> torch.Tensor:
        return self.scale


class BatchNorm(nn.Module):
    """Batch norm of (B, C, Y, X) with stored statistics, which training does not change."""

    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(self, weights: Mapping[str, torch.Tensor]):
        super().__init__()
        self.scale = nn.Parameter(weights["scale"].contiguous())
        self.offset = nn.Parameter(weights["offset"].contiguous())
        self.mean: torch.Tensor
        self.variance: torch.Tensor
        self.register_buffer("mean", weights["mean"].contiguous())
        self.register_buffer("variance", weights["variance"].contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise each channel."""
        statistics = self.mean, self.variance, self.scale, self.offset
        return F.batch_norm(x, *statistics, training=False, eps=LAYER_NORM_EPSILON)


class Branch(nn.Module):
    """A branch of the parameter tree. Trainable weights are parameters, the others are buffers.

    Parameters
    ----------
    description, weights
        The branch's parameters and their values.
    path
        The branch's name in the whole model.
    rms_norm_eps
        What RMS norms add to the mean square, if there are any.
    """

    def __init__(
        self,
        description: Tree,
        weights: Tree,
        path: str = "",
        rms_norm_eps: float = LAYER_NORM_EPSILON,
    ):
        super().__init__()
        # Replicas and parametrisations rebuild modules, so attributes are looked up by name.
        self._path = path
        self._branches: dict[str, frozenset[str]] = {}
        """Names of the branches and layers, and of the weights or layers of each."""
        self._attributes: dict[str, str] = {}
        """Names of the branches and layers as attributes, by their names in the tree."""
        self._leaves: list[str] = []
        for name, part in description.items():
            if isinstance(part, Mapping) or name == "embedding":
                self._branches[name] = frozenset(part if isinstance(part, Mapping) else ())
                attribute = self._attributes[name] = attribute_name(name, self)
                child_path = f"{path}.{attribute}".lstrip(".")
                self.add_module(attribute, _module(part, weights[name], child_path, rms_norm_eps))
                continue
            self._leaves.append(name)
            weight = weights[name].contiguous()
            if part.trainable:
                self.register_parameter(name, nn.Parameter(weight))
            else:
                self.register_buffer(name, weight)
        if not path:
            self.register_load_state_dict_pre_hook(_rename_old)
            self._hooks = [hooks for module in self.modules() for hooks in _hooks_of(module)]
            """The dicts in which torch registers hooks."""

    @property
    def _is_block(self) -> bool:
        """Whether the core treats this branch as a block, a function from arrays to arrays."""
        return self._path == "input" or self._path.split(".")[0] in _STAGES

    def forward(self, x: Any, compute: Callable[[Tree, Any], Any]) -> Any:
        """Call a block. ``compute`` is the core's function of its weights and ``x``."""
        return compute(self.tree(), x)

    def tree(self) -> Tree:
        """The tree that the core computes from: weights, and functions that call modules."""
        if torch.compiler.is_compiling() and not self._path:
            # torch.compile installs no guards on a module's hooks by default, but it does on these.
            any(len(hooks) for hooks in self._hooks)
        tree: Tree = {
            name: _child(getattr(self, self._attributes[name]), name, leaves)
            for name, leaves in self._branches.items()
        }
        return tree | {name: getattr(self, name) for name in self._leaves}

    def weights(self) -> Tree:
        """The weights as a tree of tensors that share this module's memory and gradients.

        Raises
        ------
        WeightsError
            If the result of a layer depends on more than its weight, as in adapters and in pruned
            or quantised layers.
        """
        tree: Tree = {}
        for name, leaves in self._branches.items():
            child, path = getattr(self, self._attributes[name]), f"{self._path}.{name}"
            own = getattr(child, "weights", None)
            tree[name] = own() if callable(own) else _own_weights(child, path, leaves)
        return tree | {name: getattr(self, name) for name in self._leaves}


class Call:
    """A module that replaces its weights in the tree."""

    def __init__(self, module: nn.Module):
        self.module = module

    def __call__(self, x: Any, compute: Callable[[Tree, Any], Any] | None = None) -> Any:
        if compute is not None:
            # A foreign module that replaces a block accepts only arrays.
            wraps = any(isinstance(part, Branch) for part in self.module.modules())
            return self.module(x, compute=compute) if wraps else self.module(x)
        return self.module(self._typed(x))

    def _typed(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` in the data type of the module's parameters."""
        if not torch.is_floating_point(x) or autocasts(x):
            return x
        kinds = (p.dtype for p in self.module.parameters() if p.is_floating_point())
        return x.to(next(kinds, x.dtype))

    def __getitem__(self, name: str) -> Any:
        """A weight or layer of a block that is also called."""
        tree: Any = self.module.tree
        return tree()[name]

    @property
    def weight(self) -> Any:
        """The table of an embedding that is also the head, with the changes of an adapter."""
        table: Any = self.module.weight
        if type(self.module).forward is _EMBEDDING:
            return table
        # Its own forward, because hooks expect the tokens of the data.
        return self.module.forward(torch.arange(len(table), device=table.device))


class ImageCall(Call):
    """A module of an image stem. Its input and output have their channels before the pixels."""

    def __call__(self, x: Any, padding: Any = ((0, 0), (0, 0))) -> Any:
        """Pad rows and columns of ``x`` (B, Y, X, C) and call the module."""
        rows, columns = padding
        x = F.pad(self._typed(x).permute(0, 3, 1, 2), (*columns, *rows))
        return self.module(x).permute(0, 2, 3, 1)


def _module(description: Any, weights: Any, path: str, rms_norm_eps: float) -> nn.Module:
    if not isinstance(description, Mapping):
        return nn.Embedding.from_pretrained(weights.contiguous(), freeze=False)
    if description.keys() == {"scale", "offset"}:
        return LayerNorm(weights["scale"].contiguous(), weights["offset"].contiguous())
    if description.keys() == {"scale", "offset", "mean", "variance"}:
        return BatchNorm(weights)
    if description.keys() == {"scale"}:
        return RMSNorm(weights["scale"].contiguous(), rms_norm_eps)
    if description.keys() == {"weight"} and len(description["weight"].shape) == 4:
        weight = weights["weight"].permute(3, 2, 0, 1).contiguous()
        stride = STRIDES[path.rpartition(".")[2]]
        sizes = {"kernel_size": weight.shape[2:], "stride": stride, "bias": False}
        convolution = nn.Conv2d(weight.shape[1], weight.shape[0], **sizes, device="meta")
        convolution.weight = nn.Parameter(weight)
        vars(convolution)["core_stride"] = convolution.stride  # an attribute that is no parameter
        return convolution
    if "weight" not in description:
        return Branch(dict(description), weights, path, rms_norm_eps)
    has_bias, sizes = "bias" in description, weights["weight"].shape
    layer = nn.Linear(*sizes, bias=has_bias, device="meta")
    layer.weight = nn.Parameter(weights["weight"].t().contiguous())
    if has_bias:
        layer.bias = nn.Parameter(weights["bias"].contiguous())
    return layer


def _child(child: nn.Module, name: str, leaves: frozenset[str]) -> Any:
    """A child's weights, or what calls it. ``leaves`` are the weights that it was made with."""
    if isinstance(child, Branch) and type(child).forward is Branch.forward:
        if not _has_hooks(child):
            if not (child._is_block and any_global_hook()):
                return child.tree()
        elif not child._is_block:
            raise InputError(
                f"The module {child._path} groups weights and is never called, so its hooks "
                "would not run. In a loop over modules(), leave it out; register hooks on the "
                "whole module, or on a block or layer inside it, such as a torch.nn.Linear."
            )
        return Call(child)
    plain = not _has_hooks(child) and not any_global_hook()
    if plain and _is_plain_layer(child, leaves):
        return _layer_weights(child)
    return ImageCall(child) if name in (*STRIDES, "batch_norm") else Call(child)


def _layer_weights(layer: Any) -> Any:
    if isinstance(layer, nn.Embedding):
        return layer.weight
    if isinstance(layer, nn.LayerNorm):
        return {"scale": layer.weight, "offset": layer.bias}
    if isinstance(layer, nn.RMSNorm):
        return {"scale": layer.weight}
    if isinstance(layer, BatchNorm):
        return dict(layer.named_parameters()) | dict(layer.named_buffers())
    if isinstance(layer, nn.Conv2d):
        return {"weight": layer.weight.permute(2, 3, 1, 0)}
    bias = {} if layer.bias is None else {"bias": layer.bias}
    return {"weight": layer.weight.t(), **bias}


def _is_plain_layer(layer: Any, leaves: frozenset[str]) -> bool:
    """Whether a layer computes the same from its weights as the core does."""
    forward = type(layer).forward
    if type(layer).__call__ is not _CALL:
        return False
    if forward is _LINEAR:
        return (layer.bias is not None) == ("bias" in leaves)
    if forward is _NORM:
        return layer.eps == LAYER_NORM_EPSILON and layer.bias is not None
    if forward is _RMS_NORM:
        return layer.weight is not None and layer.eps == getattr(layer, "core_eps", None)
    if forward is _EMBEDDING:
        unusual = layer.max_norm, layer.padding_idx
        return unusual == (None, None) and not (layer.scale_grad_by_freq or layer.sparse)
    if forward is _CONVOLUTION:
        shape = layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode
        stride = getattr(layer, "core_stride", (2, 2))
        return layer.bias is None and shape == (stride, (0, 0), (1, 1), 1, "zeros")
    return forward is BatchNorm.forward


def _has_hooks(module: nn.Module) -> bool:
    # The attribute is read because torch.compile then recompiles when it is replaced.
    replaced = callable(module.forward) and "forward" in module.__dict__
    return any(_hooks_of(module)) or replaced


def _hooks_of(module: nn.Module) -> tuple[Mapping[int, Callable[..., Any]], ...]:
    return (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )


def any_global_hook() -> bool:
    """Whether torch calls a hook on every module."""
    return any(len(hooks) for hooks in _GLOBAL_HOOKS)


def _own_weights(layer: Any, path: str, leaves: frozenset[str]) -> Any:
    computed = [name for name in ("weight", "bias") if f"{name}_orig" in layer._parameters]
    computed += [name for name in ("weight",) if f"{name}_g" in layer._parameters]
    if _is_plain_layer(layer, leaves) and not computed:
        return _layer_weights(layer)
    kind = type(layer)
    raise WeightsError(
        f"The layer {path.lstrip('.')} is a {kind.__module__}.{kind.__qualname__}, whose result "
        "depends on more than its own weight. Merge or remove that first (such as by peft's "
        "merge_and_unload() or torch.nn.utils.prune.remove)."
    )


def _rename_old(module, state_dict, prefix, *_):
    """Accept states of wrapped modules (DataParallel, torch.compile), and former names."""
    own = module.state_dict().keys()
    for name in [name for name in state_dict if name.startswith(prefix)]:
        plain = name.removeprefix(prefix)
        plain = plain if plain in own else WRAPPERS.sub("", plain)
        if plain not in own and f"{plain}.weight" in own:
            plain += ".weight"
        state_dict[prefix + plain] = state_dict.pop(name)
