"""Predict for the files of a folder on a cluster, by Ray Data.

    python examples/predict_with_ray.py                     # half a minute, a cluster of its own
    python examples/predict_with_ray.py photos --model my_model --workers 8 --address auto

The model is a name, or a folder that `ivy-models train` has written: of images, sounds or texts.
Without a folder of files, the held-out digits are written to a temporary one. The workers read
from folders that all machines share. Each loads the model once and then predicts for batches. If a
worker dies, Ray starts another and repeats the batches without a result, so the output has exactly
one row for each file. A file that cannot be read gets a row with the error.
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

from ivy_models import create_model, predict
from ivy_models.transformers.perceiver_io import PerceiverIO

BATCH_SIZE = 32


class Predictor:
    """A worker that holds a model and predicts for batches of paths."""

    def __init__(self, name: str):
        import ivy  # here: Ray pickles this class with its globals, and Ivy cannot be pickled

        torch.set_num_threads(1)  # a worker has one processor, unless it asks for more
        ivy.set_backend("torch")
        is_folder = Path(name).is_dir()
        self.model = (
            PerceiverIO.from_pretrained(name) if is_folder else create_model(name, pretrained=True)
        )

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Add the error, and the value of each target: a class or a number, or nothing."""
        found = list(predict(self.model, batch["path"], BATCH_SIZE))
        targets = [target.name for target in self.model.targets or ()] or ["label"]
        rows: dict[str, Any] = {"path": batch["path"]}
        rows["error"] = [str(each.error or "") for each in found]
        for target in targets:
            values = [each.values[target] if each.values else None for each in found]
            rows[target] = [getattr(value, "label", value) for value in values]
        return rows


def predict_files(folder: Path, output: Path, name: str, workers: int) -> None:
    """Write Parquet files that have a row for each file of a folder."""
    paths = sorted(path for path in folder.resolve().rglob("*") if path.is_file())
    files = ray.data.from_items([{"path": str(path)} for path in paths])
    rows = files.map_batches(
        Predictor,
        fn_constructor_args=(name,),
        batch_size=BATCH_SIZE,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    rows.write_parquet(str(output.resolve()), mode=ray.data.SaveMode.OVERWRITE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir(), "predictions"))
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
        predict_files(folder, arguments.output, arguments.model, arguments.workers)
    rows = pandas.read_parquet(arguments.output)
    print(f"{len(rows)} files, {(rows.error != '').sum()} of them cannot be read")
    print(rows.drop(columns=["path", "error"]).describe(include="all").to_string())


if __name__ == "__main__":
    main()
