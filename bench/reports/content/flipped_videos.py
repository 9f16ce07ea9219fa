"""Videos whose decision changed against the baseline: which, and the scores of their frames along each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.records import ClassName, Evaluation, RunRecord, VariantEvaluation, Videos
from bench.reports.content.axes import Axis, axis, part_axis
from bench.reports.content.text import enough, fitted, plain

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

MOST_VIDEOS = 6
"""Flipped videos of a variant that are drawn: the rest is in the ledger."""

NARROW = 0.1
"""Where all scores of a video lie within so much of the threshold, the axis shows that part alone."""

MOST_PICTURES = 3
"""Frames of a flipped video that are shown: those whose P(fake) moved most."""

_SOURCE = 60
"""Characters of a source: many may be joined."""


@dataclass(frozen=True)
class Still:
    """A frame of a video: its number there, and P(fake) of its surest fake face by the baseline and by the variant.

    `at` is where it stands on the axis: its time in seconds, or its number. `row` is that of the face that moved most,
    `shown` whether its picture is.
    """

    number: int
    at: float
    baseline: float
    p_fake: float
    row: int
    shown: bool = False


@dataclass(frozen=True)
class FlippedVideo:
    """A video that a variant decides otherwise than the baseline; `worse` if only the latter is right.

    `baseline` and `p_fake` are the scores of the whole video, written with `digits`, by which they differ from the
    threshold. `stills` are in the order of the video, `across` is the axis of their times, or of their numbers where
    `timed` says that times are not known of all, `up` that of P(fake);
    `index` is that of the variant in the experiment, by which it is drawn.
    """

    variant: str
    index: int
    video: str
    source: str
    label: ClassName
    worse: bool
    baseline: float
    p_fake: float
    called: tuple[ClassName, ClassName]
    stills: tuple[Still, ...]
    across: Axis
    up: Axis
    digits: int
    timed: bool = False

    def title(self, still: Still) -> str:
        """The number of a frame, with its time where that is known."""
        return f"{still.number:,} ({still.at:.2f} s)" if self.timed else f"{still.number:,}"

    def written(self, p_fake: float) -> str:
        """A score with enough digits to see on which side of the threshold it is."""
        return f"{p_fake:.{self.digits}f}"

    @property
    def pictured(self) -> tuple[Still, ...]:
        """The frames whose pictures are shown, in the order of the video."""
        return tuple(still for still in self.stills if still.shown)


@dataclass(frozen=True)
class FlippedVideos:
    """The flipped videos of a variant: how many of each kind there are, and those that are drawn."""

    variant: str
    index: int
    worse: int
    better: int
    drawn: tuple[FlippedVideo, ...]

    @property
    def count(self) -> int:
        return self.worse + self.better


def flipped_videos(run: RunRecord, evaluation: Evaluation) -> tuple[FlippedVideos, ...]:
    """The flipped videos of each variant that has some; what became worse comes first, and then the largest change."""
    by_video = evaluation.video
    if by_video is None or evaluation.videos is None or run.baseline.name not in by_video.predictions:
        return ()
    indices = {variant.name: index for index, variant in enumerate(run.variants)}
    flipped = []
    for name, judged in by_video.variants.items():
        if judged.flips is not None and len(judged.flips.rows):
            shown = _ordered(judged)[:MOST_VIDEOS]
            drawn = tuple(_video(run, evaluation, name, indices[name], at) for at in shown)
            flipped.append(FlippedVideos(name, indices[name], judged.flips.worse, judged.flips.better, drawn))
    return tuple(flipped)


def _ordered(judged: VariantEvaluation) -> list[tuple[int, bool]]:
    """The flipped videos and whether each became worse, those first; the largest change first within either kind."""
    assert judged.flips is not None
    pairs = zip(judged.flips.rows.tolist(), judged.flips.is_worse.tolist(), strict=True)
    return sorted(pairs, key=lambda pair: not pair[1])


def _video(run: RunRecord, evaluation: Evaluation, name: str, index: int, at: tuple[int, bool]) -> FlippedVideo:
    """The flipped video `at` an index, and whether it became worse."""
    videos, by_video = evaluation.videos, evaluation.video
    assert videos is not None
    assert by_video is not None
    number, worse = at
    baseline, p_fake = (float(by_video.predictions[who].test[number]) for who in (run.baseline.name, name))
    times = _times(evaluation, videos.rows_of(number))
    stills = _stills(run, evaluation, videos, name, number)
    if timed := times is not None:
        stills = tuple(replace(still, at=times[still.number]) for still in stills)
    source = videos.sources.iloc[number]
    return FlippedVideo(
        variant=name,
        index=index,
        video=plain(videos.names.iloc[number]),
        source=fitted(source, _SOURCE) if isinstance(source, str) else "",
        label=_class(videos.labels[number] == 1),
        worse=worse,
        baseline=baseline,
        p_fake=p_fake,
        called=(_class(baseline >= run.threshold), _class(p_fake >= run.threshold)),
        stills=stills,
        across=_across(evaluation, stills, timed=timed),
        up=_up([baseline, p_fake, run.threshold], stills),
        digits=enough((baseline - run.threshold, p_fake - run.threshold), 4),
        timed=timed,
    )


def _class(is_fake: bool) -> ClassName:
    return "fake" if is_fake else "real"


def _stills(run: RunRecord, evaluation: Evaluation, videos: Videos, name: str, video: int) -> tuple[Still, ...]:
    """The frames of a video in their order; the faces of a frame make one still."""
    import numpy as np

    rows, firsts = videos.rows_of(video), evaluation.test.firsts
    before, after = (evaluation.predictions[who].test for who in (run.baseline.name, name))
    stills = []
    for number, faces in _by_frame(evaluation, rows):
        most_moved = faces[int(np.argmax(np.abs(after[faces] - before[faces])))]
        # Of identical frames, the first has the picture.
        row = int(most_moved if firsts is None else firsts[most_moved])
        stills.append((number, float(number), float(before[faces].max()), float(after[faces].max()), row))
    moved = sorted(range(len(stills)), key=lambda at: -abs(stills[at][3] - stills[at][2]))
    shown = set(moved[: min(MOST_PICTURES, run.gallery_top)])
    return tuple(Still(*still, shown=at in shown) for at, still in enumerate(stills))


def _by_frame(evaluation: Evaluation, rows: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """The number of each frame in its video, and the rows of its faces; counted from 0 where numbers are unknown."""
    import numpy as np

    numbers = evaluation.test.frame_indices
    of_rows = numbers.iloc[rows] if numbers is not None else None
    if of_rows is None or of_rows.isna().any():
        return [(at, rows[at : at + 1]) for at in range(len(rows))]
    values = np.asarray(of_rows, np.int64)
    return [(int(number), rows[values == number]) for number in np.unique(values)]


def _times(evaluation: Evaluation, rows: NDArray[np.int64]) -> dict[int, float] | None:
    """The time of each frame of a video in seconds, by its number; None unless all numbers and times are known."""
    import numpy as np

    test = evaluation.test
    if test.times_s is None or test.frame_indices is None or test.frame_indices.iloc[rows].isna().any():
        return None
    times = test.times_s[rows]
    if not np.isfinite(times).all():
        return None
    numbers = test.frame_indices.iloc[rows].tolist()
    return {int(number): float(time_s) for number, time_s in zip(numbers, times, strict=True)}


def _up(scores: list[float], stills: tuple[Still, ...]) -> Axis:
    """From 0 to 1, or as much of it as all scores need, where these lie close together."""
    values = [*scores, *(score for still in stills for score in (still.baseline, still.p_fake))]
    low, high = min(values), max(values)
    if high - low >= NARROW:
        return part_axis("P(fake)", 0.0, 1.0)
    gap = max(0.1 * (high - low), 1e-6)
    return axis("P(fake)", low - gap, high + gap)


def _across(evaluation: Evaluation, stills: tuple[Still, ...], *, timed: bool) -> Axis:
    """From the first frame to the last, in seconds or by numbers; ticks of these are whole."""
    if timed:
        start, end = stills[0].at, stills[-1].at
        return axis("time (s)", start, end if end > start else start + 1)
    label = "frames in their order" if evaluation.test.frame_indices is None else "frame"
    low, high = stills[0].number, stills[-1].number
    whole = axis(label, low, max(high, low + 1))
    ticks = tuple((value, text) for value, text in whole.ticks if float(value).is_integer())
    return Axis(whole.label, whole.low, whole.high, ticks)


def ledger(run: RunRecord, evaluation: Evaluation) -> pd.DataFrame | None:
    """Every flipped video of every variant, in the order of the report; None where no videos are compared."""
    import numpy as np
    import pandas as pd

    videos, by_video = evaluation.videos, evaluation.video
    if videos is None or by_video is None or run.baseline.name not in by_video.predictions:
        return None
    parts, before = [], by_video.predictions[run.baseline.name].test
    for name, judged in by_video.variants.items():
        if judged.flips is None:
            continue
        ordered = _ordered(judged)
        rows = np.array([row for row, _ in ordered], np.int64)
        columns_of_variant = {
            "video": videos.names.iloc[rows].to_numpy(),
            "source": videos.sources.iloc[rows].to_numpy(),
            "label": videos.labels[rows],
            "variant": name,
            "flip": ["worse" if is_worse else "better" for _, is_worse in ordered],
            "baseline_p_fake": before[rows],
            "variant_p_fake": by_video.predictions[name].test[rows],
            "frames": np.array([len(videos.rows_of(int(row))) for row in rows], np.int64),
        }
        parts.append(pd.DataFrame(columns_of_variant, index=range(len(rows))))
    return pd.concat(parts, ignore_index=True) if parts else None
