"""Coverage-guided fuzzing of the readers of untrusted files, with Atheris.

    python tools/fuzz.py unpickler --seconds 60

A reader may accept an input, or refuse it with one of this library's errors. If it raises another
error, or takes more than 2 GiB or 20 seconds, the input is written to a file ``crash-...`` in the
current folder, and the exit code is not 0. ``--seconds 0 FILE`` runs such a file again.
"""

import argparse
import json
import os
import pickle
import random
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in (".", "tests")]

with atheris.instrument_imports(include=["ivy_models", "pickletools", "json"]):
    import numpy as np

    from ivy_models.checkpoints import folder as native
    from ivy_models.checkpoints.attributes import attributes_from_json
    from ivy_models.checkpoints.huggingface import weights as huggingface
    from ivy_models.checkpoints.huggingface.config import config_of
    from ivy_models.checkpoints.pickles.unpickle import unpickle
    from ivy_models.checkpoints.shards import read_index
    from ivy_models.errors import IvyModelsError, SpecError, WeightsError
    from ivy_models.models.presets import PRESETS
    from ivy_models.transformers.perceiver_io import PerceiverIOCore


def read_unpickler(path: Path) -> None:
    try:
        unpickle(path)
    except WeightsError as error:
        _check_named(path, error)


def _check_named(path: Path, error: Exception) -> None:
    if str(path) not in str(error):
        raise AssertionError("The error does not name the file.") from error


def read_config(path: Path) -> None:
    """Read as a config of this library, as one of transformers, and as an index of shards."""
    for read in (_read_native, huggingface.read_huggingface_spec, read_index):
        try:
            read(path if read is read_index else path.parent)
        except (SpecError, WeightsError) as error:
            _check_named(path.parent, error)


def _read_native(folder: Path) -> None:
    spec, task = native.read_config(folder)
    PerceiverIOCore(spec).parameters()
    attributes_from_json(task, str(folder))


def pickles() -> list[bytes]:
    arrays = {"w": np.ones((2, 3), np.float32), "b": np.float64(1), "n": np.zeros(0, ">i2")}
    content = {"params": {"a/~/linear": OrderedDict(arrays)}, "state": {}}
    return [pickle.dumps(content, protocol) for protocol in range(6)]


def configs() -> list[bytes]:
    folder = Path(__file__).resolve().parents[1] / "ivy_models" / "data" / "perceiver_io_digits"
    written = [(folder / "config.json").read_bytes(), b'{"weight_map": {"a": "b.json"}}']
    for preset in PRESETS.values():
        written.append(preset.spec.to_json().encode())
        try:
            config = config_of(preset.spec.replace(exact_gelu=True))
        except IvyModelsError:  # transformers has no such model
            continue
        written.append(json.dumps(config | {"id2label": {"0": "a"}, "label2id": {}}).encode())
    return written


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change bytes. For JSON usually change one value: changed bytes are seldom valid JSON."""
    rng = random.Random(seed)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, (dict, list)) or rng.random() < 0.2:
        return atheris.Mutate(data, max_size)
    parent, places = content, content
    while isinstance(places, (dict, list)) and places:
        parent, key = (
            places,
            rng.choice([*places] if isinstance(places, dict) else range(len(places))),
        )
        places = places[key]
        if rng.random() < 0.3:
            break
    if isinstance(parent, (dict, list)) and parent:
        parent[key] = rng.choice([*ODD_VALUES, [places], {"kind": places}, [places] * 3])
    return json.dumps(content).encode()[:max_size]


ODD_VALUES = [None, True, 0, 1, 2, -1, 3.5, 1e308, 10**18, 10**400, "", "a", "kind", [], {}]

TARGETS = {
    "unpickler": ("weights.pystate", read_unpickler, pickles),
    "config": ("config.json", read_config, configs),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz a reader.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("again", nargs="*", help="inputs to run instead of fuzzing")
    arguments = parser.parse_args()
    name, read, seeds = TARGETS[arguments.target]
    with tempfile.TemporaryDirectory() as folder:
        path, corpus = Path(folder, name), Path(folder, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(seeds()):
            (corpus / str(number)).write_bytes(seed)

        def run(data: bytes) -> None:
            path.write_bytes(data)
            read(path)

        limits = ["-timeout=20", "-rss_limit_mb=2048", "-max_len=8192"]
        seconds = [f"-max_total_time={arguments.seconds}"]
        files = arguments.again or [str(corpus)]
        mutator = {"custom_mutator": mutate} if arguments.target == "config" else {}
        if pid := os.fork():  # the fuzzer exits without removing the temporary folder
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        atheris.Setup([sys.argv[0], *limits, *seconds, *files], run, **mutator)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
