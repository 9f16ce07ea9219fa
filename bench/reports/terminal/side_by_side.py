"""The comparison of several detectors for the terminal, from what scores.json holds."""

from __future__ import annotations

from bench.records import ScoredDetector, SideBySideScores
from bench.reports.content.recommendation import in_one_line, recommend
from bench.reports.content.text import enough, signed
from bench.reports.terminal.plain import wrapped


def summary_of_all(numbers: SideBySideScores) -> str:
    """How the detectors differ as they are, and which variant of all to ship. No final newline."""
    texts = [f"{name}: {_as_it_is(detector, numbers)}" for name, detector in numbers.detectors.items()]
    recommendation = in_one_line(recommend(numbers.choice, ""), "")
    texts += [f"{recommendation} (AUC against {numbers.reference})"] if recommendation else []
    return "\n".join(["side by side", *wrapped(texts)])


def _as_it_is(detector: ScoredDetector, numbers: SideBySideScores) -> str:
    """The AUC of its baseline, and how far that is from the best detector's."""
    baseline, best = detector.variants[detector.baseline], numbers.best
    baseline = baseline.by_video if numbers.judge == "video" else baseline
    if baseline.status != "ok":
        return "its baseline failed"
    if baseline.auc is None or baseline.auc_ci is None:
        return "no AUC"
    low, high = baseline.auc_ci
    text = f"AUC {baseline.auc:.4f} (95 % {low:.4f} to {high:.4f})"
    if detector.auc_delta is None or detector.auc_delta_ci is None:
        return text
    ends = detector.auc_delta_ci
    digits = enough((*ends, detector.auc_delta), 4)
    delta, low_end, high_end = (signed(value, digits) for value in (detector.auc_delta, *ends))
    return f"{text}; {delta} to {best}, 95 % {low_end} to {high_end}"
