"""What a report goes by, frames or videos: the scores of these, their counts, and their word in its sentences.

Sentences and tables are made of frames. Where videos are judged, the same are made of videos' scores, and say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from bench.errors import counted
from bench.records import Evaluation, RunRecord, ScoresFile, SplitSummary, Unit, VideoScore
from bench.reports.content.axes import Axis
from bench.reports.content.cells import Cell, Table
from bench.reports.content.plots import Plots, Trade
from bench.reports.content.spans import Sentence, Span, sentence

# A call takes one frame, and speed is in frames a second, whatever is judged.
_FRAME = re.compile(r"(?<!one )\b([Ff])rame(s?)\b(?!/s| a second)")

SCORES: dict[VideoScore, str] = {
    "mean": "the mean of its frames' P(fake)",
    "max": "the highest P(fake) of its frames",
    "top": "the mean of the {top} highest P(fake) of its frames",
}


@dataclass(frozen=True)
class Judged:
    """A run and its scores as they are judged: of videos, the counts of `run` are theirs."""

    run: RunRecord
    evaluation: Evaluation
    unit: Unit

    def words(self, text: str) -> str:
        """What is said of frames, said of what is judged."""
        return in_words(self.unit, text)

    def sentence(self, of_frames: Sentence) -> Sentence:
        """The same, with names of variants as they are."""
        names = {variant.name for variant in self.run.variants}
        return Sentence(tuple(self._span(span, names) for span in of_frames.spans))

    def _span(self, span: Span, names: set[str]) -> Span:
        is_said = span.style in ("plain", "strong", "emphasis") and span.text not in names
        return replace(span, text=self.words(span.text)) if is_said else span

    def sentences(self, of_frames: Iterable[Sentence]) -> list[Sentence]:
        return [self.sentence(each) for each in of_frames]

    def table(self, of_frames: Table) -> Table:
        """The same in all cells; titles are of numbers, and stay."""
        return Table(of_frames.columns, tuple(tuple(map(self._cell, row)) for row in of_frames.rows))

    def _cell(self, of_frames: Cell) -> Cell:
        return of_frames if of_frames.variant else replace(of_frames, text=self.sentence(of_frames.text))

    def plots(self, of_frames: Plots) -> Plots:
        """The same in titles and at axes; what is re-compressed are frames, and rows stay so."""
        roc, calibration, robustness = of_frames.roc, of_frames.calibration, of_frames.robustness
        precision, confusion = of_frames.precision, of_frames.confusion
        return replace(
            of_frames,
            trades=tuple(map(self.trade, of_frames.trades)),
            roc=roc and replace(roc, title=self.words(roc.title)),
            precision=precision and replace(precision, title=self.words(precision.title)),
            confusion=confusion and replace(confusion, title=self.words(confusion.title)),
            calibration=calibration
            and replace(calibration, title=self.words(calibration.title), across=self._axis(calibration.across)),
            robustness=robustness and replace(robustness, title=self.words(robustness.title)),
        )

    def trade(self, of_frames: Trade) -> Trade:
        """The same beside its axis, and for screen readers."""
        return replace(of_frames, description=self.words(of_frames.description), up=self._axis(of_frames.up))

    def _axis(self, of_frames: Axis) -> Axis:
        return replace(of_frames, label=self.words(of_frames.label))


def judged(run: RunRecord, evaluation: Evaluation) -> Judged:
    """What a run is judged by."""
    scored = evaluation.by(run.judge)
    if scored.unit == "frame":
        return Judged(run, scored, "frame")
    return Judged(replace(run, frames={**run.frames, "test": _summary(run, scored)}), scored, "video")


def in_words(unit: Unit, text: str) -> str:
    """What is said of frames, said of frames or videos."""
    return text if unit == "frame" else _FRAME.sub(lambda match: f"{'Vv'[match[1] == 'f']}ideo{match[2]}", text)


def how(run: RunRecord) -> Sentence:
    """How many frames the judged videos have, how these are scored, and what those without frames count as."""
    counts, scoring = run.videos["test"], run.video_scoring
    missing = ""
    if counts.missing:
        score = "0.5" if scoring.missing == "0.5" else f"called {scoring.missing}"
        as_what = "count in no number" if scoring.missing == "exclude" else f"count as {score} in every variant"
        fake = sum(video.label for video in counts.missing)
        missing = (
            f" {counted(len(counts.missing), 'further test video')} ({fake:,} fake, {len(counts.missing) - fake:,} "
            f"real) without frames {as_what}."
        )
    score = SCORES[scoring.score].format(top=scoring.top)
    return sentence(
        f"Videos are judged, from {counted(run.test.count, 'frame')}: the score of a video is {score}.{missing}"
    )


def in_short(numbers: ScoresFile) -> str:
    """How many videos are judged, for a terminal; empty where frames are."""
    videos = numbers.videos.splits.get("test") if numbers.videos else None
    if numbers.judge == "frame" or videos is None or numbers.videos is None:
        return ""
    score = {"mean": "mean", "max": "highest", "top": f"mean of the {numbers.videos.top} highest"}[numbers.videos.score]
    missing = ""
    if videos.missing:
        as_what = numbers.videos.missing
        counting = "count in no number" if as_what == "exclude" else f"count as {as_what}"
        missing = f"; {videos.missing:,} without frames {counting}"
    return f"judged by video: {counted(videos.count, 'test video')}, {score} P(fake) of its frames{missing}"


def _summary(run: RunRecord, scored: Evaluation) -> SplitSummary:
    """The test videos, as frames are counted."""
    videos, distinct = scored.test, scored.test.without_copies()
    fake, fake_distinct = (int((each.labels == 1).sum()) for each in (videos, distinct))
    return replace(
        run.frames["test"],
        count=len(videos.labels),
        fake=fake,
        real=len(videos.labels) - fake,
        copies=len(videos.labels) - len(distinct.labels),
        fake_copies=fake - fake_distinct,
    )
