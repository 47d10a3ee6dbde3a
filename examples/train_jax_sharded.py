"""Train on a mesh of JAX devices: one axis shards the batch, the other the weights.

    python examples/train_jax_sharded.py                     # a minute on two cores
    python examples/train_jax_sharded.py --mesh 8 1          # data parallelism alone

The devices here are virtual devices of the CPU; on a machine with several GPUs, remove the line
that creates them. The training step is written for one device. The sharding of its arguments makes
it parallel: ``jax.jit`` adds the sums over devices.
"""

import argparse

import jax
import numpy as np
import optax
from digits import digits_split
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import trange

from ivy_models import create_model
from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.transformers.perceiver_io import PerceiverIO

BATCH_SIZE = 64  # a multiple of the mesh's first axis


def sharding_of(name: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Return the sharding of a weight: at most one of its axes is sharded along "model".

    The first matrices of self-attention and of an MLP are sharded by columns, so that a device has
    some whole heads or hidden channels. The second matrix is sharded by the matching rows, so that
    a device's product is one term of a sum, and only this sum is communicated. Other weights are
    small, or belong to cross-attention, which mostly has one head: each device has all of them.
    """
    axes, (layer, _, kind) = [None] * len(shape), name.rpartition("/")
    if "/self_attention_" in name or "/mlp/" in name:
        if layer.endswith(("query", "key", "value", "hidden")):
            axes[-1] = "model"
        elif layer.endswith("output") and kind == "weight":
            axes[0] = "model"
    return NamedSharding(mesh, PartitionSpec(*axes))


def train(
    model: PerceiverIO, optimizer: optax.GradientTransformation, mesh: Mesh, steps: int, seed: int
) -> tuple[dict, optax.OptState, list[float]]:
    """Train a copy of the model's weights; return them, the optimizer's state and the losses."""
    apply, params = model.to_jax()
    params = unflatten(
        {
            name: jax.device_put(weight, sharding_of(name, weight.shape, mesh))
            for name, weight in flatten(params)
        }
    )
    on_each, divided = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    state = optimizer.init(params)  # sharded like the weights, except counters of steps
    state = jax.tree.map(lambda x: x if x.ndim else jax.device_put(x, on_each), state)

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
    return params, state, losses


def accuracy(model: PerceiverIO, params: dict) -> float:
    *_, images, classes, _ = digits_split()
    apply, _ = model.to_jax()
    logits = jax.jit(apply)(params, model.preprocessing(list(images)))[:, 0]
    return float((np.asarray(logits).argmax(-1) == classes).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mesh", type=int, nargs=2, default=[4, 2], metavar=("DATA", "MODEL"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    model = create_model("perceiver_io_digits", seed=arguments.seed)
    if model.spec.num_self_att_heads % arguments.mesh[1]:
        parser.error(f"MODEL must divide the number of heads, {model.spec.num_self_att_heads}")
    jax.config.update("jax_num_cpu_devices", int(np.prod(arguments.mesh)))  # before JAX starts
    schedule = optax.cosine_onecycle_schedule(arguments.steps, peak_value=2e-3)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, eps=1e-6))
    mesh, alone = (
        jax.make_mesh(shape, ("data", "model"), devices=jax.devices()[: np.prod(shape)])
        for shape in (arguments.mesh, (1, 1))
    )
    params, state, losses = train(model, optimizer, mesh, arguments.steps, arguments.seed)
    print(f"{mesh.size} devices: loss from {losses[0]:.3f} to {losses[-1]:.3f}")
    print(f"accuracy on held-out images: {accuracy(model, params):.1%}")
    for name, tree in ("weights", params), ("optimizer's state", state):
        leaves = jax.tree.leaves(tree)
        on_one = sum(leaf.addressable_shards[0].data.size for leaf in leaves)
        print(f"{name} on a device: {on_one / sum(leaf.size for leaf in leaves):.0%}")

    _, _, expected = train(model, optimizer, alone, steps=10, seed=arguments.seed)
    difference = np.abs(np.subtract(losses[:10], expected)).max()
    print(f"one device: the first 10 losses differ by at most {difference:.0e}")


if __name__ == "__main__":
    main()
