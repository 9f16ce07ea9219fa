"""The summary for the terminal, from what scores.json holds."""

from __future__ import annotations

from collections.abc import Mapping

from bench.records import Ratio, RunRecord, ScoredVariant, ScoresFile
from bench.reports.content.judged import in_short, in_words
from bench.reports.content.measured import recovery
from bench.reports.content.recommendation import in_one_line, recommend
from bench.reports.content.text import ALL_EQUAL, change, enough, further, signed
from bench.reports.terminal.plain import ascii_, wrapped

NAME, RAN_AS = 14, 18


def summary(run: RunRecord, numbers: ScoresFile) -> str:
    """One line a variant, then what each verdict is, why failed ones failed, and the choice. No final newline."""
    judged = numbers.judged
    variants = {variant.name: judged[variant.name] for variant in run.variants}
    baseline = variants[numbers.baseline]
    has_table = any(scored.size_mib is not None or scored.runtime is not None for scored in variants.values())
    lines = [_line("Model", ("MiB", "reduct.", "AUC", "diff", "ms", "speed-up"), "ran as")] if has_table else []
    lines += [_row(name, scored, baseline) for name, scored in variants.items()] if has_table else []
    texts = [f"{name}{sentence}" for name, scored in variants.items() if (sentence := _verdict(scored))]
    texts += [
        f"{name} is {', '.join(variants[name].steps)}, found by a search"
        for name in numbers.searches
        if name in variants
    ]
    texts += [*_threshold(numbers), *_under_re_compression(variants)]
    recommendation = in_one_line(recommend(numbers.choice, numbers.baseline), numbers.baseline)
    texts = [in_words(numbers.judge, text) for text in texts]
    texts += [text for text in (in_short(numbers), recommendation) if text]
    return "\n".join([*lines, *wrapped(texts)])


def _threshold(numbers: ScoresFile) -> list[str]:
    """The threshold that a rule found, and the baseline's errors at it on the test frames."""
    rule = numbers.threshold_rule
    if rule is None or rule.test is None:
        return []
    asked = f"best {rule.criterion}" if rule.limit is None else f"{rule.criterion} {rule.limit:g}"
    rates = (("FPR", rule.test.fpr), ("FNR", rule.test.fnr))
    errors = " and ".join(f"{name} {rate:.3f}" for name, rate in rates if rate is not None)
    return [f"threshold: {numbers.threshold}, by {asked} on validation {rule.unit}s; the baseline's {errors} on test"]


def _under_re_compression(variants: Mapping[str, ScoredVariant]) -> list[str]:
    """The largest extra loss, of those that are significant if any is; none where nothing was compared."""
    compared = [
        (score.extra, score.extra_ci, score.p_holm, f"{name} {signed(score.extra, 4)} at {score.kind} {score.level:g}")
        for name, scored in variants.items()
        for score in scored.robustness
        if score.extra is not None and score.extra_ci is not None
    ]
    if not compared:
        return []
    proven = [each for each in compared if each[2] is not None and each[2] < 0.05 and each[0] < 0]
    _, (low, high), _, what = min(proven or compared, key=lambda each: each[0])
    most = f"{what} (95 % {signed(low, 4)} to {signed(high, 4)})"
    if proven:
        return [f"under re-compression: loses more than the baseline: {most}"]
    return [f"under re-compression: no variant loses significantly more than the baseline; lowest: {most}"]


def _verdict(scored: ScoredVariant) -> str:
    """The verdict on a variant with its interval and notes, or why it failed; empty where there is no verdict."""
    if scored.status != "ok":
        return f" failed: {scored.reason or 'no reason was recorded'}"
    if scored.verdict == "baseline" and scored.auc_ci:
        low, high = scored.auc_ci
        return f": AUC {scored.auc:.4f} (95 % {low:.4f} to {high:.4f})"
    if scored.auc_delta is None or scored.auc_delta_ci is None:
        return ""
    low, high = scored.auc_delta_ci
    digits = enough((low, scored.auc_delta, high), 4)
    interval = f"{signed(scored.auc_delta, digits)}, 95 % {signed(low, digits)} to {signed(high, digits)}"
    return "; ".join([f": {scored.verdict} ({interval})", *_notes(scored)])


def _notes(scored: ScoredVariant) -> list[str]:
    """What else to know of a variant, each in a few words."""
    notes = ["inexact on this processor"] if scored.fidelity and scored.fidelity.exact is False else []
    notes += ["calibration shift"] if scored.calibration_shift and scored.calibration_shift.warned else []
    notes += ["small but real"] if scored.small_but_real else []
    if scored.all_equal:
        notes.append(f"{ALL_EQUAL}: it cannot distinguish frames, however many there are")
    elif scored.auc_ci and scored.auc_ci[1] < 0.5:
        notes.append("ranks real above fake: its classes may be swapped")
    if scored.further_frames:
        notes.append(f"{further(scored.further_frames)} would settle it")
    at_fixed, at_own = scored.thresholds["fixed"], scored.thresholds["own"]
    if scored.shift and scored.shift.verdict and at_own and at_fixed:
        notes.append(
            f"{scored.shift.verdict}: accuracy {at_fixed.accuracy:.3f} at {at_fixed.threshold}, "
            f"{at_own.accuracy:.3f} at its own {at_own.threshold:.3f}"
        )
    notes += [recovery(training) for training in scored.recovered]
    if scored.int8_size_only:
        in_float = f": {scored.runtime} computes it in float" if scored.int8 == "simulated" else ""
        notes.append(f"int8 buys size only on this processor{in_float}")
    return notes


def _line(name: str, cells: tuple[str, ...], last: str) -> str:
    fitting = zip(cells, (6, 7, 6, 7, 7, 8), strict=True)
    numbers = " ".join(ascii_(cell).replace(" %", "%").rjust(width) for cell, width in fitting)
    return f"{_cut(ascii_(name), NAME).ljust(NAME)} {numbers} {_cut(last, RAN_AS)}".rstrip()


def _row(name: str, scored: ScoredVariant, baseline: ScoredVariant) -> str:
    """The variant's line in the table: size, reduction, AUC, difference, latency, speed-up, and what it ran as."""
    if scored.status != "ok":
        return _line(name, ("-",) * 6, "failed")
    size, latency = scored.size_mib, scored.latency_ms.p50
    is_baseline = scored is baseline
    speedup = Ratio(scored.speedup, *scored.speedup_interval) if scored.speedup and scored.speedup_interval else None
    cells = (
        "-" if size is None else f"{size:.2f}",
        "-" if is_baseline or size is None or baseline.size_mib is None else change(size, baseline.size_mib),
        "-" if scored.auc is None else f"{scored.auc:.4f}",
        "-" if is_baseline or scored.auc_delta is None else signed(scored.auc_delta, 4),
        "-" if latency is None else f"{latency:.1f}",
        "-" if is_baseline or speedup is None else _times(speedup),
    )
    return _line(name, cells, _ran(scored))


def _times(speedup: Ratio) -> str:
    return "about 1" if speedup.unclear else f"{speedup.value:.2f}x"


def _ran(scored: ScoredVariant) -> str:
    """Runtime and arithmetic, in eighteen characters."""
    if scored.runtime is None or scored.stored is None:
        return "-"
    short = {"onnxruntime": "ort", "openvino": "ov", "pytorch": "torch", "tensorrt": "trt", "inductor": "aoti"}
    runtime, stored, computed = short.get(scored.runtime, scored.runtime), scored.stored, scored.computed
    if scored.int8:
        return f"{runtime} int8 {scored.int8}"
    # Weights that alone are integers compute in float everywhere; TensorRT reports only what it is allowed.
    if stored == computed or stored.endswith(" weights"):
        return f"{runtime} {stored}"
    if scored.runtime == "tensorrt":
        return f"{runtime} {stored}{'' if stored == 'fp32' else ' allowed'}"
    return f"{runtime} {stored} as {computed}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}~"
