"""Videos: answered at once, or as jobs with progress."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, File, Form, Request, Response, UploadFile

from bench.service import heatmaps, keeping, state, uploads, videos
from bench.service.answers import Accepted, JobState, VideoDetection
from bench.service.engine import Asked
from bench.service.jobs import Job
from bench.service.refusals import RefusedError
from bench.service.routes.detect import REFUSALS, Faces, Variant
from bench.service.state import State
from bench.service.videos import Shown, Video

T = TypeVar("T")
CLIENT_LEFT = 499
"""As nginx calls it; nobody reads it but `/metrics`."""
_LOOK_SECONDS = 0.5
router = APIRouter(prefix="/api/video", tags=["videos"])
Upload = Annotated[UploadFile, File(description="a video, told by its content")]
MaxFrames = Annotated[int, Form(description="frames that are judged, at even distances")]


@router.post("/detect", responses=REFUSALS)
async def detect(
    request: Request, file: Upload, max_frames: MaxFrames = 30, faces: Faces = "auto", variant: Variant = None
) -> VideoDetection:
    """Call a video fake or real, and each of its frames."""
    service = state.of(request)
    asked, video = service.engine.asked(variant, faces), await _stored(service, file, max_frames)
    try:
        answer = await _while_connected(request, _in_turn(service, video, asked))
        await _keep(service, video, answer)
        return answer
    finally:
        await asyncio.to_thread(video.remove)


async def _in_turn(service: State, video: Video, asked: Asked) -> VideoDetection:
    async with service.jobs.at_once:
        return await videos.detect(service, video, asked)


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What comes of `work`, which ends where its client has left: `RefusedError`."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=_LOOK_SECONDS)
            if not task.done() and await request.is_disconnected():
                raise RefusedError(CLIENT_LEFT, "the client has left")
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


@router.post("/jobs", responses=REFUSALS, status_code=202)
async def start(
    request: Request, file: Upload, max_frames: MaxFrames = 30, faces: Faces = "auto", variant: Variant = None
) -> Accepted:
    """Take on a video; its address tells how far it is."""
    service = state.of(request)
    service.admission.refuse_while_ending()  # which it may be since the upload began
    service.jobs.refuse_more()
    asked, video = service.engine.asked(variant, faces, shown=True), await _stored(service, file, max_frames)
    try:
        job = service.jobs.start(partial(_work, service, video, asked), len(video.numbers), video.remove)
    except RefusedError:
        video.remove()
        raise
    return Accepted(job=job.name, href=f"/api/video/jobs/{job.name}")


@router.get("/jobs/{job}", responses=REFUSALS)
async def progress(request: Request, job: str) -> JobState:
    """Say how far a job is, and what came of it."""
    asked = state.of(request).jobs.find(job)
    asked.collected = asked.ended
    return asked.as_state()


@router.delete("/jobs/{job}", responses=REFUSALS, status_code=204)
async def cancel(request: Request, job: str) -> None:
    """End a job and forget it."""
    await state.of(request).jobs.cancel(job)


@router.get("/jobs/{job}/frames/{frame}", response_class=Response)
async def frame(request: Request, job: str, frame: int) -> Response:
    """Show what was judged of a frame, as JPEG."""
    return Response(_shown(request, job, frame).jpeg, media_type="image/jpeg")


@router.get("/jobs/{job}/frames/{frame}/heatmap", response_class=Response)
async def heatmap(request: Request, job: str, frame: int) -> Response:
    """Show where the evidence in a frame lies, as PNG with transparency, to lie over it."""
    shown = _shown(request, job, frame)
    if shown.cam is None:
        raise RefusedError(404, "this variant has no heatmaps")
    drawn = partial(heatmaps.alone, shown.cam, shown.fake, shown.size)
    picture = await state.of(request).engine.prepared(lambda: heatmaps.png(drawn()))
    return Response(picture, media_type="image/png")


def _shown(request: Request, job: str, frame: int) -> Shown:
    shown = state.of(request).jobs.find(job).shown.get(frame)
    if shown is None:
        raise RefusedError(404, "this frame was not judged, not yet, or its picture is kept no longer")
    return shown


async def _stored(service: State, file: UploadFile, max_frames: int) -> Video:
    """The upload in a file, its frames chosen."""
    settings = service.settings
    if not 1 <= max_frames <= settings.video_frames:
        raise RefusedError(422, f"max_frames: expected a number from 1 to {settings.video_frames}, found {max_frames}")
    if not file.size:
        raise RefusedError(422, "the file is empty; expected a video")
    if file.size > settings.video_mib * 2**20:
        raise RefusedError(413, f"the video is larger than {settings.video_mib:g} MiB; send a part of it")
    name = uploads.clean_name(file.filename)
    return await asyncio.to_thread(videos.stored, file.file, name, max_frames, settings.video_seconds)


async def _work(service: State, video: Video, asked: Asked, job: Job) -> VideoDetection:
    """What a job does."""

    def progress(done: int) -> None:
        job.done = done

    answer = await videos.detect(service, video, asked, job.shown.__setitem__, progress)
    await _keep(service, video, answer)
    return answer


async def _keep(service: State, video: Video, answer: VideoDetection) -> None:
    if service.settings.keep is not None:
        await asyncio.to_thread(keeping.keep_file, service.settings.keep, video.file, answer)
