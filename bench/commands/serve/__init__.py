"""`bench serve`: variants of a finished experiment over HTTP."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.experiment import ExperimentSettings
from bench.files import unwritable_above
from bench.records import OnEvent, TrackedPrediction, class_of, silent

if TYPE_CHECKING:
    from fastapi import FastAPI

    from bench.inference.served import Served
    from bench.service.settings import ServiceSettings
    from bench.service.state import Predicted
    from bench.tracking.predictions import PredictionLog


@dataclass(frozen=True)
class Service:
    """A service with its variants loaded and its port taken; `log` has its answers logged, None where nothing has."""

    app: FastAPI
    served: tuple[Served, ...]
    settings: ServiceSettings
    socket: socket.socket
    log: PredictionLog | None = None


@dataclass(frozen=True)
class Options:
    """What is served, by its names on the command line, and whether answers are logged."""

    variants: tuple[str, ...] = ()
    ensemble: str | None = None
    track: bool = False


def prepared(
    base: Path,
    name: str,
    settings: ExperimentSettings,
    options: Options,
    flags: Mapping[str, Any],
    on_event: OnEvent = silent,
) -> Service:
    """Load the variants and take the port. Raises `UserError` before anything is loaded where a setting is wrong."""
    _refuse_missing_packages()
    from bench.service.app import create_app
    from bench.service.settings import read_settings, set_trackers_variables

    of_service = read_settings(Path.cwd(), **flags)
    _ = of_service.keys
    if of_service.keep is not None:
        _refuse_unwritable(of_service.keep)
    if options.track:
        set_trackers_variables(Path.cwd())
    log = _log(base, name, settings) if options.track else None
    listening = _socket(of_service.host, of_service.port)
    try:
        from bench.inference.serving import serve
        from bench.inference.workers import WorkerLostError, WorkerSession

        try:
            served = serve(base, name, settings, options.variants, on_event, options.ensemble, WorkerSession)
            _warm_up(served)
        except WorkerLostError as error:
            raise UserError(f"a variant cannot be loaded: {error}; is there memory enough?") from error
        listener = partial(tell, log) if log else _untold
        return Service(create_app(name, served, of_service, listener), served, of_service, listening, log)
    except BaseException:
        listening.close()
        raise


def listen(service: Service, say: Callable[[str], None]) -> None:
    """Answer until the process is interrupted or told to end; what was taken on is done first."""
    import uvicorn

    from bench.inference.workers import WorkerSession
    from bench.service.server import Server

    settings = service.settings
    # It has a line for every malformed upload, which is the uploader's matter.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    for line in _opening(service):
        say(line)
    config = uvicorn.Config(
        service.app,
        log_level="warning",
        access_log=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        server_header=False,
        ws_max_size=round(1.4 * settings.upload_mib * 2**20),  # base64 takes a third more
        timeout_graceful_shutdown=round(settings.shutdown_seconds),
        timeout_keep_alive=30,
    )
    with suppress(KeyboardInterrupt):  # which is how it is told to end, and has ended by now
        Server(config, service.app.state.service).run(sockets=[service.socket])
    for member in (member for each in service.served for member in each.members):
        if isinstance(member.session, WorkerSession):
            member.session.close()
    if service.log is not None:
        service.log.close()


def _log(base: Path, name: str, settings: ExperimentSettings) -> PredictionLog:
    """What logs answers where the experiment's runs are logged; `UserError` where they are logged nowhere."""
    from bench.tracking.predictions import prediction_log

    if not settings.tracking:
        raise UserError(f"--track: {name} names no tracker; `tracking: {{mlflow: sqlite:///mlruns.db}}` does")
    return prediction_log(dict(settings.tracking), name, base)


def tell(log: PredictionLog, predicted: Predicted) -> None:
    """Hand an answer to the log, which does not wait."""
    served = predicted.served
    log.add(
        TrackedPrediction(
            kind=predicted.kind,
            prediction=class_of(predicted.p_fake, served.threshold),
            fake_probability=predicted.p_fake,
            processing_time_s=predicted.seconds,
            members=predicted.by_member,
            filename=predicted.filename,
            agree=predicted.agree,
            details={"variant": served.name, "id": ",".join(member.judge.id for member in served.members)},
        )
    )


def _untold(predicted: Predicted) -> None:
    """Without a tracker nobody hears of answers."""


def _warm_up(served: Sequence[Served]) -> None:
    """Compute a frame with each network, and list the frames of its set, which takes longest the first time."""
    import numpy as np

    for member in (member for each in served for member in each.members):
        member.session.predict(np.zeros((1, 3, member.preprocessing.size, member.preprocessing.size), np.uint8))
        member.of_set.find(-1, "")


def _opening(service: Service) -> list[str]:
    """Who answers where, and with what."""
    settings = service.settings
    host, port = service.socket.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    lines = [f"{each.name}: {each.verdict}" for each in service.served]
    lines.append(f"serving at http://{shown}:{port} (page: /ui, addresses: /docs); Ctrl+C ends it")
    if not settings.is_local and not settings.keys:
        lines.append("note: it listens beyond this machine without API keys; --api-keys-file closes it")
    return lines


def _socket(host: str, port: int) -> socket.socket:
    """A listening socket; `UserError` where the address is no address or the port is taken."""
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(info[0], info[1])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(info[4])
    except OSError as error:
        hint = "; --port names another one, 0 any free one" if port else ""
        raise UserError(f"{host}:{port}: cannot be listened on ({error.strerror or error}){hint}") from error
    listening.listen(2048)
    listening.set_inheritable(True)
    return listening


def _refuse_missing_packages() -> None:
    import importlib.util

    packages = ("fastapi", "uvicorn", "python_multipart", "limits", "prometheus_client", "pydantic_settings")
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"`bench serve` needs packages that are not installed ({', '.join(missing)}): "
            '`python -m pip install "bench[serve]"`'
        )


def _refuse_unwritable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--keep {folder}: is a file; expected a folder")
    blocked = unwritable_above(folder)
    if blocked is not None:
        raise UserError(f"--keep {folder}: {blocked} cannot be written to; choose another folder")
