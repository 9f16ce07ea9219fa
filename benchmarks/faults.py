"""What goes wrong around a service, for `18_serve.py`: each fault, and the statuses that came of it."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

MALFORMED = 1000


def malformed(url: str, uploads: Path) -> list[tuple[int, int]]:
    """The statuses of damaged uploads, by how often each came."""
    import httpx

    rng, counts = random.Random(0), dict[int, int]()
    good = next(uploads.iterdir()).read_bytes()
    with httpx.Client(timeout=60) as client:
        for index in range(MALFORMED):
            data = bytearray(good[: rng.randrange(1, len(good))])
            data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
            body: dict[str, Any] = {"files": {"file": ("x.jpg", bytes(data))}}
            if index % 3 == 0:
                body = {"content": bytes(data), "headers": {"content-type": "multipart/form-data; boundary=x"}}
            code = client.post(url, **body).status_code
            counts[code] = counts.get(code, 0) + 1
    return sorted(counts.items())


def killed(url: str, uploads: Path, pid: int) -> list[tuple[int, int]]:
    """The statuses of requests that are under way while the process that computes is killed."""
    import httpx
    import psutil

    contents = [path.read_bytes() for path in sorted(uploads.iterdir())[:16]]
    with ThreadPoolExecutor(16) as pool, httpx.Client(timeout=120, limits=httpx.Limits(max_connections=16)) as client:

        def ask(content: bytes) -> int:
            return client.post(url, files={"file": ("a.jpg", content)}, data={"faces": "never"}).status_code

        asked = [pool.submit(ask, content) for content in contents]
        time.sleep(0.02)
        for child in psutil.Process(pid).children():
            if "spawn_main" in " ".join(child.cmdline()):  # not the tracker of multiprocessing
                child.kill()
        return sorted(Counter(each.result() for each in asked).items())


def full_disk(serving: Callable[..., AbstractContextManager[tuple[str, object]]], uploads: Path) -> list[list[str]]:
    """What a service answers that has no room for an upload, and that it goes on."""
    import httpx

    good = next(uploads.iterdir()).read_bytes()
    with tempfile.TemporaryDirectory() as small:
        mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
                 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"', small]  # fmt: skip
        if not shutil.which("unshare") or subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
            return [["a full disk", "not tried: this system lets nobody mount one"]]
        with serving(inside=mount, TMPDIR=small) as (address, _), httpx.Client(timeout=120) as client:
            statuses = [
                client.post(f"{address}/api/{path}", files={"file": ("a", good + bytes(4 * 2**20))}).status_code
                for path in ("detect/image", "video/detect", "video/jobs")
            ]
            fine = client.post(f"{address}/api/detect/image", files={"file": ("a", good)}, data={"faces": "never"})
    return [
        ["a full disk: a picture, a video, a job", ", ".join(map(str, statuses))],
        ["afterwards", f"{fine.status_code}"],
    ]


def leave(url: str) -> list[tuple[int, int]]:
    """Clients that leave in the middle of what they send; nobody hears an answer."""
    host, port = url.split("/")[2].split(":")
    for _ in range(100):
        with socket.create_connection((host, int(port))) as leaving:
            leaving.sendall(
                b"POST /api/detect/image HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\nContent-Disposition: form-data; "
                b'name="file"; filename="a.jpg"\r\n\r\nabc'
            )
    return []
