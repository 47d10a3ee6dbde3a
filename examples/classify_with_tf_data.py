"""Classify image files inside a tf.data pipeline.

    python examples/classify_with_tf_data.py                 # about 20 seconds, most to start

The script uses the model, a ``keras.Model`` on TensorFlow, in two ways: ``model.predict`` runs over
the dataset, and ``dataset.map`` makes the model a step of the pipeline's graph. The batch size is
unknown in the graph. The images are the held-out digits, as PNG files.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras reads it once, when it is imported

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from digits import write_digits

from ivy_models import create_model


def image_dataset(paths: list[Path], preprocessing: Callable) -> tf.data.Dataset:
    """Batches (None, height, width, channels) of preprocessed images, in the order of the paths."""

    def read(path: tf.Tensor) -> tf.Tensor:
        image = tf.numpy_function(lambda p: preprocessing(p.decode()), [path], tf.float32)
        return tf.ensure_shape(image, (*preprocessing.size, preprocessing.channels))

    dataset = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    dataset = dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(64).prefetch(tf.data.AUTOTUNE)


def predict(model: tf.keras.Model, dataset: tf.data.Dataset) -> np.ndarray:
    """Run ``model.predict`` over the dataset."""
    return model.predict(dataset, verbose=0)[:, 0].argmax(-1)


def predict_in_pipeline(model: tf.keras.Model, dataset: tf.data.Dataset) -> np.ndarray:
    """Call the model in the dataset's ``map``."""
    classes = dataset.map(lambda images: tf.argmax(model(images)[:, 0], axis=-1))
    return np.concatenate(list(classes.as_numpy_iterator()))


def main() -> None:
    model = create_model("perceiver_io_digits", pretrained=True)
    keras_model = model.to_keras_model()
    with tempfile.TemporaryDirectory() as folder:
        write_digits(Path(folder), model.labels)
        paths = sorted(Path(folder).glob("*/*.png"))
        classes = np.array([model.labels.index(path.parent.name) for path in paths])
        dataset = image_dataset(paths, model.preprocessing)
        print(f"batches: {dataset.element_spec.shape}")
        for name, function in (
            ("model.predict(dataset)", predict),
            ("dataset.map(model)", predict_in_pipeline),
        ):
            right = (function(keras_model, dataset) == classes).mean()
            print(f"{name}: {right:.1%} of {len(paths)} images right")


if __name__ == "__main__":
    main()
