"""A service of tiny variants: a finished experiment in a folder, and the application that serves it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image

from bench.experiment import read
from bench.inference.served import Served
from bench.inference.serving import serve
from bench.records import silent
from bench.service.app import create_app
from bench.service.settings import ServiceSettings
from tests.conftest import write_workplace
from tests.support.command_line import bench
from tests.support.portraits import picture


def write_experiment(folder: Path) -> None:
    """Run a tiny experiment of three variants, portraits among its frames; the working folder must be `folder`.

    Beside them lie `wide.png`, a face in a larger picture, and `faceless.png`.
    """
    write_workplace(folder)
    text = (folder / "experiments.yaml").read_text().partition("      q32-p50")[0].replace("size: 32}", "size: 64}")
    (folder / "experiments.yaml").write_text(text)
    for seed, label in ((1, "real"), (2, "fake")):
        Image.fromarray(picture(seed, 160)).save(folder / f"faces/test/{label}/portrait.png")
    wide = np.full((240, 360, 3), 90, np.uint8)
    Image.fromarray(wide).save(folder / "faceless.png")
    wide[40:200, 100:260] = picture(3, 160)
    Image.fromarray(wide).save(folder / "wide.png")
    code, output = bench("run")
    assert code == 0, output


def served_of(folder: Path, *variants: str) -> tuple[Served, ...]:
    """The variants of that experiment, loaded."""
    settings = read(folder / "experiments.yaml").experiments["first"]
    return serve(folder, "first", settings, variants, silent)


def application(served: tuple[Served, ...], **settings: Any) -> FastAPI:
    return create_app("first", served, ServiceSettings(allowed_hosts=("test",), **settings))


def asking(app: FastAPI, ask: Any) -> Any:
    """What a coroutine function returns that is given a client of the application, which then ends."""

    async def asked() -> Any:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://test"))
            return await ask(client)

    return asyncio.run(asked())


def post(app: FastAPI, path: str, **arguments: Any) -> httpx.Response:
    """The answer to a single request of its own."""

    def ask(client: httpx.AsyncClient) -> Coroutine[Any, Any, httpx.Response]:
        return client.post(path, **arguments)

    response: httpx.Response = asking(app, ask)
    return response


def encoded(pixels: np.ndarray[Any, Any], form: str = "PNG", **options: Any) -> bytes:
    """A picture as the content of a file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()
