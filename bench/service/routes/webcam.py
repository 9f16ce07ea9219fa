"""A webcam: frames come one by one over a WebSocket, and each is answered before the next is read."""

from __future__ import annotations

import base64
import binascii
from time import perf_counter
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from bench.service import state
from bench.service.answers import Consensus, WebcamAnswer
from bench.service.engine import Asked
from bench.service.gate import CLIENT
from bench.service.refusals import RefusedError, as_refusal
from bench.service.state import Predicted, State, called, confidence

router = APIRouter()


@router.websocket("/api/video/webcam")
async def webcam(socket: WebSocket, variant: str | None = None, faces: str | None = None) -> None:
    """Answer each frame, binary or base64 text, with JSON."""
    service = state.of(socket)
    await socket.accept()
    try:
        asked = service.engine.asked(variant, faces)
    except RefusedError as refused:
        await socket.send_json({"error": refused.detail})
        await socket.close(1008)
        return
    count = 0
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            count += 1
            await socket.send_json(await _answered(service, message, asked, count, socket.scope[CLIENT]))
    except WebSocketDisconnect:
        return


async def _answered(service: State, message: Any, asked: Asked, count: int, client: str) -> dict[str, Any]:
    """The answer to a message, the `count`th of a client, or why there is none."""
    begin = perf_counter()
    try:
        data = _frame(message, service.settings.upload_mib)
        service.rates.take(client)
        with service.admission.turn():
            judged = await service.engine.judge_upload(data, asked)
    except Exception as error:
        return {"error": as_refusal(error, "a frame of a webcam").detail}
    threshold = asked.served.threshold
    answer = WebcamAnswer(
        prediction=called(judged.p_fake, threshold),
        confidence=confidence(judged.p_fake, threshold),
        fake_probability=judged.p_fake,
        processing_time=perf_counter() - begin,
        threshold=threshold,
        face_box=judged.face.box if judged.face else None,
        model_predictions=state.votes(judged, asked.served),
        models_failed=dict(judged.failed),
        consensus=Consensus(agree=judged.agree, of=len(judged.by_member)),
        frame=count,
        variant=asked.served.name,
        artifact=state.artifact(asked.served),
        shipped_with=asked.served.verdict,
    )
    seconds, by_member = answer.processing_time, judged.by_member
    service.predicted(Predicted("webcam", asked.served, judged.p_fake, by_member, seconds, agree=judged.agree))
    return answer.model_dump()


def _frame(message: Any, most_mib: float) -> bytes:
    """The picture in a message; `RefusedError` where its text is no base64, or it is too large."""
    data: bytes | None = message.get("bytes")
    if data is None:
        text = str(message.get("text") or "")
        if text.startswith("data:"):
            text = text.partition(",")[2]
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RefusedError(422, "the text is no base64; expected a frame as JPEG") from error
    if not data:
        raise RefusedError(422, "the frame is empty; expected a JPEG")
    if len(data) > most_mib * 2**20:
        raise RefusedError(413, f"the frame is larger than {most_mib:g} MiB")
    return data
