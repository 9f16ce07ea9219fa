"""What galleries are called, and the line below a picture that judges its heatmap."""

from __future__ import annotations

from bench.records import Evaluation, Outcome

TITLES: dict[Outcome, str] = {
    "true_positives": "Resolved fakes (true positives)",
    "false_negatives": "Missed fakes (false negatives)",
    "false_positives": "Reals labelled fake (false positives)",
    "true_negatives": "Confirmed reals (true negatives)",
}

OCCLUDED = "occlusion map"


def judgement(evaluation: Evaluation, name: str, row: int) -> str:
    """P(fake) of a frame without what its heatmap points at, and without as much elsewhere; "occlusion map" for such.

    Empty where there is neither.
    """
    occlusion = evaluation.occlusions.get(name)
    if occlusion is None:
        return ""
    if evaluation.predictions[name].cam is None:
        return OCCLUDED if row in occlusion.maps else ""
    frame = occlusion.judged.get(row)
    if frame is None or frame.p_fake_blurred is None:
        return ""
    return f"blurred {frame.p_fake_blurred:.4f}, elsewhere {frame.p_fake_elsewhere:.4f}"
