"""Build the wheel and the sdist, and run ``ivy-models`` from each in fresh environments.

    python tools/distributions.py --out dist
    python tools/distributions.py --python python3.11 python3.12 python3.13
    python tools/distributions.py --extras torch jax train --pin torch==2.13.0

Needs ``build``, ``twine`` and the package index. Without ``--out`` the distributions are deleted.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "examples/clothing/ankle_boot.png"

TABLE = "".join(f"{7 * i % 40},{'odd' if i % 2 else 'even'}\n" for i in range(40))

LARGEST = 15 << 20
"""Upper bound on the size of the wheel in bytes."""


def classify(options: str, model: str = "perceiver_io_fashion") -> str:
    image = shlex.quote(str(IMAGE))
    return f"ivy-models classify --model {model} {options} {image} | grep 'ankle boot'"


def train(backend: str) -> str:
    return (
        f"printf 'number,kind\n{TABLE}' > table.csv && ivy-models train table.csv --target kind "
        f"--backend {backend} --epochs 1 --output trained && ivy-models predict trained table.csv"
    )


EXPORT = "ivy-models export perceiver_io_fashion model.onnx"

SMOKE_TESTS = {
    "torch": classify("--backend torch"),
    "jax": classify("--backend jax"),
    "tensorflow": classify("--backend tensorflow"),
    "paddle": classify("--backend paddle"),
    "hub": "python -c 'import ivy_models.checkpoints.download.hub, huggingface_hub'",
    "media": """python -c '
import numpy as np
from ivy_models.preprocessing.video import write_video
write_video("frames.mp4", np.zeros((4, 32, 32, 3), np.uint8))'""",
    "plot": "ivy-models language 'Der Zug kommt heute nicht.' --letters letters.png",
    "onnx": EXPORT,
    "onnx,onnxruntime": f"{EXPORT} && {classify('--engine onnxruntime', 'model.onnx')}",
    "onnx,openvino": f"{EXPORT} && {classify('--engine openvino', 'model.onnx')}",
    "demo": """python -c '
from ivy_models.demo.models import Models
from ivy_models.demo.server import make_app
make_app(Models([], None), {"model": "perceiver_io_digits", "backend": "numpy"})'""",
    "torch,train": train("torch"),
    "jax,train": train("jax"),
    "tensorflow,train": train("tensorflow"),
    "augment": "python -c 'import kornia'",
    "ray": "python -c 'import ray.data'",
}
"""What shows that an extra, or several that are used together, work: shell commands."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a folder to keep the wheel and the sdist in")
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters")
    parser.add_argument("--extras", nargs="*", default=[], choices=SMOKE_TESTS, metavar="EXTRA")
    parser.add_argument("--pin", nargs="*", default=[], help="NAME==VERSION, for the extras")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        output = (arguments.out or Path(temporary, "dist")).resolve()
        run(sys.executable, "-m", "build", "--outdir", output, ROOT)
        built = [*output.glob("*.whl"), *output.glob("*.tar.gz")]
        run(sys.executable, "-m", "twine", "check", "--strict", *built)
        (size,) = (path.stat().st_size for path in built if path.suffix == ".whl")
        if size > LARGEST:
            raise SystemExit(f"The wheel has {size:,} bytes; expected at most {LARGEST:,}.")
        for python in arguments.python:
            for distribution in built:
                works(python, str(distribution), classify("--backend numpy"))
            for extras in arguments.extras:
                works(python, f"{built[0]}[{extras}]", SMOKE_TESTS[extras], *arguments.pin)


def works(python: str, distribution: str, test: str, *pins: str) -> None:
    """Install a distribution into a new environment of an interpreter, and run a command there."""
    with tempfile.TemporaryDirectory() as folder:
        run(python, "-m", "venv", f"{folder}/venv")
        run(f"{folder}/venv/bin/python", "-m", "pip", "install", "-q", distribution, *pins)
        environment = os.environ | {"PATH": f"{folder}/venv/bin:{os.environ['PATH']}"}
        subprocess.run(test, shell=True, cwd=folder, env=environment, check=True)
    print(f"{Path(distribution).name} works on {python}", flush=True)


def run(*command: str | Path) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
