"""The application: its addresses, its gate, and how errors become sentences."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from bench.errors import UserError, expected
from bench.inference.served import Served
from bench.provenance import version
from bench.service.engine import Engine
from bench.service.gate import Admission, Gate
from bench.service.jobs import Jobs
from bench.service.metrics import Metrics
from bench.service.rates import Rates
from bench.service.refusals import OWN_FAULT, RefusedError, as_json, as_refusal, of_disk
from bench.service.routes import about, detect, inference_v2, page, video, webcam
from bench.service.settings import ServiceSettings
from bench.service.state import OnPredicted, State


def create_app(
    experiment: str,
    served: Sequence[Served],
    settings: ServiceSettings,
    on_predicted: OnPredicted = lambda predicted: None,
) -> FastAPI:
    """The service of loaded variants, the first of them the default. Its threads end with the application.

    `on_predicted` hears of every answer, in the thread that answers: it must not wait for anything.
    """
    metrics, admission, rates = Metrics(), Admission(settings.queue), Rates(settings.rate)
    engine, jobs = Engine(served, settings, metrics), Jobs(settings.jobs, 60 * settings.job_minutes)
    metrics.watch("bench_requests_under_way", "Requests that are worked on or wait.", lambda: admission.under_way)
    metrics.watch("bench_frames_waiting", "Frames that wait for their batch.", lambda: engine.waiting)
    metrics.watch(
        "bench_worker_restarts", "Processes that computed, ended, and were started again.", lambda: engine.restarts
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await jobs.close()
        await run_in_threadpool(engine.close)

    app = FastAPI(
        title="bench", version=version("bench"), lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Calls pictures and videos fake or real, and says what its compression cost.",
    )  # fmt: skip
    app.state.service = State(experiment, engine, settings, metrics, admission, rates, jobs, on_predicted)
    for router in (each.router for each in (about, detect, video, webcam, inference_v2, page)):
        app.include_router(router)
    _say_errors(app)
    _guard(app, settings, metrics, admission, rates)
    return app


def _guard(app: FastAPI, settings: ServiceSettings, metrics: Metrics, admission: Admission, rates: Rates) -> None:
    """What a request passes first stands last."""
    app.add_middleware(Gate, settings=settings, metrics=metrics, admission=admission, rates=rates)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["X-API-Key", "Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )


def _say_errors(app: FastAPI) -> None:
    """Answer whatever goes wrong with a sentence."""

    def answered(request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        return JSONResponse(as_json(detail, request.url.path), status, headers)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return answered(request, error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if full := of_disk(error):
            return answered(request, full.status, full.detail, full.headers)
        return answered(request, error.status_code, _sentence(error), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answered(request, 422, "; ".join(map(_problem, error.errors()[:3])))

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> JSONResponse:
        return answered(request, 422, str(error))

    @app.exception_handler(MemoryError)
    async def no_memory(request: Request, error: MemoryError) -> JSONResponse:
        refused = as_refusal(error, "a request")
        return answered(request, refused.status, refused.detail, refused.headers)

    @app.exception_handler(OSError)
    async def disk(request: Request, error: OSError) -> JSONResponse:
        if full := of_disk(error):
            return answered(request, full.status, full.detail, full.headers)
        raise error

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        return answered(request, 500, OWN_FAULT)


_TEXTS = {
    404: "there is no such address here; /docs describes those that there are",
    405: "this address takes another method; /docs describes it",
    400: "the request can't be read; expected multipart/form-data as /docs describes it",
}


def _sentence(error: HTTPException) -> str:
    """A person's words for what Starlette says in two."""
    plain = error.detail in ("Not Found", "Method Not Allowed", "There was an error parsing the body")
    return _TEXTS.get(error.status_code, str(error.detail)) if plain else str(error.detail)


def _problem(problem: Any) -> str:
    """What is wrong with a field, without what was sent."""
    field = ".".join(str(part) for part in problem["loc"][1:]) or "the request"
    if problem["type"] == "missing":
        return f"{field}: is missing"
    return f"{field}: {expected(problem)}"
