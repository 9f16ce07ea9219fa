"""A service of the page's contract without a detector: P(fake) is how red a picture is, errors come on demand."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Form, Header, HTTPException, Response, UploadFile, WebSocket
from fastapi.responses import FileResponse
from numpy.typing import NDArray
from PIL import Image

from bench.reports.pictures.overlay import shades
from tests.support import ROOT
from tests.support.pace import comes_true

PAGE = ROOT / "bench" / "service" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
SHIPPED = "stable: AUC 0.9678, -0.0005 (95 % -0.0020 to +0.0009) against the baseline"
VARIANTS = {"q8": 0.5, "baseline": 0.55}
"""Thresholds."""
LIMITS = {
    "upload_mib": 2, "megapixels": 1, "batch_images": 3, "video_mib": 4, "video_seconds": 20, "video_frames": 40,
}  # fmt: skip
MEMBERS = {"xception": 0.5, "b4": 0.3, "f3net": 0.2}
ENSEMBLE = {
    "combine": "mean", "minimum": 2, "failed": {"effort": "it failed in the run"},
    "members": [{"name": name, "weight": weight, "variant": "q8"} for name, weight in MEMBERS.items()],
}  # fmt: skip
SIDE = 64


@dataclass
class Behaviour:
    """What a test asks of the service, and what the service was asked."""

    key: str = ""
    ensemble: bool = False
    failures: dict[str, list[tuple[int, str, dict[str, str]]]] = field(default_factory=dict)
    """By the end of a path: status, sentence and headers of the next answers."""
    job_steps: int = 3
    """Polls until a video is done; one that is never done with a large number."""
    cancelled: list[str] = field(default_factory=list)
    uploads: list[dict[str, Any]] = field(default_factory=list)
    most_frames_waiting: int = 0
    webcam_error: str = ""

    def check(self, path: str, key: str | None) -> None:
        if self.key and key != self.key:
            raise HTTPException(401, "the API key is wrong: send it as X-API-Key")
        for end, answers in self.failures.items():
            if path.endswith(end) and answers:
                status, sentence, headers = answers.pop(0)
                raise HTTPException(status, sentence, headers)


def redness(pixels: NDArray[np.uint8]) -> float:
    red, _, blue = pixels.reshape(-1, 3).mean(0) + 1
    return float(red / (red + blue))


def encoded(pixels: NDArray[np.uint8], form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def heatmap(fake: bool) -> bytes:
    """A spot in the upper left, as PNG with opacity."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    spot = 2 * np.exp(-((rows - 24) ** 2 + (columns - 22) ** 2) / 200) - 0.3
    colour, alpha = shades(spot if fake else -spot, fake, 1.7, (SIDE, SIDE))
    return encoded(np.concatenate([colour, 255 * alpha], axis=2).round().astype(np.uint8), "PNG")


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _judgement(p_fake: float, variant: str) -> dict[str, Any]:
    fake = p_fake >= VARIANTS[variant]
    return {
        "prediction": "FAKE" if fake else "REAL",
        "confidence": p_fake if fake else 1 - p_fake,
        "fake_probability": p_fake,
        "threshold": VARIANTS[variant],
    }


def _sources(variant: str) -> dict[str, Any]:
    artifact = {"id": f"{variant}-0a1b2c", "digest": "9f" * 32, "runtime": "onnxruntime"}
    return {"variant": variant, "artifact": artifact, "shipped_with": SHIPPED}


def _vote(p_fake: float, variant: str, weight: float) -> dict[str, Any]:
    call = "FAKE" if p_fake >= VARIANTS[variant] else "REAL"
    return {"fake_prob": p_fake, "real_prob": 1 - p_fake, "prediction": call, "weight": weight}


def picture_answer(content: bytes, filename: str, variant: str, with_map: bool, ensemble: bool) -> dict[str, Any]:
    """Of a picture whose face is its middle half; 415 where it is none."""
    try:
        image = Image.open(io.BytesIO(content)).convert("RGB")
    except OSError:
        raise HTTPException(415, "the file is no picture; expected JPEG or PNG") from None
    pixels = np.asarray(image, dtype=np.uint8)
    height, width = pixels.shape[:2]
    box = [width // 4, height // 4, 3 * width // 4, 3 * height // 4]
    p_fake = max(0.0, redness(pixels) - (0.03 if variant == "baseline" else 0))
    judgement = _judgement(p_fake, variant)
    names = MEMBERS if ensemble else {"b5": 1.0}
    votes = {
        name: _vote(min(1.0, p_fake + 0.05 * index), variant, weight)
        for index, (name, weight) in enumerate(names.items())
    }
    crop = np.asarray(image.crop((box[0], box[1], box[2], box[3])).resize((SIDE, SIDE)), dtype=np.uint8)
    png = _text(heatmap(judgement["prediction"] == "FAKE")) if with_map else None
    agree = sum(vote["prediction"] == judgement["prediction"] for vote in votes.values())
    return {
        **judgement, **_sources(variant), "filename": filename, "real_probability": 1 - p_fake,
        "processing_time": 0.012, "face_detection_confidence": 0.98, "gradcam": None, "model_predictions": votes,
        "models_used": list(names), "models_failed": {}, "total_models": len(names), "device": "cpu",
        "faces": 2, "face_box": box, "judged": "face", "heatmap": png,
        "crop": _text(encoded(crop, "JPEG")) if with_map else None,
        "members_heatmaps": dict.fromkeys(names, png) if ensemble and png else None,
        "consensus": {"agree": agree, "of": len(votes)}, "cached": False,
    }  # fmt: skip


def video_answer(filename: str, variant: str, frames: int) -> dict[str, Any]:
    """Of a video whose P(fake) rises and falls."""
    scores = [0.5 + 0.4 * float(np.sin(index / 3)) - (0.05 if variant == "baseline" else 0) for index in range(frames)]
    results = [
        {
            "frame": 5 * index, "seconds": 0.2 * index, **_judgement(score, variant),
            "face_detection_confidence": 0.9, "model_predictions": {},
        }
        for index, score in enumerate(scores)
    ]  # fmt: skip
    overall = _judgement(float(np.mean(scores)), variant)
    share = float(np.mean([score >= VARIANTS[variant] for score in scores]))
    votes = {name: _vote(float(np.mean(scores)), variant, weight) for name, weight in MEMBERS.items()}
    work = {
        "total_frames": 5 * frames, "frames_processed": frames, "frames_without_face": 2, "processing_time": 1.2,
        "processing_fps": frames / 1.2,
    }  # fmt: skip
    return {
        "filename": filename, "frame_results": results, "overall_result": {
            **overall, "fake_frame_ratio": share, "model_predictions": votes, "consensus": {"agree": 3, "of": 3},
        },
        "processing_info": work, "threshold": VARIANTS[variant], **_sources(variant),
    }  # fmt: skip


def information(behaviour: Behaviour) -> dict[str, Any]:
    variants = [
        {
            "name": name, "id": f"{name}-0a1b2c", "digest": "9f" * 32, "runtime": "onnxruntime", "device": "cpu",
            "size_mib": 28.4, "threshold": threshold, "verdict": SHIPPED, "auc": 0.9678, "heatmap": True,
            "ensemble": ENSEMBLE if behaviour.ensemble else None,
        }
        for name, threshold in VARIANTS.items()
    ]  # fmt: skip
    return {
        "experiment": "made up", "version": "0.1.0", "default_variant": "q8", "variants": variants,
        "faces": "auto", "limits": LIMITS,
        "keys_required": bool(behaviour.key),
    }  # fmt: skip


Key = Annotated[str | None, Header(alias="X-API-Key")]


def create(behaviour: Behaviour) -> FastAPI:
    app = FastAPI()
    _add_page(app)
    _add_pictures(app, behaviour)
    _add_videos(app, behaviour)
    _add_webcam(app, behaviour)
    return app


def _add_page(app: FastAPI) -> None:
    headers = {"Content-Security-Policy": POLICY}

    @app.get("/")
    @app.get("/ui")
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers=headers)

    @app.get("/ui/{name}")
    def part(name: str) -> FileResponse:
        return FileResponse(PAGE / Path(name).name, headers=headers)


def _add_pictures(app: FastAPI, behaviour: Behaviour) -> None:
    @app.get("/api/info")
    def info() -> dict[str, Any]:
        return information(behaviour)

    @app.get("/metrics")
    def metrics(key: Key = None) -> str:
        behaviour.check("/metrics", key)
        return ""

    @app.post("/api/detect/image")
    async def image(
        file: UploadFile,
        variant: Annotated[str, Form()],
        faces: Annotated[str, Form()],
        generate_gradcam: Annotated[bool, Form()] = False,
        key: Key = None,
    ) -> dict[str, Any]:
        behaviour.check("/api/detect/image", key)
        behaviour.uploads.append({"variant": variant, "faces": faces, "heatmap": generate_gradcam})
        name = Path(file.filename or "").name
        return picture_answer(await file.read(), name, variant, generate_gradcam, behaviour.ensemble)

    @app.post("/api/detect/batch")
    async def batch(
        files: list[UploadFile], variant: Annotated[str, Form()], key: Key = None
    ) -> dict[str, list[dict[str, Any]]]:
        behaviour.check("/api/detect/batch", key)
        behaviour.uploads.append({"variant": variant, "files": [file.filename for file in files]})
        results = []
        for file in files:
            name = Path(file.filename or "").name
            try:
                results.append(picture_answer(await file.read(), name, variant, False, behaviour.ensemble))
            except HTTPException as error:
                results.append({"filename": name, "error": error.detail})
        return {"results": results}


def _add_videos(app: FastAPI, behaviour: Behaviour) -> None:
    jobs: dict[str, dict[str, Any]] = {}

    @app.post("/api/video/jobs", status_code=202)
    async def start(
        file: UploadFile, variant: Annotated[str, Form()], max_frames: Annotated[int, Form()], key: Key = None
    ) -> dict[str, str]:
        behaviour.check("/api/video/jobs", key)
        name = f"job{len(jobs)}"
        jobs[name] = {"polls": 0, "answer": video_answer(file.filename or "", variant, max_frames), "total": max_frames}
        return {"job": name, "href": f"/api/video/jobs/{name}"}

    @app.get("/api/video/jobs/{job}")
    def state(job: str, key: Key = None) -> dict[str, Any]:
        behaviour.check(f"/api/video/jobs/{job}", key)
        work = jobs[job]
        work["polls"] += 1
        done = work["polls"] >= behaviour.job_steps
        share = min(1.0, work["polls"] / behaviour.job_steps)
        return {
            "job": job, "state": "done" if done else "running" if work["polls"] > 1 else "queued",
            "done": int(share * work["total"]), "total": work["total"], "detail": None,
            "result": work["answer"] if done else None,
        }  # fmt: skip

    @app.delete("/api/video/jobs/{job}", status_code=204)
    def cancel(job: str) -> None:
        behaviour.cancelled.append(job)

    @app.get("/api/video/jobs/{job}/frames/{frame}")
    def frame(job: str, frame: int, key: Key = None) -> Response:
        behaviour.check(f"/api/video/jobs/{job}/frames/{frame}", key)
        shade = np.full((SIDE, SIDE, 3), min(255, 60 + frame), np.uint8)
        return Response(encoded(shade, "JPEG"), media_type="image/jpeg")

    @app.get("/api/video/jobs/{job}/frames/{frame}/heatmap")
    def map_of(job: str, frame: int, key: Key = None) -> Response:
        behaviour.check(f"/api/video/jobs/{job}/frames/{frame}/heatmap", key)
        return Response(heatmap(True), media_type="image/png")


def _add_webcam(app: FastAPI, behaviour: Behaviour) -> None:
    @app.websocket("/api/video/webcam")
    async def webcam(socket: WebSocket) -> None:
        """Frames are counted as they come: with one in flight, none waits while another is judged."""
        await socket.accept()
        if behaviour.key and socket.query_params.get("key") != behaviour.key:
            await socket.close(4401, "This service wants an API key.")
            return
        waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        received = judged = 0

        async def receive() -> None:
            nonlocal received
            while (message := await socket.receive())["type"] == "websocket.receive":
                received += 1
                waiting.put_nowait(message["bytes"])
            waiting.put_nowait(None)

        receiving = asyncio.create_task(receive())
        while (content := await waiting.get()) is not None:
            await asyncio.sleep(0.02)
            judged += 1
            behaviour.most_frames_waiting = max(behaviour.most_frames_waiting, received - judged)
            if behaviour.webcam_error:
                await socket.send_json({"error": behaviour.webcam_error})
                continue
            answer = picture_answer(content, "frame", socket.query_params["variant"], False, False)
            fields = ("prediction", "confidence", "fake_probability", "processing_time", "threshold", "face_box")
            await socket.send_json({name: answer[name] for name in fields})
        await receiving


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address of an application while it runs in a thread of this process."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert comes_true(lambda: server.started, 20), "the service did not start in time"
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
