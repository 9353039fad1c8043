"""The notebooks of the package, executed by a Jupyter kernel on the virtual board."""

import ast
import json
import os
from importlib.metadata import entry_points
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import joulebit_host.notebooks

FOLDER = Path(joulebit_host.notebooks.__file__).parent
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def executed(name, monkeypatch, tmp_path, **variables):
    """The notebook after a run in an empty folder; an error in a cell is the test's."""
    for key, value in ({"JOULEBIT_BOARD": "virtual", "OMP_NUM_THREADS": "1"} | variables).items():
        monkeypatch.setenv(key, value)
    notebook = nbformat.read(FOLDER / name, 4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    return notebook


def printed(notebook):
    """Everything that its cells printed."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream"), outputs


def test_they_are_kept_without_outputs_and_in_order():
    assert NAMES == ["1_self_test.ipynb", "2_train.ipynb"]
    for name in NAMES:
        notebook = nbformat.read(FOLDER / name, 4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                assert (cell.outputs, cell.execution_count) == ([], None)


def test_pynq_finds_them():
    (point,) = entry_points(group="pynq.notebooks", name="joulebit")
    assert Path(point.load().__file__).parent == FOLDER


def test_they_need_nothing_that_a_board_lacks():
    allowed = {"json", "os", "tempfile", "time", "pathlib", "numpy", "matplotlib", "joulebit", "joulebit_host"}
    for name in NAMES:
        for cell in json.loads((FOLDER / name).read_text())["cells"]:
            if cell["cell_type"] != "code":
                continue
            source = "".join(line for line in cell["source"] if not line.startswith("%"))
            for node in ast.walk(ast.parse(source, feature_version=(3, 10))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                assert {found.split(".")[0] for found in names} <= allowed


def test_the_self_test_says_that_all_passes_are_identical(monkeypatch, tmp_path):
    text, _ = printed(executed("1_self_test.ipynb", monkeypatch, tmp_path))
    assert "board virtual, configuration default" in text
    assert text.count("identical") == 4
    assert "DIFFERENT" not in text


def test_the_training_is_plotted_and_equals_the_simulator(monkeypatch, tmp_path):
    few = {"JOULEBIT_STEPS": "3", "JOULEBIT_BATCH": "8", "JOULEBIT_ARRAY_CONFIG": "open"}
    text, outputs = printed(executed("2_train.ipynb", monkeypatch, tmp_path, **few))
    assert "configuration open" in text
    assert text.rstrip().endswith("identical")
    (hashes,) = {tuple(line.split("weights ")[1] for line in text.splitlines() if "weights " in line)}
    assert len(hashes) == 2 and len(set(hashes)) == 1
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not list(tmp_path.iterdir())


@pytest.mark.rtl
@pytest.mark.slow
def test_the_self_test_passes_on_the_rtl(rtl, monkeypatch, tmp_path):
    rtl = {"JOULEBIT_BOARD": "virtual-rtl", "JOULEBIT_ARRAY_CONFIG": "tiny"}
    text, _ = printed(executed("1_self_test.ipynb", monkeypatch, tmp_path, **rtl))
    assert text.count("identical") == 4
    assert "the array worked in" in text
    assert os.environ["JOULEBIT_BOARD"] == "virtual-rtl"
