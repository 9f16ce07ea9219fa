"""A video: P(fake) of frames at even distances, its score, and the frames with the highest scores looked into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands.inspect.looking import score_of
from bench.commands.inspect.request import Request, Written
from bench.errors import UserError, counted
from bench.files import make_folder
from bench.footage import sampling
from bench.footage import video as footage
from bench.footage.formats import VideoError
from bench.footage.video import Damage, Picture, Timeline
from bench.inference.subjects import NoFaceError, Reader, label_of
from bench.inference.video_frames import decoded
from bench.provenance import cpu_cores, file_digest, write_json
from bench.records import Event, OnEvent, class_of
from bench.records.inspection import Subject
from bench.results.score.videos import of_one_video

if TYPE_CHECKING:
    from bench.commands.inspect import Inspector
    from bench.reports.inspection import Moment

WORK = "judging frames"
EXPLAINED = 3
"""Frames of a video that are looked into."""


@dataclass
class _Judged:
    """What has come of a video's frames: P(fake) over time, and the subjects with the highest of the first variant.

    `digest` is the SHA-256 of the video.
    """

    digest: str
    decoded: int = 0
    faceless: int = 0
    moments: list[Moment] = field(default_factory=list)
    highest: list[tuple[float, int, Subject]] = field(default_factory=list)

    def keep(self, score: float, number: int, subject: Subject) -> None:
        self.highest = sorted([*self.highest, (score, number, subject)], key=lambda each: -each[0])[:EXPLAINED]


def timeline(file: Path) -> Timeline:
    """The packets of a video; `UserError` where it can't be read."""
    try:
        return footage.timeline(file)
    except VideoError as error:
        raise UserError(f"{file}: {error}") from error


def inspect(request: Request, line: Timeline, reader: Reader, inspector: Inspector, on_event: OnEvent) -> Written:
    """Judge frames of a video, and look into those with the highest scores. `UserError` where none can be judged."""
    from bench.reports import inspection

    judged = _judge(request, line, reader, inspector, on_event)
    variants = tuple(each.judge.name for each in inspector.panel.panelists)
    scores = _scores(judged, inspector, variants)
    to = request.to / request.file.stem
    make_folder(to)
    cards = []
    for _, number, subject in judged.highest:
        inspected = inspector.inspect(subject)
        inspection.write(inspected, to / subject.name)
        cards.append(inspection.card_of(inspected, f"{subject.name}/{inspection.PAGE}", f"frame {number}"))
    threshold, scoring = inspector.panel.run.threshold, inspector.panel.run.video_scoring
    how = scoring.words
    faceless = f" In {judged.faceless} of them no face was found." if judged.faceless else ""
    gallery = inspection.Gallery(
        title=request.file.name,
        opening=inspection.opening(
            f"{counted(judged.decoded, 'frame')} at even distances were read.{faceless} The score of a frame is the "
            f"highest of its faces, that of the video {how}."
        ),
        variants=variants,
        threshold=threshold,
        tables=((f"The video's score: {how}", inspection.scores_table(scores, threshold)),),
        cards=tuple(cards),
        moments=tuple(judged.moments),
        scores=scores,
        files=(("The numbers for programs", "inspection.json"),),
    )
    pages = inspection.write_gallery(gallery, to, "inspection")
    write_json(to / "inspection.json", _numbers(request, judged, scores, threshold))
    lines = tuple(
        f"{name}  {class_of(score, threshold)}, P(fake) {score:.4f} ({how})" for name, score in scores.items()
    )
    return Written((), {**pages, "numbers": to / "inspection.json"}, (), lines)


def _judge(request: Request, line: Timeline, reader: Reader, inspector: Inspector, on_event: OnEvent) -> _Judged:
    """The scores of all frames that show a face."""
    from bench.reports.inspection import Moment

    judged, total = _Judged(file_digest(request.file)), request.options.frames
    facts = {"file": str(request.file), "digest": judged.digest, "label": label_of(request.file)}
    for picture in _pictures(request, line):
        on_event(Event(WORK, judged.decoded, max(total, judged.decoded + 1), "frames"))
        judged.decoded += 1
        try:
            crops, how = reader.crops(picture.pixels, f"frame {picture.number}")
        except NoFaceError:
            judged.faceless += 1
            continue
        subjects = [
            reader.subject(
                picture.pixels, crop, name=f"frame_{picture.number:06d}", how=how, others=len(crops) - 1, **facts
            )
            for crop in crops
        ]
        by_face = [inspector.scores(subject) for subject in subjects]
        scores = {name: max(score_of(each[name]) for each in by_face) for name in by_face[0]}
        judged.moments.append(Moment(picture.number, picture.time_s, scores))
        first = next(iter(scores))
        best = max(range(len(subjects)), key=lambda index: score_of(by_face[index][first]))
        judged.keep(scores[first], picture.number, subjects[best])
    if not judged.decoded:
        raise UserError(f"{request.file}: none of its frames can be decoded")
    if not judged.moments:
        raise UserError(
            f"{request.file}: no face in {counted(judged.decoded, 'frame')}, and this detector judges faces (crop "
            f"{reader.preprocessing.crop}); `--faces never` judges whole frames"
        )
    on_event(Event(WORK, judged.decoded, judged.decoded, "frames"))
    return judged


def _pictures(request: Request, line: Timeline) -> Iterator[Picture]:
    """The frames at even distances, as far as they can be decoded."""
    numbers = sampling.numbers("linspace", line.count, request.options.frames)
    try:
        yield from decoded(request.file, line, numbers, Damage(), threads=cpu_cores())
    except VideoError as error:
        raise UserError(f"{request.file}: {error}") from error


def _scores(judged: _Judged, inspector: Inspector, variants: tuple[str, ...]) -> dict[str, float]:
    import numpy as np

    scoring = inspector.panel.run.video_scoring
    return {
        name: of_one_video(np.array([moment.p_fake[name] for moment in judged.moments]), scoring) for name in variants
    }


def _numbers(request: Request, judged: _Judged, scores: dict[str, float], threshold: float) -> dict[str, object]:
    """What inspection.json of a video holds."""
    return {
        "schema": 1,
        "input": {"file": str(request.file), "sha256": judged.digest},
        "threshold": threshold,
        "frames": {"read": judged.decoded, "without_face": judged.faceless},
        "explained": [number for _, number, _ in judged.highest],
        "variants": {
            name: {
                "p_fake": score,
                "label": class_of(score, threshold),
                "frames": [
                    {"number": each.number, "time_s": each.time_s, "p_fake": each.p_fake[name]}
                    for each in judged.moments
                ],
            }
            for name, score in scores.items()
        },
    }
