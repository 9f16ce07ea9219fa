"""Clients of a service, for `18_serve.py`: each uploads one picture after another; prints what they were answered."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import httpx
import numpy as np


async def load(url: str, field: str, uploads: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Pictures a second, the 95th percentile of the time to an answer in ms, and how many requests failed."""
    times: list[float] = []
    failed = 0
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    form = {"faces": "never"} if field == "file" else {}
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:
        begin = time.perf_counter()

        async def ask(offset: int) -> None:
            """A client."""
            nonlocal failed
            index = offset
            while time.perf_counter() - begin < seconds:
                sent = time.perf_counter()
                files = {field: ("a.jpg", uploads[index % len(uploads)], "image/jpeg")}
                try:
                    response = await client.post(url, files=files, data=form)
                except httpx.HTTPError:
                    failed += 1
                    continue
                index += 1
                if response.status_code == 200:
                    times.append(time.perf_counter() - sent)
                else:
                    failed += 1

        await asyncio.gather(*(ask(7 * number) for number in range(clients)))
        took = time.perf_counter() - begin
    p95_ms = 1000 * float(np.percentile(times, 95)) if times else float("nan")
    return {"per_second": len(times) / took, "p95_ms": p95_ms, "failed": failed}


def main() -> None:
    """`clients.py URL FIELD FOLDER CLIENTS SECONDS`."""
    url, field, folder, clients, seconds = sys.argv[1:]
    uploads = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    print(json.dumps(asyncio.run(load(url, field, uploads, int(clients), float(seconds)))))


if __name__ == "__main__":
    main()
