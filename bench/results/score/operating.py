"""The owner's operating point: the fixed threshold, found by a rule on the baseline's validation frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import UserError
from bench.records import (
    DEFAULT_THRESHOLD,
    LabelledFrames,
    Predictions,
    RunRecord,
    ThresholdChoice,
    ThresholdRule,
    Unit,
)
from bench.results.score import videos
from bench.results.score.intervals import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDING = 1e-9
"""What a count may lie below a whole number: .29 times 100 is 28.999999999999996."""


def problems(rule: ThresholdRule, fake: int, real: int, unit: Unit = "frame") -> Iterator[str]:
    """Why no threshold can be found on so many fake and real validation frames, or videos."""
    if not fake + real:
        yield (
            f"`{rule.text}` is found on the baseline's validation {unit}s, and there are none: give labelled "
            f"`validation` frames{' that name their videos' if unit == 'video' else ''}, or write a number"
        )
    elif not fake or not real:
        has, lacks = ("fake", "real") if fake else ("real", "fake")
        yield (
            f"`{rule.text}` is found on validation {unit}s of both classes, and all {fake + real:,} are {has}: add "
            f"{lacks} ones, or write a number"
        )
    elif rule.limit is not None:
        count, name = (real, "real") if rule.criterion == "fpr" else (fake, "fake")
        if _allowed(rule.limit, count) < 1:
            yield (
                f"`{rule.text}` is finer than {count:,} {name} validation {unit}s can show: the least that they can is "
                f"1 of {count:,}, {_least(count)}; give that, or {math.ceil(1 / rule.limit):,} {name} {unit}s or more"
            )


def with_threshold(
    run: RunRecord, validation: LabelledFrames | None, baseline: Predictions, frame_set: str = "", basis: str = ""
) -> RunRecord:
    """The run with the threshold that its rule finds on validation frames, by frame or by video as it is judged.

    `baseline` are the predictions of the baseline; copies of frames do not count. Raises `UserError` where these frames
    cannot show what the rule asks for.
    """
    rule, unit = run.threshold_rule, run.judge
    if rule is None:
        return run
    labels, scores = _scored(run, validation, baseline)
    fake, real = (int((labels == label).sum()) for label in (1, 0))
    if refused := list(problems(rule, fake, real, unit)):
        raise UserError(*(f"threshold: {problem}" for problem in refused))
    threshold, is_reached = find_threshold(rule, labels, scores)
    called = scores >= threshold
    fp, fn = int((called & (labels == 0)).sum()), int((~called & (labels == 1)).sum())
    fpr_ci, fnr_ci = wilson(fp, real), wilson(fn, fake)
    assert fpr_ci is not None
    assert fnr_ci is not None
    choice = ThresholdChoice(
        threshold=threshold,
        unit=unit,
        fake=fake,
        real=real,
        fp=fp,
        fn=fn,
        fpr_ci=fpr_ci,
        fnr_ci=fnr_ci,
        is_reached=is_reached,
        frame_set=frame_set,
        basis=basis,
    )
    return replace(run, threshold=threshold, threshold_choice=choice)


def find_threshold(
    rule: ThresholdRule, labels: NDArray[np.integer], p_fake: NDArray[np.floating]
) -> tuple[float, bool]:
    """The threshold in (0, 1] that `rule` asks for, and whether it keeps the rule's limit.

    `p_fake` [k] are the scores of validation frames with `labels` [k] of both classes, 1 for fake. A rate is kept by
    the threshold midway between two adjacent scores of its class, as near to the limit as ties allow; beyond the last
    of its class, midway to the next score. What is best is midway between two adjacent scores. Of several that are
    equally good, it is the nearest to the default threshold, and the number is one of few digits that decides alike.
    """
    gaps = _Gaps(labels, p_fake)
    if rule.criterion == "fpr":
        assert rule.limit is not None
        within = np.flatnonzero(gaps.false_alarms <= _allowed(rule.limit, gaps.real))
        first = int(within[0]) if len(within) else gaps.last
        last = _last_alike(gaps.false_alarms, first) if gaps.false_alarms[first] else first
        return gaps.number(first, last), bool(len(within))
    if rule.criterion == "fnr":
        assert rule.limit is not None
        misses = gaps.fake - gaps.true_alarms
        within = np.flatnonzero(misses <= _allowed(rule.limit, gaps.fake))
        last = int(within[-1]) if len(within) else 0
        first = gaps.last - _last_alike(misses[::-1], gaps.last - last) if misses[last] else last
        return gaps.number(first, last), bool(len(within))
    nearest = gaps.nearest(_best(rule.criterion, gaps))
    return gaps.number(nearest, nearest), True


def _last_alike(counts: NDArray[np.integer], first: int) -> int:
    """The last index of the run of equal counts that begins at `first`."""
    others = np.flatnonzero(counts[first:] != counts[first])
    return first + int(others[0]) - 1 if len(others) else len(counts) - 1


class _Gaps:
    """The gaps between adjacent scores, 0 and 1 included: all thresholds in a gap decide alike.

    A gap is above its lower end and up to its upper one. `true_alarms` and `false_alarms` are the fakes and the reals
    that are called fake there; `last` is the index of the highest gap.
    """

    def __init__(self, labels: NDArray[np.integer], p_fake: NDArray[np.floating]) -> None:
        self.ends, inverse = np.unique(np.concatenate([p_fake, (0.0, 1.0)]), return_inverse=True)
        inverse = inverse.reshape(-1)[: len(p_fake)]
        fake, real = (np.bincount(inverse[labels == label], minlength=len(self.ends)) for label in (1, 0))
        self.fake, self.real, self.last = int(fake.sum()), int(real.sum()), len(self.ends) - 2
        self.true_alarms = self.fake - np.cumsum(fake)[:-1]
        self.false_alarms = self.real - np.cumsum(real)[:-1]

    def nearest(self, indices: NDArray[np.int64]) -> int:
        """Of several gaps, the one nearest to the default threshold."""
        low, high = self.ends[indices], self.ends[indices + 1]
        distance = np.maximum(low - DEFAULT_THRESHOLD, DEFAULT_THRESHOLD - high)
        return int(indices[np.argmin(distance)])

    def number(self, first: int, last: int) -> float:
        """From one gap to another: the default threshold if it lies there, else one of few digits near the middle."""
        low, high = float(self.ends[first]), float(self.ends[last + 1])
        if low < DEFAULT_THRESHOLD <= high:
            return DEFAULT_THRESHOLD
        middle = low + (high - low) / 2
        rounded = (round(middle, digits) for digits in range(1, 18))
        return next((number for number in rounded if low < number <= high), high)


def _best(criterion: str, gaps: _Gaps) -> NDArray[np.int64]:
    """The gaps that are the best by a criterion; with equal precision or recall, those that are best in the other.

    All are compared as whole numbers or as quotients of whole numbers, so that rounding separates no ties.
    """
    hits, alarms = gaps.true_alarms, gaps.false_alarms
    called = hits + alarms
    if criterion == "f1":
        value = 2 * hits / (called + gaps.fake)
    elif criterion == "accuracy":
        value = hits - alarms
    elif criterion == "youden":
        value = hits * gaps.real - alarms * gaps.fake
    elif criterion == "recall":
        value = hits
    else:
        value = np.where(called > 0, hits / np.maximum(called, 1), -1.0)
    best = np.flatnonzero(value == value.max())
    other = -alarms if criterion == "recall" else hits
    return best[other[best] == other[best].max()] if criterion in ("precision", "recall") else best


def _scored(
    run: RunRecord, validation: LabelledFrames | None, baseline: Predictions
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Labels and scores of the validation frames or videos that count; both empty where there are none."""
    nothing = np.zeros(0, np.int8), np.zeros(0)
    if validation is None or baseline.validation is None:
        return nothing
    if run.judge == "frame":
        return validation.labels[validation.counted], baseline.validation[validation.counted]
    counts = run.videos.get("validation")
    missing = counts.missing if counts and run.video_scoring.missing != "exclude" else ()
    of_videos = videos.group(validation, missing) if counts else None
    if of_videos is None:
        return nothing
    rows = videos.labelled(of_videos).counted
    return of_videos.labels[rows], videos.scores(of_videos, baseline.validation, run.video_scoring)[rows]


def _allowed(limit: float, count: int) -> int:
    """How many of `count` frames a rate of at most `limit` allows."""
    return math.floor(limit * count + _ROUNDING)


def _least(count: int) -> str:
    """1 in `count`, rounded up to a number that is not finer than it."""
    digits = max(3, len(str(count)) + 1)
    return f"{math.ceil(10**digits / count) / 10**digits:.{digits}f}".rstrip("0")
