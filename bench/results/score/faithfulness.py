"""Do heatmaps point at what matters? By what blurring squares of the frames did to the answers."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import BlurredFrame, Faithfulness
from bench.records.occlusion import as_p_fake


def faithfulness(frames: Sequence[BlurredFrame]) -> Faithfulness | None:
    """What blurring came to over frames whose maps point somewhere; None where there are none."""
    if not frames:
        return None
    here = [_fall(frame, (frame.blurred or 0.0,)) for frame in frames]
    elsewhere = [_fall(frame, frame.elsewhere) for frame in frames]
    right = sum(frame.is_right for frame in frames)
    return Faithfulness(len(frames), right, sum(here) / len(frames), sum(elsewhere) / len(frames))


def pointing(judged: Sequence[BlurredFrame]) -> list[BlurredFrame]:
    """The frames whose maps point somewhere."""
    return [frame for frame in judged if frame.window is not None]


def _fall(frame: BlurredFrame, blurred: Sequence[float]) -> float:
    """By how much the probability of the called class falls, on average over some blurred squares."""
    p_fake = sum(map(as_p_fake, blurred)) / len(blurred)
    fall = as_p_fake(frame.logit_diff) - p_fake
    return fall if frame.fake else -fall
