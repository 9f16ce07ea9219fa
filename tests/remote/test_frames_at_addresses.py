"""Frame sets at addresses: copied once, what has changed there copied again, and the same as if they lay here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import addresses, datasets
from bench.datasets.settings import FrameSetSettings
from bench.errors import UserError
from bench.records import Event, silent
from bench.remote import Store
from tests.conftest import write_frames
from tests.support import stores
from tests.support.stores import BUCKET

ADDRESS = f"s3://{BUCKET}/set/faces"


@pytest.fixture
def faces(tmp_path: Path, s3: Any) -> Path:
    """Frames on this disk, which lie at `ADDRESS` too."""
    for seed, split in enumerate(("test", "calibration")):
        write_frames(tmp_path / "faces" / split, 3, 3, seed, size=12)
    stores.upload(s3, tmp_path / "faces", "set/faces")
    return tmp_path / "faces"


def load(path: str, base: Path, **settings: Any) -> Any:
    """A frame set as a run gets it."""
    of = FrameSetSettings(path=path, **settings)
    datasets.fetching.fetch(of, base, silent)
    return datasets.load("faces", of, base, base / "datasets" / ".cache")


def digests(sets: Any) -> dict[str, str]:
    return {split: frames.digest for split, frames in sets.items()}


def gets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is copied from now on."""
    names: list[str] = []
    get = Store.get

    def noted(self: Store, name: str, target: Path, size_bytes: int) -> None:
        names.append(name)
        get(self, name, target, size_bytes)

    monkeypatch.setattr(Store, "get", noted)
    return names


def test_frames_are_the_same_at_an_address(faces: Path, tmp_path: Path) -> None:
    remote, local = load(ADDRESS, tmp_path / "here"), load("faces", tmp_path)
    assert digests(remote) == digests(local)
    assert [frame.path for frame in remote["test"].frames] == [frame.path for frame in local["test"].frames]
    assert digests(load(f"{ADDRESS}/", tmp_path / "here")) == digests(local)


def test_only_what_has_changed_is_copied_again(
    faces: Path, tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, copied = digests(load(ADDRESS, tmp_path / "here")), gets(monkeypatch)
    assert digests(load(ADDRESS, tmp_path / "here")) == before
    assert not copied
    write_frames(tmp_path / "other", 1, 0, 9, size=12)
    s3.upload_file(str(tmp_path / "other/real/000.png"), BUCKET, "set/faces/calibration/real/000.png")
    s3.delete_object(Bucket=BUCKET, Key="set/faces/test/fake/002.png")
    sets = load(ADDRESS, tmp_path / "here")
    assert copied == ["calibration/real/000.png"]
    assert len(sets["test"].frames) == 5
    assert sets["calibration"].digest != before["calibration"]
    s3.upload_file(str(faces / "calibration/real/000.png"), BUCKET, "set/faces/calibration/real/000.png")
    assert load(ADDRESS, tmp_path / "here")["calibration"].digest == before["calibration"]


def test_a_copy_that_was_cut_short_goes_on(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any object: what was noted by then is kept, and nothing half is ever taken for a frame."""
    get, names = Store.get, list[str]()

    def fail_at_the_fifth(self: Store, name: str, target: Path, size_bytes: int) -> None:
        names.append(name)
        if len(names) == 5:
            target.parent.mkdir(parents=True, exist_ok=True)
            raise KeyboardInterrupt
        get(self, name, target, size_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "get", fail_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            load(ADDRESS, tmp_path / "here")
    with pytest.raises(UserError, match="not copied to this machine yet"):
        datasets.fetching.refuse_absent(FrameSetSettings(path=ADDRESS), tmp_path / "here")
    assert digests(load(ADDRESS, tmp_path / "here")) == digests(load("faces", tmp_path))
    datasets.fetching.refuse_absent(FrameSetSettings(path=ADDRESS), tmp_path / "here")
    assert not list((tmp_path / "here").rglob("*.tmp"))


def test_files_that_are_gone_or_a_strangers_are_copied_anew(faces: Path, tmp_path: Path) -> None:
    base = tmp_path / "here"
    whole, copy = digests(load(ADDRESS, base)), addresses.local_path(base, ADDRESS)
    (copy / "test/real/000.png").unlink()
    (copy / "test/real/001.png").write_bytes(b"cut")
    assert digests(load(ADDRESS, base)) == whole
    note = next((base / addresses.FOLDER).glob("*.json"))
    note.write_text(json.dumps({"format": 1, "whole": True, "files": {}}))
    write_frames(copy / "test", 9, 9, 7, size=12)
    assert digests(load(ADDRESS, base)) == whole


def test_of_a_manifest_only_its_frames_are_copied(
    faces: Path, tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"test/{label}/00{index}.png,{label}" for label in ("real", "fake") for index in range(2)]
    (faces / "some.csv").write_text("\n".join(["path,label", *rows]))
    stores.upload(s3, faces, "set/faces")
    copied = gets(monkeypatch)
    sets = load(f"{ADDRESS}/some.csv", tmp_path / "here")
    assert sorted(copied) == sorted(["some.csv", *(row.partition(",")[0] for row in rows)])
    assert digests(sets) == digests(load("faces/some.csv", tmp_path))
    assert not copied[5:]
    load(f"{ADDRESS}/some.csv", tmp_path / "here")
    assert len(copied) == 5


def test_memory_has_no_digests_and_works_by_its_times(tmp_path: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    write_frames(tmp_path / "faces", 2, 2, 0, size=12)
    for file in (tmp_path / "faces").rglob("*.png"):
        store.pipe_file(f"/of-{tmp_path.name}/{file.relative_to(tmp_path).as_posix()}", file.read_bytes())
    sets = load(f"memory://of-{tmp_path.name}/faces", tmp_path / "here")
    assert digests(sets) == digests(load("faces", tmp_path))


def test_progress_counts_files(faces: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    datasets.fetching.fetch(FrameSetSettings(path=ADDRESS), tmp_path / "here", events.append)
    assert events[0].total == events[-1].done == 12
    assert {event.work for event in events} == {f"copying {ADDRESS}"}


def test_names_that_lead_elsewhere_are_refused(faces: Path, tmp_path: Path, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="set/faces/test/../../out.png", Body=b"x")
    with pytest.raises(UserError, match=r"names are no paths: test/../../out\.png; rename"):
        load(ADDRESS, tmp_path / "here")
    assert not list(tmp_path.rglob("out.png"))


def test_an_object_that_is_a_folder_too_is_refused(faces: Path, tmp_path: Path, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="set/faces/test/real", Body=b"x")
    with pytest.raises(UserError, match="folders of others too: test/real"):
        load(ADDRESS, tmp_path / "here")


def test_nothing_of_the_credentials_is_written(faces: Path, tmp_path: Path) -> None:
    load(ADDRESS, tmp_path / "here")
    for file in (file for file in (tmp_path / "here").rglob("*") if file.is_file()):
        assert stores.SECRET.encode() not in file.read_bytes()
        assert stores.KEY.encode() not in file.read_bytes()
