"""From the finished table to its numbers: one pass over the rows."""

from __future__ import annotations

import csv
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.commands.predict.shards import HEATMAP
from bench.records import CLASS_WORDS, Interval, VariantEvaluation, VideoScoring
from bench.records.predicted import PredictedCounts, PredictedPicture
from bench.results.score import alone
from bench.results.score.videos import of_one_video

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SHOWN, MOST_ERRORS = 60, 20


@dataclass(frozen=True)
class Judged:
    """The numbers of a table, its first errors, and the pictures that are shown."""

    counts: PredictedCounts
    judged: VariantEvaluation | None
    by_video: VariantEvaluation | None
    errors: tuple[tuple[str, str], ...]
    shown: tuple[PredictedPicture, ...]


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture that has a score: the row with the highest, of its faces."""

    row: Mapping[str, str]
    p_fake: float
    label: int | None

    @property
    def off(self) -> float:
        """By how much its score misses its label; without one, how high it is."""
        return self.p_fake - 1 if self.label is None else abs(self.label - self.p_fake)


def judge(
    table: Path,
    files: int,
    sources: Mapping[str, str],
    inputs: Mapping[str, int],
    threshold: float,
    scoring: VideoScoring,
) -> Judged:
    """Score the table of so many files; `sources` are those of paths, where a manifest tells them.

    `inputs` are the numbers of the inputs that paths of pictures of videos are from, but for the first: what two of
    them call the same are two videos.

    Of a picture's faces the highest counts, as in a video of a run.
    """
    work = _Tally(threshold, sources, inputs)
    with table.open(newline="", encoding="utf-8") as file:
        for _, rows in groupby(csv.DictReader(file), lambda row: (row["path"], row["frame_index"])):
            work.add(list(rows))
    return work.judged(files, scoring)


class _Tally:
    """Counts and scores so far; of each labelled picture a score, a label and the code of its source."""

    def __init__(self, threshold: float, sources: Mapping[str, str], inputs: Mapping[str, int]) -> None:
        self._threshold, self._of_paths, self._inputs = threshold, sources, inputs
        self._rows = self._failed = self._fake = self._pictures = 0
        self._p: list[float] = []
        self._labels: list[int] = []
        self._sources: list[str | None] = []
        self._videos: dict[str, tuple[dict[str, float], set[int]]] = {}
        self._errors: list[tuple[str, str]] = []
        self._shown: list[tuple[float, int, PredictedPicture]] = []

    def add(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Add the rows of one picture, or of one frame of a video."""
        self._rows += len(rows)
        for row in rows:
            if row["error"]:
                self._failed += 1
                self._errors += [(row["path"], row["error"])] if len(self._errors) < MOST_ERRORS else []
        with_score = [row for row in rows if row["p_fake"]]
        if not with_score:
            return
        highest = max(with_score, key=lambda row: float(row["p_fake"]))
        picture = _Picture(highest, float(highest["p_fake"]), CLASS_WORDS.get(highest["label"]))
        self._pictures += 1
        self._fake += picture.p_fake >= self._threshold
        self._show(picture)
        path = highest["path"]
        video = f"{self._inputs.get(path, 0)} {highest['video']}" if highest["video"] else ""
        if video:
            # The faces of a frame may be files of their own.
            scores, labels = self._videos.setdefault(video, ({}, set()))
            frame = highest["frame_index"] or path
            scores[frame] = max(picture.p_fake, scores.get(frame, picture.p_fake))
            labels.update(() if picture.label is None else (picture.label,))
        if picture.label is not None:
            self._p.append(picture.p_fake)
            self._labels.append(picture.label)
            self._sources.append(self._of_paths.get(path) or video or None)

    def _show(self, picture: _Picture) -> None:
        """Keep the most mistaken pictures that have a heatmap."""
        row = picture.row
        if not row.get(HEATMAP):
            return
        index = int(row["frame_index"]) if row["frame_index"] else None
        shown = PredictedPicture(row["path"], index, picture.p_fake, picture.label, row[HEATMAP])
        heapq.heappush(self._shown, (picture.off, -self._pictures, shown))
        if len(self._shown) > MOST_SHOWN:
            heapq.heappop(self._shown)

    def judged(self, files: int, scoring: VideoScoring) -> Judged:
        """All of it, scored."""
        counts = PredictedCounts(
            files, self._rows, self._failed, self._pictures, self._fake, len(self._labels), len(self._videos)
        )
        of_videos = [
            (of_one_video(_array(list(scores.values())), scoring), labels.copy().pop(), name)
            for name, (scores, labels) in self._videos.items()
            if len(labels) == 1
        ]
        shown = tuple(picture for _, _, picture in sorted(self._shown, key=lambda each: (-each[0], -each[1])))
        return Judged(
            counts,
            self._scored(self._p, self._labels, self._sources),
            self._scored(*zip(*of_videos, strict=True)) if of_videos else None,
            tuple(self._errors),
            shown,
        )

    def _scored(
        self, p: Sequence[float], labels: Sequence[int], sources: Sequence[str | None]
    ) -> VariantEvaluation | None:
        import numpy as np
        import pandas as pd

        if not labels:
            return None
        by_source = pd.Series(pd.array(sources, dtype="string"))
        return alone.judged(np.array(labels, np.int8), _array(p), by_source, self._threshold)


def _array(values: Sequence[float]) -> NDArray[np.float64]:
    import numpy as np

    return np.array(values, np.float64)


# ------------------------------------------------------------------------------------ as JSON
def as_json(judged: VariantEvaluation | None) -> dict[str, Any] | None:
    """The numbers of a summary under the keys of scores.json; what can't be had is null."""
    if judged is None:
        return None
    score, point, area = judged.score, judged.fixed, judged.auc
    return {
        "count": score.count, "fake": point.tp + point.fn, "real": point.tn + point.fp,
        "auc": area.value if area else None, "auc_ci": _ends(area.interval if area else None),
        "auc_interval": None if area is None else "sources" if area.clustered else "frames",
        "average_precision": score.average_precision, "eer": score.eer, "brier": score.brier,
        "ece": judged.reliability.ece, "tpr_at_fpr_1": score.tpr_at_fpr_1, "tpr_at_fpr_5": score.tpr_at_fpr_5,
        "threshold": point.threshold,
        "confusion": {"tp": point.tp, "tn": point.tn, "fp": point.fp, "fn": point.fn},
        "accuracy": point.accuracy, "accuracy_ci": _ends(alone.accuracy_interval(judged)),
        "balanced_accuracy": point.balanced_accuracy, "precision": point.precision,
        "precision_ci": _ends(point.precision_ci), "recall": point.recall, "recall_ci": _ends(point.recall_ci),
        "specificity": point.specificity, "specificity_ci": _ends(point.specificity_ci), "f1": point.f1,
        "mcc": point.mcc,
    }  # fmt: skip


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def accuracy_ci(judged: VariantEvaluation | None) -> Interval | None:
    return None if judged is None else alone.accuracy_interval(judged)
