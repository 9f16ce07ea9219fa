"""A video: P(fake) of frames at even distances, its score, and the frames with the highest scores looked into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands.inspect.request import Request, Written
from bench.errors import UserError, counted, shown
from bench.footage import sampling
from bench.footage import video as footage
from bench.footage.formats import VideoError
from bench.footage.video import Damage, Picture, Timeline
from bench.inference.scores import score_of
from bench.inference.subjects import NoFaceError, label_of, read_frame
from bench.inference.video_frames import decoded
from bench.provenance import cpu_cores, file_digest, write_json
from bench.records import Event, OnEvent, VideoScoring, class_of
from bench.records.inspection import Score, Subject
from bench.results.score.videos import of_one_video

if TYPE_CHECKING:
    from bench.commands.inspect.inspector import Inspector
    from bench.reports.inspection import Card, Gallery, Moment

WORK = "judging frames"
EXPLAINED = 3
"""Frames of a video that are looked into."""


@dataclass
class _Judged:
    """What has come of a video's frames: scores over time, and the subjects with the highest of the first variant.

    `digest` is the SHA-256 of the video. Of the frames `chosen` as many were `decoded`, and no face is in `faceless`.
    """

    digest: str
    chosen: int = 0
    decoded: int = 0
    faceless: int = 0
    moments: list[Moment] = field(default_factory=list)
    highest: list[tuple[float, int, Subject]] = field(default_factory=list)

    def keep(self, logit_diff: float, number: int, subject: Subject) -> None:
        self.highest = sorted([*self.highest, (logit_diff, number, subject)], key=lambda each: -each[0])[:EXPLAINED]


def timeline(file: Path) -> Timeline:
    """The packets of a video; `UserError` where it can't be read."""
    try:
        return footage.timeline(file)
    except VideoError as error:
        raise UserError(f"{file}: {error}") from error


def inspect(request: Request, line: Timeline, inspector: Inspector, on_event: OnEvent) -> Written:
    """Judge frames of a video, and look into those with the highest scores. `UserError` where none can be judged."""
    from bench.reports import inspection

    judged = _judge(request, line, inspector, on_event)
    to, run = request.to / request.names[request.file], inspector.chosen.run
    scores = _scores(judged, run.video_scoring)
    with inspection.replaced(to) as new:
        gallery = _gallery(request, judged, scores, inspector, tuple(_cards(judged, inspector, new)))
        pages = inspection.write_gallery(gallery, new, Path(inspection.PAGE).stem)
        write_json(new / inspection.NUMBERS, _numbers(request, judged, scores, run.threshold))
    lines = tuple(
        f"{shown(name)}  {class_of(score, run.threshold)}, P(fake) {score:.4f} ({run.video_scoring.words})"
        for name, score in scores.items()
    )
    files = {name: to / page.name for name, page in pages.items()}
    return Written({**files, "numbers": to / inspection.NUMBERS}, lines)


def _gallery(
    request: Request, judged: _Judged, scores: dict[str, float], inspector: Inspector, cards: tuple[Card, ...]
) -> Gallery:
    """The video's page: its scores over time, and the frames that were looked into."""
    from bench.reports import inspection

    run = inspector.chosen.run
    how = run.video_scoring.words
    lost = judged.chosen - judged.decoded
    faceless = f" {lost} more can't be decoded." if lost else ""
    faceless += f" In {judged.faceless} of them no face was found." if judged.faceless else ""
    return inspection.Gallery(
        title=request.file.name,
        opening=inspection.opening(
            f"{counted(judged.decoded, 'frame')} at even distances were read.{faceless} The score of a frame is the "
            f"highest of its faces, that of the video {how}."
        ),
        variants=tuple(scores),
        threshold=run.threshold,
        tables=((f"The video's score: {how}", inspection.scores_table(scores, judged.moments, run.threshold)),),
        cards=cards,
        moments=tuple(judged.moments),
        scores=scores,
        shows=inspection.maps_shown(request.options.target, request.options.levels),
        files=(("The numbers for programs", inspection.NUMBERS),),
    )


def _cards(judged: _Judged, inspector: Inspector, to: Path) -> Iterator[Card]:
    """The frames with the highest scores, looked into."""
    from bench.reports import inspection

    for _, number, subject in judged.highest:
        inspected = inspector.inspect(subject)
        inspection.write(inspected, to / subject.name)
        yield inspection.card_of(inspected, f"{subject.name}/{inspection.PAGE}", f"frame {number}")


def _judge(request: Request, line: Timeline, inspector: Inspector, on_event: OnEvent) -> _Judged:
    """The scores of all frames that show a face."""
    from bench.reports.inspection import Moment

    judged = _Judged(file_digest(request.file))
    facts = {"file": str(request.file), "digest": judged.digest, "label": label_of(request.file)}
    numbers = sampling.numbers("linspace", line.count, request.options.frames)
    judged.chosen = len(numbers)
    for picture in _pictures(request.file, line, numbers):
        on_event(Event(WORK, judged.decoded, judged.chosen, "frames"))
        judged.decoded += 1
        title, name = f"frame {picture.number}", f"frame_{picture.number:06d}"
        try:
            subjects = read_frame(inspector.reader, picture.pixels, title, name=name, **facts)
        except NoFaceError:
            judged.faceless += 1
            continue
        by_face = [{name: score_of(each) for name, each in inspector.logits(subject).items()} for subject in subjects]
        highest = {
            name: max(range(len(by_face)), key=lambda face: by_face[face][name].logit_diff) for name in by_face[0]
        }
        scores = {name: by_face[face][name] for name, face in highest.items()}
        judged.moments.append(Moment(picture.number, picture.time_s, scores))
        first = next(iter(scores))
        judged.keep(scores[first].logit_diff, picture.number, subjects[highest[first]])
    if not judged.decoded:
        raise UserError(f"{request.file}: none of its frames can be decoded")
    if not judged.moments:
        raise UserError(
            f"{request.file}: no face in {counted(judged.decoded, 'frame')}, and this detector judges faces (crop "
            f"{inspector.chosen.preprocessing.crop}); `--faces never` judges whole frames"
        )
    on_event(Event(WORK, judged.decoded, judged.decoded, "frames"))
    return judged


def _pictures(file: Path, line: Timeline, numbers: Sequence[int]) -> Iterator[Picture]:
    """The frames of these numbers, as far as they can be decoded."""
    try:
        yield from decoded(file, line, numbers, Damage(), threads=cpu_cores())
    except VideoError as error:
        raise UserError(f"{file}: {error}") from error


def _scores(judged: _Judged, scoring: VideoScoring) -> dict[str, float]:
    """P(fake) of the video by each variant."""
    import numpy as np

    return {
        name: of_one_video(np.array([moment.scores[name].p_fake for moment in judged.moments]), scoring)
        for name in judged.moments[0].scores
    }


def _of_frame(score: Score) -> dict[str, float]:
    return {"p_fake": score.p_fake, "logit_difference": score.logit_diff}


def _numbers(request: Request, judged: _Judged, scores: dict[str, float], threshold: float) -> dict[str, object]:
    """What inspection.json of a video holds."""
    return {
        "schema": 1,
        "input": {"file": str(request.file), "sha256": judged.digest},
        "threshold": threshold,
        "frames": {
            "read": judged.decoded,
            "not_decoded": judged.chosen - judged.decoded,
            "without_face": judged.faceless,
        },
        "explained": [number for _, number, _ in judged.highest],
        "variants": {
            name: {
                "p_fake": score,
                "label": class_of(score, threshold),
                "frames": [
                    {"number": each.number, "time_s": each.time_s, **_of_frame(each.scores[name])}
                    for each in judged.moments
                ],
            }
            for name, score in scores.items()
        },
    }
