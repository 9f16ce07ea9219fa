"""One picture, or several."""

from __future__ import annotations

import asyncio
from functools import partial
from hashlib import sha256
from time import perf_counter
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile

from bench.service import heatmaps, keeping, state, uploads
from bench.service.answers import Batch, Consensus, Detection, Failed, Refusal
from bench.service.engine import Asked, Judged
from bench.service.gate import CLIENT
from bench.service.heatmaps import Pictures, pictures
from bench.service.refusals import RefusedError, as_refusal
from bench.service.state import Predicted, State, called, confidence

router = APIRouter(prefix="/api/detect", tags=["pictures"])
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal} for status in (401, 413, 415, 422, 429, 500, 503, 507)
}
_AT_ONCE = 8
"""Pictures of one batch that are worked on at a time: others' requests come in between."""

Faces = Annotated[str, Form(description="auto, always or never: whether the face is cut out first")]
Variant = Annotated[str | None, Form(description="one of those that are served; the first if left out")]


@router.post("/image", responses=REFUSALS)
async def image(
    request: Request,
    file: Annotated[UploadFile, File(description="a picture, told by its content")],
    generate_gradcam: Annotated[bool, Form()] = False,
    heatmap: Annotated[bool, Form()] = False,
    faces: Faces = "auto",
    variant: Variant = None,
) -> Detection:
    """Call a picture fake or real."""
    service = state.of(request)
    return await detect(service, file, service.engine.asked(variant, faces, shown=heatmap or generate_gradcam))


@router.post("/batch", responses=REFUSALS)
async def batch(
    request: Request,
    files: Annotated[list[UploadFile], File(description="pictures")],
    faces: Faces = "auto",
    variant: Variant = None,
) -> Batch:
    """Call each of several pictures fake or real. One that can't be judged has an error in its place."""
    service = state.of(request)
    asked, most = service.engine.asked(variant, faces), service.settings.batch_images
    if len(files) > most:
        raise RefusedError(422, f"{len(files)} pictures in a request; expected at most {most}")
    service.rates.take(request.scope[CLIENT], len(files) - 1, of=len(files))  # the request counted as one
    turns, refused = asyncio.Semaphore(_AT_ONCE), list[RefusedError]()

    async def of_one(file: UploadFile) -> Detection | Failed:
        async with turns:
            try:
                return await detect(service, file, asked)
            except Exception as error:
                refused.append(as_refusal(error, "a picture of a batch"))
                return Failed(filename=uploads.clean_name(file.filename), error=refused[-1].detail)

    results = await asyncio.gather(*map(of_one, files))
    judged = [each for each in results if isinstance(each, Detection)]
    if refused and not judged and all(each.status >= 500 for each in refused):
        raise refused[0]  # no picture is to blame: the whole batch may be sent again
    fake = sum(each.prediction == "FAKE" for each in judged)
    return Batch(
        results=list(results),
        total=len(results),
        fake_count=fake,
        real_count=len(judged) - fake,
        error_count=len(results) - len(judged),
        average_confidence=sum(each.confidence for each in judged) / len(judged) if judged else None,
    )


async def detect(service: State, file: UploadFile, asked: Asked) -> Detection:
    """The answer to an upload, from the cache where the same was asked before."""
    begin = perf_counter()
    data = await uploads.read(file, service.settings.upload_mib)
    name = uploads.clean_name(file.filename)
    key = (sha256(data).digest(), asked.served.name, asked.faces, asked.shown)
    if (cached := service.cache.get(key)) is not None:
        service.metrics.cached()
        seconds = perf_counter() - begin
        return cached.model_copy(update={"filename": name, "cached": True, "processing_time": seconds})
    judged = await service.engine.judge_upload(data, asked)
    drawn = await service.engine.prepared(partial(_drawn, judged, asked)) if asked.shown else None
    seconds = perf_counter() - begin
    answer = _answer(judged, asked, drawn, name, seconds)
    if service.settings.keep is not None:
        await service.engine.prepared(partial(keeping.keep, service.settings.keep, data, answer))
    service.predicted(Predicted("image", asked.served, judged.p_fake, judged.by_member, seconds, name, judged.agree))
    if not answer.models_failed.keys() - asked.served.failed.keys():
        service.cache.put(key, answer, len(answer.model_dump_json()) if asked.shown else 1024)
    return answer


def _drawn(judged: Judged, asked: Asked) -> Pictures:
    served = asked.served
    maps = heatmaps.placed(served, judged)
    joint = heatmaps.joint(served, judged, maps)
    by_member = {name: cam for name, cam in maps.items() if cam is not None}
    fake = called(judged.p_fake, served.threshold) == "FAKE"
    assert judged.shown is not None
    return pictures(judged.shown, joint, by_member, fake)


def _answer(judged: Judged, asked: Asked, drawn: Pictures | None, name: str, seconds: float) -> Detection:
    """What is answered of a picture, which took so many seconds."""
    served, votes = asked.served, state.votes(judged, asked.served)
    prediction, face = called(judged.p_fake, served.threshold), judged.face
    return Detection(
        filename=name,
        prediction=prediction,
        confidence=confidence(judged.p_fake, served.threshold),
        fake_probability=judged.p_fake,
        real_probability=1 - judged.p_fake,
        processing_time=seconds,
        face_detection_confidence=face.score if face else None,
        gradcam=drawn.overlay if drawn else None,
        model_predictions=votes,
        models_used=list(votes),
        models_failed=dict(judged.failed),
        total_models=len(served.members) + len(served.failed),
        device=served.members[0].judge.device,
        threshold=served.threshold,
        variant=served.name,
        artifact=state.artifact(served),
        shipped_with=served.verdict,
        faces=judged.faces,
        face_box=face.box if face else None,
        judged=judged.what,
        crop=drawn.crop if drawn else None,
        heatmap=drawn.heatmap if drawn else None,
        members_heatmaps=drawn.by_member if drawn and served.is_ensemble else None,
        consensus=Consensus(agree=judged.agree, of=len(votes)),
    )
