"""Videos, at once and as jobs, and the frames of a webcam."""

from __future__ import annotations

import asyncio
import base64
import signal
import tempfile
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from bench.service import jobs, refusals, videos
from bench.service.server import Server
from tests.support.drawn_service import Brightness, application, member, served
from tests.support.footage import write_video
from tests.support.pace import comes_true
from tests.support.service import asking, encoded, post


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, 40)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_frames_at_even_distances_and_the_score_of_all(clip: bytes, tmp_path: Path) -> None:
    files = {"file": ("../clip.mp4", clip)}
    content = post(application(), "/api/video/detect", files=files, data={"max_frames": "8"}).json()
    assert [each["frame"] for each in content["frame_results"]] == [0, 5, 10, 15, 20, 25, 30, 35]
    assert content["frame_results"][1]["seconds"] == pytest.approx(0.2)
    scores = [each["fake_probability"] for each in content["frame_results"]]
    assert content["overall_result"]["fake_probability"] == pytest.approx(np.mean(scores))
    assert content["processing_info"]["total_frames"] == 40
    assert content["processing_info"]["frames_processed"] == 8
    assert content["filename"] == "clip.mp4"
    assert content["shipped_with"] == "stable: AUC 0.9000"
    assert list(tmp_path.iterdir()) == [], "nothing is left of an upload"


@pytest.mark.parametrize(
    ("data", "form", "settings", "status", "words"),
    [
        (b"no video at all", {}, {}, 415, "can't be read"),
        (b"", {}, {}, 422, "empty"),
        (None, {"max_frames": "0"}, {}, 422, "from 1 to 300"),
        (None, {}, {"video_seconds": 1}, 413, "at most 1 seconds"),
        (None, {}, {"video_mib": 0.001}, 413, "larger than"),
        (None, {"variant": "q9"}, {}, 422, "q8"),
    ],
)
def test_what_is_refused(
    clip: bytes, data: bytes | None, form: Any, settings: Any, status: int, words: str, tmp_path: Path
) -> None:
    files = {"file": ("clip.mp4", clip if data is None else data)}
    response = post(application(**settings), "/api/video/detect", files=files, data=form)
    assert response.status_code == status, response.text
    assert words in response.json()["detail"]
    assert list(tmp_path.iterdir()) == []


def test_faces_are_needed_where_a_detector_judges_faces(clip: bytes) -> None:
    app = application(served(member("q8", Brightness(), crop="fsbi")))
    response = post(app, "/api/video/detect", files={"file": ("clip.mp4", clip)}, data={"max_frames": "3"})
    assert response.status_code == 422
    assert "no face was found in 3 frames" in response.json()["detail"]


def test_a_job_tells_how_far_it_is_and_shows_its_frames(clip: bytes, tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient) -> tuple[Any, list[httpx.Response]]:
        response = await client.post("/api/video/jobs", files={"file": ("a.mp4", clip)}, data={"max_frames": "4"})
        assert response.status_code == 202
        href = response.json()["href"]
        while (state := (await client.get(href)).json())["state"] in ("queued", "running"):
            await asyncio.sleep(0.02)
        shown = [await client.get(f"{href}/frames/{name}") for name in ("10", "10/heatmap", "11")]
        assert (await client.delete(href)).status_code == 204
        return state, [*shown, await client.get(href)]

    state, (frame, heatmap, missing, gone) = asking(application(), ask)
    assert state["state"] == "done", state
    assert (state["done"], state["total"]) == (4, 4)
    assert len(state["result"]["frame_results"]) == 4
    assert Image.open(BytesIO(frame.content)).size == Image.open(BytesIO(heatmap.content)).size == (320, 96)
    assert missing.status_code == gone.status_code == 404
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_job_ends_and_leaves_nothing(clip: bytes, tmp_path: Path) -> None:
    session = Brightness()
    session.go.clear()

    async def ask(client: httpx.AsyncClient) -> list[int]:
        hrefs = []
        for _ in range(2):
            response = await client.post("/api/video/jobs", files={"file": ("a.mp4", clip)})
            hrefs.append(response.json()["href"])
        refused = await client.post("/api/video/jobs", files={"file": ("a.mp4", clip)})
        session.go.set()
        codes = [(await client.delete(href)).status_code for href in hrefs]
        return [refused.status_code, *codes, (await client.get(hrefs[0])).status_code]

    assert asking(application(served(member("q8", session)), jobs=2), ask) == [503, 204, 204, 404]
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_fails_is_in_the_log_at_once(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(refusals._log, "error", lambda *what, exc_info: logged.append(exc_info))

    async def fails(*_: Any) -> Any:
        raise ZeroDivisionError("by the test")

    monkeypatch.setattr(videos, "detect", fails)

    async def ask(client: httpx.AsyncClient) -> dict[str, Any]:
        href = (await client.post("/api/video/jobs", files={"file": ("a.mp4", clip)})).json()["href"]
        while (state := (await client.get(href)).json())["state"] != "failed":
            await asyncio.sleep(0.01)
        assert [str(each) for each in logged] == ["by the test"]
        return dict(state)

    assert asking(application(), ask)["detail"].startswith("an error of the service itself")


def test_pictures_of_ended_jobs_are_forgotten_where_they_are_many(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(client: httpx.AsyncClient) -> list[int]:
        hrefs = []
        for _ in range(2):
            href = (await client.post("/api/video/jobs", files={"file": ("a.mp4", clip)})).json()["href"]
            while (state := (await client.get(href)).json())["state"] != "done":
                await asyncio.sleep(0.01)
            hrefs.append(f"{href}/frames/{state['result']['frame_results'][0]['frame']}")
            # Room for those of one job and a half: the latest keeps its own.
            shown = app.state.service.jobs.find(state["job"]).shown.values()
            monkeypatch.setattr(jobs, "_SHOWN_BYTES", 1.5 * sum(len(each.jpeg) for each in shown))
        return [(await client.get(href)).status_code for href in hrefs]

    app = application(cached_answers=0)
    assert asking(app, ask) == [404, 200]


def listening(app: Any) -> tuple[Server, threading.Thread, int]:
    """A server of its own that has started, the thread that it runs in, and its port."""
    server = Server(uvicorn.Config(app, port=0, log_level="critical"), app.state.service)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert comes_true(lambda: server.started, 20)
    return server, thread, server.servers[0].sockets[0].getsockname()[1]


def test_a_video_whose_client_has_left_is_not_gone_on_with(clip: bytes, tmp_path: Path) -> None:
    """The network is held back all the while: only who leaves can end the work."""
    session = Brightness()
    session.go.clear()
    server, thread, port = listening(application(served(member("q8", session)), allowed_hosts=("127.0.0.1",)))
    address = f"http://127.0.0.1:{port}"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{address}/api/video/detect", files={"file": ("a.mp4", clip)}, timeout=2)
    assert comes_true(lambda: not list(tmp_path.glob("bench-video-*")), 20)
    session.go.set()
    answer = httpx.post(f"{address}/api/video/detect", files={"file": ("a.mp4", clip)}, timeout=60)
    assert answer.status_code == 200
    assert 'status="499"' in httpx.get(f"{address}/metrics").text
    server.handle_exit(signal.SIGTERM, None)
    thread.join(30)
    assert not thread.is_alive()


def test_told_twice_it_ends_though_a_job_is_under_way(clip: bytes) -> None:
    session = Brightness()
    session.go.clear()
    app = application(served(member("q8", session)), allowed_hosts=("127.0.0.1",))
    server, thread, port = listening(app)
    httpx.post(f"http://127.0.0.1:{port}/api/video/jobs", files={"file": ("a.mp4", clip)}, timeout=60)
    server.handle_exit(signal.SIGTERM, None)
    assert not server.should_exit
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    assert server.force_exit
    session.go.set()
    thread.join(30)
    assert not thread.is_alive()


def test_told_to_end_it_finishes_its_jobs_and_they_can_be_asked_for(clip: bytes) -> None:
    """A service on a port of its own, held back until it has been told to end."""
    session = Brightness()
    session.go.clear()
    app = application(served(member("q8", session)), allowed_hosts=("127.0.0.1",))
    server, thread, port = listening(app)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        upload: dict[str, Any] = {"files": {"file": ("a.mp4", clip)}}
        href = client.post("/api/video/jobs", **upload).json()["href"]
        server.handle_exit(signal.SIGTERM, None)
        assert client.get(href).json()["state"] in ("queued", "running")
        refused, health = client.post("/api/video/jobs", **upload), client.get("/health")
        session.go.set()
        assert comes_true(lambda: client.get(href).json()["state"] == "done", 60)
    thread.join(60)
    assert not thread.is_alive()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    assert (health.status_code, health.json()["status"]) == (503, "ending")


def test_frames_of_a_webcam_as_bytes_and_as_text() -> None:
    from starlette.testclient import TestClient

    jpeg = encoded(np.full((48, 64, 3), 200, np.uint8), "JPEG")
    text = base64.b64encode(jpeg).decode()
    with (
        TestClient(application()) as client,
        client.websocket_connect("/api/video/webcam?faces=never") as socket,
    ):
        socket.send_bytes(jpeg)
        first = socket.receive_json()
        socket.send_text(f"data:image/jpeg;base64,{text}")
        second = socket.receive_json()
        socket.send_text("no base64!")
        third = socket.receive_json()
        socket.send_bytes(jpeg)
        assert socket.receive_json()["frame"] == 4
    assert first["prediction"] == "FAKE"
    assert first["fake_probability"] == second["fake_probability"]
    assert (first["frame"], second["frame"]) == (1, 2)
    assert (first["variant"], first["artifact"]["digest"]) == ("q8", "d" * 64)
    assert first["shipped_with"]
    assert set(third) == {"error"}


def test_a_webcam_needs_the_key_and_the_pages_own_origin() -> None:
    from starlette.testclient import TestClient, WebSocketDenialResponse

    key = "a-key-that-is-long-enough"
    refused = {"": ({}, 401), "?key=wrong": ({}, 401), f"?key={key}": ({"origin": "http://evil.example"}, 403)}
    with TestClient(application(api_keys=key)) as client:
        for query, (headers, status) in refused.items():
            with (
                pytest.raises(WebSocketDenialResponse) as caught,
                client.websocket_connect(f"/api/video/webcam{query}", headers=headers),
            ):
                pass
            assert caught.value.status_code == status
            assert set(caught.value.json()) == {"detail"}
        same = {"origin": "http://testserver"}
        with client.websocket_connect(f"/api/video/webcam?key={key}&variant=q9", headers=same) as socket:
            assert "q8" in socket.receive_json()["error"]
