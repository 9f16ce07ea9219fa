"""Videos as the layouts of frame sets list them: with label, split, source and attributes, before any is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.datasets import Listed, find_sources, layouts, native
from bench.datasets.layouts import Entry, Listing, Options
from bench.datasets.sharing import agreed
from bench.errors import UserError, is_unicode, listed, quoted
from bench.records import VIDEO_SUFFIXES, Split, Video


@dataclass(frozen=True)
class _Video:
    """A video with the folder that it was found below."""

    root: Path
    split: Split | None
    entry: Entry
    prefix: str
    source: str | None

    @property
    def name(self) -> str:
        return "/".join(filter(None, (self.prefix, self.split, self.entry.path)))


@dataclass(frozen=True)
class ListedVideos:
    """The videos of a command's arguments; `absent` are those that lists name and that have no file.

    `sharing` is why a source may be in several splits, empty where it may not. `remarks` are what a reader must know.
    """

    videos: list[Video]
    absent: list[Video]
    sharing: str
    remarks: tuple[str, ...]


def find_videos(
    sources: Sequence[Path], pattern: str | None = None, columns: Mapping[str, str] | None = None
) -> ListedVideos:
    """The videos in files, folders and manifests; with several of these, names begin with theirs.

    `pattern` finds a video's source in its path, where nothing else tells it; where nothing does, a video is a source
    of its own. `columns` are a manifest's. All that is wrong is one `UserError`.
    """
    problems: list[str] = []
    videos: list[_Video] = []
    sharing: set[tuple[Path, str]] = set()
    absent: list[_Video] = []
    remarks: list[str] = []
    for source, prefix in zip(sources, _prefixes(sources), strict=True):
        listing = _listing(source, columns)
        problems += [problem for problem in listing.problems if problem not in problems]
        remarks += [remark for remark in listing.remarks if remark not in remarks]
        videos += _of_listing(listing, prefix, pattern)
        absent += _absent(listing, prefix, pattern)
        sharing |= {(listing.root, part.sharing) for part in listing.parts.values()}
    names = [video.name for video in videos]
    if wrong := [os.fsencode(name) for name in names if not is_unicode(name)]:
        problems.append(f"file names that are not UTF-8, rename them: {listed(wrong, 5)}")
    if not problems and not videos:
        problems.append(f"no videos in {listed(sources)}; expected files that end in {listed(VIDEO_SUFFIXES, 7)}")
    if len(split_states := {video.split is None for video in videos}) > 1:
        problems.append(f"of {listed(sources)} only a part is split into test, train …; extract them one by one")
    if problems:
        raise UserError(*problems)
    assert len(split_states) == 1
    return ListedVideos(_with_sources(videos, pattern), _records(absent, pattern), agreed(sharing), tuple(remarks))


def _listing(source: Path, columns: Mapping[str, str] | None) -> Listing:
    """What lies at a place; a video file by itself has neither label nor split."""
    if source.suffix.lower() in VIDEO_SUFFIXES and source.is_file():
        status = source.stat()
        entry = Entry(source.name, str(source), None, None, status.st_size, status.st_mtime_ns)
        return Listing(source.parent, {None: layouts.Part((entry,), f"{source} is a video by itself")})
    return layouts.read(source, Options(columns, suffixes=VIDEO_SUFFIXES))


def _of_listing(listing: Listing, prefix: str, pattern: str | None) -> Iterator[_Video]:
    """The videos of a listing; a pattern takes the place of sources that are read off names."""
    for split, part in native.without_drawn(listing.parts).items():
        for entry in part.entries:
            source = None if pattern and part.from_names else entry.source
            yield _Video(listing.root, split, entry, prefix, source)


def _absent(listing: Listing, prefix: str, pattern: str | None) -> Iterator[_Video]:
    """The videos that a listing names and that have no file."""
    for split, missing in listing.missing.items():
        for video in missing:
            part = listing.parts.get(split)
            source = None if pattern and part and part.from_names else video.source
            yield _Video(listing.root, split, Entry(video.name, "", video.label, None, 0, 0), prefix, source)


def _prefixes(sources: Sequence[Path]) -> list[str]:
    """What the names of videos of each source begin with; nothing where there is one source."""
    if len(sources) == 1:
        return [""]
    prefixes: list[str] = []
    for source in sources:
        name = _title(source)
        same = sum(prefix.partition("~")[0] == name for prefix in prefixes)
        prefixes.append(f"{name}~{same + 1}" if same else name)
    return prefixes


def _title(path: Path) -> str:
    """What a folder is called, also where it is "."; of a file, that of its folder."""
    path = path.absolute() if path.is_dir() else path.absolute().parent
    return Path(os.path.normpath(path)).name or "videos"


def _with_sources(videos: Sequence[_Video], pattern: str | None) -> list[Video]:
    """Records of the videos, each with a source; `UserError` where a pattern finds none of those that it is for."""
    records = _records(videos, pattern)
    unknown = [video.entry.path for video in videos if video.source is None]
    if pattern and unknown and not any(_by_pattern(videos, pattern)):
        raise UserError(f"source_pattern {quoted(pattern)} matches no video, for example {quoted(unknown[0])}")
    return records


def _by_pattern(videos: Sequence[_Video], pattern: str | None) -> Sequence[str | None]:
    """What the pattern finds in the paths of the videos whose source nothing else tells."""
    unknown = [video.entry for video in videos if video.source is None]
    if not pattern:
        return [None] * len(unknown)
    return find_sources(pattern, [entry.path for entry in unknown], [entry.label for entry in unknown])


def _records(videos: Sequence[_Video], pattern: str | None) -> list[Video]:
    sources = iter(_by_pattern(videos, pattern))
    return [_record(video, next(sources) if video.source is None else video.source) for video in videos]


def _record(video: _Video, source: str | None) -> Video:
    """A video that nothing else tells the source of is one of its own; another folder's 0001.mp4 is another video."""
    entry = video.entry
    alone = video.name if video.prefix else f"{_title(video.root)}/{video.name}"
    named = source or alone.replace(";", ",")
    return Video(
        video.name, entry.file, entry.label, video.split, named, entry.size_bytes, entry.mtime_ns, entry.attributes,
        mask=entry.mask or "",
    )  # fmt: skip


def videos_of(listing: Listed, part: Split | None) -> list[Video]:
    """The videos of a part of a frame set; None stands for those that no split claims."""
    located = listing.parts[part]
    pairs = zip(located.part.entries, listing.frames[part], strict=True)
    return [_record(_Video(located.root, part, entry, "", frame.source), frame.source) for entry, frame in pairs]
