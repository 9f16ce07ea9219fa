"""The summary for the terminal, from what scores.json holds."""

from __future__ import annotations

from typing import Any

from bench.records import Ratio, Recovery, RunRecord
from bench.reports.content.measured import recovery
from bench.reports.content.text import ALL_EQUAL, change, enough, further, signed
from bench.reports.terminal.plain import ascii_, wrapped

NAME, RAN_AS = 14, 18


def summary(run: RunRecord, told: dict[str, Any]) -> str:
    """One line a variant, then what each verdict is, why failed ones failed, and the choice. No final newline."""
    variants = {variant.name: told["variants"][variant.name] for variant in run.variants}
    baseline = variants[told["baseline"]]
    known = any(one["size_mib"] is not None or one["runtime"] is not None for one in variants.values())
    lines = [_line("Model", ("MiB", "reduct.", "AUC", "diff", "ms", "speed-up"), "ran as")] if known else []
    lines += [_row(name, found, baseline) for name, found in variants.items()] if known else []
    said = {name: _said(found) for name, found in variants.items()}
    choice = told["choice"]
    texts = [f"{name}{found}" for name, found in said.items() if found]
    texts += [_chosen(choice, told["baseline"])] if choice else []
    return "\n".join([*lines, *wrapped(texts)])


def _said(found: dict[str, Any]) -> str:
    if found["status"] != "ok":
        return f" failed: {found['reason'] or 'no reason was recorded'}"
    if found["verdict"] is None:
        return ""
    if found["verdict"] == "baseline":
        low, high = found["auc_ci"]
        return f": AUC {found['auc']:.4f} (95 % {low:.4f} to {high:.4f})"
    low, high = found["auc_delta_ci"]
    digits = enough((low, found["auc_delta"], high), 4)
    interval = f"{signed(found['auc_delta'], digits)}, 95 % {signed(low, digits)} to {signed(high, digits)}"
    notes = ["inexact on this processor"] if found["fidelity"] and found["fidelity"]["exact"] is False else []
    notes += ["small but real"] if found["small_but_real"] else []
    if found["all_equal"]:
        notes.append(f"{ALL_EQUAL}: it tells no frame from another, however many there are")
    if found["further_frames"]:
        notes.append(f"{further(found['further_frames'])} would settle it")
    shift = found["shift"]
    if shift and shift["verdict"]:
        own, fixed = found["thresholds"]["own"], found["thresholds"]["fixed"]
        notes.append(
            f"{shift['verdict']}: accuracy {fixed['accuracy']:.3f} at {fixed['threshold']:g}, "
            f"{own['accuracy']:.3f} at its own {own['threshold']:.3f}"
        )
    notes += [recovery(Recovery(**one)) for one in found["recovered"]]
    if found["int8_size_only"]:
        in_float = f": {found['runtime']} computes it in float" if found["int8"] == "simulated" else ""
        notes.append(f"int8 buys size only on this processor{in_float}")
    return "; ".join([f": {found['verdict']} ({interval})", *notes])


def _chosen(choice: dict[str, Any], baseline: str) -> str:
    """Which one to ship, in one line."""
    if not (choice["asked"] or any(one["size_mib"] or one["latency_ms"] for one in choice["candidates"])):
        able = [one["name"] for one in choice["candidates"] if one["qualifies"] and one["name"] != baseline]
        return f"can ship: {', '.join(able) or f'none but the baseline, {baseline}'}"
    if choice["chosen"] is None:
        first = choice["loosen"][0]["variant"] if choice["loosen"] else None
        needs = [
            f"{one['constraint']} {one['needed']:g} (limit: {one['limit']:g})"
            for one in choice["loosen"]
            if one["variant"] == first
        ]
        return f"ship: none qualifies{f'; {first} needs ' if needs else ''}{' and '.join(needs)}"
    second = f"; runner-up: {choice['runner_up']}" if choice["runner_up"] else ""
    kept = " (keep the baseline)" if choice["chosen"] == baseline else ""
    return f"ship: {choice['chosen']}{kept}{second}"


def _line(name: str, cells: tuple[str, ...], last: str) -> str:
    fitting = zip(cells, (6, 7, 6, 7, 7, 8), strict=True)
    numbers = " ".join(ascii_(cell).replace(" %", "%").rjust(width) for cell, width in fitting)
    return f"{_cut(ascii_(name), NAME).ljust(NAME)} {numbers} {_cut(last, RAN_AS)}".rstrip()


def _row(name: str, found: dict[str, Any], baseline: dict[str, Any]) -> str:
    if found["status"] != "ok":
        return _line(name, ("-",) * 6, "failed")
    size, latency = found["size_mib"], found["latency_ms"]["p50"]
    first = found is baseline
    comparable = not first and size is not None and baseline["size_mib"] is not None
    cells = (
        "-" if size is None else f"{size:.2f}",
        change(size, baseline["size_mib"]) if comparable else "-",
        "-" if found["auc"] is None else f"{found['auc']:.4f}",
        "-" if first or found["auc_delta"] is None else signed(found["auc_delta"], 4),
        "-" if latency is None else f"{latency:.1f}",
        "-" if first or found["speedup"] is None else _times(Ratio(found["speedup"], *found["speedup_interval"])),
    )
    return _line(name, cells, _ran(found))


def _times(speedup: Ratio) -> str:
    return "about 1" if speedup.unclear else f"{speedup.value:.2f}x"


def _ran(found: dict[str, Any]) -> str:
    """Runtime and arithmetic, in eighteen characters."""
    if found["runtime"] is None:
        return "-"
    short = {"onnxruntime": "ort", "openvino": "ov", "pytorch": "torch", "tensorrt": "trt", "inductor": "aoti"}
    runtime, stored, computed = short.get(found["runtime"], found["runtime"]), found["stored"], found["computed"]
    if found["int8"]:
        return f"{runtime} int8 {found['int8']}"
    # Weights that alone are integers compute in float everywhere; TensorRT tells only what it is allowed.
    if stored == computed or stored.endswith(" weights"):
        return f"{runtime} {stored}"
    if found["runtime"] == "tensorrt":
        return f"{runtime} {stored}{'' if stored == 'fp32' else ' allowed'}"
    return f"{runtime} {stored} as {computed}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}~"
