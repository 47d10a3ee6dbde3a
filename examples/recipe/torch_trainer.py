"""The recipe in PyTorch."""

import math

import numpy as np
import torch

from ivy_models.transformers.perceiver_io import PerceiverIO
from recipe.trainer import EPSILON, START, Settings


class TorchTrainer:
    """Trains with ``torch.optim``; see :class:`recipe.trainer.Trainer`."""

    def __init__(self, model: PerceiverIO, settings: Settings):
        torch.manual_seed(settings.seed)  # for dropout
        self.module, self.settings = model.to_torch_module(), settings
        named = dict(self.module.named_parameters())
        matrices = [weight for name, weight in named.items() if name.endswith(".weight")]
        others = [weight for name, weight in named.items() if not name.endswith(".weight")]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices}, {"params": others, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            eps=EPSILON,
            weight_decay=settings.weight_decay,
        )
        self.schedule = self.make_schedule(step=0)

    def make_schedule(self, step: int) -> torch.optim.lr_scheduler.LRScheduler:
        """Make a schedule from the step alone, so that a checkpoint stores nothing else of it."""
        return torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, self.share_of_rate, last_epoch=step - 1
        )

    def share_of_rate(self, step: int) -> float:
        warmup = self.settings.warmup_steps
        if step < warmup:
            return START + (1 - START) * step / warmup
        return (1 + math.cos(math.pi * (step - warmup) / (self.settings.steps - warmup))) / 2

    def step(self, data: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
        (learning_rate, _) = self.schedule.get_last_lr()
        logits = self.module.train()(torch.from_numpy(data))[:, 0]
        loss = torch.nn.functional.cross_entropy(
            logits, torch.from_numpy(classes), label_smoothing=self.settings.label_smoothing
        )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        return loss.item(), learning_rate

    @torch.inference_mode()
    def logits(self, data: np.ndarray) -> np.ndarray:
        return self.module.eval()(torch.from_numpy(data))[:, 0].numpy()

    def weights(self) -> dict:
        return self.module.weights()

    def state(self) -> dict[str, np.ndarray]:
        tensors = {f"model/{name}": leaf for name, leaf in self.module.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": leaf for name, leaf in moments.items()}
        tensors["generator"] = torch.get_rng_state()
        step = np.array(self.schedule.last_epoch)
        return {"step": step} | {name: leaf.numpy() for name, leaf in tensors.items()}

    def load(self, state: dict[str, np.ndarray]) -> None:
        module, moments = {}, {}
        for name, array in state.items():
            match name.split("/"):
                case ["model", name]:
                    module[name] = torch.from_numpy(array)
                case ["optimizer", index, name]:
                    moments.setdefault(int(index), {})[name] = torch.from_numpy(array)
        self.module.load_state_dict(module)
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        torch.set_rng_state(torch.from_numpy(state["generator"]))
        self.schedule = self.make_schedule(int(state["step"]))
