"""Stores for tests: S3 as moto serves it in this process, and Google Cloud Storage as an emulator does."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

BUCKET = "frames"
KEY, SECRET = "AKIAEXAMPLEOFATEST", "wJalrXUtnFEMIexampleKEYofAtest"


@dataclass(frozen=True)
class Server:
    """A server of S3 and its address."""

    url: str

    def emptied(self, patch: pytest.MonkeyPatch) -> Any:
        """A client, once there is nothing but the bucket `BUCKET`, and the environment leads here."""
        import boto3

        httpx.post(f"{self.url}/moto-api/reset")
        lead_to(patch, self.url)
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        return client

    def deny(self) -> None:
        """From here on, until it is emptied, nobody has rights."""
        httpx.post(f"{self.url}/moto-api/reset-auth", content=b"0")

    def allow(self) -> None:
        httpx.post(f"{self.url}/moto-api/reset-auth", content=b"inf")


@contextmanager
def served() -> Iterator[Server]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Server(f"http://{host}:{port}")
    finally:
        server.stop()


@contextmanager
def google(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Google Cloud Storage with the bucket `BUCKET`, to which the environment leads."""
    from gcp_storage_emulator.server import create_server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    try:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        yield
    finally:
        server.stop()


def lead_to(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Credentials and an endpoint, and none of this machine's own."""
    patch.setenv("AWS_ENDPOINT_URL", endpoint)
    patch.setenv("AWS_ACCESS_KEY_ID", KEY)
    patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        patch.setenv(name, "/nowhere")


def without_s3(patch: pytest.MonkeyPatch) -> None:
    """As where s3fs is not installed."""
    from fsspec.registry import _registry

    patch.setitem(sys.modules, "s3fs", None)
    patch.delitem(_registry, "s3", raising=False)


def without_sizes(patch: pytest.MonkeyPatch) -> None:
    """As a web server lists its files."""
    from fsspec.implementations.memory import MemoryFileSystem

    listing = {"/web/faces.png": {"name": "/web/faces.png", "type": "file", "size": None}}
    patch.setattr(MemoryFileSystem, "find", lambda self, path, detail: listing)


def upload(client: Any, folder: Path, prefix: str, bucket: str = BUCKET) -> None:
    """Put all files below a folder into a bucket, below a prefix."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            name = f"{prefix}/{file.relative_to(folder).as_posix()}"
            client.put_object(Bucket=bucket, Key=name, Body=file.read_bytes())
