"""The notebook of docs/ runs as it stands: from a checkpoint to a report and predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.pace import limit


@pytest.mark.slow
def test_the_notebook_ends_in_a_report_and_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbclient
    import nbformat

    read: Any = nbformat.read
    notebook = read(ROOT / "docs" / "predict.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "it is stored without outputs"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    work = tmp_path / "work"
    work.mkdir()
    seconds = round(limit(240))
    resources = {"metadata": {"path": work}}
    nbclient.NotebookClient(notebook, timeout=seconds, startup_timeout=seconds, resources=resources).execute()
    printed = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("32 pictures of 32 files" in text for text in printed), printed
    assert (work / "reports/first/report.html").exists()
    for name in ("test.csv", "test.html", "test.md", "test.json", "test.embedding.parquet"):
        assert (work / "predicted" / name).exists(), name
    assert len(list((work / "predicted/test.pictures/heatmaps").iterdir())) == 32
