"""Frame sets at addresses: copied once, what has changed there copied again, and the same as if they lay here."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from bench import addresses, datasets
from bench.datasets.settings import FrameSetSettings
from bench.errors import UserError
from bench.files import temporary_name
from bench.records import Event, silent
from bench.remote import Store, reading
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


def refuse_absent(base: Path, path: str = ADDRESS, **settings: Any) -> None:
    """See that a plan would refuse it."""
    with pytest.raises(UserError, match="is not copied to this machine yet"):
        datasets.fetching.refuse_absent(FrameSetSettings(path=path, **settings), base)


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
    """Killed at an object: what was noted by then is kept, what was half there is taken for no frame, and goes."""
    get, names = Store.get, list[str]()

    def fail_at_the_fifth(self: Store, name: str, target: Path, size_bytes: int) -> None:
        names.append(name)
        if len(names) == 5:
            target.parent.mkdir(parents=True, exist_ok=True)
            (target.parent / temporary_name()).write_bytes(b"half")  # a process that is killed leaves it
            raise KeyboardInterrupt
        get(self, name, target, size_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "get", fail_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            load(ADDRESS, tmp_path / "here")
    assert list((tmp_path / "here").rglob("*.tmp"))
    refuse_absent(tmp_path / "here")
    assert digests(load(ADDRESS, tmp_path / "here")) == digests(load("faces", tmp_path))
    datasets.fetching.refuse_absent(FrameSetSettings(path=ADDRESS), tmp_path / "here")
    assert not list((tmp_path / "here").rglob("*.tmp"))


def test_files_that_are_gone_or_a_strangers_are_copied_anew(faces: Path, tmp_path: Path) -> None:
    base = tmp_path / "here"
    whole, copy = digests(load(ADDRESS, base)), addresses.local_path(base, ADDRESS)
    (copy / "test/real/000.png").unlink()
    (copy / "test/real/001.png").write_bytes(b"cut")
    assert digests(load(ADDRESS, base)) == whole
    note = next((base / addresses.FOLDER).glob("*/copy.json"))
    note.write_text(json.dumps({"format": 2, "address": ADDRESS, "parts": {"": True}, "files": {}}))
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


@pytest.fixture
def listed(faces: Path, s3: Any) -> Any:
    """A manifest at `ADDRESS` that names real frames in the column `path`, and each frame in two more."""
    rows = ["path,c23,c40,label"]
    for label, other in (("real", "fake"), ("fake", "real")):
        rows += [f"test/{label}/000.png,test/{label}/001.png,test/{label}/002.png,{label}"]
        rows += [f"calibration/{label}/000.png,test/{label}/000.png,calibration/{other}/001.png,{label}"]
    (faces / "all.csv").write_text("\n".join(rows))
    stores.upload(s3, faces, "set/faces")
    return s3


def _rewrite(s3: Any, text: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="set/faces/all.csv", Body=text.encode())


MANIFEST = f"{ADDRESS}/all.csv"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pfad,label\ntest/real/000.png,real", "no column `path`"),
        ("path,label\n", "has no rows"),
        ("path\n\xe4", "UTF-8"),
    ],
)
def test_a_manifest_that_cannot_be_read_costs_no_frame(
    listed: Any, tmp_path: Path, text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(load(MANIFEST, tmp_path))
    content = (addresses.local_path(tmp_path, MANIFEST)).read_text()
    listed.put_object(Bucket=BUCKET, Key="set/faces/all.csv", Body=text.encode("latin-1"))
    with pytest.raises(UserError, match=words):
        load(MANIFEST, tmp_path)
    refuse_absent(tmp_path, MANIFEST)
    copied = gets(monkeypatch)
    _rewrite(listed, content)
    assert digests(load(MANIFEST, tmp_path)) == before
    assert copied == ["all.csv"]


def test_a_manifest_with_wrong_paths_costs_no_frame(
    listed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(MANIFEST, tmp_path)
    content = addresses.local_path(tmp_path, MANIFEST).read_text()
    _rewrite(listed, content.replace("test/", "tset/"))
    with pytest.raises(UserError, match="no such frame"):
        load(MANIFEST, tmp_path)
    copied = gets(monkeypatch)
    _rewrite(listed, content)
    load(MANIFEST, tmp_path)
    assert copied == ["all.csv"]


def test_frames_that_a_manifest_no_longer_names_go(listed: Any, tmp_path: Path) -> None:
    load(MANIFEST, tmp_path)
    copy = addresses.local_path(tmp_path, MANIFEST).parent
    _rewrite(listed, "path,label\ntest/real/000.png,real\ntest/fake/000.png,fake\n")
    load(MANIFEST, tmp_path)
    assert {file.name for file in copy.rglob("*.*")} == {"all.csv", "000.png"}
    assert not (copy / "calibration").exists()


def test_sets_of_other_columns_keep_each_others_frames(
    listed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = ({"path": "c23"}, {"path": "c40"})
    copied = gets(monkeypatch)
    first, second = (digests(load(MANIFEST, tmp_path, columns=each)) for each in columns)
    assert first != second
    assert len(copied) == len(set(copied)) == 9
    for each, digest in zip(columns, (first, second), strict=True):
        of_set = FrameSetSettings.model_validate({"path": MANIFEST, "columns": each})
        datasets.fetching.refuse_absent(of_set, tmp_path)
        assert digests(load(MANIFEST, tmp_path, columns=each)) == digest
    assert len(copied) == 9
    refuse_absent(tmp_path, MANIFEST)


def test_splits_of_one_manifest_by_other_columns(listed: Any, tmp_path: Path) -> None:
    splits = {name: {"path": MANIFEST, "columns": {"path": column}} for name, column in
              (("test", "c23"), ("calibration", "c40"))}  # fmt: skip
    settings = FrameSetSettings.model_validate(splits)
    datasets.fetching.fetch(settings, tmp_path, silent)
    datasets.fetching.refuse_absent(settings, tmp_path)
    assert set(datasets.find("faces", settings, tmp_path).frames) == {"test", "calibration"}


def test_of_what_lies_beside_a_manifest_only_what_is_read_is_copied(
    listed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("huge.csv", "notes.txt", "frames.json", "logs//x", "videos.csv", "manifest.csv"):
        listed.put_object(Bucket=BUCKET, Key=f"set/faces/{name}", Body=b"x")
    copied = gets(monkeypatch)
    load(MANIFEST, tmp_path)
    assert {name for name in copied if "/" not in name} == {"all.csv", "videos.csv", "manifest.csv"}
    _rewrite(listed, "path,label\nlogs/../../x,real\ntest/fake/000.png,fake\n")
    listed.put_object(Bucket=BUCKET, Key="set/x", Body=b"x")
    with pytest.raises(UserError, match="stay inside it"):
        load(MANIFEST, tmp_path)


def test_a_copy_with_files_deleted_is_not_whole(faces: Path, tmp_path: Path) -> None:
    base = tmp_path / "here"
    load(ADDRESS, base)
    datasets.fetching.refuse_absent(FrameSetSettings(path=ADDRESS), base)
    (addresses.local_path(base, ADDRESS) / "test/real/000.png").unlink()
    refuse_absent(base)
    load(ADDRESS, base)
    shutil.rmtree(addresses.folder_of(base, ADDRESS) / "files")
    refuse_absent(base)


def test_a_manifest_cut_short_between_its_rows_and_frames_is_not_whole(
    listed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(datasets.fetching, "_named", cut)
        with pytest.raises(KeyboardInterrupt):
            load(MANIFEST, tmp_path)
    assert addresses.local_path(tmp_path, MANIFEST).is_file()
    refuse_absent(tmp_path, MANIFEST)


def test_a_copy_does_not_change_under_a_run_that_reads_it(
    faces: Path, tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is new comes; what has changed is refused until the run has ended, and nothing is half done by then."""
    base = tmp_path / "here"
    copied, begun, ended = gets(monkeypatch), threading.Event(), threading.Event()

    def run() -> None:
        with reading("running other"):
            load(ADDRESS, base)
            load(ADDRESS, base)
            begun.set()
            ended.wait(60)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert begun.wait(60)
        with reading("running first"):
            before = digests(load(ADDRESS, base))
        s3.upload_file(str(faces / "calibration/real/000.png"), BUCKET, "set/faces/calibration/real/new.png")
        assert digests(load(ADDRESS, base))["test"] == before["test"]
        assert copied[12:] == ["calibration/real/new.png"]
        s3.put_object(Bucket=BUCKET, Key="set/faces/test/real/000.png", Body=b"other")
        s3.delete_object(Bucket=BUCKET, Key="set/faces/test/fake/000.png")
        with pytest.raises(UserError, match=r"2 files would be replaced or removed .* that is running other .*reads"):
            load(ADDRESS, base)
        assert len(copied) == 13
        datasets.fetching.refuse_absent(FrameSetSettings(path=ADDRESS), base)
    finally:
        ended.set()
        thread.join()
    datasets.fetching.fetch(FrameSetSettings(path=ADDRESS), base, silent)
    assert copied[13:] == ["test/real/000.png"]
    assert not list((base / addresses.FOLDER).rglob("run-*"))


def test_a_run_is_not_refused_for_itself(faces: Path, tmp_path: Path, s3: Any) -> None:
    """A second set at the same address is that which the first one listed, whatever has changed there meanwhile."""
    base = tmp_path / "here"
    with reading("running first"):
        before = digests(load(ADDRESS, base))
        s3.put_object(Bucket=BUCKET, Key="set/faces/test/real/000.png", Body=b"other")
        assert digests(load(ADDRESS, base)) == before


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
