"""What stores refuse, and what keeps them from being reached: one sentence for people, at the start, no secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import addresses, datasets
from bench.datasets.settings import FrameSetSettings
from bench.detectors.weights import fetching
from bench.errors import UserError
from bench.pipeline.sharding import sharing
from bench.records import silent
from bench.remote import Item, Store
from bench.remote.explained import explained
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
        ("https://host/faces?X-Amz-Signature=hidden", "holds a password"),
        ("file:///data/faces", "on this machine"),
        ("simplecache::s3://bucket/faces", "several addresses"),
        ("s3://bucket/../faces", "names no place"),
        ("s3://", "names no place"),
        ("s3://bucket/fa\nces", "names no place"),
    ],
)
def test_what_is_no_address(path: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        addresses.checked(path)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("path", ["faces", "~/faces", "C:\\faces", "s3://bucket", "gs://bucket/a b/faces.csv"])
def test_what_is_a_path_or_an_address(path: str) -> None:
    assert addresses.checked(path) == path


def test_what_is_no_fault_of_a_store_stays_what_it_is(tmp_path: Path) -> None:
    for error in (
        OSError(28, "No space left on device"),
        PermissionError(13, "denied", str(tmp_path)),
        KeyError("bug"),
    ):
        with pytest.raises(type(error)), explained("s3://bucket"):
            raise error


def test_a_secret_in_a_refusal_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", stores.SECRET)
    with pytest.raises(UserError, match=r"refused .*signed with …") as raised, explained("s3://bucket"):
        raise OSError(f"signed with {stores.SECRET}")
    assert stores.SECRET not in str(raised.value)
