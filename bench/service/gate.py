"""What a request passes before anything of it is read: hosts and origins, keys, rates, the queue, and its size."""

from __future__ import annotations

import hmac
import json
from asyncio import wait_for
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException

from bench.service.metrics import Metrics
from bench.service.rates import Rates
from bench.service.refusals import RefusedError
from bench.service.settings import LOCAL, ServiceSettings

_MIB = 2**20
_FORM_BYTES = 64 * 1024
"""Of a request beside its files."""
_HEALTH = ("/health", "/v2/health/live", "/v2/health/ready")
_OPEN = ("/", "/api/info", "/docs", "/openapi.json", "/v2", *_HEALTH)
_READING = ("GET", "HEAD", "OPTIONS")
_MOST_DIGITS = 18
_WORKING = ("/api/detect/", "/api/video/", "/v2/models/")
_JSON_BYTES = 64 * _MIB
_LEAST_BYTES_A_SECOND = 16 * 1024
"""Slower uploads are given up, so that nobody holds places by sending next to nothing."""
CLIENT = "bench.client"
"""Of a request's scope: whom its rate is counted for."""
_UPLOADS_A_PLACE = 2
"""So many uploads may be coming for each place in the queue: they wait for their clients, not for the service."""


@dataclass
class Admission:
    """Requests that are worked on or wait, uploads that are still coming, and whether the service is ending."""

    most: int
    under_way: int = 0
    coming: int = 0
    seconds_each: float = 0.1
    ending: bool = False

    @property
    def retry_after(self) -> int:
        """Seconds after which it is worth asking again."""
        return max(1, round(self.under_way * self.seconds_each))

    @contextmanager
    def upload(self) -> Iterator[None]:
        """An upload that is coming; `RefusedError` where no more of them are taken, or the service is ending."""
        self.refuse_while_ending()
        if self.under_way >= self.most or self.coming >= _UPLOADS_A_PLACE * self.most:
            raise self._full()
        self.coming += 1
        try:
            yield
        finally:
            self.coming -= 1

    def refuse_while_ending(self) -> None:
        """Raise `RefusedError` where the service is ending."""
        if self.ending:
            raise RefusedError(503, "the service is ending; ask again when it is back", 30)

    def _full(self) -> RefusedError:
        return RefusedError(503, "the service is busy, its queue is full; ask again later", self.retry_after)

    @contextmanager
    def turn(self, *, has_come: bool = False) -> Iterator[None]:
        """A request under way; `RefusedError` where there are as many as may be, or the service is ending.

        An upload that `has_come` was taken on before: it is answered though the service ends.
        """
        if not has_come:
            self.refuse_while_ending()
        if self.under_way >= self.most:
            raise self._full()
        begin = perf_counter()
        self.under_way += 1
        try:
            yield
        finally:
            seconds = (perf_counter() - begin) / self.under_way
            self.seconds_each += 0.1 * (seconds - self.seconds_each)
            self.under_way -= 1


class Gate:
    """ASGI middleware that refuses early, so that what is refused costs nothing."""

    def __init__(
        self, app: Any, settings: ServiceSettings, metrics: Metrics, admission: Admission, rates: Rates
    ) -> None:
        self._app, self._settings, self._metrics, self._admission = app, settings, metrics, admission
        self._rates = rates
        self._keys = settings.keys
        self._hosts = settings.allowed_hosts or (LOCAL if settings.is_local else ())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let a request pass, or answer why not; either is counted."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path, begin, status = scope["path"], perf_counter(), [500]

        async def sent(message: Any) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status[0] = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, sent, path)
        except RefusedError as refused:
            await _refuse(scope, receive, sent, refused)
        finally:
            route = scope.get("route")
            called = getattr(route, "path", None) or ("other" if path not in _OPEN else path)
            if scope["type"] == "http":
                self._metrics.answered(called, status[0], perf_counter() - begin)

    async def _pass(self, scope: Any, receive: Any, send: Any, path: str) -> None:
        """Raises `RefusedError` where a request may not pass."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if path not in _HEALTH:  # which a container's own check asks, by whatever name
            self._check_host(headers.get("host", ""))
        if scope["type"] == "websocket" or scope["method"] not in _READING:
            self._check_origin(headers)
        if path in _OPEN or path.startswith("/ui") or scope.get("method") == "OPTIONS":
            await self._app(scope, self._limited(receive, headers, path), send)
            return
        scope[CLIENT] = self._check_key(scope, headers) or _address(scope)
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)  # which counts its frames
            return
        if scope["method"] != "POST" or not path.startswith(_WORKING):
            await self._app(scope, self._limited(receive, headers, path), send)
            return
        self._rates.take(scope[CLIENT])
        with ExitStack() as turn:
            if path.startswith("/v2/"):  # whose bodies lie in memory while they come
                turn.enter_context(self._admission.turn())
                await self._app(scope, self._limited(receive, headers, path), send)
                return
            coming = turn.enter_context(ExitStack())
            coming.enter_context(self._admission.upload())

            def whole() -> None:
                """A place in the queue is taken once there is something to work on."""
                coming.close()
                try:
                    turn.enter_context(self._admission.turn(has_come=True))
                except RefusedError as refused:
                    raise HTTPException(refused.status, refused.detail, refused.headers) from refused

            await self._app(scope, self._limited(receive, headers, path, whole), send)

    def _check_key(self, scope: Any, headers: dict[str, str]) -> str:
        """The key of a request, empty where none is needed. `RefusedError` where it is missing or wrong."""
        if not self._keys:
            return ""
        given = headers.get("x-api-key", "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given = given or token.strip()
        if scope["type"] == "websocket":
            given = given or parse_qs(scope["query_string"].decode("latin-1")).get("key", [""])[0]
        guesses = f"wrong keys of {_address(scope)}"
        self._rates.refuse_used_up(guesses)
        # Every key is compared, each in constant time, so that time tells nothing of them.
        matches = [hmac.compare_digest(given.encode(), key.encode()) for key in self._keys]
        if not any(matches):
            if given:
                self._rates.take(guesses)
            what = "the API key is wrong" if given else "this service needs an API key"
            raise RefusedError(401, f"{what}: send it as X-API-Key, or as Authorization: Bearer")
        return given

    def _check_host(self, host: str) -> None:
        """A page elsewhere could have a name of its own lead to this machine, and read what is served to it alone."""
        try:
            name = urlsplit(f"//{host}").hostname if "[" in host else host.partition(":")[0].lower()
        except ValueError:
            name = None
        if self._hosts and name not in self._hosts:
            raise RefusedError(421, "this service is not called so; --allowed-hosts lets further names in")

    def _check_origin(self, headers: dict[str, str]) -> None:
        """Browsers let every page open a WebSocket and send forms: pages of other origins are refused here."""
        origin = headers.get("origin")
        if origin is None or origin in self._settings.cors_origins or "*" in self._settings.cors_origins:
            return
        try:
            is_own = urlsplit(origin).netloc == headers.get("host")
        except ValueError:
            is_own = False
        if not is_own:
            raise RefusedError(403, "this page is of another origin; --cors-origins lets it in")

    def _limited(
        self, receive: Any, headers: dict[str, str], path: str, whole: Callable[[], None] = lambda: None
    ) -> Callable[[], Any]:
        """`receive`, until it has given more than such a request may have, or nothing, or too little, for too long.

        `whole` is called when all has come.
        """
        most, what = self._most_bytes(path)
        length = header_length(headers.get("content-length", ""))
        if length is not None and length > most:
            raise RefusedError(413, f"the request is larger than {what}, the limit of this service")
        given, ended, begun = 0, False, monotonic()

        async def receive_limited() -> Any:
            """Raises `HTTPException`, which Starlette hands on while it reads a form."""
            nonlocal given, ended
            try:
                message = await (receive() if ended else wait_for(receive(), self._settings.idle_seconds))
                seconds = monotonic() - begun - self._settings.idle_seconds
                if not ended and given < seconds * _LEAST_BYTES_A_SECOND:
                    raise TimeoutError
            except TimeoutError:
                raise HTTPException(408, "the rest of the upload did not come in time; send it again") from None
            was_ended, ended = ended, message["type"] != "http.request" or not message.get("more_body", False)
            if message["type"] == "http.request":
                given += len(message.get("body", b""))
                if given > most:
                    raise HTTPException(413, f"the request is larger than {what}, the limit of this service")
                if ended and not was_ended:
                    whole()
            return message

        return receive_limited

    def _most_bytes(self, path: str) -> tuple[int, str]:
        """How large a request may be, and that in words."""
        settings = self._settings
        if path.startswith("/api/video/"):
            return round(settings.video_mib * _MIB) + _FORM_BYTES, f"{settings.video_mib:g} MiB"
        if path == "/api/detect/batch":
            mib = settings.upload_mib * settings.batch_images
            return round(mib * _MIB) + _FORM_BYTES * settings.batch_images, f"{mib:g} MiB"
        if path.startswith("/v2/models/"):
            return _JSON_BYTES, f"{_JSON_BYTES // _MIB} MiB"
        return round(settings.upload_mib * _MIB) + _FORM_BYTES, f"{settings.upload_mib:g} MiB"


def header_length(text: str) -> int | None:
    """A length as a header gives it; None where it is no number. One of very many digits is more than any limit."""
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text) if len(text) <= _MOST_DIGITS else 10**_MOST_DIGITS


def _address(scope: Any) -> str:
    return str((scope.get("client") or ("unknown", 0))[0])


async def _refuse(scope: Any, receive: Any, send: Any, refused: RefusedError) -> None:
    """Answer with the sentence. The rest of an upload is not read: the connection is closed."""
    if scope["type"] == "websocket":
        await receive()
        extensions = scope.get("extensions") or {}
        if "websocket.http.response" not in extensions:
            await send({"type": "websocket.close", "code": 1008, "reason": refused.detail[:120]})
            return
    prefix = "websocket." if scope["type"] == "websocket" else ""
    body = json.dumps(refused.body(scope["path"])).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refused.status in (401, 413, 421, 429, 503):
        headers["connection"] = "close"
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": f"{prefix}http.response.start", "status": refused.status, "headers": encoded})
    await send({"type": f"{prefix}http.response.body", "body": body})
