"""Train a Keras model on several devices by TensorFlow's MirroredStrategy.

    python examples/train_keras_mirrored.py                  # a minute on two cores
    python examples/train_keras_mirrored.py --devices 4 --epochs 20

Each device has a copy of all variables and a share of every batch; ``fit`` averages the gradients.
Gradients are not clipped, because Keras would clip those of each device before averaging. The
devices are virtual devices of the CPU; on a machine with several GPUs, remove the line that creates
them.
"""

import argparse
import os

os.environ["KERAS_BACKEND"] = (
    "tensorflow"  # before Keras is imported; other backends have no strategies
)

import keras
import tensorflow as tf
from digits import digits_split

from ivy_models import create_model
from ivy_models.transformers.perceiver_io import PerceiverIO

BATCH_SIZE = 64  # of all devices together


def loss(classes: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return keras.losses.sparse_categorical_crossentropy(classes, logits[:, 0], from_logits=True)


def train(
    model: PerceiverIO, devices: list[str], epochs: int, seed: int
) -> tuple[keras.Model, list[float]]:
    """Train a copy of the model's weights; return it and the mean loss of each epoch."""
    images, classes, *_ = digits_split()
    dataset = tf.data.Dataset.from_tensor_slices((model.preprocessing(list(images)), classes))
    dataset = dataset.shuffle(len(images), seed=seed).batch(BATCH_SIZE, drop_remainder=True)
    with tf.distribute.MirroredStrategy(devices).scope():
        keras_model = model.to_keras_model()
        keras_model.compile(keras.optimizers.AdamW(1e-3, epsilon=1e-6), loss)
    history = keras_model.fit(dataset, epochs=epochs, verbose=0).history
    return keras_model, history["loss"]


def make_devices(number: int) -> list[str]:
    """Make virtual devices of the CPU. Call this before TensorFlow starts."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * number
    tf.config.set_logical_device_configuration(cpu, parts)
    return [device.name for device in tf.config.list_logical_devices("CPU")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    devices = make_devices(arguments.devices)
    model = create_model("perceiver_io_digits", seed=arguments.seed)
    trained, losses = train(model, devices, arguments.epochs, arguments.seed)
    print(f"{len(devices)} devices: loss from {losses[0]:.3f} to {losses[-1]:.3f}")
    *_, images, classes, _ = digits_split()
    logits = trained.predict(model.preprocessing(list(images)), verbose=0)[:, 0]
    print(f"accuracy on held-out images: {(logits.argmax(-1) == classes).mean():.1%}")

    _, alone = train(model, devices[:1], epochs=1, seed=arguments.seed)
    print(f"one device: the first loss differs by {abs(losses[0] - alone[0]):.0e}")


if __name__ == "__main__":
    main()
