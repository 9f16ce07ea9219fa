"""Google Cloud Storage, as an emulator serves it: frames and what parts share, by the same code as S3."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench import datasets
from bench.datasets.settings import FrameSetSettings
from bench.errors import UserError
from bench.records import silent
from bench.remote import Store
from tests.conftest import write_frames
from tests.support.stores import BUCKET

ADDRESS = f"gs://{BUCKET}/set/faces"
pytestmark = pytest.mark.usefixtures("google")


def digests(path: str, base: Path) -> dict[str, str]:
    """Of a frame set as a run gets it."""
    settings = FrameSetSettings(path=path)
    datasets.fetching.fetch(settings, base, silent)
    return {split: frames.digest for split, frames in datasets.load("faces", settings, base, base / "cache").items()}


def test_frames_are_the_same_there_and_what_has_changed_is_copied_again(tmp_path: Path) -> None:
    for seed, split in enumerate(("test", "calibration")):
        write_frames(tmp_path / "faces" / split, 3, 3, seed, size=12)
    store = Store(ADDRESS)
    for file in tmp_path.glob("faces/**/*.png"):
        store.put(file, file.relative_to(tmp_path / "faces").as_posix())
    base = tmp_path / "copied"
    assert digests(ADDRESS, base) == digests("faces", tmp_path)
    (copied,) = base.glob("datasets/.remote/**/test/real/000.png")
    before = copied.stat().st_mtime_ns
    write_frames(tmp_path / "faces/test", 3, 3, 9, size=12)
    store.put(tmp_path / "faces/test/fake/001.png", "test/fake/001.png")
    store.remove(["test/fake/002.png"])
    assert digests(ADDRESS, base)["test"] != digests("faces", tmp_path)["test"]
    for name in ("real/000", "real/001", "real/002", "fake/000", "fake/002"):
        store.put(tmp_path / f"faces/test/{name}.png", f"test/{name}.png")
    assert digests(ADDRESS, base) == digests("faces", tmp_path)
    assert copied.stat().st_mtime_ns != before


def test_objects_are_written_listed_fetched_and_removed(tmp_path: Path) -> None:
    store = Store(f"gs://{BUCKET}/team")
    assert store.items() == {}
    store.write("a/b.json", b"hello")
    size, version = store.items()["a/b.json"]
    assert size == 5
    assert version
    store.write("a/b.json", b"hallo")
    assert store.items()["a/b.json"].version != version
    assert store.item("a/none") is None
    store.get("a/b.json", tmp_path / "b.json", 5)
    assert (tmp_path / "b.json").read_bytes() == b"hallo"
    with pytest.raises(UserError, match="has changed while it was copied"):
        store.get("a/b.json", tmp_path / "b.json", 4)
    store.write("a/[1]*.json", b"1")
    store.remove(["a/[1]*.json"])
    assert list(store.items("a")) == ["a/b.json"]


def test_what_is_refused_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    with pytest.raises(UserError, match=r"^gs://none/faces: there is no such bucket"):
        digests("gs://none/faces", Path())

    class Denies(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"error": {"code": 403, "message": "somebody does not have storage.objects.list access"}}'
            self.send_response(403)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Denies) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(UserError) as caught:
            digests(ADDRESS, Path())
        server.shutdown()
    assert str(caught.value).startswith(f"{ADDRESS}: access is denied (Forbidden: ")
    assert "does not have storage.objects.list access" in str(caught.value)
    assert "GOOGLE_APPLICATION_CREDENTIALS" in str(caught.value)
    assert capfd.readouterr().err == "", "nothing but the error is said"
