"""Train on several JAX devices: each has a part of every batch and all of the weights.

    python examples/train_jax_data_parallel.py               # half a minute on two cores
    python examples/train_jax_data_parallel.py --devices 8 --steps 500

The devices are made of the CPU here; on a machine with several GPUs, leave out the line that
asks for them. The training step is written for one device. Where its arguments lie makes it
parallel: ``jax.jit`` adds the sum of the gradients over the devices.
"""

import argparse
from collections.abc import Sequence

import jax
import numpy as np
import optax
from digits import digits_split
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import trange

from ivy_models import create_model
from ivy_models.transformers.perceiver_io import PerceiverIO

BATCH_SIZE = 64  # a multiple of the number of devices


def train(
    model: PerceiverIO,
    optimizer: optax.GradientTransformation,
    devices: Sequence[jax.Device],
    steps: int,
    seed: int,
) -> tuple[dict, list[float]]:
    """Train a copy of the model's weights; gives them and the loss of each step."""
    mesh = Mesh(np.array(devices), ("data",))
    on_each = NamedSharding(mesh, PartitionSpec())
    divided = NamedSharding(mesh, PartitionSpec("data"))

    apply, params = model.to_jax()
    params = jax.device_put(params, on_each)
    state = jax.device_put(optimizer.init(params), on_each)

    @jax.jit
    def step(params, state, images, classes):
        def loss_of(params):
            logits = apply(params, images)[:, 0]
            return optax.softmax_cross_entropy_with_integer_labels(logits, classes).mean()

        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    images, classes, *_ = digits_split()
    images, rng = model.preprocessing(list(images)), np.random.default_rng(seed)
    losses = []
    for _ in trange(steps, unit="step"):
        batch = rng.integers(len(images), size=BATCH_SIZE)
        data = jax.device_put((images[batch], classes[batch]), divided)
        params, state, loss = step(params, state, *data)
        losses.append(float(loss))
    return params, losses


def accuracy(model: PerceiverIO, params: dict) -> float:
    *_, images, classes, _ = digits_split()
    apply, _ = model.to_jax()
    logits = jax.jit(apply)(params, model.preprocessing(list(images)))[:, 0]
    return float((np.asarray(logits).argmax(-1) == classes).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    jax.config.update("jax_num_cpu_devices", arguments.devices)  # before JAX starts
    model = create_model("perceiver_io_digits", seed=arguments.seed)
    schedule = optax.cosine_onecycle_schedule(arguments.steps, peak_value=2e-3)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))
    devices = jax.devices()
    params, losses = train(model, optimizer, devices, arguments.steps, arguments.seed)
    print(
        f"{len(params['latents'].devices())} devices: loss from {losses[0]:.3f} to {losses[-1]:.3f}"
    )
    print(f"accuracy on held-out images: {accuracy(model, params):.1%}")

    _, alone = train(model, optimizer, devices[:1], steps=10, seed=arguments.seed)
    difference = np.abs(np.subtract(losses[:10], alone)).max()
    print(f"one device: the first 10 losses are the same, but for {difference:.0e}")


if __name__ == "__main__":
    main()
