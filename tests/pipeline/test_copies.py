"""Copies of frames in a whole run: listed, told, and without any weight."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.errors import UserError
from bench.results import copies, store
from tests.support.command_line import bench

MORE = [*(f"real/003 ({k}).png" for k in range(9)), "fake/000 (1).png", "fake/005 (1).png"]


def numbers(folder: Path) -> dict[str, Any]:
    """scores.json without digests, ids and times, which are of all files."""
    scores: dict[str, Any] = json.loads((folder / "reports/first/scores.json").read_text(encoding="utf-8"))
    for frames in scores["frames"].values():
        del frames["digest"], frames["copies"]
    return scores


@pytest.mark.slow
def test_copies_change_no_number(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And later runs, reports and checks know of them."""
    monkeypatch.chdir(workplace)
    results, stored_file = workplace / "results/first", workplace / "results/first/copies.parquet"
    options = ("run", "--only", "q16", "--no-timing")
    assert bench(*options)[0] == 0
    once = numbers(workplace)
    assert not stored_file.exists()
    for name in MORE:
        original = f"{name[: name.index(' ')]}.png"
        shutil.copy(workplace / "faces/test" / original, workplace / "faces/test" / name)
    shutil.copy(workplace / "faces/test/real/001.png", workplace / "faces/validation/real/twin.png")
    code, output = bench(*options)
    assert code == 0, output
    assert "11 of" in bench("plan", "--only", "q16")[1]
    often = numbers(workplace)
    assert "Test and validation share 1 identical files" in " ".join(output.split())
    for key in ("auc", "auc_ci", "auc_delta", "auc_delta_ci", "verdict", "confusion", "flips", "brier", "ece", "drift"):
        assert often["variants"]["q16"][key] == pytest.approx(once["variants"]["q16"][key], abs=1e-6), key
    assert often["frames"]["test"] == once["frames"]["test"]
    table = pd.read_parquet(results / "q16/predictions.parquet")
    assert set(MORE) <= set(table["frame"])
    assert sorted(pd.read_parquet(stored_file)["frame"]) == sorted(
        {"real/003.png", "fake/000.png", "fake/005.png", *MORE} - set(firsts(results))
    )
    report = (workplace / "reports/first/report.md").read_text(encoding="utf-8")
    test = store.read_run(results).test
    assert f"{test.count} test frames ({test.fake} fake, {test.real} real; 11 more are copies of these)" in report
    assert not [path for path in results.rglob("*.jpg") if path.name.removesuffix(".jpg") not in firsts(results)]
    labelled, _ = store.read_labelled(results, "q16", store.read_run(results).frames)
    assert len(labelled.without_copies().frames) == test.count
    assert bench("accept", "--anyway", "--to", "accepted.json")[0] == 0
    checked = bench("check", "--only", "q16", "--no-timing", "--against", "accepted.json")[1]
    assert f"Compared on {test.count} test frames" in " ".join(checked.split())
    damaged_or_gone(workplace, stored_file)


def firsts(results: Path) -> list[str]:
    """The names of the frames that count, without their folders' copies."""
    run = store.read_run(results)
    labelled, _ = store.read_labelled(results, "q16", run.frames)
    names = labelled.without_copies().frames.tolist()
    return [*names, *(Path(name).name for name in names)]


def damaged_or_gone(workplace: Path, stored_file: Path) -> None:
    """The report needs the file, and the next run makes it anew; where copies go, so does it."""
    frames, table = store.read_run(stored_file.parent).frames, pd.read_parquet(stored_file)
    rows = pd.read_parquet(stored_file.parent / "q16/predictions.parquet", columns=["frame", "split"])
    for other in (table.head(3), table.assign(copy_of="gone.png"), table.assign(frame=table["copy_of"])):
        other.to_parquet(stored_file)
        with pytest.raises(UserError, match="delete it, `bench run` writes it again"):
            copies.read(stored_file, rows, frames)
    stored_file.write_bytes(b"PAR1")
    assert bench("report")[0] == 2
    stored_file.unlink()
    code, output = bench("report")
    assert (code, "copies.parquet: is gone; `bench run` writes it again" in output) == (2, True)
    assert bench("run", "--only", "q16", "--no-timing")[0] == 0
    assert pd.read_parquet(stored_file).equals(table)
    for name in MORE:
        (workplace / "faces/test" / name).unlink()
    assert bench("run", "--only", "q16", "--no-timing")[0] == 0
    assert not stored_file.exists()
