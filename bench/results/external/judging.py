"""Whether imported scores are judged by frame or by video, and which videos they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.errors import UserError, listed, problem_text, quoted
from bench.records import LabelledFrames, MissingVideo, Split, Unit, VideoCounts, VideoScoring
from bench.results.score.videos import refuse_mixed
from bench.results.video_settings import VideoSettings


@dataclass(frozen=True)
class Judging:
    """What is asked for: frames or videos, the latter by default where all test frames name theirs; and the scoring."""

    unit: Unit | None = None
    scoring: VideoScoring = field(default_factory=VideoScoring)


def judging(unit: Any, scoring: Mapping[str, Any], names: Mapping[str, str] | None = None) -> Judging:
    """What is judged, as options say it; of `scoring`, None is what nobody said.

    `names` are those of the options, where they are other than the command's.
    Raises `UserError` with all that is wrong with them.
    """
    from pydantic import ValidationError

    called = {"judge": "--judge", "score": "--video-score", "top": "--video-top", "missing": "--missing-videos"}
    called |= names or {}
    problems = []
    if unit not in (None, "frame", "video"):
        problems.append(f"{called['judge']}: expected frame or video, found {quoted(unit)}")
    try:
        stated = {key: value for key, value in scoring.items() if value is not None}
        record = VideoSettings.model_validate(stated).record
    except ValidationError as error:
        problems += [f"{called[str(problem['loc'][0])]}: {problem_text(problem)}" for problem in error.errors()]
    if problems:
        raise UserError(*problems)
    return Judging(unit, record)


@dataclass(frozen=True)
class JudgedAs:
    """What is judged, the videos of each split whose frames name theirs, and what a reader must know of others."""

    unit: Unit
    videos: dict[str, VideoCounts]
    remarks: tuple[str, ...]


def judged_as(
    asked: Judging, frames: Mapping[Split, LabelledFrames], missing: Mapping[Split, Sequence[MissingVideo]], option: str
) -> JudgedAs:
    """What is judged; `missing` are the videos of each split of which there are no scores.

    `option` is how a caller asks for videos. Raises `UserError` where they are to be judged and cannot be.
    """
    named = {split: _nameless(of_split) for split, of_split in frames.items()}
    unit: Unit = asked.unit or ("frame" if named["test"] else "video")
    if unit == "video" and named["test"]:
        count, total = len(named["test"]), len(frames["test"].labels)
        raise UserError(
            f"{option}: {count:,} of {total:,} test frames name no video: {listed(named['test'], 3)}. Expected the "
            "video of each frame, in the column `video`"
        )
    videos, remarks = {}, []
    for split, of_split in frames.items():
        if named[split]:
            if len(named[split]) < len(of_split.labels) or (unit == "video"):
                remarks.append(
                    f"{len(named[split]):,} of {len(of_split.labels):,} {split} frames name no video, so nothing is "
                    f"said of {split} videos: {listed(named[split], 3)}."
                )
            continue
        try:
            videos[str(split)] = _counts(of_split, missing.get(split, ()))
        except UserError as error:
            if unit == "video":
                raise
            remarks += [f"{split}: {line}" for line in error.lines]
    return JudgedAs(unit, videos, tuple(remarks))


def _nameless(frames: LabelledFrames) -> list[str]:
    """The frames that name no video."""
    if frames.videos is None:
        return [str(name) for name in frames.frames]
    return [str(name) for name in frames.frames[frames.videos.isna().to_numpy()]]


def _counts(frames: LabelledFrames, missing: Sequence[MissingVideo]) -> VideoCounts:
    assert frames.videos is not None
    codes, names = frames.videos.factorize()
    refuse_mixed(codes, [str(name) for name in names], frames)
    fake = int(np.unique(codes[frames.labels == 1]).size)
    return VideoCounts(len(names), fake, len(names) - fake, tuple(missing))
