"""Every notebook runs from its first cell to its last on a CPU, and learns what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    import nbformat  # it takes seconds, and the fast part does not need it
    from nbclient import NotebookClient

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    accuracy = float(re.search(r"test accuracy (0\.\d+)", outputs)[1])
    assert accuracy >= 0.97
    assert outputs.count("image/png") >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs_and_made_for_colab(path):
    notebook = json.loads(path.read_text())
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook["cells"])
    assert {"accelerator", "colab", "kernelspec"} <= notebook["metadata"].keys()
    source = "".join(line for cell in notebook["cells"] for line in cell["source"])
    assert "colab.research.google.com" in source
    assert "--upgrade" not in source
    assert "jax[" not in source
