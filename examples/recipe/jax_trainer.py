"""The recipe in JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ivy_models.transformers.perceiver_io import PerceiverIO
from ivy_models.transformers.perceiver_io.parameters import flatten, unflatten
from recipe.trainer import EPSILON, START, Settings


class JaxTrainer:
    """Trains with optax; see :class:`recipe.trainer.Trainer`."""

    def __init__(self, model: PerceiverIO, settings: Settings):
        apply, params = model.to_jax()
        schedule = optax.warmup_cosine_decay_schedule(
            init_value=START * settings.learning_rate,
            peak_value=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            decay_steps=settings.steps,
        )
        optimizer = optax.chain(
            optax.clip_by_global_norm(settings.clip_norm),
            optax.adamw(
                schedule,
                eps=EPSILON,
                weight_decay=settings.weight_decay,
                mask=unflatten({name: name.endswith("/weight") for name, _ in flatten(params)}),
            ),
        )
        key = jax.random.key(settings.seed)

        @jax.jit
        def update(state, data, classes):
            step, params = state["step"], state["params"]

            def loss_of(params):
                logits = apply(params, data, key=jax.random.fold_in(key, step))[:, 0]
                targets = jax.nn.one_hot(classes, logits.shape[-1])
                targets = optax.smooth_labels(targets, settings.label_smoothing)
                return optax.softmax_cross_entropy(logits, targets).mean()

            loss, gradients = jax.value_and_grad(loss_of)(params)
            updates, moments = optimizer.update(gradients, state["optimizer"], params)
            params = optax.apply_updates(params, updates)
            state = {"step": step + 1, "params": params, "optimizer": moments}
            return state, loss, schedule(step)

        self.update, self.apply = update, jax.jit(apply)
        self.arrays = {
            "step": jnp.zeros((), jnp.int32),
            "params": params,
            "optimizer": optimizer.init(params),
        }

    def step(self, data: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
        self.arrays, loss, learning_rate = self.update(self.arrays, data, classes)
        return float(loss), float(learning_rate)

    def logits(self, data: np.ndarray) -> np.ndarray:
        return np.asarray(self.apply(self.arrays["params"], data)[:, 0])

    def weights(self) -> dict:
        return self.arrays["params"]

    def state(self) -> dict[str, np.ndarray]:
        leaves, _ = jax.tree.flatten_with_path(self.arrays)
        return {_name(path): np.asarray(leaf) for path, leaf in leaves}

    def load(self, state: dict[str, np.ndarray]) -> None:
        leaves, structure = jax.tree.flatten_with_path(self.arrays)
        loaded = [jnp.asarray(state[_name(path)]) for path, _ in leaves]
        self.arrays = jax.tree.unflatten(structure, loaded)


def _name(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
