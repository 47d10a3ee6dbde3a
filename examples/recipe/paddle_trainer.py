"""The recipe in Paddle."""

import math

import numpy as np
import paddle

from ivy_models.transformers.perceiver_io import PerceiverIO
from recipe.trainer import EPSILON, START, Settings


class PaddleTrainer:
    """Trains with ``paddle.optimizer``; see :class:`recipe.trainer.Trainer`."""

    def __init__(self, model: PerceiverIO, settings: Settings):
        self.layer, self.settings = model.to_paddle_module(), settings
        self.schedule = paddle.optimizer.lr.LambdaDecay(settings.learning_rate, self.share_of_rate)
        # Paddle gives each parameter of a process a name of its own, beside that in the layer.
        self.names = {weight.name: name for name, weight in self.layer.named_parameters()}
        self.optimizer = paddle.optimizer.AdamW(
            self.schedule,
            parameters=self.layer.parameters(),
            epsilon=EPSILON,
            weight_decay=settings.weight_decay,
            apply_decay_param_fun=lambda name: self.names[name].endswith(".weight"),
            grad_clip=paddle.nn.ClipGradByGlobalNorm(settings.clip_norm),
        )

    def share_of_rate(self, step: int) -> float:
        warmup = self.settings.warmup_steps
        if step < warmup:
            return START + (1 - START) * step / warmup
        return (1 + math.cos(math.pi * (step - warmup) / (self.settings.steps - warmup))) / 2

    def step(self, data: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
        # Dropout depends on the seed and the step, so a checkpoint stores no generator.
        paddle.seed(self.settings.seed * self.settings.steps + self.schedule.last_epoch)
        learning_rate = self.schedule.get_lr()
        self.layer.train()
        logits = self.layer(paddle.to_tensor(data))[:, 0]
        loss = paddle.nn.functional.cross_entropy(
            logits, paddle.to_tensor(classes), label_smoothing=self.settings.label_smoothing
        )
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.schedule.step()
        return float(loss), learning_rate

    @paddle.no_grad()
    def logits(self, data: np.ndarray) -> np.ndarray:
        self.layer.eval()
        return self.layer(paddle.to_tensor(data))[:, 0].numpy()

    def weights(self) -> dict:
        return self.layer.weights()

    def state(self) -> dict[str, np.ndarray]:
        state = {f"model/{name}": leaf.numpy() for name, leaf in self.layer.state_dict().items()}
        for name, leaf in self.optimizer.state_dict().items():
            if name != "LR_Scheduler":
                weight = self.weight_of(name)
                moment = name.removeprefix(f"{weight}_")
                state[f"optimizer/{self.names[weight]}/{moment}"] = leaf.numpy()
        return {"step": np.array(self.schedule.last_epoch)} | state

    def load(self, state: dict[str, np.ndarray]) -> None:
        model, moments = {}, {}
        own_names = {name: weight for weight, name in self.names.items()}
        for name, array in state.items():
            match name.split("/"):
                case ["model", name]:
                    model[name] = array
                case ["optimizer", name, moment]:
                    moments[f"{own_names[name]}_{moment}"] = paddle.to_tensor(array)
        self.layer.set_state_dict(model)
        self.schedule.step(int(state["step"]))
        self.optimizer.set_state_dict(moments | {"LR_Scheduler": self.schedule.state_dict()})

    def weight_of(self, name: str) -> str:
        """Paddle's name of the weight that a moment of the optimizer belongs to."""
        return next(weight for weight in self.names if name.startswith(f"{weight}_"))
