"""FaceForensics++: original_sequences/ and manipulated_sequences/<method>/<compression>/, with lists of its splits.

Below them lie `videos/<video>.mp4`, `frames/<video>/0003.png` or any other form; folders called masks, below a
method or its compression, hold masks of what was forged: `masks/<video>/0003.png` is that of the video's frame 3, and
`masks/videos/<video>.mp4` has those of all its frames.
`train.json`, `val.json` and `test.json`, beside these folders or in splits/, are lists of pairs of ids: of a pair
[A, B] the originals A and B and the fakes A_B and B_A belong to the split. Without them nothing is split. A video's
sources are the ids in its name, those of the actors in DeepFakeDetection, which no split names. Method and compression
are attributes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from bench.datasets import list_files, native
from bench.datasets.layouts import SUFFIXES, Entry, Listing, Options, Tally
from bench.datasets.native import File, Video, Videos
from bench.errors import UserError, listed, quoted
from bench.records import VIDEO_SUFFIXES, MissingVideo, Split, Unused, joined_sources

RANK = 15
SHAPE = "FaceForensics++'s original_sequences/ and manipulated_sequences/, with train.json, val.json and test.json"

ROOTS: Mapping[str, int] = {"original_sequences": 0, "manipulated_sequences": 1}
LISTS: Mapping[str, Split] = {"train.json": "train", "val.json": "validation", "test.json": "test"}
COMPRESSION = re.compile(r"raw|c\d+", re.IGNORECASE)
VIDEOS = (
    re.compile(r"(\d{3})|(\d\d)__[a-z]+(?:_[a-z]+)*"),
    re.compile(r"(\d{3})_(\d{3})|(\d\d)_(\d\d)__[a-z]+(?:_[a-z]+)*__[A-Z0-9]{8}"),
)
"""Names of originals, 953 and 01__hugging_happy, and of fakes, 953_974 and 01_02__hugging_happy__YVGY8LOK.

The groups are the sources: videos, or in DeepFakeDetection actors.
"""

_FORGED = "manipulated_sequences"
_MaskFiles: TypeAlias = Mapping[tuple[str, str, str, int | None], str]
"""Files of masks by method, compression, video and frame; without a frame, they are of all of the video's."""
_LEFT_OUT = (*native.MASKS, "models")


@dataclass(frozen=True, slots=True)
class _Item:
    """A file of a video: `kind` is the folder that its form has, such as frames or videos, if there is one."""

    file: File
    video: Video
    label: int
    method: str
    compression: str
    kind: str
    mask: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        return sources(self.video.name)

    @property
    def is_of_actors(self) -> bool:
        """Whether it is of DeepFakeDetection, whose videos no list names."""
        return "__" in self.video.name

    @property
    def entry(self) -> Entry:
        attributes = (("method", self.method), ("compression", self.compression))
        of_frame = native.entry(self.file, self.label, self.sources, self.video, attributes)
        return replace(of_frame, mask=self.mask) if self.mask else of_frame


@dataclass(frozen=True)
class _Lists:
    """The split of each id, and the file that says so."""

    splits: Mapping[str, Split]
    files: Mapping[Split, Path]
    pairs: Mapping[Split, Sequence[tuple[str, str]]]

    def names(self, split: Split, label: int) -> list[str]:
        """The names of a split's originals, or of its fakes: of a pair both ways round."""
        pairs = self.pairs[split]
        if label == 0:
            return list(dict.fromkeys(name for pair in pairs for name in pair))
        return [f"{first}_{second}" for a, b in pairs for first, second in ((a, b), (b, a))]

    def of(self, item: _Item) -> list[Split]:
        """The splits of an item's ids; empty where no list names them, several where lists tear a fake apart."""
        return list(dict.fromkeys(self.splits[name] for name in item.sources if name in self.splits))


def recognises(path: Path) -> bool:
    return any((path / name).is_dir() for name in ROOTS) and not native.is_plain(native.sub_folders(path))


def read(path: Path, options: Options) -> Listing:
    """List the frames or videos by method and compression, and by split where there are lists."""
    try:
        lists = _read_lists(path)
    except UserError as error:
        return Listing(path, {}, error.lines)
    tally = Tally()
    everything, unknown = _items(path, options, tally)
    everything = _with_masks(path, everything, options)
    items = [item for item in everything if not item.file.excluded]
    files = len(everything) + len(unknown)
    problems, remarks = native.without_video(path, "FaceForensics++ has (953, 953_974)", unknown, files)
    if not files:
        problems.append(
            f"{path}: no {options.noun} ({native.endings(options)}) below {listed(f'{name}/' for name in ROOTS)}"
        )
    remarks += native.several_kinds(path, Counter(item.kind for item in items))
    remarks += _several_compressions(path, items)
    by_split: Mapping[Split | None, list[Entry]] = {None: [item.entry for item in items]}
    missing: Mapping[Split | None, tuple[MissingVideo, ...]] = {}
    if lists.splits and not all(item.is_of_actors for item in items):
        by_split = native.grouped((split, item.entry) for item in items for split in lists.of(item))
        more_problems, more_remarks = _compared(path, lists, everything)
        problems += more_problems
        remarks += more_remarks
        missing = native.missing_videos(_missing(lists, everything))
    labels_from = f"labels come from {' and '.join(ROOTS)} in {path}"
    problems += native.misplaced(path, options)
    parts, masked = native.parts(by_split, labels_from), any(item.mask for item in items)
    unused = _unused(tally, items)
    return Listing(path, parts, tuple(problems), unused, tuple(remarks), missing, native_masks=masked)


@lru_cache(maxsize=2**16)
def sources(name: str) -> tuple[str, ...]:
    """The ids in a video's name, of videos or of actors; nothing where the name is another."""
    match = VIDEOS[0].fullmatch(name) or VIDEOS[1].fullmatch(name)
    return tuple(group for group in match.groups() if group) if match else ()


def _items(path: Path, options: Options, tally: Tally) -> tuple[list[_Item], list[str]]:
    """The files of known videos, and the paths of the others that no pattern leaves out."""
    items: list[_Item] = []
    unknown: list[str] = []
    for root, label in ROOTS.items():
        if not (path / root).is_dir():
            continue
        videos = Videos(VIDEOS[label].fullmatch, options.suffixes)
        for file in native.walk(path, root, options, tally, _LEFT_OUT):
            if video := videos.of(file.path):
                items.append(_Item(file, video, label, *_folders(file, video)))
            elif not file.excluded:
                unknown.append(file.path)
    return items, unknown


def _with_masks(path: Path, items: list[_Item], options: Options) -> list[_Item]:
    """The files with the mask of each fake that has one."""
    masks = _masks_of_videos(path) if options.noun == "videos" else _masks(path)
    return [replace(item, mask=_mask_of(item, masks)) for item in items] if masks else items


def _masks(path: Path) -> _MaskFiles:
    """The pictures in folders of masks, by method, compression (empty where masks are of none), video and frame."""
    top, videos = path / _FORGED, Videos(VIDEOS[1].fullmatch, SUFFIXES)
    masks: dict[tuple[str, str, str, int | None], str] = {}
    for folder in _mask_folders(top):
        for file in native.walk(top, folder, Options(), Tally(), ()):
            video = videos.of(file.path)
            if video is not None and video.frame_index is not None:
                method, compression, _ = _folders(File(f"{_FORGED}/{file.path}", *file[1:]), video)
                masks[method, compression, video.name, video.frame_index] = file.file
    return masks


def _masks_of_videos(path: Path) -> _MaskFiles:
    """The videos in folders of masks, or the folders of pictures that are called like a video, as `_masks` has them."""
    top, videos = path / _FORGED, Videos(VIDEOS[1].fullmatch, VIDEO_SUFFIXES)
    masks: dict[tuple[str, str, str, int | None], str] = {}
    for folder in _mask_folders(top):
        files = list(native.walk(top, folder, Options(suffixes=VIDEO_SUFFIXES), Tally(), ()))
        files += [File(f"{below}/-", str(top / below), 0, 0) for below in _folders_of_pictures(top, folder)]
        for file in files:
            if video := videos.of(file.path):
                method, compression, _ = _folders(File(f"{_FORGED}/{file.path}", *file[1:]), video)
                masks.setdefault((method, compression, video.name, None), file.file)
    return masks


def _folders_of_pictures(top: Path, folder: str) -> Iterator[str]:
    """The folders below one of masks that are called like a video, also where a folder such as `frames` is between."""
    for name in native.sub_folders(top / folder).values():
        inner = [name] if VIDEOS[1].fullmatch(name) else []
        inner = inner or [f"{name}/{each}" for each in native.sub_folders(top / folder / name).values()]
        yield from (f"{folder}/{each}" for each in inner if VIDEOS[1].fullmatch(each.rpartition("/")[2]))


def _mask_folders(top: Path) -> Iterator[str]:
    """The folders of masks below each method, and below each of its compressions."""
    for folder in native.sub_folders(top).values():
        for inside, name in native.sub_folders(top / folder).items():
            if inside in native.MASKS:
                yield f"{folder}/{name}"
            elif COMPRESSION.fullmatch(inside):
                below = native.sub_folders(top / folder / name)
                yield from (f"{folder}/{name}/{of_frames}" for of_frames in map(below.get, native.MASKS) if of_frames)


def _mask_of(item: _Item, masks: _MaskFiles) -> str | None:
    """The mask of a fake: that of its compression, or else that of all."""
    if item.label == 0:
        return None
    keys = ((item.method, of, item.video.name, item.video.frame_index) for of in (item.compression, ""))
    return next((masks[key] for key in keys if key in masks), None)


def _unused(tally: Tally, items: Sequence[_Item]) -> tuple[Unused, ...]:
    """What is left out, without the masks that are used."""
    used = len({item.mask for item in items if item.mask})
    unused = []
    for each in tally.unused:
        left = each.count
        if each.kind == "beside" and each.name.casefold() in native.MASKS:
            left, used = max(left - used, 0), max(used - left, 0)
        unused.append(replace(each, count=left))
    return tuple(each for each in unused if each.count)


def _folders(file: File, video: Video) -> tuple[str, str, str]:
    """Method, compression and kind by the folders `<root>/<method>/<compression>/<kind>/…`; empty where one is not."""
    folders = [name for name in file.path.split("/")[1:-1] if not name.startswith(video.name)]
    method = folders.pop(0) if folders and not COMPRESSION.fullmatch(folders[0]) else ""
    compression = next((name for name in folders[:2] if COMPRESSION.fullmatch(name)), "")
    kind = next((name for name in folders if name != compression), "")
    return method, compression.lower(), kind


# ------------------------------------------------------------------------------------------- the lists of pairs
def _read_lists(path: Path) -> _Lists:
    """What train.json, val.json and test.json say, as far as they are there."""
    splits: dict[str, Split] = {}
    files: dict[Split, Path] = {}
    pairs: dict[Split, list[tuple[str, str]]] = {}
    for name, split in LISTS.items():
        file = next((f for f in (path / name, path / "splits" / name) if f.is_symlink() or f.exists()), None)
        if file is None:
            continue
        files[split] = file
        pairs[split] = list(_pairs(file))
        for video in (name for pair in pairs[split] for name in pair):
            if splits.setdefault(video, split) != split:
                other = files[splits[video]].name
                raise UserError(f"{file}: id {quoted(video)} is in {other} too; take it out of one of them")
    return _Lists(splits, files, pairs)


def _pairs(file: Path) -> Iterator[tuple[str, str]]:
    """The pairs of ids in a list; `UserError` where it is another."""
    expected = 'such as [["953", "974"], ["019", "018"]]'
    pairs = list_files.read_json(file)
    if not isinstance(pairs, list) or not pairs:
        raise UserError(f"{file}: expected a list of pairs of ids, {expected}")
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_id, pair)):
            raise UserError(
                f"{file}: pair {number}: expected two ids of three digits, {expected}; found {quoted(pair)}"
            )
        yield pair[0], pair[1]


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and VIDEOS[0].fullmatch(value) is not None


def _compared(path: Path, lists: _Lists, items: Sequence[_Item]) -> tuple[list[str], list[str]]:
    """Problems and remarks of ids without files, fakes of two splits, and files that no list names."""
    problems, remarks = [], []
    present = {name for item in items for name in item.sources}
    for split, file in lists.files.items():
        ids = [name for name, of_split in lists.splits.items() if of_split == split]
        absent = [name for name in ids if name not in present]
        if len(absent) == len(ids):
            remarks.append(f"{file}: none of its {len(ids):,} ids has a file below {path}: there is no {split} split.")
            continue
        advice = "add the files, or take the pairs out of the list"
        more_problems, more_remarks = native.missing(file, f"ids have no file below {path}", absent, len(ids), advice)
        problems += more_problems
        remarks += more_remarks
    if torn := sorted({item.video.name for item in items if len(lists.of(item)) > 1 and not item.file.excluded}):
        problems.append(
            f"{path}: fakes of two videos that the lists put into two splits; remove them: {listed(torn, 5)}"
        )
    return problems, [*remarks, *_left_out(path, lists, items)]


def _missing(lists: _Lists, items: Sequence[_Item]) -> Iterator[tuple[Split, MissingVideo]]:
    """The videos of pairs that have no file, in each method and compression that has files of that split."""
    groups: dict[tuple[Split, int, str, str], set[str]] = {}
    for item in items:
        for split in lists.of(item) if not item.is_of_actors else ():
            groups.setdefault((split, item.label, item.method, item.compression), set()).add(item.video.name)
    for (split, label, method, compression), present in groups.items():
        for name in lists.names(split, label):
            if name not in present:
                root = next(root for root, of_root in ROOTS.items() if of_root == label)
                video = "/".join(filter(None, (root, method, compression, name)))
                reason = f"{lists.files[split].name} names it, and it is not there"
                yield split, MissingVideo(video, label, joined_sources(*sources(name)), reason)


def _left_out(path: Path, lists: _Lists, items: Sequence[_Item]) -> Iterator[str]:
    """Remarks on what the lists do not name: DeepFakeDetection, and other videos."""
    names = listed(file.name for file in lists.files.values())
    for of_actors in (True, False):
        without_split = [
            item for item in items if item.is_of_actors == of_actors and not lists.of(item) and not item.file.excluded
        ]
        if not without_split:
            continue
        videos = sorted({item.video.name for item in without_split})
        methods = listed(sorted({item.method for item in without_split}))
        why = (
            "DeepFakeDetection's actors have no splits. To judge it, link it into a folder of its own without lists"
            if of_actors
            else f"{names} {'names' if len(lists.files) == 1 else 'name'} none of these: {listed(videos, 5)}"
        )
        yield f"{path}: {len(without_split):,} files of {len(videos):,} videos ({methods}) are left out: {why}."


def _several_compressions(path: Path, items: Sequence[_Item]) -> Iterator[str]:
    """Remarks where videos are there in several compressions, and where classes differ in them."""
    counts = Counter(item.compression for item in items if item.compression)
    if len(counts) > 1:
        each = listed(f"{name} ({count:,})" for name, count in sorted(counts.items()))
        advice = f"To leave one out, write {native.excluded(max(counts))}"
        yield f"{path}: files of several compressions are read together: {each}. {advice}."
    real, fake = ({item.compression for item in items if item.label == label} - {""} for label in (0, 1))
    if real and fake and real != fake:
        yield (
            f"{path}: real files are of {listed(sorted(real))} and fake ones of {listed(sorted(fake))}: a detector may "
            "tell compressions apart instead of classes."
        )
