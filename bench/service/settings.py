"""The limits and secrets of a service: from flags, the environment (`BENCH_…`) and `.env`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bench.errors import UserError, expected, nearest, quoted

PREFIX = "BENCH_"
NOT_OF_THE_SERVICE = ("BENCH_SECRET", "BENCH_PASSING_SECRET")
"""What `bench` itself reads, of reports and builds."""
OF_TRACKERS = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
"""What trackers read of the environment."""
_OF_SERVICE_LINKS = re.compile(PREFIX + r"(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
"""What Kubernetes puts into the environment of pods beside a Service that is called `bench`, with an odd port."""
_LEAST_KEY = 16
LOCAL = ("127.0.0.1", "localhost", "::1")
"""Hosts that only this machine reaches."""

Count = Annotated[int, Ge(1)]
Amount = Annotated[float, Gt(0)]
Words = Annotated[tuple[str, ...], NoDecode]


class ServiceSettings(BaseSettings):
    """How a service listens, what it refuses, and what it remembers."""

    # Empty is not set: compose.yaml hands on variables that may be in a `.env` file instead.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", frozen=True
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Ge(0)] = Field(8000, le=65_535)
    upload_mib: Amount = Field(20, description="of one picture")
    megapixels: Amount = Field(40, description="of one picture, decoded")
    batch_images: Count = Field(32, description="pictures in a request")
    video_mib: Amount = Field(200, description="of one video")
    video_seconds: Amount = Field(600, description="of one video")
    video_frames: Count = Field(300, description="judged of one video, at most")
    queue: Count = Field(64, description="requests that are worked on or wait; more are refused with 503")
    decoders: Count = Field(2, description="threads that decode pictures and find faces")
    jobs: Count = Field(8, description="long videos that wait or are worked on")
    job_minutes: Amount = Field(10, description="after which a finished job is forgotten")
    rate: str = Field("", description='pictures and videos of a client, such as "60/minute"; empty: any number')
    cached_answers: Annotated[int, Ge(0)] = Field(256, description="answers that identical uploads get again")
    api_keys: SecretStr = Field(SecretStr(""), description="comma-separated")
    api_keys_file: Path | None = Field(None, description="a key a line; # begins a comment")
    cors_origins: Words = Field((), description="comma-separated; pages of other origins that may ask")
    allowed_hosts: Words = Field((), description="comma-separated names that the service is called by")
    trusted_proxies: str = Field("", description="addresses of proxies whose X-Forwarded-For is believed")
    keep: Path | None = Field(None, description="a folder where uploads are kept; none: they are not")
    idle_seconds: Amount = Field(30, description="after which an upload of which nothing comes is given up")
    shutdown_seconds: Amount = Field(60, description="that requests under way get when the service ends")

    @field_validator("cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Text as the names between its commas."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_hosts")
    @classmethod
    def _lowered(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Names of hosts are the same in capitals."""
        return tuple(name.lower() for name in value)

    @field_validator("rate")
    @classmethod
    def _as_rate(cls, value: str) -> str:
        from limits import parse

        if value:
            try:
                parse(value)
            except ValueError:
                raise ValueError(f'expected a rate such as "60/minute", found {quoted(value)}') from None
        return value

    @property
    def is_local(self) -> bool:
        return self.host in LOCAL

    @property
    def keys(self) -> frozenset[str]:
        """The keys that open the service; none where it is open to all. `UserError` for a file that is none of keys."""
        lines = self.api_keys.get_secret_value().split(",")
        if self.api_keys_file is not None:
            try:
                text = self.api_keys_file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
                raise UserError(f"--api-keys-file {self.api_keys_file}: cannot be read ({reason})") from error
            in_file = [line.partition("#")[0] for line in text.splitlines()]
            if not any(line.strip() for line in in_file):
                raise UserError(f"--api-keys-file {self.api_keys_file}: holds no key; expected one a line")
            lines += in_file
        keys = frozenset(line.strip() for line in lines) - {""}
        if any(len(key) < _LEAST_KEY or not key.isascii() for key in keys):
            raise UserError(
                f"an API key is shorter than {_LEAST_KEY} characters or has others than ASCII; "
                '`python -c "import secrets; print(secrets.token_urlsafe())"` makes a good one'
            )
        return keys


def read_settings(folder: Path, **flags: Any) -> ServiceSettings:
    """The settings: flags that are given, over the environment, over the `.env` of a folder.

    Raises `UserError` where one is wrong, or a name that begins with `BENCH_` is no setting.
    """
    file = folder / ".env"
    _refuse_unknown(file)
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return ServiceSettings(_env_file=file if file.is_file() else None, **given)  # type: ignore[call-arg]
    except ValidationError as error:
        raise UserError(*(_spelled(each, flags) for each in error.errors(include_url=False))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'no UTF-8 text'})") from error


def set_trackers_variables(folder: Path) -> None:
    """Put what the `.env` of a folder says of trackers into the environment, which goes before it."""
    written = _written(folder / ".env")
    for name in OF_TRACKERS:
        if value := written.get(name):
            os.environ.setdefault(name, value)


def _spelled(error: Any, flags: dict[str, Any]) -> str:
    """A problem by what its owner wrote: the flag, or the variable."""
    name = str(error["loc"][0])
    called = f"--{name.replace('_', '-')}" if flags.get(name) is not None else f"{PREFIX}{name.upper()}"
    return f"{called}: {expected(error)}"


def _written(file: Path) -> dict[str, str | None]:
    """The variables of a file, none where there is no such file."""
    from dotenv import dotenv_values

    return dotenv_values(file) if file.is_file() else {}


def _refuse_unknown(file: Path) -> None:
    """Raise `UserError` for variables, of the environment or of a file, that look like settings and are none."""
    names = [f"{PREFIX}{name.upper()}" for name in ServiceSettings.model_fields]
    written = _written(file)
    for name, value in {**written, **os.environ}.items():
        if _OF_SERVICE_LINKS.fullmatch(name) or (name == f"{PREFIX}PORT" and "://" in (value or "")):
            raise UserError(
                f"{name}: Kubernetes sets it where a Service is called bench; set `enableServiceLinks: false` in the "
                "pod's spec, or call the Service otherwise"
            )
        if name.upper().startswith(PREFIX) and name.upper() not in (*names, *NOT_OF_THE_SERVICE):
            where = f"{file}: " if name in written else ""
            raise UserError(f"{where}{name}: no such setting{nearest(name.upper(), names)}; see `bench serve --help`")
