"""The summary for the terminal: plain ASCII, at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from bench.records import Executed, Run, Score, VariantResult
from bench.reports.scores import auc_delta
from bench.reports.speed import Ratio, speed
from bench.reports.text import MIB, change, plain

WIDTH = 80
NAME, RAN_AS = 14, 18
_ASCII = str.maketrans({"−": "-", "×": "x", "–": "-", "→": ">", "…": "~"})


def summary(run: Run, scores: Mapping[str, Score]) -> str:
    """One line a variant, then why the failed ones failed. Without a final newline."""
    lines = [_line("Model", ("MiB", "reduct.", "AUC", "diff", "ms", "speed-up"), "ran as")]
    lines += [_row(run, variant, scores) for variant in run.variants]
    for variant in run.variants:
        if variant.status != "ok":
            said = f"{plain(variant.name)} failed: {plain(variant.reason or 'no reason was recorded')}"
            lines += textwrap.wrap(said, WIDTH, subsequent_indent="  ")
    return "\n".join(lines)


def _line(name: str, cells: tuple[str, ...], last: str) -> str:
    numbers = " ".join(cell.rjust(width) for cell, width in zip(cells, (6, 7, 6, 7, 7, 8), strict=True))
    return f"{_cut(name, NAME).ljust(NAME)} {numbers} {_cut(last, RAN_AS)}".rstrip()


def _row(run: Run, variant: VariantResult, scores: Mapping[str, Score]) -> str:
    if variant.status != "ok":
        return _line(plain(variant.name), ("-",) * 6, "failed")
    baseline, footprint, score = run.variants[0], variant.footprint, scores.get(variant.name)
    found = speed(variant)
    first = variant is baseline
    drop = None if first else auc_delta(score, scores.get(baseline.name))
    comparable = footprint and baseline.footprint and not first
    cells = (
        f"{footprint.size_bytes / MIB:.2f}" if footprint else "-",
        change(footprint.size_bytes, baseline.footprint.size_bytes) if comparable else "-",  # type: ignore[union-attr]
        "-" if score is None or score.auc is None else f"{score.auc:.4f}",
        "-" if drop is None else f"{drop:+.4f}".replace("-0.0000", "0.0000").replace("+0.0000", "0.0000"),
        f"{found.single.p50_ms:.1f}" if found.single else "-",
        _times(found.speedup) if found.speedup and not first else "-",
    )
    return _line(
        plain(variant.name), tuple(cell.replace(" %", "%").translate(_ASCII) for cell in cells), _ran(variant.executed)
    )


def _times(speedup: Ratio) -> str:
    return "about 1" if speedup.unclear else f"{speedup.value:.2f}x"


def _ran(executed: Executed | None) -> str:
    """Runtime and arithmetic, in eighteen characters."""
    if executed is None:
        return "-"
    runtime = {"onnxruntime": "ort", "pytorch": "torch"}.get(executed.runtime, executed.runtime)
    how = f"int8 {executed.int8}" if executed.int8 else executed.stored
    if not executed.int8 and executed.stored != executed.computed:
        how = f"{executed.stored}>{executed.computed}"
    return f"{runtime} {how}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}~"
