"""Where looks at a detector for forecasts are stored, so that a search goes on from its own alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.variants import foretelling
from bench.variants.steps import prune


def folder_for(calibration: str, weights: str = "w") -> Path:
    context: Any = SimpleNamespace(
        folder=Path("variants"), frames={"calibration": SimpleNamespace(content=calibration)}
    )
    return foretelling._folder(context, weights, "prune")


def test_a_look_belongs_to_weights_frames_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [folder_for("a"), folder_for("b"), folder_for("a", weights="v")]
    monkeypatch.setattr(prune, "VERSION", prune.VERSION + 1)
    folders.append(folder_for("a"))
    assert len(set(folders)) == 4
    assert folders[-1] == folder_for("a")
