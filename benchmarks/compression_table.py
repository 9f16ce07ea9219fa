"""What the benchmark of compression measured, row by row, and how it is shown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from testbed import ratios, show_head, show_table, spread

from bench.datasets import demo
from bench.provenance import machine, versions, write_json

LIBRARIES = ("bench", "nncf", "onnxruntime", "openvino", "timm", "torch", "torch-pruning")


@dataclass(frozen=True)
class Measured:
    """What a row says; None where it could not be had, with the reason.

    Shares are of the baseline's. Latencies are those of single calls with row frame, in alternation with the
    baseline in the same runtime.
    """

    detector: str
    variant: str
    whose: str
    runtime: str
    key: str
    test_frames: int
    reason: str = ""
    size_mib: float | None = None
    parameters_share: float | None = None
    macs_share: float | None = None
    auc: float | None = None
    auc_interval: tuple[float, float] | None = None
    auc_delta: float | None = None
    auc_delta_interval: tuple[float, float] | None = None
    mean_dp: float | None = None
    latency_ms: Sequence[float] = ()
    baseline_latency_ms: Sequence[float] = ()
    int8: str | None = None
    build_seconds: float | None = None


def write(rows: Sequence[Measured], folder: Path) -> None:
    """The same rows as `compression.json`, and as `compression.csv` with medians in the place of single calls."""
    table = [asdict(row) for row in rows]
    content = {"machine": machine(), "libraries": versions(LIBRARIES), "rows": table}
    write_json(folder / "compression.json", content)
    medians = [row | {name: _median(row[name]) for name in ("latency_ms", "baseline_latency_ms")} for row in table]
    pd.DataFrame(medians).to_csv(folder / "compression.csv", index=False)


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


_TITLES = (
    "variant", "whose", "runs in", "MiB", "parameters / MACs left, %", "AUC", "ΔAUC", "P(fake) moves by", "ms a frame",
    "times faster than fp32", "built in, s",
)  # fmt: skip


def print_table(rows: Sequence[Measured], test_frames: int, rounds: int, threads: int) -> None:
    """Markdown on standard output: a table for each detector."""
    calibration, train = (sum(demo.COUNTS[split]) for split in ("calibration", "train"))
    show_head("8. Compression, side by side", LIBRARIES)
    for detector in dict.fromkeys(row.detector for row in rows):
        print(f"### {detector}\n")
        show_table(_TITLES, [_cells(row) for row in rows if row.detector == detector])
        print()
    print(
        f"{test_frames} test frames of {demo.SIZE} px, drawn from a seed of their own, half of them fakes; "
        f"{calibration} calibration and {train} train frames are the demo set's; detectors "
        "of real weights have their 320 train frames for both. AUC and its difference from fp32 on "
        "the same frames with 95 % intervals (DeLong); P(fake) moves by so much on average. MiB are those "
        f"of the file that ships. Milliseconds at batch 1 on {threads} threads, median (quartiles) of "
        f"{rounds} calls in alternation with fp32 in the same runtime, to which the ratio belongs."
    )


def print_short(rows: Sequence[Measured]) -> None:
    """The same for who has a minute: a row a variant, a column a detector, with differences from fp32 alone."""
    detectors = list(dict.fromkeys(row.detector for row in rows))
    named = f"({'; '.join(detectors)})"
    print(f"\n| | {' | '.join(detectors)} | MiB {named} | times faster {named} |\n|{' --- |' * (len(detectors) + 3)}")
    for variant, runtime in dict.fromkeys((row.variant, row.runtime) for row in rows if row.whose):
        by_detector = {row.detector: row for row in rows if (row.variant, row.runtime) == (variant, runtime)}
        of_variant = [by_detector[detector] for detector in detectors if detector in by_detector]
        name = f"**{variant}**" if of_variant[0].whose == "bench" else variant
        cells = [_difference(by_detector[detector]) if detector in by_detector else "" for detector in detectors]
        sizes = "; ".join("–" if row.size_mib is None else f"{row.size_mib:.1f}" for row in of_variant)
        speeds = "; ".join(_times_faster(row) for row in of_variant)
        print(f"| {name}, {runtime} | {' | '.join(cells)} | {sizes} | {speeds} |")
    print("\nΔAUC with its 95 % interval, and by how much P(fake) moves.")


def _times_faster(row: Measured) -> str:
    """The median over the rounds; "–" where there is none."""
    if not row.latency_ms:
        return "–"
    shares = [before / now for before, now in zip(row.baseline_latency_ms, row.latency_ms, strict=True)]
    return f"{statistics.median(shares):.2f}"


def _difference(row: Measured) -> str:
    if row.auc_delta is None or row.auc_delta_interval is None or row.mean_dp is None:
        return "failed" if row.reason else ""
    delta, low, high = map(_signed, (row.auc_delta, *row.auc_delta_interval))
    return f"{delta} ({low} to {high}), {row.mean_dp:.3f}"


def _signed(value: float) -> str:
    """Four digits after the point, or as many as it takes to tell a number from 0."""
    digits = next((count for count in range(4, 8) if float(f"{value:.{count}f}")), 4)
    return f"{value:+.{digits}f}".replace("-", "−") if value else "0"


def _cells(row: Measured) -> list[str]:
    """A row of the long table as texts; empty where a number is missing."""

    def rounded(value: float | None, digits: int) -> str:
        return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"

    def interval(value: float | None, ends: tuple[float, float] | None, sign: str = "") -> str:
        if value is None or ends is None:
            return ""
        shown = [_signed(number) if sign else f"{number:.4f}" for number in (value, *ends)]
        return f"{shown[0]} ({shown[1]} to {shown[2]})"

    shares = [row.parameters_share, row.macs_share]
    return [
        f"**{row.variant}**" if row.whose == "bench" else row.variant, row.whose,
        row.runtime + (f", int8 {row.int8}" if row.int8 else ""),
        rounded(row.size_mib, 2), " / ".join(rounded(s and 100 * s, 0) for s in shares) if shares[0] else "",
        _one_line(row.reason) or interval(row.auc, row.auc_interval),
        interval(row.auc_delta, row.auc_delta_interval, "+"),
        rounded(row.mean_dp, 4), spread(row.latency_ms, 1) if row.latency_ms else "",
        ratios(row.baseline_latency_ms, row.latency_ms) if row.latency_ms else "", rounded(row.build_seconds, 0),
    ]  # fmt: skip


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:200]
