"""The processes of ``torchrun``, which share each batch."""

from __future__ import annotations

import atexit
import os
from typing import Any

import torch
from torch import distributed
from torch.distributed import distributed_c10d as c10d
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from ivy_models.base import torchrun
from ivy_models.base.devices import parse_device
from ivy_models.errors import InputError
from ivy_models.training.batches import cannot_share


class Processes:
    """The processes that torchrun started; this process alone if it started none.

    Parameters
    ----------
    device
        The device of the model. With several GPUs each process uses its own.
    chosen
        The device that the user chose, if any.

    Raises
    ------
    InputError
        If the user chose one of several GPUs for all processes.
    """

    def __init__(self, device: torch.device, chosen: str | None):
        self.rank, self.count, self.device = 0, 1, device
        if not (distributed.is_available() and torchrun.is_launched()):
            return
        if device.type == "cuda":
            if chosen is not None and parse_device(chosen).index is not None:
                raise InputError(
                    f"Under torchrun each process uses a GPU of its own, so device={chosen!r} "
                    'cannot be chosen. Use "cuda", and choose GPUs by CUDA_VISIBLE_DEVICES.'
                )
            self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(self.device)
        if not distributed.is_initialized():
            store, rank, count = next(rendezvous("env://"))
            backend = "nccl" if device.type == "cuda" else "gloo"
            distributed.init_process_group(
                backend, store=_store_of_this_start(store), rank=rank, world_size=count
            )
            atexit.register(distributed.destroy_process_group)
        self.rank, self.count = distributed.get_rank(), distributed.get_world_size()

    def shard(self, module: torch.nn.Module) -> None:
        """Leave each process a share of every weight, and so of its gradient and moments (FSDP2).

        The module is one group: a forward pass uses the processor's weights several times, and this
        gathers them once.

        Raises
        ------
        InputError
            If there are no other processes.
        """
        if self.count == 1:
            raise InputError(
                "shard=True divides the weights among the processes of torchrun, but only one "
                "runs. Start several with torchrun --nproc-per-node, or leave it out."
            )
        fully_shard(module, mesh=init_device_mesh(self.device.type, (self.count,)))

    def wrap(self, module: torch.nn.Module) -> torch.nn.Module:
        """Average the module's gradients over the processes.

        All processes must have come here before one of them goes on.
        """
        if self.count == 1 or isinstance(module, FSDPModule):
            return module
        return DistributedDataParallel(module, find_unused_parameters=bool(_mask_tokens(module)))

    def share(self, size: int) -> slice:
        """Choose the examples that this process computes, of so many.

        Raises
        ------
        InputError
            If there are fewer examples than processes.
        """
        if size < self.count:
            raise cannot_share(f"{self.count} processes", size, "fewer processes")
        return slice(self.rank, size, self.count)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add the tensors of all processes."""
        if self.count > 1:
            distributed.all_reduce(tensor)
        return tensor


def _store_of_this_start(store: Any) -> Any:
    """Separate what processes of torchrun exchange from what they did before a restart.

    torchrun keeps one store over its restarts, and the processes would call the addresses of dead
    ones (https://github.com/pytorch/pytorch/issues/135712). Each machine counts restarts for
    itself, so the number names a start only where there is one machine.
    """
    if os.environ["LOCAL_WORLD_SIZE"] != os.environ["WORLD_SIZE"]:
        return store
    return c10d.PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)


def _mask_tokens(module: torch.nn.Module) -> list[torch.Tensor]:
    """Weights that have no gradient where nothing is masked."""
    return [w for name, w in module.named_parameters() if name.endswith("mask_token")]


def zero_of_mask_tokens(module: torch.nn.Module) -> torch.Tensor | float:
    """0 with a gradient for each mask token. FSDP needs the same gradients in all processes."""
    return sum((0 * token.sum() for token in _mask_tokens(module) if token.requires_grad), 0.0)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Gather the shares of a tensor, if it is divided. All processes call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def divided(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Divide a tensor like another one; a number, such as of steps, stays whole."""
    if not isinstance(like, DTensor) or not tensor.ndim:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
