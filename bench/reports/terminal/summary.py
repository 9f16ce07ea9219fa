"""The summary for the terminal, from what scores.json holds."""

from __future__ import annotations

from typing import Any

from bench.records import Ratio, Recovery, Run
from bench.reports.content.measured import recovery
from bench.reports.content.recommendation import in_one_line, recommend
from bench.reports.content.text import ALL_EQUAL, change, enough, further, signed
from bench.reports.scores import choice_of
from bench.reports.terminal.plain import ascii_, wrapped

NAME, RAN_AS = 14, 18


def summary(run: Run, scores: dict[str, Any]) -> str:
    """One line a variant, then what each verdict is, why failed ones failed, and the choice. No final newline."""
    variants = {variant.name: scores["variants"][variant.name] for variant in run.variants}
    baseline = variants[scores["baseline"]]
    measured = any(row["size_mib"] is not None or row["runtime"] is not None for row in variants.values())
    lines = [_line("Model", ("MiB", "reduct.", "AUC", "diff", "ms", "speed-up"), "ran as")] if measured else []
    lines += [_row(name, row, baseline) for name, row in variants.items()] if measured else []
    texts = [f"{name}{verdict}" for name, row in variants.items() if (verdict := _verdict(row))]
    recommendation = in_one_line(recommend(choice_of(scores), scores["baseline"]), scores["baseline"])
    texts += [recommendation] if recommendation else []
    return "\n".join([*lines, *wrapped(texts)])


def _verdict(row: dict[str, Any]) -> str:
    """What follows a variant's name: its verdict with the interval, and what else to know; "" where there is none."""
    if row["status"] != "ok":
        return f" failed: {row['reason'] or 'no reason was recorded'}"
    if row["verdict"] is None:
        return ""
    if row["verdict"] == "baseline":
        low, high = row["auc_ci"]
        return f": AUC {row['auc']:.4f} (95 % {low:.4f} to {high:.4f})"
    low, high = row["auc_delta_ci"]
    digits = enough((low, row["auc_delta"], high), 4)
    interval = f"{signed(row['auc_delta'], digits)}, 95 % {signed(low, digits)} to {signed(high, digits)}"
    return "; ".join([f": {row['verdict']} ({interval})", *_remarks(row)])


def _remarks(row: dict[str, Any]) -> list[str]:
    """What to know beside the verdict."""
    remarks = ["inexact on this processor"] if row["fidelity"] and row["fidelity"]["exact"] is False else []
    remarks += ["small but real"] if row["small_but_real"] else []
    if row["all_equal"]:
        remarks.append(f"{ALL_EQUAL}: it tells no frame from another, however many there are")
    if row["further_frames"]:
        remarks.append(f"{further(row['further_frames'])} would settle it")
    shift = row["shift"]
    if shift and shift["verdict"]:
        best, fixed = row["thresholds"]["own"], row["thresholds"]["fixed"]
        at_best = f"{best['accuracy']:.3f} at its own {best['threshold']:.3f}"
        remarks.append(f"{shift['verdict']}: accuracy {fixed['accuracy']:.3f} at {fixed['threshold']:g}, {at_best}")
    remarks += [recovery(Recovery(**trained)) for trained in row["recovered"]]
    if row["int8_size_only"]:
        in_float = f": {row['runtime']} computes it in float" if row["int8"] == "simulated" else ""
        remarks.append(f"int8 buys size only on this processor{in_float}")
    return remarks


def _line(name: str, cells: tuple[str, ...], last: str) -> str:
    fitting = zip(cells, (6, 7, 6, 7, 7, 8), strict=True)
    numbers = " ".join(ascii_(cell).replace(" %", "%").rjust(width) for cell, width in fitting)
    return f"{_cut(ascii_(name), NAME).ljust(NAME)} {numbers} {_cut(last, RAN_AS)}".rstrip()


def _row(name: str, row: dict[str, Any], baseline: dict[str, Any]) -> str:
    """The numbers of a variant, in the columns of the table."""
    if row["status"] != "ok":
        return _line(name, ("-",) * 6, "failed")
    size, latency = row["size_mib"], row["latency_ms"]["p50"]
    first = row is baseline
    comparable = not first and size is not None and baseline["size_mib"] is not None
    cells = (
        "-" if size is None else f"{size:.2f}",
        change(size, baseline["size_mib"]) if comparable else "-",
        "-" if row["auc"] is None else f"{row['auc']:.4f}",
        "-" if first or row["auc_delta"] is None else signed(row["auc_delta"], 4),
        "-" if latency is None else f"{latency:.1f}",
        "-" if first or row["speedup"] is None else _times(Ratio(row["speedup"], *row["speedup_interval"])),
    )
    return _line(name, cells, _ran(row))


def _times(speedup: Ratio) -> str:
    return "about 1" if speedup.unclear else f"{speedup.value:.2f}x"


def _ran(row: dict[str, Any]) -> str:
    """Runtime and arithmetic, in eighteen characters."""
    if row["runtime"] is None:
        return "-"
    short = {"onnxruntime": "ort", "openvino": "ov", "pytorch": "torch", "tensorrt": "trt", "inductor": "aoti"}
    runtime, stored, computed = short.get(row["runtime"], row["runtime"]), row["stored"], row["computed"]
    if row["int8"]:
        return f"{runtime} int8 {row['int8']}"
    # Weights that alone are integers compute in float everywhere; TensorRT reports only what it is allowed.
    if stored == computed or stored.endswith(" weights"):
        return f"{runtime} {stored}"
    if row["runtime"] == "tensorrt":
        return f"{runtime} {stored}{'' if stored == 'fp32' else ' allowed'}"
    return f"{runtime} {stored} as {computed}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}~"
