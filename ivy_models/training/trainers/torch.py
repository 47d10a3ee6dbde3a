"""Training in PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import FSDPModule

from ivy_models.preprocessing.targets import Target
from ivy_models.shells.part_names import tree_name
from ivy_models.training.batches import TrainingBatch
from ivy_models.training.checkpoint import by_part
from ivy_models.training.losses import target_loss
from ivy_models.training.settings import Settings
from ivy_models.training.trainers.optimization import (
    EPSILON,
    average_decay,
    dropout_seed,
    share_of_rate,
    weight_rules,
)
from ivy_models.training.trainers.torch_processes import (
    Processes,
    divided,
    whole,
    zero_of_mask_tokens,
)
from ivy_models.transformers.perceiver_io import PerceiverIO


class TorchTrainer:
    """Trains with ``torch.optim``; see :class:`.Trainer`."""

    def __init__(
        self, model: PerceiverIO, targets: Sequence[Target], settings: Settings, steps: int
    ):
        self.model, self.targets, self.settings = model, targets, settings
        self.module = model.to_torch_module(rematerialise=settings.rematerialise)
        first = next(self.module.parameters())
        self.processes = Processes(first.device, model.spec.device)
        self.device, self.is_main = self.processes.device, self.processes.rank == 0
        self.module.to(self.device)
        self.average = model.to_torch_module().to(self.device) if settings.ema else None
        if settings.shard:  # before the optimizer takes the weights
            self.processes.shard(self.module)
            if self.average is not None:
                self.processes.shard(self.average)
        rules = weight_rules(model.spec, settings)
        groups: dict[Any, list[torch.Tensor]] = {}
        for name, weight in self.module.named_parameters():
            rule = rules.get(tree_name(name))
            weight.requires_grad_(rule is not None)
            if rule is not None:
                groups.setdefault(rule, []).append(weight)
        self.trained = [weight for weights in groups.values() for weight in weights]
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": weights,
                    "lr": settings.learning_rate * rule.scale,
                    "weight_decay": settings.weight_decay if rule.decays else 0.0,
                }
                for rule, weights in groups.items()
            ],
            eps=EPSILON,
        )
        self.rate = functools.partial(share_of_rate, settings, steps)
        self.schedule = self._schedule(0)
        self.shared = self.processes.wrap(self.module)

    def _schedule(self, step: int) -> torch.optim.lr_scheduler.LRScheduler:
        """Make a schedule from the step alone, so that a checkpoint stores nothing else of it."""
        return torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.rate, last_epoch=step - 1)

    def step(self, step: int, parts: Sequence[TrainingBatch]) -> tuple[float, float]:
        learning_rate = float(max(self.schedule.get_last_lr()))
        self.module.train()
        self.optimizer.zero_grad()
        losses = [self._backward(step, number, part) for number, part in enumerate(parts)]
        loss = self.processes.sum(torch.stack(losses).sum()).item()
        torch.nn.utils.clip_grad_norm_(self.trained, self.settings.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self._update_average(average_decay(self.settings, step))
        return loss, learning_rate

    def _backward(self, step: int, number: int, part: TrainingBatch) -> torch.Tensor:
        """Add the gradients of a part of the batch; return the loss of this process's share."""
        number = number * self.processes.count + self.processes.rank
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(cuda):  # the program's generators stay as they are
            torch.manual_seed(dropout_seed(self.settings, step, number))
            with self._precision():
                output = self.shared(self._tensors(part.data), self._tensors(part.mask))
            goals, weights = self._tensors(part.goals), self._tensors(part.weights)
            output = output.reshape(goals.shape)
            loss = target_loss(output, goals, weights, self.targets, self.settings.number_loss)
            if self.settings.shard:
                loss = loss + zero_of_mask_tokens(self.module)
            (self.processes.count * loss).backward()  # gradients are averaged
        return loss.detach()

    @torch.no_grad()
    def _update_average(self, decay: float) -> None:
        assert self.average is not None
        if isinstance(self.average, FSDPModule):
            self.average.reshard()  # a validation has gathered its weights
        pairs = zip(self.average.parameters(), self.module.parameters(), strict=True)
        for average, weight in pairs:
            average.lerp_(weight, 1 - decay)

    @torch.no_grad()  # the weights that FSDP gathers in inference mode could not be trained on
    def outputs(self, data: Any, mask: Any) -> np.ndarray:
        module = (self.average or self.module).eval()
        with self._precision():
            output = module(self._tensors(data), self._tensors(mask)).float()
        return output.reshape(len(output), -1).cpu().numpy()

    def share(self, size: int) -> slice:
        return self.processes.share(size)

    def sum(self, array: np.ndarray) -> np.ndarray:
        return self.processes.sum(torch.from_numpy(array).to(self.device)).cpu().numpy()

    def weights(self) -> Any:
        module = self.average or self.module
        if not self.settings.shard:
            return module.weights()
        gathered = {name: whole(weight) for name, weight in module.state_dict().items()}
        undivided = self.model.to_torch_module()
        undivided.load_state_dict(gathered)
        return undivided.weights()

    def state(self) -> dict[str, np.ndarray]:
        tensors = {f"model/{name}": leaf for name, leaf in self.module.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average/{n}": leaf for n, leaf in self.average.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": leaf for name, leaf in moments.items()}
        return {name: whole(leaf).cpu().numpy() for name, leaf in tensors.items()}

    def load(self, state: dict[str, np.ndarray], step: int) -> None:
        parts = by_part({name: torch.from_numpy(array) for name, array in state.items()})
        for name, module in (("model", self.module), ("average", self.average)):
            if module is not None:
                like = module.state_dict()
                module.load_state_dict({n: divided(x, like[n]) for n, x in parts[name].items()})
        moments = {
            int(index): {name: divided(x, self.trained[int(index)]) for name, x in own.items()}
            for index, own in by_part(parts["optimizer"]).items()
        }
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        self.schedule = self._schedule(step)

    def _precision(self) -> torch.autocast:
        enabled = self.settings.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _tensors(self, part: Any) -> Any:
        """Arrays, or arrays by modality, on the device of the model."""
        if isinstance(part, Mapping):
            return {name: self._tensors(array) for name, array in part.items()}
        return None if part is None else torch.from_numpy(part).to(self.device)
