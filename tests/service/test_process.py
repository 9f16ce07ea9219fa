"""A process of its own: how it starts, what takes it down (nothing), and how it ends."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from bench.provenance import file_digest
from tests.conftest import run_quickly
from tests.support import pace
from tests.support.command_line import bench
from tests.support.portraits import picture
from tests.support.served_process import serving
from tests.support.service import encoded

KEY = "a-key-that-is-long-enough"


def post(address: str, seed: int = 1, **arguments: object) -> httpx.Response:
    files = {"file": ("portrait.png", encoded(picture(seed, 160)))}
    return httpx.post(f"http://{address}/api/detect/image", files=files, timeout=60, **arguments)  # type: ignore[arg-type]


def test_a_client_that_leaves_in_mid_upload_takes_nothing_down(started: str) -> None:
    host, port = started.split(":")
    for _ in range(20):
        with socket.create_connection((host, int(port))) as leaving:
            leaving.sendall(
                b"POST /api/detect/image HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
                b'Content-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nabc'
            )
    assert post(started).status_code == 200


def test_malformed_requests_get_a_clear_answer(started: str) -> None:
    rng = np.random.default_rng(0)
    good = encoded(picture(1, 100))
    codes = set()
    with httpx.Client(base_url=f"http://{started}", timeout=60) as client:
        for index in range(200):
            data = bytearray(good[: rng.integers(1, len(good))] if index % 2 else good)
            data[int(rng.integers(0, len(data)))] ^= int(rng.integers(1, 256))
            response = client.post("/api/detect/image", files={"file": (f"{index}.png", bytes(data))})
            codes.add(response.status_code)
            assert response.status_code in (200, 413, 415, 422), response.text
            if response.status_code != 200:
                assert set(response.json()) == {"detail"}
    assert 422 in codes or 415 in codes
    assert post(started).status_code == 200


def test_it_ends_when_told_and_loses_no_request(finished: Path) -> None:
    with (
        serving(finished, "--variant", "q8", BENCH_CACHED_ANSWERS="0") as process,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        # Each upload is slow enough to be under way when the process is told to end.
        halves = [pool.submit(_slow_upload, process.address) for _ in range(4)]
        time.sleep(1)
        code = process.end(signal.SIGTERM)
        statuses = [half.result(60) for half in halves]
    assert statuses == [b"HTTP/1.1 200 OK"] * 4
    assert code in (0, -signal.SIGTERM), "".join(process.lines)


def _slow_upload(address: str) -> bytes:
    """The first line of the answer to an upload whose second half comes two seconds after the first."""
    data = encoded(picture(1, 160))
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + data + b"\r\n--x--\r\n"
    head = (
        f"POST /api/detect/image HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode() + body[:1000])
        time.sleep(2)
        connection.sendall(body[1000:])
        answer = b""
        while part := connection.recv(65536):
            answer += part
            if b"}" in part:
                break
    return answer.partition(b"\r\n")[0]


def test_keys_from_the_environment_and_what_it_says_at_its_start(finished: Path) -> None:
    with serving(finished, "--variant", "q8", BENCH_API_KEYS=KEY) as process:
        assert post(process.address).status_code == 401
        assert post(process.address, headers={"X-API-Key": KEY}).status_code == 200
        text = "".join(process.lines)
        assert "against the baseline" in text
        assert KEY not in text


def test_a_webcam_over_a_real_connection(started: str) -> None:
    from websockets.sync.client import connect
    from websockets.typing import Origin

    jpeg = encoded(picture(1, 160), "JPEG")
    with connect(f"ws://{started}/api/video/webcam?faces=never") as connection:
        for _ in range(3):
            connection.send(jpeg)
            assert '"fake_probability"' in str(connection.recv(timeout=60))
    with (
        pytest.raises(Exception, match="403"),
        connect(f"ws://{started}/api/video/webcam", origin=Origin("http://evil.example")),
    ):
        pass


def test_a_port_that_is_taken_is_named(finished: Path, started: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_quickly(monkeypatch)
    monkeypatch.chdir(finished)
    code, output = bench("serve", "--variant", "q8", "--port", started.rpartition(":")[2])
    assert code == 2
    assert "cannot be listened on" in output
    assert "--port" in output


def test_a_variant_that_ends_its_process_while_it_is_loaded_is_an_error(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_quickly(monkeypatch)
    monkeypatch.chdir(finished)
    monkeypatch.setattr("bench.inference.workers._serve", end_at_once)
    code, output = bench("serve", "--variant", "q8", "--port", "0")
    assert code == 2
    assert "a variant cannot be loaded" in output
    assert "is there memory enough?" in output


def end_at_once(*_: object) -> None:
    """What a system that is short of memory does to a process that loads a network."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_many_clients_at_once_are_all_answered(started: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda seed: post(started, seed).json(), range(32)))
    alone = [post(started, seed).json() for seed in range(4)]
    assert [each["fake_probability"] for each in alone] == pytest.approx(
        [each["fake_probability"] for each in answers[:4]], abs=1e-5
    )


@pytest.mark.skipif(os.name != "posix", reason="a process is killed by a signal")
def test_a_worker_that_is_killed_is_a_clear_error_and_is_started_again(finished: Path) -> None:
    with (
        serving(finished, "--variant", "q8", BENCH_CACHED_ANSWERS="0") as process,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        (worker,) = workers_of(process.process.pid)
        asked = [pool.submit(post, process.address, seed, data={"faces": "never"}) for seed in range(12)]
        os.kill(worker, signal.SIGKILL)
        answers = [each.result(pace.limit(120)) for each in asked]
        assert {each.status_code for each in answers} <= {200, 503}
        for each in answers:
            if each.status_code == 503:
                assert "was killed before it answered, and is started again" in each.json()["detail"]
                assert int(each.headers["retry-after"]) >= 1
        assert post(process.address).status_code == 200
        assert httpx.get(f"http://{process.address}/health", timeout=60).json()["status"] == "healthy"
        assert "bench_worker_restarts 1.0" in httpx.get(f"http://{process.address}/metrics", timeout=60).text
        (again,) = workers_of(process.process.pid)
        assert again != worker
        process.end()
    with pytest.raises(ProcessLookupError):
        os.kill(again, 0)


@pytest.mark.skipif(os.name != "posix", reason="a process is killed by a signal")
def test_an_idle_worker_that_is_killed_is_started_again_without_a_request(finished: Path) -> None:
    with serving(finished, "--variant", "q8", "--variant", "baseline") as process:
        before = workers_of(process.process.pid)
        os.kill(before[0], signal.SIGKILL)
        address = f"http://{process.address}"
        assert pace.comes_true(
            lambda: "bench_worker_restarts 1.0" in httpx.get(f"{address}/metrics", timeout=60).text, 60
        )
        assert httpx.get(f"{address}/health", timeout=60).status_code == 200
        assert httpx.get(f"{address}/v2/health/ready", timeout=60).status_code == 200
        after = workers_of(process.process.pid)
        assert len(after) == 2
        assert before[0] not in after
        assert before[1] in after
        process.end()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a process is killed by a signal")
def test_a_worker_is_not_started_again_with_another_artifact(finished: Path) -> None:
    with serving(finished, "--variant", "q8") as process:
        address = f"http://{process.address}"
        (variant,) = httpx.get(f"{address}/api/info", timeout=60).json()["variants"]
        (artifact,) = (
            file for file in (finished / "variants" / variant["id"]).iterdir() if file_digest(file) == variant["digest"]
        )
        content = artifact.read_bytes()
        artifact.write_bytes(content + b"\0")
        try:
            os.kill(workers_of(process.process.pid)[0], signal.SIGKILL)
            assert pace.comes_true(lambda: httpx.get(f"{address}/health", timeout=60).status_code == 503, 60)
            assert httpx.get(f"{address}/health", timeout=60).json()["status"] == "unhealthy"
            refused = post(process.address)
            assert refused.status_code == 503
            assert "cannot be started again now" in refused.json()["detail"]
            fault = f"expected the artifact that was loaded first (SHA-256 {variant['digest']})"
            assert pace.comes_true(lambda: fault in "".join(process.lines))
        finally:
            artifact.write_bytes(content)
        assert pace.comes_true(lambda: httpx.get(f"{address}/health", timeout=60).status_code == 200, 120)
        assert post(process.address).json()["artifact"]["digest"] == variant["digest"]
        process.end()


def workers_of(process: int) -> list[int]:
    """The processes that a service computes in."""
    import psutil

    commands = {child.pid: " ".join(child.cmdline()) for child in psutil.Process(process).children()}
    return [each for each, command in commands.items() if "spawn_main" in command]
