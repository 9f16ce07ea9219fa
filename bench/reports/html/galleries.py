"""What the page's galleries and its ledger show, row by row."""

from __future__ import annotations

from dataclasses import dataclass

from bench.records import Evaluation, Outcome, RunRecord, class_of
from bench.reports.content.galleries import TITLES, judgement
from bench.reports.content.text import plain, shortened
from bench.reports.html.pictures import Pictures, ends, flipped, other_reason, ranks


@dataclass(frozen=True)
class Seen:
    """One frame in one variant's gallery. `baseline` is the baseline's P(fake), None where there is none beside it.

    `judged` is what blurring says of its heatmap; empty where that is unknown.
    """

    row: int
    frame: str
    short: str
    p_fake: float
    baseline: float | None
    shown: bool
    judged: str


@dataclass(frozen=True)
class Gallery:
    """The frames of one outcome, those that the fixed threshold hides included; `count` is how many it has there."""

    outcome: Outcome
    title: str
    called: str
    count: int
    frames: tuple[Seen, ...]


@dataclass(frozen=True)
class Flip:
    """A frame as the baseline and a variant decide it at the fixed threshold; `worse`: only the former is right."""

    variant: str
    row: int
    frame: str
    source: str
    label: str
    worse: bool
    baseline: float
    p_fake: float
    called: tuple[str, str]


def galleries(run: RunRecord, evaluation: Evaluation, pictures: Pictures | None) -> dict[str, list[Gallery]]:
    """By variant, in the order of the report's outcomes."""
    most = ranks(run, pictures is not None)
    return {name: _of_variant(run, evaluation, name, most) for name in evaluation.variants}


def _of_variant(run: RunRecord, evaluation: Evaluation, name: str, most: int) -> list[Gallery]:
    """A variant's gallery of each outcome, of `most` frames at any threshold."""
    scores, point = evaluation.predictions[name].test, evaluation.variants[name].fixed
    first = evaluation.predictions.get(run.baseline.name)
    beside = None if first is None or name == run.baseline.name else first.test
    counts = dict(zip(TITLES, (point.tp, point.fn, point.fp, point.tn), strict=True))
    by_outcome = []
    for outcome, rows in ends(evaluation, name, most).items():
        fake = outcome.endswith("positives")
        frames = tuple(
            Seen(
                row,
                frame := plain(evaluation.test.frames.iloc[row]),
                shortened(frame),
                float(scores[row]),
                None if beside is None else float(beside[row]),
                bool((scores[row] >= run.threshold) == fake),
                judgement(evaluation, name, row),
            )
            for row in rows
        )
        by_outcome.append(Gallery(outcome, TITLES[outcome], "fake" if fake else "real", counts[outcome], frames))
    return by_outcome


def flipped_rows(run: RunRecord, evaluation: Evaluation) -> list[Flip]:
    """The ledger's largest flips, variant by variant."""
    return [_flip(run, evaluation, name, row, worse) for name, row, worse in flipped(evaluation)]


def other_reasons(run: RunRecord, evaluation: Evaluation) -> dict[str, list[Flip]]:
    """By variant what it has right as the baseline does, but for another reason, the most different first."""
    rows = {name: other_reason(run, evaluation, name) for name in evaluation.variants}
    return {
        name: [_flip(run, evaluation, name, row, False) for row in of_variant]
        for name, of_variant in rows.items()
        if of_variant
    }


def _flip(run: RunRecord, evaluation: Evaluation, name: str, row: int, worse: bool) -> Flip:
    """The frame of a row, as the baseline and a variant decide it."""
    baseline, variant = (float(evaluation.predictions[which].test[row]) for which in (run.baseline.name, name))
    source = evaluation.test.sources.iloc[row]
    return Flip(
        variant=name,
        row=row,
        frame=plain(evaluation.test.frames.iloc[row]),
        source=plain(source) if isinstance(source, str) else "",
        label="fake" if evaluation.test.labels[row] == 1 else "real",
        worse=worse,
        baseline=baseline,
        p_fake=variant,
        called=(class_of(baseline, run.threshold), class_of(variant, run.threshold)),
    )
