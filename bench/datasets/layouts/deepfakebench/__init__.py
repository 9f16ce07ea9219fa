"""DeepfakeBench: dataset_json/<set>.json, which lists videos and their frames by label, split and compression.

The file is `{set: {label: {split: {compression: {video: {"label", "frames": [path, …]}}}}}}`, the compression only in
sets made of FaceForensics++. Labels that end in "real" are real, others fake. Frames are looked for below the folder
of dataset_json/ by the end of their paths, which may have backslashes, or begin on another machine; videos where
DeepfakeBench's preprocessing takes them from. A video that stands in several splits is of test before train before
validation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.datasets import list_files, native
from bench.datasets.layouts import Entry, Listing, Options, dfdc
from bench.datasets.layouts.deepfakebench.frames import Frames
from bench.datasets.layouts.deepfakebench.records import Reader, Record
from bench.datasets.layouts.deepfakebench.videos import as_videos, paths_of_videos
from bench.datasets.native import File, Video
from bench.errors import UserError, counted, listed
from bench.records import MissingVideo, Split, joined_sources

RANK = 12
SHAPE = "DeepfakeBench's dataset_json/<set>.json, with its frames beside it"

FOLDERS = ("dataset_json", "preprocessing/dataset_json")
SHARING = "DeepfakeBench's splits have the same persons or videos on both sides"
_ORDER: tuple[Split, ...] = ("test", "train", "validation", "calibration")


def recognises(path: Path) -> bool:
    """Whether it is a JSON file, or there is a folder called dataset_json with some."""
    if path.is_file():
        return path.suffix.lower() == ".json" and path.name != dfdc.METADATA
    return bool(_json_files(path))


def read(path: Path, options: Options) -> Listing:
    """List the frames of one set; everything that is wrong with its file is a problem of the listing."""
    files = [path] if path.is_file() else _json_files(path)
    file, reader = files[0], Reader()
    if len(files) > 1:
        names = listed((file.name for file in files), 12)
        return Listing(path, {}, (f"{file.parent}: holds several sets; write the path of one of them: {names}",))
    try:
        reader.add(list_files.read_json(file))
    except UserError as error:
        return Listing(path, {}, error.lines)
    if reader.wrong:
        return Listing(path, {}, tuple(f"{file}: {kind}: {listed(at, 5)}" for kind, at in reader.wrong.items()))
    if not reader.records:
        return Listing(path, {}, (f"{file}: lists no video with frames; fetch or write it again",))
    starts = _starts(path, file)
    if options.noun == "videos":
        frames = Frames(starts, paths_of_videos(reader.records), options)
        reader.records = as_videos(reader.records, frames)
    else:
        frames = Frames(starts, (frame for record in reader.records for frame in record.frames), options)
    return _listing(file, reader, frames, options)


def _json_files(path: Path) -> list[Path]:
    """The sets in a folder that is called dataset_json, or that holds one."""
    candidates = [path] if path.name.startswith("dataset_json") else [path / name for name in FOLDERS]
    folder = next((folder for folder in candidates if folder.is_dir()), None)
    files = folder.iterdir() if folder else ()
    return sorted(file for file in files if file.suffix == ".json" and not file.name.startswith("."))


def _starts(path: Path, file: Path) -> list[Path]:
    """Where frames are looked for: below the folder that was given, or above the file's dataset_json/."""
    if path.is_dir() and not path.name.startswith("dataset_json"):
        return [path]
    starts = [file.parent]
    if starts[-1].name.startswith("dataset_json"):
        starts.append(starts[-1].parent)
    if starts[-1].name == "preprocessing":
        starts.append(starts[-1].parent)
    return starts


def _listing(file: Path, reader: Reader, frames: Frames, options: Options) -> Listing:
    """The frames that are there, by split, and what is to be said of the others."""
    splits = _splits(reader.records)
    records = [record for record in reader.records if splits[record.path] == record.split]
    entries: dict[Split | None, dict[str, Entry]] = defaultdict(dict)
    absent: dict[Split, list[str]] = defaultdict(list)
    totals: Counter[Split] = Counter()
    levels: Counter[str] = Counter()
    present: set[str] = set()
    for record in records:
        totals[record.split] += len(record.frames)
        for path in record.frames:
            if (frame := frames.at(path)) is None:
                absent[record.split].append(path)
                continue
            present.add(record.path)
            if not frame.excluded:
                levels[record.compression] += 1
                entries[record.split][frame.path] = _entry(frame, record)
    problems, remarks = _absent(file, frames.root, absent, totals, options)
    remarks += [*_doubled(file, reader.records, splits), *_without_frames(file, reader), *_levels(file, levels)]
    missing = native.missing_videos(
        [*reader.missing, *((r.split, _missing(r)) for r in records if r.path not in present and entries[r.split])]
    )
    labels_from = f"labels come from {file}"
    by_split = {split: of_split.values() for split, of_split in entries.items()}
    problems += native.misplaced(file, options)
    parts = native.parts(by_split, labels_from, SHARING)
    return Listing(frames.root, parts, tuple(problems), frames.unused, tuple(remarks), missing)


def _missing(record: Record) -> MissingVideo:
    return MissingVideo(record.path, record.label, joined_sources(*record.sources), "none of its frames is there")


def _entry(frame: File, record: Record) -> Entry:
    """A frame with its video, whose path is where the frame is."""
    folder = frame.path.rpartition("/")[0]
    name = record.path.rpartition("/")[2]
    path = folder if folder.rpartition("/")[2] == name else f"{folder}/{name}"
    stem = frame.path.rpartition("/")[2].rpartition(".")[0]
    video = Video(name, path, native.frame_index(stem, name))
    attributes = (("method", record.word), ("compression", record.compression))
    return native.entry(frame, record.label, record.sources, video, attributes[: 2 if record.compression else 1])


def _splits(records: Sequence[Record]) -> dict[str, Split]:
    """The split of each video, by its path: of those that it stands in, the first in `_ORDER`."""
    splits: dict[str, Split] = {}
    for split in reversed(_ORDER):
        splits |= {record.path: split for record in records if record.split == split}
    return splits


# ------------------------------------------------------------------------------------------- problems and remarks
def _absent(
    file: Path, root: Path, absent: Mapping[Split, Sequence[str]], totals: Mapping[Split, int], options: Options
) -> tuple[list[str], list[str]]:
    """Problems and remarks of frames that the file lists and that are not there. A split that lacks all is none."""
    what = options.noun
    if sum(map(len, absent.values())) == sum(totals.values()):
        listed_paths = [path for of_split in absent.values() for path in of_split]
        return [
            f"{file}: none of its {len(listed_paths):,} {what} ({native.endings(options)}) is below {root}: "
            f"{listed(listed_paths, 3)}; put dataset_json/ beside the folder that their paths begin with"
        ], []
    problems: list[str] = []
    remarks: list[str] = []
    for split, paths in absent.items():
        if len(paths) == totals[split]:
            remarks.append(
                f"{file}: none of its {len(paths):,} {split} {what} is below {root}; there is no such split."
            )
            continue
        advice = "add them, or take them out of the list; scores are else those of another set"
        more = native.missing(file, f"{split} {what} are not below {root}", paths, totals[split], advice)
        problems += more[0]
        remarks += more[1]
    return problems, remarks


def _doubled(file: Path, records: Sequence[Record], splits: Mapping[str, Split]) -> Iterator[str]:
    """Remarks on videos that stand in several splits."""
    for split in _ORDER:
        again = {(record.path, record.split) for record in records if splits[record.path] == split != record.split}
        if again:
            words = listed(sorted({other for _, other in again}))
            videos = len({path for path, _ in again})
            yield f"{file}: {counted(videos, f'{split} video')} listed under {words} too; read as {split} alone."


def _without_frames(file: Path, reader: Reader) -> Iterator[str]:
    if videos := reader.without_frames:
        yield f"{file}: {counted(len(videos), 'video')} with an empty list of frames: {listed(videos, 5)}."


def _levels(file: Path, levels: Mapping[str, int]) -> Iterator[str]:
    if len(levels) > 1:
        each = listed(f"{name or 'none'} ({count:,})" for name, count in sorted(levels.items()))
        advice = f"To leave one out, write {native.excluded(max(levels))}"
        yield f"{file}: frames of several compressions are read together: {each}. {advice}."
