"""The side-by-side benchmark of compression runs very small, keeps what is done, and says what is missing."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, cast

import pytest
from peers import Case, Peer, made

from bench import detectors
from bench.datasets import demo
from bench.records import Built
from bench.variants.chain import order_problems, parse
from bench.variants.context import Source
from tests.support import tiny
from tests.support.scripts import numbers, script, table

PER_TENSOR = "int8 weights and batch norms, per tensor"
PRUNED, NNCF = "torch-pruning, defaults", "NNCF + OpenVINO, PTQ MIXED"


@pytest.fixture
def weights(tmp_path: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny network's, and a demo set of few frames."""
    monkeypatch.setattr(demo, "COUNTS", {"test": (2, 2), "validation": (2, 2), "calibration": (4, 4), "train": (4, 4)})
    return tiny.save_weights(tmp_path / "small.pth")


def rows(
    benchmark: Any, weights: Path, detector: str, *only: str, rounds: int = 2, threads: int = 2
) -> dict[str, dict[str, Any]]:
    """The JSON rows of a run, by variant."""
    folder = weights.parent / "kept"
    benchmark.main([
        "--folder", str(folder), "--weights", str(weights), "--architecture", "tiny", "--detectors", detector,
        "--test-frames", "12", "--rounds", str(rounds), "--threads", str(threads), "--only", *only,
    ])  # fmt: skip
    report = json.loads((folder / "compression.json").read_text(encoding="utf-8"))
    return {row["variant"]: row for row in report["rows"]}


def row_times(weights: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (weights.parent / "kept" / "rows").iterdir()}


@pytest.mark.slow
def test_rows_are_judged_kept_and_told_of(
    weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = script("8_compression")
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None if name == "nncf" else object())
    rows_by_variant = rows(benchmark, weights, "small", "q16", PRUNED, NNCF)
    assert list(rows_by_variant) == ["fp32", "q16", NNCF, PRUNED]
    assert rows_by_variant["fp32"]["auc_delta_interval"] == [0, 0]
    assert rows_by_variant["fp32"]["mean_dp"] == 0
    assert rows_by_variant["q16"]["size_mib"] < 0.7 * rows_by_variant["fp32"]["size_mib"]
    assert 0 < rows_by_variant["q16"]["mean_dp"] < 0.01
    assert rows_by_variant[PRUNED]["parameters_share"] <= 0.5
    assert rows_by_variant[PRUNED]["mean_dp"] > 0.01
    assert "nncf not installed" in rows_by_variant[NNCF]["reason"]
    for row in (rows_by_variant["fp32"], rows_by_variant["q16"], rows_by_variant[PRUNED]):
        assert row["auc_interval"][0] <= row["auc"] <= row["auc_interval"][1]
        assert all(value > 0 for value in (*row["latency_ms"], *row["baseline_latency_ms"], row["size_mib"]))

    whole, short = capsys.readouterr().out.split("\n| | small |")
    assert re.search(r"\| \*\*q16\*\*, onnxruntime \| [+−]?0(\.0\d+)? \(", short)
    assert f"| {PRUNED}, onnxruntime |" in short
    printed = {row["variant"]: row for row in table(whole)}
    assert numbers(printed["q16"]["AUC"])[0] == pytest.approx(rows_by_variant["q16"]["auc"], abs=1e-4)
    assert "nncf not installed" in printed[NNCF]["AUC"]

    before = row_times(weights)
    assert len(before) == 6, "scores and times; a row that could not be made is tried again"
    assert rows(benchmark, weights, "small", "q16", PRUNED, NNCF) == rows_by_variant
    assert row_times(weights) == before


@pytest.mark.slow
def test_rows_hang_on_how_and_on_what_they_were_timed(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = script("8_compression")

    def new(**further: int) -> int:
        before = set(row_times(weights)) if (weights.parent / "kept" / "rows").exists() else set()
        rows(benchmark, weights, "small", "q16", **further)
        return len(set(row_times(weights)) - before)

    assert new() == 4, "scores and times of two rows"
    assert new() == 0
    assert new(rounds=3) == 2, "times alone"
    assert new(threads=1) == 2
    monkeypatch.setattr(benchmark, "cpu_name", lambda: "another CPU")
    assert new() == 4


def test_reading_the_detector_is_not_what_a_peer_is_timed_for(
    tmp_path: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = detectors.load
    changed: list[float] = []
    clock = [100.0]

    def slow(*arguments: Any) -> Any:
        clock[0] += 30
        return load(*arguments)

    def make(case: Case, folder: Path) -> Built:
        clock[0] += 2
        detector = case.detector()
        changed.append(float(detector.head.bias.detach().sum()))
        detector.head.bias.data.add_(1)
        return Built("x", folder, "torch", "fp32", 0, None, None, 0.0, 0.0)

    monkeypatch.setattr(detectors, "load", slow)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    source = Source("tiny", tiny.save_weights(tmp_path / "small.pth"), "", tiny.PREPROCESSING)
    case = Case("small", source, cast(Any, None))
    assert made(Peer(make), case, tmp_path / "one").seconds == 2
    made(Peer(make), case, tmp_path / "two")
    assert changed[0] == changed[1], "what one peer did to it another does not see"


@pytest.mark.slow
def test_twin_is_the_same_function_until_it_is_rounded(weights: Path) -> None:
    benchmark = script("8_compression")
    original, twin = (rows(benchmark, weights, detector, PER_TENSOR) for detector in ("small", "small-twin"))
    assert original["fp32"]["auc"] == twin["fp32"]["auc"]
    assert original[PER_TENSOR]["size_mib"] < original["fp32"]["size_mib"]
    assert (
        "not finite" in twin[PER_TENSOR]["reason"] or twin[PER_TENSOR]["mean_dp"] > 2 * original[PER_TENSOR]["mean_dp"]
    )


def test_every_chain_that_is_named_can_be_read() -> None:
    """A setting that this version does not know would only show as a row that failed."""
    benchmark = script("8_compression")
    for chain in (benchmark.OURS | benchmark.NAIVE_CHAINS).values():
        assert not list(order_problems([parse(entry) for entry in benchmark.yaml.safe_load(chain)]))
