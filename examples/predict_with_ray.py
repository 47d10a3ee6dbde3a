"""Classify the image files of a folder on a cluster, by Ray Data.

    python examples/classify_with_ray.py                     # half a minute, a cluster of its own
    python examples/classify_with_ray.py photos --output /tmp/labels --workers 8 --address auto

Without a folder, the held-out digits are written to a temporary one. The workers read the files
from a folder that all machines share. Each loads the model once and then labels batches. If a
worker dies, Ray starts another and repeats the batches without a result, so the output has exactly
one row for each file. A file that is not an image gets a row with the error.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import ray
import torch
from digits import write_digits

from ivy_models import classify_each, create_model

BATCH_SIZE = 32


class Classifier:
    """A worker that holds a model and labels batches of paths."""

    def __init__(self, name: str):
        import ivy  # here: Ray pickles this class with its globals, and Ivy cannot be pickled

        torch.set_num_threads(1)  # a worker has one processor, unless it asks for more
        ivy.set_backend("torch")
        self.model = create_model(name, pretrained=True)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        results = list(classify_each(self.model, batch["path"], top=1, batch_size=BATCH_SIZE))
        return {
            "path": batch["path"],
            "label": [
                result.predictions[0].label if result.predictions else "" for result in results
            ],
            "error": [str(result.error or "") for result in results],
        }


def classify_files(folder: Path, output: Path, name: str, workers: int) -> None:
    """Write Parquet files that have a row for each file of a folder."""
    paths = sorted(path for path in folder.resolve().rglob("*") if path.is_file())
    files = ray.data.from_items([{"path": str(path)} for path in paths])
    rows = files.map_batches(
        Classifier,
        fn_constructor_args=(name,),
        batch_size=BATCH_SIZE,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    rows.write_parquet(str(output.resolve()), mode=ray.data.SaveMode.OVERWRITE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir(), "labels"))
    parser.add_argument("--model", default="perceiver_io_digits")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--address", help="address of a cluster; without it, one is started here")
    arguments = parser.parse_args()

    if arguments.address:
        ray.init(arguments.address)
    else:  # one more processor, which writes the results
        ray.init(num_cpus=arguments.workers + 1, object_store_memory=2**27)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.folder is None:
            write_digits(folder, create_model("perceiver_io_digits", pretrained=True).labels)
        classify_files(folder, arguments.output, arguments.model, arguments.workers)
    rows = pandas.read_parquet(arguments.output)
    print(f"{len(rows)} files labelled, {(rows.error != '').sum()} of them not images")
    print(rows.label[rows.error == ""].value_counts().to_string(header=False))


if __name__ == "__main__":
    main()
