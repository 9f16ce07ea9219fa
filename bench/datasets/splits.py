"""Which split a frame belongs to, and what must not be shared between splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.errors import counted, listed, quoted
from bench.records import LABELLED_SPLITS, VIDEO_SUFFIXES, Frame, Split

_TEST, _VALIDATION = 0.7, 0.8  # cumulative shares; what is left is for training
_LARGE = 0.1  # a group with a larger share is placed before others
_PARTS = ("test", "validation", "train")
CALIBRATION_FRAMES = 128
_SPLIT_YOURSELF = (
    "Write the splits yourself, in a manifest's column `split` or in folders, without the fakes whose two sources are "
    "on different sides; where nothing is calibrated or trained, test alone will do."
)
WRITE_PATTERN = " Write source_pattern; where every frame stands alone, source_pattern: '(.+)'."


def split_by_source(frames: Iterable[Frame]) -> dict[Split, tuple[Frame, ...]]:
    """Labelled frames as test 70 %, validation 10 %, train 20 %, and calibration drawn from train.

    All frames of a source, of sources that share a frame, of a video whose sources are unknown, and all with the same
    content go to one split. Within each
    class (and among sources with both) sources are ranked by a hash of their name, of their content where
    unknown, so the split depends on neither order nor path. Of sources that fakes join, large groups come first, since
    only the test split has room for them. Sets too small for a validation split with both classes, or for a train
    split, have none.
    """
    strata: dict[frozenset[int | None], list[tuple[tuple[bool, str], list[Frame]]]] = defaultdict(list)
    everything = list(frames)
    most = _LARGE * len(everything) if any(map(_is_of_several, everything)) else len(everything)
    for key, group in grouped(everything).items():
        rank = len(group) <= most, _hash("split", key)
        strata[frozenset(frame.label for frame in group)].append((rank, group))
    chosen: dict[Split, list[Frame]] = {"test": [], "validation": [], "train": []}
    for groups in strata.values():
        total, before = sum(len(group) for _, group in groups), 0
        for _, group in sorted(groups, key=lambda ranked: ranked[0]):
            middle = (before + len(group) / 2) / total
            split: Split = "test" if middle < _TEST else "validation" if middle < _VALIDATION else "train"
            chosen[split] += group
            before += len(group)
    if {frame.label for frame in chosen["validation"]} != {0, 1}:
        chosen["test"] += chosen.pop("validation")
    drawn = sorted(chosen["train"], key=lambda frame: _hash("calibration", frame.digest + frame.path))
    chosen["calibration"] = drawn[:CALIBRATION_FRAMES]
    return {
        split: tuple(sorted(frames_of_split, key=lambda f: f.path))
        for split, frames_of_split in chosen.items()
        if frames_of_split
    }


def _hash(purpose: str, key: str) -> str:
    return hashlib.sha256(f"{purpose}\0{key}".encode()).hexdigest()


def grouped(frames: Iterable[Frame]) -> dict[str, list[Frame]]:
    """Frames that belong together, by a key made of their sources or, without one, of their content."""
    everything = list(frames)
    parent: dict[str, str] = {}

    def top(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for frame in everything:
        for key in _origins(frame):
            first, second = sorted((top(key), top(f"content {frame.digest}")))
            parent[first] = second  # the greater of two is the top, so "source …" wins over "content …"
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in everything:
        groups[top(f"content {frame.digest}")].append(frame)
    return groups


def _origins(frame: Frame) -> list[str]:
    """What a frame has in common with others: its sources, without any its video."""
    if frame.source is not None:
        return [f"source {name}" for name in frame.sources]
    return [f"video {frame.video}"] if frame.video is not None else []


def _is_of_several(frame: Frame) -> bool:
    return len(frame.sources) > 1


def inseparable(splits: Mapping[Split, Sequence[Frame]]) -> tuple[list[str], tuple[str, ...]]:
    """What is wrong, and what is to be told, where fakes of several sources join most frames that `split: auto` split.

    A group of sources cannot be divided; where one is larger than the test split's share, little is left for others.
    """
    frames = [frame for split, of_split in splits.items() if split != "calibration" for frame in of_split]
    if not any(map(_is_of_several, frames)):
        return [], ()
    groups = list(grouped(frames).values())
    largest = max(groups, key=len)
    if len(largest) <= _TEST * len(frames):
        return [], ()
    names, all_names = ({name for frame in of if frame.source for name in frame.sources} for of in (largest, frames))
    why = (
        f"{len(names):,} of {len(all_names):,} sources hang together, since fakes are made of two of them, and with "
        f"them {len(largest):,} of {len(frames):,} frames, which only one split can have"
    )
    if "train" not in splits:
        return [f"`split: auto` can't split these frames: {why}. {_SPLIT_YOURSELF}"], ()
    shares = ", ".join(f"{split} {100 * len(splits[split]) / len(frames):.0f} %" for split in splits if split in _PARTS)
    return [], (f"`split: auto` can't divide these frames as usual: {why}. They are now {shares}. {_SPLIT_YOURSELF}",)


def shared_sources(splits: Mapping[Split, Iterable[Frame]]) -> list[str]:
    """What is wrong where a known source is both judged (test, validation) and learned from."""
    shared = _across(splits, "source", lambda frame: frame.sources)
    if not shared:
        return []
    advice = "split by source, or correct `source_pattern` where they are different videos"
    return [f"the same source on both sides of test, validation | calibration, train ({advice}): {listed(shared)}"]


def alike_sources(splits: Mapping[Split, Iterable[Frame]]) -> tuple[str, ...]:
    """What a reader must know where sources on both sides look like one in two spellings: "001.mp4" and "001"."""
    judged: dict[str, str] = {}
    learned: dict[str, str] = {}
    for split, frames in splits.items():
        side = judged if split in LABELLED_SPLITS else learned
        for name in {name for frame in frames for name in frame.sources}:
            side.setdefault(_spelled_plainly(name), name)
    alike = [
        f"{quoted(judged[word])} and {quoted(name)}" for word, name in learned.items() if judged.get(word, name) != name
    ]
    if not alike:
        return ()
    return (
        f"{counted(len(alike), 'source')} of test or validation and of train or calibration look like one in two "
        f"spellings, and count as two: {listed(sorted(alike), 3)}. Where they are one, spell them alike: what was "
        "learned from must not be judged.",
    )


def _spelled_plainly(source: str) -> str:
    """In lower case and without the ending of a video."""
    stem, dot, ending = source.casefold().rpartition(".")
    return stem if dot and f".{ending}" in VIDEO_SUFFIXES else source.casefold()


def shared_videos(splits: Mapping[Split, Iterable[Frame]]) -> list[str]:
    """What is wrong where a video of unknown source is both judged and learned from; all names are of one manifest."""
    shared = _across(splits, "video", lambda frame: [frame.video] if frame.video and frame.source is None else [])
    if not shared:
        return []
    advice = "give all its frames to one split, or two videos two names"
    return [f"the same video on both sides of test, validation | calibration, train ({advice}): {listed(shared)}"]


def shared_among_judged(splits: Mapping[Split, Iterable[Frame]]) -> tuple[str, ...]:
    """What a reader must know where test and validation, on which thresholds are chosen, overlap."""
    test, validation = splits.get("test", ()), splits.get("validation", ())
    of_test, of_validation = ({name for frame in frames for name in frame.sources} for frames in (test, validation))
    sources = of_test & of_validation
    tested = {frame.digest: frame.path for frame in test}
    files = [f"test {tested[f.digest]} = validation {f.path}" for f in validation if f.digest in tested]
    remarks = []
    if sources:
        remarks.append(f"Test and validation share {counted(len(sources), 'source')}: {listed(sorted(sources), 5)}.")
    if files:
        remarks.append(f"Test and validation share {len(files)} identical files: {listed(files, 5)}.")
    return tuple(remarks)


def unknown_sources(split: Split, frames: Sequence[Frame], pattern: str | None) -> tuple[str, ...]:
    """What a reader must know where the sources of a split's frames are known in part: how many of each class."""
    unknown = [frame for frame in frames if frame.source is None]
    if not unknown or len(unknown) == len(frames):
        return ()
    counts = " and ".join(
        f"{sum(frame.label == label for frame in unknown):,} of {total:,}{word}"
        for label, word in ((0, " real"), (1, " fake"), (None, ""))
        if (total := sum(frame.label == label for frame in frames))
    )
    why = f"source_pattern {quoted(pattern)} does not match them" if pattern else "their cells are empty"
    return (
        f"{counts} {split} frames have no source ({why}): {listed((frame.path for frame in unknown), 3)}. Each counts "
        "as a video of its own: where they share videos, intervals are too narrow, and a video may be on both sides.",
    )


def unknown_sources_in_auto(frames: Sequence[Frame]) -> tuple[str, ...]:
    """What a reader must know where frames were split without knowing which of them are of one video."""
    paths, unknown = {frame.path for frame in frames}, {frame.path for frame in frames if not _origins(frame)}
    if not unknown:
        return ()
    return (
        f"`split: auto` knew no source of {len(unknown):,} of {len(paths):,} frames: frames of "
        f"one video may be on both sides, and scores then look better than they are.{WRITE_PATTERN}",
    )


def shared_content(splits: Mapping[Split, Iterable[Frame]]) -> list[str]:
    """What is wrong where the same picture is both judged and learned from, or is both real and fake."""
    shared = _across(splits, "digest", lambda frame: (frame.digest,))
    problems = []
    if shared:
        where = "test, validation | calibration, train (remove them from one side)"
        problems = [f"identical files on both sides of {where}: {listed(shared)}"]
    for split, frames in splits.items():
        first: dict[str, Frame] = {}
        twice = [
            f"{other.path} and {frame.path}"
            for frame in frames
            if frame.label is not None and (other := first.setdefault(frame.digest, frame)).label != frame.label
        ]
        if twice:
            problems.append(f"{split}: identical files, one real and one fake: {listed(twice)}")
    return problems


def _across(splits: Mapping[Split, Iterable[Frame]], what: str, keys_of: Callable[[Frame], Iterable[str]]) -> list[str]:
    """What judged splits share with the others, by the keys of each frame: where it stands in both."""
    judged: dict[str, str] = {}
    shared: dict[str, str] = {}
    for split, frames in splits.items():
        for frame in frames if split in LABELLED_SPLITS else ():
            for key in keys_of(frame):
                judged.setdefault(key, f"{split} {frame.path}")
    for split, frames in splits.items():
        for frame in frames if split not in LABELLED_SPLITS else ():
            for key in keys_of(frame):
                if key in judged:
                    name = f"{quoted(key)}: " if what in ("source", "video") else ""
                    shared.setdefault(key, f"{name}{judged[key]} = {split} {frame.path}")
    return list(shared.values())
