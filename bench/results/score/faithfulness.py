"""Do heatmaps point at what matters? By what blurring squares of the frames did to the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.records import BlurredFrame, ClassName, Faithfulness
from bench.records.occlusion import as_p_fake


def faithfulness(
    judged: Sequence[BlurredFrame], baseline: Mapping[int, BlurredFrame] | None
) -> dict[ClassName, Faithfulness]:
    """What blurring came to, by the class that frames are called; without a class that none is called.

    Counted are frames on which the map points somewhere, and the baseline's too where there is one, by row: like is
    compared with like.
    """
    beside = baseline if baseline is not None else {frame.row: frame for frame in judged}
    both = [frame for frame in judged if _points(frame) and frame.row in beside and _points(beside[frame.row])]
    classes: tuple[tuple[ClassName, list[BlurredFrame]], ...] = (
        ("fake", [frame for frame in both if frame.fake]),
        ("real", [frame for frame in both if not frame.fake]),
    )
    by_class = {}
    for called, frames in classes:
        if frames:
            others = None if baseline is None else _of([baseline[frame.row] for frame in frames])
            by_class[called] = replace(_of(frames), baseline=others)
    return by_class


def _points(frame: BlurredFrame) -> bool:
    return frame.window is not None


def _of(frames: Sequence[BlurredFrame]) -> Faithfulness:
    falls = [_falls_of_p(frame) for frame in frames]
    without, elsewhere = (sum(each) / len(frames) for each in zip(*falls, strict=True))
    return Faithfulness(len(frames), sum(frame.is_right for frame in frames), without, elsewhere)


def _falls_of_p(frame: BlurredFrame) -> tuple[float, float]:
    """By how much the probability of the called class falls without what the map points at, and without another."""
    assert frame.p_fake_blurred is not None
    before, sign = as_p_fake(frame.logit_diff), 1 if frame.fake else -1
    return sign * (before - frame.p_fake_blurred), sign * (before - frame.p_fake_elsewhere)
