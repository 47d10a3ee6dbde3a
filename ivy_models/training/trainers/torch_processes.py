"""The processes of ``torchrun``, which share each batch."""

from __future__ import annotations

import atexit
import os

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from ivy_models.base import torchrun
from ivy_models.base.devices import parse_device
from ivy_models.errors import InputError


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
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(distributed.destroy_process_group)
        self.rank, self.count = distributed.get_rank(), distributed.get_world_size()

    def wrap(self, module: torch.nn.Module) -> torch.nn.Module:
        """Average the module's gradients over the processes.

        All processes must have come here before one of them goes on.
        """
        if self.count == 1:
            return module
        # A modality's mask token has no gradient where nothing is masked.
        may_be_unused = any(name.endswith("mask_token") for name, _ in module.named_parameters())
        return DistributedDataParallel(module, find_unused_parameters=may_be_unused)

    def share(self, size: int) -> slice:
        """Choose the examples that this process computes, of so many.

        Raises
        ------
        InputError
            If there are fewer examples than processes.
        """
        if size < self.count:
            raise InputError(
                f"{self.count} processes cannot share {size} examples. Use a larger batch_size, a "
                "smaller accumulation, or fewer processes."
            )
        return slice(self.rank, size, self.count)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add the tensors of all processes."""
        if self.count > 1:
            distributed.all_reduce(tensor)
        return tensor
