"""Videos judged: frames at even distances, decoded in a thread, and the score of them all."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, BinaryIO

from bench.footage import sampling
from bench.footage import video as footage
from bench.footage.formats import VideoError
from bench.footage.video import Damage, Picture, Timeline
from bench.inference.video_frames import decoded
from bench.results.score.videos import of_one_video
from bench.service import heatmaps, state
from bench.service.answers import Consensus, FrameResult, Overall, Processing, VideoDetection
from bench.service.engine import Asked, Judged
from bench.service.refusals import NoFaceError, RefusedError
from bench.service.state import Predicted, State, called, confidence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_AT_ONCE = 8
"""Frames of a video that are judged at a time."""
_MOST_RATE = 240
"""Frames a second of a video that does not say how long it is."""


class _StoppedError(Exception):
    """Nobody waits for a video's frames any more."""


@dataclass(frozen=True)
class Video:
    """An upload in a temporary folder of its own, what its packets tell, and the frames that are judged."""

    folder: Path
    name: str
    line: Timeline
    numbers: tuple[int, ...]

    @property
    def file(self) -> Path:
        return self.folder / "upload"

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Shown:
    """What was judged of a frame, as JPEG, its size (width, height), its joint map, and the class it is called."""

    jpeg: bytes
    size: tuple[int, int]
    cam: NDArray[np.floating] | None
    fake: bool


@dataclass(frozen=True)
class _Frame:
    """A frame and what it comes to; None where no face was found in it."""

    picture: Picture
    judged: Judged | None


def stored(source: BinaryIO, name: str, max_frames: int, most_seconds: float) -> Video:
    """Write an upload into a folder of its own. Raises `RefusedError` where it is no video or too long; `OSError`."""
    folder = Path(tempfile.mkdtemp(prefix="bench-video-"))
    try:
        with (folder / "upload").open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
        try:
            line = footage.timeline(folder / "upload")
        except VideoError as error:
            status = 413 if error.status == "too large" else 415
            raise RefusedError(status, f"the video can't be read: {error}") from error
        _refuse_long(line, most_seconds)
        return Video(folder, name, line, tuple(sampling.numbers("step", line.count, max_frames)))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _refuse_long(line: Timeline, most_seconds: float) -> None:
    seconds = line.time_s(line.count - 1)
    if (seconds or 0) > most_seconds or (seconds is None and line.count > _MOST_RATE * most_seconds):
        length = f"{seconds:.0f} seconds long" if seconds else f"of {line.count:,} frames"
        raise RefusedError(413, f"the video is {length}; expected at most {most_seconds:g} seconds; send a part of it")


async def detect(
    service: State, video: Video, asked: Asked, show: Callable[[int, Shown], None] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> VideoDetection:  # fmt: skip
    """Judge a video's frames. `show` is given a picture of each, `progress` how many are done.

    Raises `RefusedError` where no frame can be decoded, or none shows a face.
    """
    begin, results, decoded, faceless = perf_counter(), [], 0, 0
    async for frame in _frames(service, video, asked):
        decoded += 1
        if frame.judged is None:
            faceless += 1
        else:
            results.append(_result(frame.picture, frame.judged, asked))
            if show is not None:
                show(frame.picture.number, await service.engine.prepared(partial(_shown, frame.judged, asked)))
        progress(decoded)
    if not decoded:
        raise RefusedError(422, "none of the video's frames can be decoded; send it whole, or in another format")
    if not results:
        raise RefusedError(
            422, f"no face was found in {decoded} frames, and this detector judges faces; faces=never judges whole ones"
        )
    seconds = perf_counter() - begin
    info = Processing(
        total_frames=video.line.count, frames_processed=len(results), frames_without_face=faceless,
        processing_time=seconds, processing_fps=decoded / seconds,
    )  # fmt: skip
    answer = _answer(video.name, results, info, asked)
    by_member = {name: vote.fake_prob for name, vote in answer.overall_result.model_predictions.items()}
    p_fake = answer.overall_result.fake_probability
    agree = answer.overall_result.consensus.agree
    service.predicted(Predicted("video", asked.served, p_fake, by_member, seconds, video.name, agree))
    return answer


def _answer(name: str, results: list[FrameResult], info: Processing, asked: Asked) -> VideoDetection:
    """The score of a video, made of its frames', and all of these."""
    import numpy as np

    served = asked.served
    score = of_one_video(np.array([each.fake_probability for each in results]), served.video_scoring)
    by_member = {
        name: of_one_video(np.array([each.model_predictions[name].fake_prob for each in having]), served.video_scoring)
        for name in served.names
        if (having := [each for each in results if name in each.model_predictions])
    }
    prediction, members = called(score, served.threshold), state.members_votes(by_member, served)
    return VideoDetection(
        filename=name,
        frame_results=results,
        overall_result=Overall(
            prediction=prediction,
            confidence=confidence(score, served.threshold),
            fake_probability=score,
            fake_frame_ratio=sum(each.prediction == "FAKE" for each in results) / len(results),
            model_predictions=members,
            consensus=Consensus(agree=sum(vote.prediction == prediction for vote in members.values()), of=len(members)),
        ),
        processing_info=info,
        threshold=served.threshold,
        variant=served.name,
        artifact=state.artifact(served),
        shipped_with=served.verdict,
    )


def _result(picture: Picture, judged: Judged, asked: Asked) -> FrameResult:
    """What a frame is called, and by whom."""
    threshold = asked.served.threshold
    return FrameResult(
        frame=picture.number,
        seconds=picture.time_s,
        prediction=called(judged.p_fake, threshold),
        confidence=confidence(judged.p_fake, threshold),
        fake_probability=judged.p_fake,
        face_detection_confidence=judged.face.score if judged.face else None,
        model_predictions=state.votes(judged, asked.served),
        models_failed=dict(judged.failed),
    )


def _shown(judged: Judged, asked: Asked) -> Shown:
    pixels = judged.shown
    assert pixels is not None
    joint = heatmaps.joint(asked.served, judged, heatmaps.placed(asked.served, judged))
    fake = called(judged.p_fake, asked.served.threshold) == "FAKE"
    return Shown(heatmaps.jpeg(pixels), (pixels.shape[1], pixels.shape[0]), joint, fake)


async def _frames(service: State, video: Video, asked: Asked) -> AsyncIterator[_Frame]:
    """The frames in their order, several judged at a time."""
    stop, under_way = threading.Event(), deque[asyncio.Task[_Frame]]()

    async def judged(picture: Picture) -> _Frame:
        try:
            return _Frame(picture, await service.engine.judge_pixels(picture.pixels, asked))
        except NoFaceError:
            return _Frame(picture, None)

    pictures = _decoded(video, stop)
    try:
        while (picture := await _next(pictures, stop)) is not None:
            under_way.append(asyncio.create_task(judged(picture)))
            if len(under_way) == _AT_ONCE:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        stop.set()
        for task in under_way:
            task.cancel()


async def _next(pictures: Iterator[Picture], stop: threading.Event) -> Picture | None:
    """The next frame; None at the end. A thread that decodes is waited for, so that its file can be taken away."""
    step = asyncio.get_running_loop().run_in_executor(None, next, pictures, None)
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        stop.set()
        with suppress(Exception):
            await step
        raise
    except VideoError as error:
        raise RefusedError(422, f"the video can't be read: {error}") from error


def _decoded(video: Video, stop: threading.Event) -> Iterator[Picture]:
    """The frames as they can be decoded; `_StoppedError` where nobody wants them any more."""

    def tick() -> None:
        if stop.is_set():
            raise _StoppedError

    return decoded(video.file, video.line, video.numbers, Damage(), tick=tick)
