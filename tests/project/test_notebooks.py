"""The notebooks run, and their outputs equal the stored ones.

Texts are compared, with the numbers that the notebooks round. Pictures must only exist, because
every release of matplotlib draws slightly differently.
"""

import re

import nbformat
import pytest
from helpers import CHOSEN
from nbclient.exceptions import CellExecutionError
from notebooks import LARGEST, NOTEBOOKS, clean, execute, read

from ivy_models.ops import BACKENDS

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(cell):
    """Outputs of a cell: texts, and ``image/png`` for a picture."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        else:
            yield "image/png" if "image/png" in output.data else output.data["text/plain"]


@pytest.mark.slow
@each_notebook
def test_a_notebook_gives_the_results_it_shows(path, tmp_path):
    shown = read(path)
    code = "\n".join(cell.source for cell in code_cells(shown))
    not_chosen = set(re.findall(r"\w+", code)) & set(BACKENDS) - set(CHOSEN)
    if not_chosen:
        pytest.skip(f"needs {', '.join(not_chosen)}")
    given = clean(execute(read(path), tmp_path))
    for before, after in zip(code_cells(shown), code_cells(given), strict=True):
        assert list(outputs(after)) == list(outputs(before)), f"{path.name}:\n{before.source}"


@each_notebook
def test_has_outputs_and_nothing_of_the_machine(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert clean(notebook) == notebook, "write it with tools/notebooks.py"
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in list(outputs(cell)) for cell in cells) >= 2
    assert path.stat().st_size <= LARGEST


def test_a_failing_cell_is_shown(tmp_path):
    cells = [nbformat.v4.new_code_cell(code) for code in ("x = 0", "print(1 / x)")]
    with pytest.raises(CellExecutionError, match=r"(?s)print\(1 / x\).*ZeroDivisionError"):
        execute(nbformat.v4.new_notebook(cells=cells), tmp_path)


def test_clean():
    cell = nbformat.v4.new_code_cell("x", metadata={"execution": {"iopub.status.busy": "12:00"}})
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="a GPU was not found"),
        nbformat.v4.new_output("stream", name="stdout", text="1"),
        nbformat.v4.new_output("display_data", {"image/png": ""}, metadata={"width": 1}),
    ]
    kernel = {"name": "mine", "display_name": "/home/me/.venv"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    cleaned = clean(notebook)
    assert cleaned.metadata.kernelspec.name == "python3"
    assert cleaned.cells[0].metadata == {}
    assert list(outputs(cleaned.cells[0])) == ["1", "image/png"]
    assert cleaned.cells[0].outputs[1].metadata == {}
