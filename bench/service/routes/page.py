"""The page and its files, which ask nobody but this service for anything."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from bench.service.refusals import RefusedError

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).parent.parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=()",
    "Cache-Control": "no-cache",
}


@router.get("/ui")
async def index() -> Response:
    return page("index.html")


@router.get("/docs")
async def docs() -> Response:
    """The addresses of the service for people, made of /openapi.json in the browser: nothing is fetched elsewhere."""
    return page("docs.html")


@router.get("/ui/{name}")
async def file(name: str) -> Response:
    """A file of the page, by its name alone."""
    return page(name)


def page(name: str) -> Response:
    """A file of the page with the headers of all; `RefusedError` where there is no such file."""
    path = FOLDER / name
    if path.suffix not in _TYPES or path.name != name or not path.is_file():
        raise RefusedError(404, "there is no such page here; /ui is the page, /docs describes the service")
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=_HEADERS)
