"""Frames that calibration did not see the like of: measured once, kept, shown, warned of; no torch in a cached run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.pipeline import calibration_shift
from bench.results import clipping
from bench.runtimes.onnxruntime import clipping as clipping_sessions
from tests.conftest import quick_folder, run_quickly, write_frames, write_workplace
from tests.support.command_line import bench

SCORES = Path("reports/first/scores.json")
VARIANTS = "{baseline: [], q8: [quantize: int8], w8: [quantize: {weights: int8}]}\n"


def dimmed(folder: Path) -> None:
    """What lies in the light becomes a dark picture of little contrast."""
    for file in folder.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(file)) // 4).save(file)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished experiment whose detector was calibrated on dim frames."""
    with quick_folder(tmp_path_factory, "shift") as folder:
        write_workplace(folder)
        text = (folder / "experiments.yaml").read_text()
        (folder / "experiments.yaml").write_text(text[: text.index("    variants:")] + f"    variants: {VARIANTS}")
        dimmed(folder / "faces/calibration")
        (folder / "output").write_text(run()[1])
        yield folder


@pytest.fixture
def darkened(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it."""
    run_quickly(monkeypatch)
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def unmeasured(folder: Path) -> None:
    """As a version left it that did not measure this."""
    for file in files(folder):
        file.unlink()


def run() -> tuple[dict[str, Any], str]:
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    return json.loads(SCORES.read_text())["variants"], output


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("variants/*/*.clipping-*.json"))


def test_frames_unlike_those_of_calibration_are_warned_of(darkened: Path) -> None:
    scores, output = json.loads(SCORES.read_text())["variants"], Path("output").read_text()
    shift = scores["q8"]["calibration_shift"]
    assert shift["warned"] is True
    assert shift["noise"] > clipping.NOISE_BOUND
    assert shift["noise"] > clipping.CALIBRATION_TIMES * shift["calibration_noise"]
    assert 0 < shift["clipped"] < shift["layer_clipped"] <= 1
    assert shift["frames"] == 32
    assert scores["baseline"]["calibration_shift"] is None
    assert scores["w8"]["calibration_shift"] is None, "weights alone have no ranges of activations"
    report = Path("reports/first/report.md").read_text()
    assert "**q8** has a **calibration shift**: the test frames lie outside of what its calibration saw" in report
    row = next(line for line in report.splitlines() if line.startswith("| **q8** |"))
    assert "**calibration shift**: clipping adds noise of" in row
    assert "q8 has a calibration shift: the test frames" in " ".join(output.split())
    assert len(files(darkened)) == 2, "of the test and the calibration frames"


def test_frames_like_those_of_calibration_are_not(darkened: Path) -> None:
    dimmed(darkened / "faces/test")
    scores, output = run()
    shift = scores["q8"]["calibration_shift"]
    assert shift["warned"] is False
    assert shift["noise"] < clipping.NOISE_BOUND
    assert shift["calibration_noise"] is None, "nothing hangs on it"
    assert "calibration shift" not in output
    assert "calibration shift" not in Path("reports/first/report.md").read_text()


def test_a_cached_run_measures_nothing(darkened: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file: file.read_bytes() for file in files(darkened)}

    def refused(*_: object) -> None:
        raise AssertionError("it was measured before")

    monkeypatch.setattr(clipping_sessions, "load_clipping", refused)
    assert run()[0]["q8"]["calibration_shift"]["warned"] is True
    assert {file: file.read_bytes() for file in files(darkened)} == before


def test_another_set_is_measured_for_itself(darkened: Path) -> None:
    shutil.rmtree(darkened / "faces/test")
    write_frames(darkened / "faces/test", 14, 18, 99)
    dimmed(darkened / "faces/test")
    assert run()[0]["q8"]["calibration_shift"]["warned"] is False
    assert len(files(darkened)) == 3


def test_an_error_loses_no_results(darkened: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("no memory for wide integers")

    unmeasured(darkened)
    with monkeypatch.context() as patch:
        patch.setattr(clipping_sessions, "load_clipping", failing)
        scores, _ = run()
        assert scores["q8"]["calibration_shift"] is None
        assert scores["q8"]["status"] == "ok"
        assert scores["q8"]["auc"] is not None
        report = Path("reports/first/report.md").read_text()
        assert "how much of these frames its ranges clip could not be measured; the run's log says why" in report
        assert "no memory for wide integers" in "".join(
            file.read_text() for file in Path("results/first").rglob("*.log")
        )
    assert run()[0]["q8"]["calibration_shift"]["warned"] is True, "the next run tries again"


def test_ranges_that_are_not_to_be_read_are_looked_at_once(darkened: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.artifacts.unclipped import UnreadableRangesError

    asked: list[object] = []

    def unreadable(*built: object) -> None:
        asked.append(built)
        raise UnreadableRangesError("QLinearConv computes with integers")

    unmeasured(darkened)
    monkeypatch.setattr(clipping_sessions, "load_clipping", unreadable)
    for _ in range(2):
        assert run()[0]["q8"]["calibration_shift"] is None
    assert len(asked) == 1
    report = Path("reports/first/report.md").read_text()
    assert "its ranges clip can't be measured: QLinearConv computes with integers" in report


def test_variants_that_were_not_asked_for_stay_in_the_report(darkened: Path) -> None:
    unmeasured(darkened)
    code, output = bench("run", "--no-timing", "--only", "w8")
    assert code == 0, output
    assert json.loads(SCORES.read_text())["variants"]["q8"]["status"] == "ok"
    assert files(darkened) == []
    assert calibration_shift.WORK not in output
