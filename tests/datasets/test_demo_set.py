"""The demo set: the counts it promises, the same bytes every time, every portrait once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.datasets import FrameSetSettings, demo, load
from bench.errors import UserError
from bench.records import Event, Frame, FrameSet, Split

SMALL: dict[Split, tuple[int, int]] = {"test": (5, 3), "validation": (2, 2), "calibration": (1, 1), "train": (3, 3)}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "COUNTS", SMALL)
    monkeypatch.setattr(demo, "SIZE", 64)


def _load(folder: Path) -> dict[Split, FrameSet]:
    return load("demo", FrameSetSettings(path=folder.name), folder.parent, folder.parent / "cache")


def _frames(sets: dict[Split, FrameSet]) -> Iterator[Frame]:
    return (frame for frame_set in sets.values() for frame in frame_set.frames)


def test_the_whole_set_has_the_counts_it_promises_and_each_portrait_once() -> None:
    portraits = list(demo._portraits())
    counts = {
        split: tuple(sum(p.split == split and p.fake is fake for p in portraits) for fake in (True, False))
        for split in demo.COUNTS
    }
    assert counts == {"test": (225, 135), "validation": (40, 40), "calibration": (64, 64), "train": (320, 320)}
    assert len({p.index for p in portraits}) == len({p.source for p in portraits}) == 1208
    assert demo.SEED < 1_000_000


@pytest.mark.usefixtures("small")
def test_drawn_set_loads_with_labels_sources_and_distinct_content(tmp_path: Path) -> None:
    events: list[Event] = []
    demo.draw(tmp_path / "demo", events.append)
    sets = _load(tmp_path / "demo")
    assert {split: (frame_set.fake, frame_set.real) for split, frame_set in sets.items()} == SMALL
    assert len({frame.source for frame in _frames(sets)}) == 20
    assert len({frame.digest for frame in _frames(sets)}) == 20
    assert (events[0].done, events[-1].done, events[-1].total) == (0, 20, 20)
    assert {child.name for child in tmp_path.iterdir()} == {"demo", ".demo.lock", "cache"}  # nothing temporary is left


@pytest.mark.usefixtures("small")
def test_same_bytes_twice(tmp_path: Path) -> None:
    drawn = []
    for name in ("first", "second"):
        demo.draw(tmp_path / name)
        files = sorted(file for file in (tmp_path / name).rglob("*") if file.is_file())
        drawn.append({str(f.relative_to(tmp_path / name)): hashlib.sha256(f.read_bytes()).digest() for f in files})
    assert drawn[0] == drawn[1]
    masks = sum(fake for fake, _ in demo.COUNTS.values())
    assert len(drawn[0]) == 20 + masks + 4 + 1


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.usefixtures("small")
def test_an_interrupted_drawing_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo.draw(tmp_path / "whole")
    monkeypatch.setattr(demo, "_EVENT_SECONDS", 0.0)
    monkeypatch.setattr(demo, "cpu_cores", lambda: 1)

    def press(event: Event) -> None:
        if event.done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.draw(tmp_path / "demo", press)
    begun = tmp_path / ".demo.begun"
    drawn_before = {file.name for file in begun.rglob("*.jpg")}
    assert 7 <= len(drawn_before) < 20
    assert not (tmp_path / "demo").exists()
    (begun / "test/fake/.bench-1-0123456789ab.tmp").write_text("of one that was killed")
    damaged = next(begun.rglob("*.jpg"))
    damaged.write_bytes(b"")

    drawn, photograph = [], demo.photograph_files

    def note(rng: np.random.Generator, size: int) -> demo.Photographs:
        drawn.append(size)
        return photograph(rng, size)

    monkeypatch.setattr(demo, "photograph_files", note)
    demo.draw(tmp_path / "demo")
    assert len(drawn) == 20 - len(drawn_before) + 1
    assert contents(tmp_path / "demo") == contents(tmp_path / "whole")
    assert {child.name for child in tmp_path.iterdir()} == {"demo", "whole", ".demo.lock", ".whole.lock"}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("link", [".demo.begun", ".demo.begun/test", ".demo.begun/test/fake"])
def test_a_begun_drawing_whose_folders_lead_elsewhere_is_not_gone_on_with(tmp_path: Path, link: str) -> None:
    demo.draw(tmp_path / "demo")
    demo_set = contents(tmp_path / "demo")
    (tmp_path / "demo").rename(tmp_path / ".demo.begun")
    (tmp_path / link).rename(tmp_path / "elsewhere")
    (tmp_path / link).symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path / "elsewhere")
    demo.draw(tmp_path / "demo")
    assert contents(tmp_path / "demo") == demo_set
    assert contents(tmp_path / "elsewhere") == before
    assert not any(path.is_symlink() for path in (tmp_path / "demo").rglob("*"))


@pytest.mark.usefixtures("small")
def test_files_hold_what_the_detector_was_trained_on(tmp_path: Path) -> None:
    from PIL import Image

    demo.draw(tmp_path / "demo")
    for frame in _load(tmp_path / "demo")["test"].frames[:4]:
        pair = demo.photograph_pair(np.random.default_rng([demo.SEED, int(str(frame.source)[1:])]), 64)
        assert frame.label is not None
        np.testing.assert_array_equal(np.asarray(Image.open(frame.file)), pair[frame.label])


@pytest.mark.usefixtures("small")
def test_drawn_once_redrawn_when_outdated(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    assert not demo.is_drawn(folder)
    demo.draw(folder)
    events: list[Event] = []
    demo.draw(folder, events.append)
    assert demo.is_drawn(folder)
    assert not events
    card = json.loads((folder / "demo.json").read_text())
    (folder / "demo.json").write_text(json.dumps({**card, "version": 0}))
    (folder / "left over").touch()
    assert not demo.is_drawn(folder)
    demo.draw(folder)
    assert demo.is_drawn(folder)
    assert not (folder / "left over").exists()


@pytest.mark.usefixtures("small")
def test_the_slower_of_two_processes_keeps_what_the_faster_one_drew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, draw_all = tmp_path / "demo", demo._draw_all

    def overtaken(drawn: Path, on_event: object) -> None:
        draw_all(drawn, lambda event: None)
        if not folder.exists():
            draw_all(folder, lambda event: None)
            (folder / "of the faster").touch()

    monkeypatch.setattr(demo, "_draw_all", overtaken)
    demo.draw(folder)
    assert demo.is_drawn(folder)
    assert (folder / "of the faster").exists()
    assert {child.name for child in tmp_path.iterdir()} == {"demo", ".demo.lock"}


@pytest.mark.usefixtures("small")
def test_foreign_files_are_never_drawn_over(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").touch()
    with pytest.raises(UserError, match="found other files"):
        demo.draw(tmp_path / "demo")
    assert (tmp_path / "demo" / "thesis.txt").exists()
    with pytest.raises(UserError, match="can't be written here"):
        demo.draw(tmp_path / "demo" / "thesis.txt" / "demo")
