"""Build the wheel and the sdist, and run ``ivy-models`` from each in a fresh environment.

    python tools/distributions.py --out dist

Needs ``build``, ``twine`` and the package index. Without ``--out`` the distributions are deleted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "examples/clothing/ankle_boot.png"

LARGEST = 15 << 20
"""Upper bound on the size of the wheel in bytes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a folder to keep the wheel and the sdist in")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as temporary:
        output = (out or Path(temporary, "dist")).resolve()
        run(sys.executable, "-m", "build", "--outdir", output, ROOT)
        built = [*output.glob("*.whl"), *output.glob("*.tar.gz")]
        run(sys.executable, "-m", "twine", "check", "--strict", *built)
        (size,) = (path.stat().st_size for path in built if path.suffix == ".whl")
        if size > LARGEST:
            raise SystemExit(f"The wheel has {size:,} bytes; expected at most {LARGEST:,}.")
        for number, distribution in enumerate(built):
            works(distribution, Path(temporary, str(number)))


def works(distribution: Path, environment: Path) -> None:
    """Install a distribution into a new environment, and classify a picture."""
    run(sys.executable, "-m", "venv", environment)
    run(environment / "bin/python", "-m", "pip", "install", "-q", distribution)
    answer = run(
        environment / "bin/ivy-models",
        "classify",
        "--model",
        "perceiver_io_fashion",
        IMAGE,
        cwd=environment,
    )
    if "ankle boot" not in answer:
        raise SystemExit(f"{distribution.name} answers: {answer}")
    print(f"{distribution.name} works")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
