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
IMAGE = ROOT / "examples/seven.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a folder to keep the wheel and the sdist in")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as temporary:
        output = (out or Path(temporary, "dist")).resolve()
        run(sys.executable, "-m", "build", "--outdir", output, ROOT)
        built = [*output.glob("*.whl"), *output.glob("*.tar.gz")]
        run(sys.executable, "-m", "twine", "check", "--strict", *built)
        for number, distribution in enumerate(built):
            works(distribution, Path(temporary, str(number)))


def works(distribution: Path, environment: Path) -> None:
    """Install a distribution into a new environment, and classify the image of a seven."""
    run(sys.executable, "-m", "venv", environment)
    run(environment / "bin/python", "-m", "pip", "install", "-q", distribution)
    answer = run(environment / "bin/ivy-models", "classify", IMAGE, cwd=environment)
    if "seven" not in answer:
        raise SystemExit(f"{distribution.name} answers: {answer}")
    print(f"{distribution.name} works")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
