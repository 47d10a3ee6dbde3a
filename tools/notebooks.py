"""Run the notebooks and save them with their outputs, but without traces of the machine.

python tools/notebooks.py
python tools/notebooks.py examples/notebooks/quick_start.ipynb
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
LARGEST = 150_000
"""Largest size of a notebook's file, in bytes."""


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run a notebook's cells with this Python, in a folder with the layout of ``examples``.

    Parameters
    ----------
    notebook
        The outputs are stored in it.
    folder
        An empty folder, in which the cells write. Installed kernels, the user's IPython settings
        and downloaded weights are not used.

    Returns
    -------
    NotebookNode
        The notebook.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails, with its code and its error.
    """
    (folder / "notebooks").mkdir()
    shutil.copy(ROOT / "examples" / "seven.png", folder)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "IPYTHONDIR": str(folder / "ipython"),
        "IVY_MODELS_CACHE": str(folder / "cache"),
        "http_proxy": "http://127.0.0.1:9",  # no network
        "https_proxy": "http://127.0.0.1:9",
    }
    # With no kernel folders, the only kernel is that of this Python.
    kernels = KernelSpecManager(kernel_dirs=[])
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=kernels),
        timeout=120,  # seconds per cell
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder / "notebooks")}},
    )
    return client.execute(env=environment, cleanup_kc=True)


def clean(notebook: NotebookNode) -> NotebookNode:
    """Keep code, text and outputs. Remove metadata such as times, and stderr, in which frameworks
    describe the machine.
    """
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if "metadata" in output:
                    output.metadata = NotebookNode()
    return notebook


def shrink(notebook: NotebookNode) -> NotebookNode:
    """Reduce pictures to the 256 nearest colours, which takes a third of the bytes."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                picture = picture.convert("RGB").quantize(
                    256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
                )
                file = io.BytesIO()
                picture.save(file, "PNG", optimize=True)
                output.data["image/png"] = base64.b64encode(file.getvalue()).decode()
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, default=NOTEBOOKS)
    for path in parser.parse_args().notebooks:
        with tempfile.TemporaryDirectory() as folder:
            notebook = shrink(clean(execute(read(path), Path(folder))))
        nbformat.write(notebook, path)
        size = path.stat().st_size
        print(f"{path}: {size // 1000} KB")
        if size > LARGEST:
            sys.exit(f"{path} has {size:,} bytes; at most {LARGEST:,} are kept: draw less.")


if __name__ == "__main__":
    main()
