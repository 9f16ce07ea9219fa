"""What stores refuse, and what keeps them from being reached: one sentence for people, at the start, no secrets."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench import addresses, datasets
from bench.datasets.settings import FrameSetSettings
from bench.detectors.weights import fetching
from bench.errors import UserError
from bench.files import NotWrittenError
from bench.pipeline.sharding import sharing
from bench.records import silent
from bench.remote import Item, Store, each
from bench.remote.explained import explained
from bench.remote.transfer import AT_ONCE
from tests.support import stores
from tests.support.stores import BUCKET

FACES = f"s3://{BUCKET}/faces"


def fetch(path: str, base: Path) -> None:
    datasets.fetching.fetch(FrameSetSettings(path=path), base, silent)


def share(address: str, base: Path) -> None:
    """As a part begins."""
    shared = sharing.opened(address, base, "first")
    assert shared
    shared.begin(silent)


def test_a_bucket_that_is_missing(s3: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^s3://nobody/faces: there is no such bucket"):
        fetch("s3://nobody/faces", tmp_path)
    with pytest.raises(UserError, match="there is no such bucket"):
        share("s3://nobody/here", tmp_path)


def test_an_address_where_nothing_lies(s3: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{FACES}: nothing lies there"):
        fetch(FACES, tmp_path)
    with pytest.raises(UserError, match=f"^{FACES}/frames.csv: there is no such object"):
        fetch(f"{FACES}/frames.csv", tmp_path)


def test_weights_that_are_not_there(s3: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^s3://{BUCKET}/best.pth: there is no such object"):
        fetching.fetch(f"s3://{BUCKET}/best.pth", tmp_path, silent)
    with pytest.raises(UserError, match="is not copied to this machine yet"):
        fetching.refuse_absent(f"s3://{BUCKET}/best.pth", tmp_path)


def test_without_rights(s3: Any, server: stores.Server, tmp_path: Path) -> None:
    server.deny()
    try:
        with pytest.raises(UserError, match=r"access is denied .*credentials come from the environment") as raised:
            fetch(FACES, tmp_path)
        with pytest.raises(UserError, match="access is denied"):
            share(f"s3://{BUCKET}/here", tmp_path)
    finally:
        server.allow()
    assert stores.SECRET not in str(raised.value)


def test_without_the_right_to_remove(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge removes shards at its very end; clients of stores say nothing of what was not removed."""
    share(f"s3://{BUCKET}/here", tmp_path)
    assert not s3.list_objects_v2(Bucket=BUCKET).get("Contents"), "the trial leaves nothing"
    monkeypatch.setattr(Store, "remove", lambda self, names: None)
    with pytest.raises(UserError, match=r"could be written and not removed; give .* the right to delete"):
        share(f"s3://{BUCKET}/here", tmp_path)


def test_without_credentials(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UserError, match="no credentials"):
        fetch(FACES, tmp_path)


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.lead_to(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"the store cannot be reached .*what is finished is kept"):
        fetch(FACES, tmp_path)


def test_an_object_that_goes_or_grows_meanwhile(s3: Any, tmp_path: Path) -> None:
    store = Store(FACES)
    with pytest.raises(UserError, match=r"faces/0\.png: there is no such .* \(any more\)"):
        store.get("0.png", tmp_path / "0.png", 3)
    s3.put_object(Bucket=BUCKET, Key="faces/0.png", Body=b"1234")
    with pytest.raises(UserError, match="has changed while it was copied"):
        store.get("0.png", tmp_path / "0.png", 3)
    assert not list(tmp_path.iterdir())
    assert store.items()["0.png"] == Item(4, 'ETag "81dc9bdb52d04dc20036dbd8313ed055"')


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.without_s3(monkeypatch)
    with pytest.raises(UserError, match=r'package for s3:// is not installed: .*"bench\[remote\]"'):
        fetch(FACES, tmp_path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("s3://key:hidden@bucket/faces", "holds a password"),
        ("s3://key:hid/den@bucket/faces", "holds a password"),
        ("s3://key/a:hidden@bucket/faces", "holds a password"),
        ("key:hidden@s3://bucket/faces", "holds a password"),
        ("https://hidden@host/faces", "holds a password"),
        ("HTTPS://hid/den@host/faces", "holds a password"),
        ("https://host/faces?X-Amz-Signature=hidden", "holds a password"),
        ("file:///data/faces", "on this machine"),
        ("simplecache::s3://bucket/faces", "several addresses"),
        ("s3://bucket/../faces", "names no place"),
        ("s3://../faces", "names no place"),
        ("s3://..", "names no place"),
        ("s3://bucket/team[1]", r"has a \[ in it"),
        ("s3://bucket/fa*/x", r"has a \* in it"),
        ("asynclocal:///data", "on this machine"),
        ("s3://", "names no place"),
        ("s3://bucket/fa\nces", "names no place"),
    ],
)
def test_what_is_no_address(path: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        addresses.checked(path)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    "path",
    [
        "faces",
        "~/faces",
        "C:\\faces",
        "s3://bucket",
        "gs://bucket/a b/faces.csv",
        "s3://bucket/a@b",
        "sftp://me@host/faces",
    ],
)
def test_what_is_a_path_or_an_address(path: str) -> None:
    assert addresses.checked(path) == path


@pytest.mark.parametrize("path", ["s3://best.pth", "s3://best.pth/"])
def test_a_file_needs_a_bucket_and_a_key(path: str) -> None:
    with pytest.raises(ValueError, match="names a bucket and nothing in it; expected both"):
        addresses.checked_file(path)
    with pytest.raises(ValueError, match="names a bucket and nothing in it"):
        FrameSetSettings(path="s3://frames.csv")
    assert addresses.checked_file("s3://bucket/best.pth") == "s3://bucket/best.pth"
    assert addresses.checked_file("best.pth") == "best.pth"


@pytest.mark.parametrize("scheme", ["filecache", "zip", "dir"])
def test_schemes_of_no_store_of_their_own(scheme: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{scheme}://x/y: no store can be reached by {scheme}:// and a path alone"):
        fetch(f"{scheme}://x/y", tmp_path)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a web server that shows the folder `tmp_path`/web."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_web_has_files_and_no_folders(web: str, tmp_path: Path) -> None:
    """A page of links says no sizes: a folder or a manifest there is refused at once, weights are copied."""
    (tmp_path / "web/faces").mkdir(parents=True)
    for name in ("best.pth", "faces/0.png", "faces/all.csv"):
        (tmp_path / "web" / name).write_bytes(b"content")
    for path in ("faces", "faces/all.csv"):
        with pytest.raises(UserError, match=r"faces: this store does not list how large files are, such as '.*'"):
            fetch(f"{web}/{path}", tmp_path)
    fetching.fetch(f"{web}/best.pth", tmp_path, silent)
    assert addresses.local_path(tmp_path, f"{web}/best.pth").read_bytes() == b"content"
    with pytest.raises(UserError, match="the store refused"):
        Store(web).write("probe", b"x")


def test_only_what_is_named_is_removed(s3: Any) -> None:
    for name in ("a[1]/x", "a1/x", "a1/y"):
        s3.put_object(Bucket=BUCKET, Key=f"team/{name}", Body=b"x")
    store = Store(f"s3://{BUCKET}/team")
    store.remove(["a[1]/x", "a1/y"])
    assert list(store.items()) == ["a1/x"]


def test_a_folder_here_that_goes_meanwhile_is_no_missing_bucket(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket=BUCKET, Key="faces/0.png", Body=b"1234")
    monkeypatch.chdir(tmp_path)
    store, target = Store(FACES), Path("copy/0.png")
    get = store._fs.get_file

    def without_folder(source: str, name: str) -> None:
        shutil.rmtree("copy")
        get(source, name)

    monkeypatch.setattr(store._fs, "get_file", without_folder)
    with pytest.raises(NotWrittenError) as raised:
        store.get("0.png", target, 4)
    assert raised.value.errno == errno.ENOENT


def test_an_error_ends_all_threads_at_their_next_file() -> None:
    """Of many files, those under way are finished; hundreds that wait behind them are not begun."""
    done, failed = list[str](), threading.Event()

    def do(name: str) -> None:
        if name == "0":
            failed.set()
            raise UserError("away")
        failed.wait(60)
        time.sleep(0.1)
        done.append(name)

    with pytest.raises(UserError, match="away"):
        each("copying", [str(number) for number in range(1000)], do, silent)
    assert len(done) <= 2 * AT_ONCE


def test_what_is_no_fault_of_a_store_stays_what_it_is(tmp_path: Path) -> None:
    for error in (
        OSError(28, "No space left on device"),
        PermissionError(13, "denied", str(tmp_path)),
        KeyError("bug"),
    ):
        with pytest.raises(type(error)), explained("s3://bucket"):
            raise error


def test_what_a_client_cannot_do_is_no_bug() -> None:
    with pytest.raises(UserError, match="its package for fsspec cannot do that"), explained("git://bench"):
        raise NotImplementedError


def test_a_secret_in_a_refusal_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", stores.SECRET)
    with pytest.raises(UserError, match=r"refused .*signed with …") as raised, explained("s3://bucket"):
        raise OSError(f"signed with {stores.SECRET}")
    assert stores.SECRET not in str(raised.value)
