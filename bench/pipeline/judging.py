"""Whether frames or videos are judged: what the experiment says, and what is known of the frames' videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.errors import UserError, listed, quoted
from bench.experiment import ExperimentSettings
from bench.records import LABELLED_SPLITS, Frame, FrameSet, RunRecord, Split, Unit, VideoCounts

WRITE_VIDEOS = (
    "Write the video of each frame in a column `video` of a manifest, have videos extracted with `extract:`, or take "
    "out `judge: video`"
)


@dataclass(frozen=True)
class Problem:
    """Why a frame set cannot be judged by its videos; `of_setting` is whether `judge` itself is what is wrong."""

    text: str
    of_setting: bool


def judge(settings: ExperimentSettings, test: Sequence[Frame]) -> Unit:
    """What is judged: as is set, by default videos where every test frame names its."""
    return settings.judge or ("video" if _names_all(test) else "frame")


def problems(settings: ExperimentSettings, test: Sequence[Frame]) -> Iterator[Problem]:
    """What keeps test frames from being judged by their videos, where they are; nothing of no frames."""
    if not test or judge(settings, test) != "video":
        return
    nameless = [frame.path for frame in test if frame.video is None]
    if len(nameless) == len(test):
        yield Problem(f"videos are to be judged, and no test frame names its video. {WRITE_VIDEOS}", of_setting=True)
    elif nameless:
        yield Problem(
            f"videos are to be judged, and {len(nameless):,} of {len(test):,} test frames name none: "
            f"{listed(nameless, 3)}. {WRITE_VIDEOS}",
            of_setting=True,
        )
    elif mixed := mixed_videos(test):
        advice = "correct the labels or the videos' names, or write `judge: frame`"
        yield Problem(f"{mixed}, and videos are to be judged: {advice}", of_setting=False)


def mixed_videos(frames: Sequence[Frame]) -> str:
    """That videos have frames of both classes, with an example; empty where none has."""
    first: dict[str, Frame] = {}
    mixed: dict[str, tuple[Frame, Frame]] = {}
    for frame in frames:
        if frame.video is not None and first.setdefault(frame.video, frame).label != frame.label:
            mixed.setdefault(frame.video, (first[frame.video], frame))
    if not mixed:
        return ""
    name, pair = next(iter(mixed.items()))
    real, fake = sorted(pair, key=lambda frame: frame.label or 0)
    videos = "1 video has" if len(mixed) == 1 else f"{len(mixed):,} videos have"
    return (
        f"{videos} real and fake frames, such as {quoted(name)}, of which {quoted(real.path)} is real and "
        f"{quoted(fake.path)} fake"
    )


def videos_of(sets: Mapping[Split, FrameSet]) -> dict[str, VideoCounts]:
    """The videos of each labelled split all of whose frames name theirs; none has frames of both classes."""
    return {
        split: _counts(sets[split])
        for split in LABELLED_SPLITS
        if split in sets and _names_all(sets[split].frames) and not mixed_videos(sets[split].frames)
    }


def remarks_on_test(
    settings: ExperimentSettings, sets: Mapping[Split, FrameSet], lists: Sequence[str] = ()
) -> Iterator[str]:
    """What a plan says of videos: which have no frame, and whether frames without one keep them from being judged.

    `lists` are the files of extracted ones.
    """
    if lists or judge(settings, sets["test"].frames) == "video":
        for split, counts in videos_of(sets).items():
            if counts.missing:
                yield missing_in_words(split, counts, lists)
    if settings.judge is None:
        yield from _some_nameless("test", sets["test"].frames, "frames are judged, and not videos")


def remarks(settings: ExperimentSettings, sets: Mapping[Split, FrameSet], lists: Sequence[str] = ()) -> Iterator[str]:
    """What a reader must know of videos: those without frames, and why others are not judged."""
    yield from remarks_on_test(settings, sets, lists)
    videos = videos_of(sets)
    if judge(settings, sets["test"].frames) != "video" or "validation" in videos or "validation" not in sets:
        return
    frames = sets["validation"].frames
    if _names_all(frames):
        yield f"validation: {mixed_videos(frames)}: no threshold of videos is set on them."
    elif all(frame.video is None for frame in frames):
        yield "No validation frame names its video, so no threshold of videos is set on them."
    else:
        yield from _some_nameless("validation", frames, "no threshold of videos is set on them")


def _some_nameless(split: Split, frames: Sequence[Frame], therefore: str) -> Iterator[str]:
    """That some frames name no video and others do, and what follows."""
    nameless = [frame.path for frame in frames if frame.video is None]
    if 0 < len(nameless) < len(frames):
        yield (
            f"{len(nameless):,} of {len(frames):,} {split} frames {'name' if len(nameless) > 1 else 'names'} no video, "
            f"so {therefore}: {listed(nameless, 3)}."
        )


def in_words(settings: ExperimentSettings, sets: Mapping[Split, FrameSet]) -> str:
    """How many videos are judged, and how; empty where frames are."""
    if judge(settings, sets["test"].frames) != "video" or "test" not in (videos := videos_of(sets)):
        return ""
    missing = settings.videos.missing
    counting = "count in no number" if missing == "exclude" else f"count as {missing}"
    counts = [
        f"{of_split.count:,} {split} ({of_split.real:,} real, {of_split.fake:,} fake"
        + (f"; {len(of_split.missing):,} more have no frame, and {counting})" if of_split.missing else ")")
        for split, of_split in videos.items()
    ]
    score = {"mean": "the mean", "max": "the highest", "top": f"the mean of the {settings.videos.top} highest"}
    return f"{'; '.join(counts)}; the score of a video is {score[settings.videos.score]} of its frames' P(fake)"


def missing_in_words(split: str, counts: VideoCounts, lists: Sequence[str] = ()) -> str:
    """How many videos of a split have no frame, of which class, and why; and which of `lists` have them all."""
    total, fake = len(counts.missing), sum(video.label == 1 for video in counts.missing)
    reasons = Counter(video.reason for video in counts.missing)
    why = listed(f"{count:,} {reason}" for reason, count in reasons.most_common(5))
    names = listed((video.name for video in counts.missing), 3)
    return (
        f"{total:,} of {total + counts.count:,} {split} videos have no frame ({fake:,} fake, {total - fake:,} real; "
        f"{why}): {names}{f'; all in {listed(lists)}' if lists else ''}."
    )


def as_judged(run: RunRecord, settings: ExperimentSettings) -> Unit:
    """What the results of a run are judged by now; `UserError` where they know no videos, and these are to be."""
    if settings.judge == "video" and "test" not in run.videos:
        raise UserError(
            f"{run.experiment}: `judge: video`, and its results know no videos of its test frames. {WRITE_VIDEOS}; "
            "then `bench run`"
        )
    return settings.judge or ("video" if "test" in run.videos else "frame")


def _names_all(frames: Sequence[Frame]) -> bool:
    return bool(frames) and all(frame.video is not None for frame in frames)


def _counts(frames: FrameSet) -> VideoCounts:
    labels = {frame.video: frame.label for frame in frames.frames}
    fake = sum(label == 1 for label in labels.values())
    return VideoCounts(len(labels), fake, len(labels) - fake, frames.missing)
