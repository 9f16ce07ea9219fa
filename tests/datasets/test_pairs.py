"""Fakes made of two sources belong to both; copies and implausible sources are told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from bench.datasets import source_remarks
from bench.datasets.sources import find_sources
from bench.datasets.splits import inseparable, shared_among_judged, shared_sources, split_by_source
from bench.errors import UserError
from bench.records import Frame, FrameSet, Split, joined_sources, sources_of
from tests.datasets.test_datasets import _load, _manifest, _pictures, _refused


def frame(path: str, source: str | None, content: str = "") -> Frame:
    digest = hashlib.sha256((content or path).encode()).hexdigest()
    return Frame(path, Path(path), int(path.startswith("fake")), source, digest)


def of_pairs(pairs: Iterable[tuple[int, int]], sources: int) -> list[Frame]:
    """A real frame of each source, and a fake of each pair, that is named after the first and holds both."""
    real = [frame(f"real/{number:03d}/0.png", f"{number:03d}") for number in range(sources)]
    return [*real, *(frame(f"fake/{a:03d}_{b:03d}/0.png", f"{a:03d};{b:03d}") for a, b in pairs)]


def test_sources_as_one_text() -> None:
    assert joined_sources("b", "a") == joined_sources("a;b") == joined_sources(" b ; a;;b") == "a;b"
    assert joined_sources("a") == "a"
    assert joined_sources() is joined_sources("") is joined_sources(" ; ") is None
    assert sources_of("a;b") == sources_of("b; a") == ("a", "b")
    assert sources_of("id0 ") == ("id0 ",)


def names_in(frames: Iterable[Frame]) -> set[str]:
    return {name for each in frames for name in sources_of(each.source or "")}


def test_a_split_never_tears_a_pair_apart() -> None:
    frames = of_pairs([(k, k + 1) for k in range(0, 60, 2)] + [(k + 1, k) for k in range(0, 60, 2)], 60)
    splits = split_by_source(frames)
    assert set(splits) == {"test", "validation", "train", "calibration"}
    for split, other in (("test", "validation"), ("test", "train"), ("validation", "train")):
        assert not names_in(splits[split]) & names_in(splits[other])  # type: ignore[index]
    assert 0.6 < len(splits["test"]) / len(frames) < 0.8
    assert split_by_source(reversed(frames)) == splits
    assert inseparable(splits) == ([], ())


def test_a_large_group_goes_to_test() -> None:
    """Wherever its hash would rank it, and the others are divided as they would be."""
    chain = [(k, k + 1) for k in range(19)]
    for offset in range(5):
        frames = of_pairs([(a + 30 * offset, b + 30 * offset) for a, b in chain], 200)
        splits = split_by_source(frames)
        assert {f"{30 * offset + k:03d}" for k in range(20)} <= names_in(splits["test"])
        assert splits["train"]


def test_sources_that_all_hang_together_cannot_be_split() -> None:
    everyone = of_pairs([(a, b) for a in range(12) for b in range(a)], 12)
    (problem,), remarks = inseparable(split_by_source(everyone))
    assert problem.startswith("`split: auto` can't split these frames: 12 of 12 sources hang together")
    assert "78 of 78 frames" in problem
    assert not remarks
    others = [frame(f"{label}/x{k}/0.png", f"x{k}") for label in ("real", "fake") for k in range(10)]
    problems, (remark,) = inseparable(split_by_source([*everyone, *others]))
    assert not problems
    assert "12 of 22 sources hang together" in remark
    assert "78 of 98 frames" in remark


def test_what_is_shared_is_told_by_single_sources() -> None:
    judged, learned = [frame("fake/1_2.png", "1;2")], [frame("real/2.png", "2"), frame("fake/3_4.png", "3;4")]
    (problem,) = shared_sources({"test": judged, "train": learned})
    assert problem.endswith("'2': test fake/1_2.png = train real/2.png")
    assert not shared_sources({"test": judged, "train": learned[1:]})
    (remark,) = shared_among_judged({"test": judged, "validation": learned})
    assert remark == "Test and validation share 1 source: 2."


# --------------------------------------------------------------------------------- patterns
PAIRS = ["real/033/1.png", "real/097/1.png", "fake/033_097/1.png", "fake/097_033/1.png"]
LABELS = [0, 0, 1, 1]


@pytest.mark.parametrize("pattern", [r"/(\d{3})(?:_(\d{3}))?", r"/(\d{3})_?(\d{3})?/"])
def test_two_groups_are_two_sources(pattern: str) -> None:
    assert find_sources(pattern, PAIRS) == ["033", "097", "033;097", "033;097"]


def test_a_fake_that_is_named_after_two_is_of_both_though_the_pattern_has_one_group() -> None:
    assert find_sources(r"/(\d{3})", PAIRS, LABELS) == ["033", "097", "033;097", "033;097"]
    assert find_sources(r"/(\d{3})", PAIRS) == ["033", "097", "033", "097"], "without labels nothing is guessed"
    assert find_sources(r"/(\d{3})()", PAIRS, LABELS) == ["033", "097", "033", "097"]
    celeb = ["real/id0_0001_3.png", "real/id1_0000_3.png", "fake/id0_id1_0001_3.png"]
    assert find_sources(r"(id\d+)_", celeb, [0, 0, 1]) == ["id0", "id1", "id0;id1"]


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        # The second number counts frames, in both classes.
        (["real/001_002.png", "real/002_001.png", "fake/001_002.png"], [0, 0, 1]),
        # It is no real video's.
        (["real/001.png", "real/002.png", "fake/001_003.png"], [0, 0, 1]),
        # Few fakes are named so.
        ([*PAIRS, "fake/033/1.png", "fake/097/1.png"], [*LABELS, 1, 1]),
        (PAIRS, [None] * 4),
    ],
)
def test_what_may_be_otherwise_is_not_guessed(paths: list[str], labels: list[int | None]) -> None:
    assert find_sources(r"/(\d{3})", paths, labels) == find_sources(r"/(\d{3})", paths)


def test_the_guess_is_told() -> None:
    sources = find_sources(r"/(\d{3})", PAIRS, LABELS)
    (remark,) = source_remarks(r"/(\d{3})", PAIRS, sources)
    assert remark.startswith("2 fakes are named after two sources that real frames have, and taken for both")
    assert r"source_pattern '/(\d{3})'" in remark
    assert "'fake/033_097/1.png' is of 033 and 097" in remark
    assert source_remarks(r"/(\d{3})(?:_(\d{3}))?", PAIRS, sources) == ()


@pytest.mark.parametrize(
    ("pattern", "paths", "what"),
    [
        (r"(c\d+|raw)/", ["real/c23/033.png", "real/raw/033.png", "fake/c40/033_097.png"], "are compression levels"),
        (r"^(real|fake)/", PAIRS, "are classes"),
        (
            r"/(Deepfakes|Face2Face|original)/",
            ["f/Deepfakes/1.png", "f/Face2Face/1.png", "r/original/2.png"],
            "methods",
        ),
        (r"(\d)\.png", PAIRS, "are one for all frames"),
        (r"/(\d+)\.png", [f"real/v{v}/{f:04d}.png" for v in range(5) for f in range(4)], "tell frames apart"),
        (r"/(.+)\.png", [f"real/v{v}/{f:04d}.png" for v in range(5) for f in range(4)], "tell frames apart"),
        (r"_(\d+)\.", [f"real/v{v}_{f:04d}.png" for v in range(5) for f in range(4)], "tell frames apart"),
    ],
)
def test_sources_that_can_be_no_videos_are_told(pattern: str, paths: list[str], what: str) -> None:
    sources = find_sources(pattern, paths)
    (remark,) = source_remarks(pattern, paths, sources)
    assert what in remark
    assert f"source_pattern '{pattern}'" in remark
    assert f"'{paths[0]}' is of '{sources[0]}'" in remark


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        (r"(.+)", [f"real/v{v}/{f:04d}.png" for v in range(5) for f in range(4)]),
        (r"/(v\d+)/", [f"real/v{v}/{f:04d}.png" for v in range(5) for f in range(4)]),
        (r"/(v\d+)", [f"{label}/v{v:03d}.png" for label in ("real", "fake") for v in range(9)]),
        (r"/(\d+)\.png", [f"fake/{m}/{v:03d}.png" for m in ("Deepfakes", "Face2Face", "c23") for v in range(9)]),
        (r"(id\d+)_", ["real/id0_0001_3.png", "real/id1_0000_3.png", "fake/id0_id2_0001_3.png"]),
        (r"(\d+)", ["real/1.png"]),
        (r"(\d+)", ["real/a.png"]),
    ],
)
def test_sources_that_may_be_videos_are_not(pattern: str, paths: list[str]) -> None:
    assert source_remarks(pattern, paths, find_sources(pattern, paths)) == ()


# --------------------------------------------------------------------------------- whole frame sets
def test_the_source_of_a_manifest_may_be_two(tmp_path: Path) -> None:
    _pictures(tmp_path / "s", ["a.png", "b.png", "c.png"])
    rows = [("path", "label", "source"), ("a.png", 0, "x"), ("b.png", 0, "y"), ("c.png", 1, "y ; x;y")]
    _manifest(tmp_path / "s/manifest.csv", rows)
    frames = _load(tmp_path, path="s")["test"]
    assert [each.source for each in frames.frames] == ["x", "y", "x;y"]
    assert frames.frames_by_source == {"x": 2, "y": 2}


def test_auto_split_of_what_hangs_together_is_refused(tmp_path: Path) -> None:
    pairs = [(a, b) for a in range(6) for b in range(a)]
    names = [f"real/id{a}/0.png" for a in range(6)] + [f"fake/id{a}_id{b}/0.png" for a, b in pairs]
    _pictures(tmp_path / "s", names)
    text = _refused(tmp_path, path="s", split="auto", source_pattern=r"/(id\d+)(?:_(id\d+))?")
    assert "6 of 6 sources hang together, since fakes are made of two of them" in text
    assert "Write the splits yourself" in text


def test_copies_are_told_with_the_largest_group(tmp_path: Path) -> None:
    _pictures(tmp_path / "s", ["real/a.png", "real/b.png", "fake/c.png"])
    for name in ("real/a (1).png", "real/a (2).png", "fake/c (1).png"):
        original = tmp_path / "s" / f"{name[:6]}.png"
        (tmp_path / "s" / name).write_bytes(original.read_bytes())
    frames = _load(tmp_path, path="s")["test"]
    (remark,) = frames.remarks
    assert remark.startswith("3 of 6 test frames are copies of others, so there are 3 different ones")
    assert "'fake/c.png' = 'fake/c (1).png'" in remark
    assert "'real/a (1).png' is there 3 times" in remark
    assert len(frames.copies) == 3
    assert [each.path for each in frames.distinct] == ["fake/c (1).png", "real/a (1).png", "real/b.png"]


@pytest.mark.parametrize(("split", "copies", "is_told"), [("train", 2, False), ("train", 5, True), ("test", 1, True)])
def test_copies_among_frames_that_are_learned_from_are_told_where_they_matter(
    split: Split, copies: int, is_told: bool
) -> None:
    from bench.datasets.copies import copy_remarks

    frames = [
        *(frame(f"real/{k:02d}.png", None) for k in range(20)),
        *(frame(f"real/z{k}.png", None, "real/00.png") for k in range(copies)),
    ]
    assert bool(copy_remarks(FrameSet("s", split, tuple(frames), "", ""))) == is_told


def test_frames_that_are_not_read_have_no_copies() -> None:
    unread = [Frame(f"{k}.png", Path(), 0, None, "") for k in range(3)]
    assert FrameSet("s", "test", tuple(unread), "", "").copies == ()


def test_a_search_that_fails_names_the_pattern() -> None:
    with pytest.raises(UserError, match="takes too long"):
        find_sources("((.+)+)+X", ["a" * 60], [0])
