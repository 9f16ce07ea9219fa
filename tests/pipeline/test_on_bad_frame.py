"""`on_bad_frame`: what cannot be decoded is refused or left out, found once, counted and named."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.datasets import FrameSetSettings, decoding, digests, load
from bench.datasets.headers import READABLE
from bench.errors import UserError
from bench.records import FrameSet, Split
from tests.conftest import write_frames
from tests.support.bad_input_cases import flipped, picture, undecodable, written, yaml
from tests.support.command_line import bench
from tests.support.pace import limit


def loaded(base: Path, *, auto: bool = False, pattern: str | None = None) -> dict[Split, FrameSet]:
    entry = FrameSetSettings(path="faces", split="auto" if auto else None, source_pattern=pattern)
    return load("faces", entry, base, base / ".cache", on_bad_frame="skip")


def broken(base: Path) -> None:
    """Three of sixteen: found by the file's length, by a checksum, and by decoding alone."""
    write_frames(base / "faces", 8, 8, 0)
    written("faces/real/000.png", b"")(base)
    flipped("faces/fake/001.png")(base)
    (base / "faces/fake/002.png").unlink()
    undecodable("faces/fake/002.webp")(base)


def test_skip_leaves_out_and_names(tmp_path: Path) -> None:
    broken(tmp_path)
    test = loaded(tmp_path)["test"]
    assert (test.real, test.fake) == (7, 6)
    assert [remark.split(": ")[0] for remark in test.left_out] == ["fake/001.png", "fake/002.webp", "real/000.png"]
    assert [remark.split(": ")[1] for remark in test.left_out] == ["PNG damaged", "can't be decoded", "empty file"]


def test_the_digest_is_that_of_what_remains(tmp_path: Path) -> None:
    broken(tmp_path)
    skipped = loaded(tmp_path)["test"]
    for name in ("real/000.png", "fake/001.png", "fake/002.webp"):
        (tmp_path / "faces" / name).unlink()
    whole = loaded(tmp_path)["test"]
    assert (skipped.digest, skipped.content, skipped.frames) == (whole.digest, whole.content, whole.frames)
    assert whole.left_out == ()


def test_auto_split_takes_the_rest(tmp_path: Path) -> None:
    write_frames(tmp_path / "faces", 20, 20, 0)
    written("faces/real/000.png", b"oops")(tmp_path)
    sets = loaded(tmp_path, auto=True)
    assert sum(len(frames.frames) for split, frames in sets.items() if split != "calibration") == 39
    assert sets["test"].left_out == (f"real/000.png: not {READABLE}",)


def test_one_decode_a_file_and_none_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(tmp_path)
    decoded: list[str] = []
    check = decoding.fault

    def counted(data: bytes) -> str:
        decoded.append(hashlib.sha256(data).hexdigest())
        return check(data)

    monkeypatch.setattr(digests, "fault", counted)
    first = loaded(tmp_path)
    assert len(decoded) == len(set(decoded)) == 14  # the empty and the damaged one are known before
    assert loaded(tmp_path) == first
    with pytest.raises(UserError, match=r"002\.webp: can't be decoded"):
        load("faces", FrameSetSettings(path="faces"), tmp_path, tmp_path / ".cache")
    assert len(decoded) == 14
    picture("faces/fake/002.webp", lossless=True)(tmp_path)
    assert loaded(tmp_path)["test"].fake == 7
    assert len(decoded) == 15


def test_a_file_that_cannot_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file system refuses today may work tomorrow: it is not remembered."""
    write_frames(tmp_path / "faces", 3, 3, 0)
    real = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "001.png":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert loaded(tmp_path)["test"].left_out == (
        "fake/001.png: Permission denied", "real/001.png: Permission denied",
    )  # fmt: skip
    monkeypatch.undo()
    assert loaded(tmp_path)["test"].left_out == ()


def test_more_than_half_is_too_much(tmp_path: Path) -> None:
    write_frames(tmp_path / "faces", 4, 4, 0)
    for name in ("real/000", "real/001", "fake/000", "fake/001"):
        written(f"faces/{name}.png", b"")(tmp_path)
    assert len(loaded(tmp_path)["test"].frames) == 4
    written("faces/fake/002.png", b"")(tmp_path)
    with pytest.raises(UserError, match="5 of 8 files"):
        loaded(tmp_path)


def test_a_bomb_is_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(tmp_path / "faces", 2, 2, 0)
    monkeypatch.setattr(digests, "MOST_PIXELS", 40 * 40 - 1)
    monkeypatch.setattr(digests, "fault", lambda data: pytest.fail("decoded"))
    with pytest.raises(UserError, match="4 of 4 files"):
        loaded(tmp_path)


def test_a_frame_of_8k_video_is_no_bomb() -> None:
    assert 7680 * 4320 <= digests.MOST_PIXELS < 1.1 * 7680 * 4320


@pytest.mark.parametrize(("large", "most"), [(40 * 40 - 1, 1), (40 * 40, 4)])
def test_large_pictures_are_decoded_one_at_a_time(
    large: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frames(tmp_path / "faces", 2, 2, 0)
    monkeypatch.setattr(digests, "LARGE_PIXELS", large)
    monkeypatch.setattr(digests, "_CHUNK", 1)
    together = threading.Barrier(4)
    inside: list[int] = []
    seen: list[int] = []

    def slow(data: bytes) -> str:
        inside.append(1)
        if most > 1:
            together.wait(limit(20))
        else:
            time.sleep(0.02)
        seen.append(len(inside))
        if most > 1:
            together.wait(limit(20))
        inside.pop()
        return ""

    monkeypatch.setattr(digests, "fault", slow)
    loaded(tmp_path)
    assert max(seen) == most


def test_another_decoder_tries_again_what_this_one_could_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault is the decoder's word as much as the file's; a digest is not."""
    write_frames(tmp_path / "faces", 3, 3, 0)
    refused = hashlib.sha256((tmp_path / "faces/real/001.png").read_bytes()).hexdigest()
    tried: list[str] = []

    def old(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        tried.append(digest)
        return "can't be decoded: too new" if digest == refused else ""

    monkeypatch.setattr(digests, "fault", old)
    for _ in range(2):
        assert loaded(tmp_path)["test"].left_out == ("real/001.png: can't be decoded: too new",)
    assert len(tried) == 6
    monkeypatch.setattr(digests, "versions", lambda names: dict.fromkeys(names, "999"))
    refused, before = "", refused
    for _ in range(2):
        assert loaded(tmp_path)["test"].left_out == ()
    assert tried[6:] == [before]


def test_overlap_of_test_and_validation_is_a_remark(tmp_path: Path) -> None:
    write_frames(tmp_path / "faces/test", 4, 4, 0)
    write_frames(tmp_path / "faces/validation", 2, 2, 1)
    copy = (tmp_path / "faces/test/real/003.png").read_bytes()
    (tmp_path / "faces/validation/real/003.png").write_bytes(copy)
    sources, files = loaded(tmp_path, pattern=r"(\d+)\.png")["test"].remarks
    assert sources == "Test and validation share 3 sources: 000, 001, 003."
    assert files == "Test and validation share 1 identical files: test real/003.png = validation real/003.png."
    assert loaded(tmp_path)["test"].remarks == (files,)


def test_the_report_counts_and_names_them(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    yaml("device: cpu", "device: cpu\n    on_bad_frame: skip")(workplace)
    written("faces/test/real/000.png", b"")(workplace)
    written("faces/train/fake/003.png", b"oops")(workplace)
    code, output = bench("run", "--only", "baseline")
    assert code == 0, output
    report = (workplace / "reports/first/report.md").read_text(encoding="utf-8")
    assert json.loads((workplace / "reports/first/scores.json").read_text())["frames"]["test"]["count"] == 31
    for text in (" ".join(output.split()), report):
        assert "1 of 32 test frames cannot be decoded and were left out: real/000.png: empty file." in text
        assert "1 of 32 train frames cannot be decoded and were left out: fake/003.png: not a JPEG" in text


def test_frames_are_checked_in_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(tmp_path / "faces", 80, 80, 0, size=8)
    seen = set()

    def slow(data: bytes) -> str:
        seen.add(threading.get_ident())
        time.sleep(0.001)
        return ""

    monkeypatch.setattr(digests, "fault", slow)
    loaded(tmp_path)
    assert len(seen) > 1
    assert "PIL" in sys.modules
