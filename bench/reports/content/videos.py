"""What a report says of videos: a row for each variant, and how each video is scored."""

from __future__ import annotations

from collections import Counter

from bench.errors import counted
from bench.records import Evaluation, RunRecord, VariantEvaluation, VideoCounts
from bench.reports.content.cells import EMPTY, Cell, Column, Table, cell, columns, table, variant_cell
from bench.reports.content.flipped_videos import MOST_VIDEOS
from bench.reports.content.judged import SCORES
from bench.reports.content.spans import Sentence, code, docs, paragraph, sentence, strong
from bench.reports.content.text import number
from bench.reports.content.variants import area_cell, difference_cell, verdict

NAMED = 5
"""Videos without frames that are named; the rest is counted."""


def of_variants(run: RunRecord, evaluation: Evaluation) -> Table | None:
    """A row for each variant: AUC, verdict, decisions and flips per video, and the AUC per frame beside it.

    None where no videos are known.
    """
    if evaluation.video is None:
        return None
    titles = ("TP", "TN", "FP", "FN", "Right → wrong", "Wrong → right")
    rows = [
        [variant_cell(name), *_of_variant(run, name, judged), *_per_frame(evaluation.variants[name])]
        for name, judged in evaluation.video.variants.items()
    ]
    head = [Column("Model", "left"), Column("Verdict", "left"), *_stacked("AUC per video", "ΔAUC (95 %)")]
    return table([*head, *columns(titles), *_stacked("AUC per frame", "ΔAUC per frame")], rows)


def _stacked(*titles: str) -> list[Column]:
    return [Column(title, stacked=True) for title in titles]


def _of_variant(run: RunRecord, name: str, judged: VariantEvaluation) -> list[Cell]:
    point, flips = judged.fixed, judged.flips
    return [
        cell(verdict(name == run.baseline.name, judged) or ""),
        area_cell(judged.auc),
        difference_cell(judged.comparison.delta if judged.comparison else None),
        *(cell(f"{count:,}") for count in (point.tp, point.tn, point.fp, point.fn)),
        *((cell(f"{flips.worse:,}"), cell(f"{flips.better:,}")) if flips else (EMPTY, EMPTY)),
    ]


def _per_frame(judged: VariantEvaluation) -> list[Cell]:
    return [area_cell(judged.auc), difference_cell(judged.comparison.delta if judged.comparison else None)]


def notes(run: RunRecord, evaluation: Evaluation) -> dict[str, Sentence]:
    """The small print around videos; nothing where none are known."""
    counts = run.videos.get("test")
    if evaluation.video is None or counts is None:
        return {}
    return {"videos": _note(run, counts), "coverage": coverage(run), "flipped_videos": _flipped(run)}


def _note(run: RunRecord, counts: VideoCounts) -> Sentence:
    """How many videos there are, how each is scored, and what verdicts go by."""
    scoring = run.video_scoring
    how = SCORES[scoring.score].format(top=scoring.top)
    classes = f"{counts.fake:,} fake, {counts.real:,} real"
    return paragraph(
        (
            sentence(
                f"{counted(counts.count, 'test video')} ({classes}). The score of a video is {how}; of several faces "
                f"in a frame the highest counts. From {run.threshold} on it counts as fake."
            ),
            sentence(
                "Verdicts, the choice and gates of this report go by ",
                strong(f"{run.judge}s"),
                " (",
                code(f"judge: {run.judge}"),
                "). More: ",
                docs("verdicts.md#videos"),
                ".",
            ),
        )
    )


def coverage(run: RunRecord) -> Sentence:
    """How many test videos have frames, why the others have none, and what these count as; empty where all have."""
    counts = run.videos.get("test")
    if counts is None or not counts.missing:
        return Sentence()
    total = counts.count + len(counts.missing)
    reasons = Counter(video.reason for video in counts.missing)
    why = ", ".join(f"{reason}: {count:,}" for reason, count in reasons.most_common())
    names = ", ".join(video.name for video in counts.missing[:NAMED])
    more = f" and {len(counts.missing) - NAMED:,} more" if len(counts.missing) > NAMED else ""
    return sentence(
        strong(f"{counts.count:,} of {total:,} videos have frames"),
        f" ({number(100 * counts.coverage, 1)} %). Without ({why}): {names}{more}. They {_counted_as(run)}.",
    )


def _counted_as(run: RunRecord) -> str:
    missing = run.video_scoring.missing
    if missing == "exclude":
        return "count in no number, which flatters a detector whose faces are hard to find"
    score = "P(fake) 0.5" if missing == "0.5" else f"called {missing}"
    return f"count as {score} in every variant, also in the baseline"


def _flipped(run: RunRecord) -> Sentence:
    """What the plots of flipped videos show."""
    return sentence(
        f"Videos that a variant decides otherwise than the baseline at {run.threshold}: P(fake) of their frames by "
        "both, with the threshold as a dashed line, and on the right edge the scores of the whole video. What became "
        f"worse comes first, then the largest change; {MOST_VIDEOS} of a variant are shown at most. More: ",
        docs("reading-the-report.md#videos"),
        ".",
    )
