"""Where looks at a detector for forecasts are stored, so that a search goes on from its own alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.variants import foretelling
from bench.variants.steps import prune


def folder_for(calibration: str, weights: str = "w", seed: int = 0, decoder: str = "pillow") -> Path:
    context: Any = SimpleNamespace(
        folder=Path("variants"),
        frames={"calibration": SimpleNamespace(digest=calibration)},
        decoder=decoder,
        seed=seed,
    )
    return foretelling._folder(context, weights, "prune")


def test_a_look_belongs_to_weights_frames_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [
        folder_for("a"),
        folder_for("b"),
        folder_for("a", weights="v"),
        folder_for("a", seed=1),
        folder_for("a", decoder="other"),
    ]
    monkeypatch.setattr(prune, "VERSION", prune.VERSION + 1)
    folders.append(folder_for("a"))
    assert len(set(folders)) == 6
    assert folders[-1] == folder_for("a")
