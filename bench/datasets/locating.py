"""What lies at the locations that an entry of the experiment file names, from names and manifests alone."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from bench.addresses import resolve
from bench.datasets import layouts, masks
from bench.datasets.layouts import Entry, Part
from bench.datasets.settings import FrameSetSettings, Location, options_of
from bench.datasets.sources import find_sources, second_sources
from bench.errors import counted, listed, quoted
from bench.records import ForgeryMask, Frame, MissingVideo, Split, Unused, joined_sources


@dataclass(frozen=True)
class Located:
    """A part of a listing with the folder that it lies in, and whether the layout found its masks."""

    root: Path
    part: Part
    pattern: str | None
    missing: tuple[MissingVideo, ...] = ()
    has_native_masks: bool = False

    @property
    def renames(self) -> bool:
        """Whether a pattern takes the place of sources that the layout read off names."""
        return self.pattern is not None and self.part.from_names

    def states(self, entry: Entry) -> bool:
        """Whether somebody has written the source of a frame down."""
        return entry.source is not None and not self.part.from_names

    @property
    def unnamed(self) -> list[Entry]:
        """Those of whose source nothing is said but by a pattern."""
        return [entry for entry in self.part.entries if entry.source is None or self.renames]

    @property
    def real_sources(self) -> set[str]:
        """The sources that the pattern finds in the paths of real frames."""
        paths = [entry.path for entry in self.unnamed if entry.label == 0] if self.pattern else []
        return set(filter(None, find_sources(self.pattern or "", paths)))

    def frames(self, real: Collection[str] = ()) -> tuple[Frame, ...]:
        """Frames whose content is not known yet; `real` are sources of real frames in other parts."""
        unknown = self.unnamed if self.pattern else []
        paths, labels = [entry.path for entry in unknown], [entry.label for entry in unknown]
        sources = iter(find_sources(self.pattern or "", paths, labels, real))
        return tuple(
            Frame(
                entry.path,
                Path(entry.file),
                entry.label,
                next(sources, None) if entry.source is None or self.renames else joined_sources(entry.source),
                "",
                entry.attributes,
                entry.video,
                entry.frame_index,
                ForgeryMask(Path(entry.mask), native=self.has_native_masks) if entry.mask else None,
            )
            for entry in self.part.entries
        )

    def missing_videos(self) -> tuple[MissingVideo, ...]:
        """The videos without frames, with sources as its frames have them."""
        if not self.pattern or not self.missing:
            return self.missing
        names, labels = [video.name for video in self.missing], [video.label for video in self.missing]
        return tuple(
            replace(video, source=from_name) if video.source is None or self.renames else video
            for video, from_name in zip(self.missing, find_sources(self.pattern, names, labels), strict=True)
        )


@dataclass(frozen=True)
class Gathered:
    """Parts by split, None for frames that no split claims; what is wrong, what is not used by folder, and remarks."""

    parts: Mapping[Split | None, Located]
    problems: Sequence[str]
    unused: Mapping[Path, tuple[Unused, ...]]
    remarks: Sequence[str]


def frames_of(parts: Mapping[Split | None, Located]) -> tuple[dict[Split | None, tuple[Frame, ...]], tuple[str, ...]]:
    """The frames of all parts, whose content is not known yet, and what a reader must know of their sources.

    A fake's second source may be that of real frames in another part.
    """
    real: dict[str, set[str]] = {}
    for located in parts.values() if len(parts) > 1 else ():
        if located.pattern:
            real.setdefault(located.pattern, set()).update(located.real_sources)
    frames = {split: located.frames(real.get(located.pattern or "", ())) for split, located in parts.items()}
    everything = [frame for of_part in frames.values() for frame in of_part]
    # What a pattern or a layout finds in names, it says whether that is one source or two.
    stated = [located.states(entry) for located in parts.values() for entry in located.part.entries]
    guessed = second_sources([frame.source for frame in everything], [frame.label for frame in everything])
    seconds = {index: names for index, names in guessed.items() if stated[index]}
    if not seconds:
        return frames, ()
    changed = [replace(frame, source=seconds.get(index, frame.source)) for index, frame in enumerate(everything)]
    index, joined = next(iter(seconds.items()))
    remark = (
        f"{counted(len(seconds), 'fake')} {'have' if len(seconds) > 1 else 'has'} a source that is spelled of several "
        f"that real frames have, and counts as all of them: {quoted(everything[index].source)} as "
        f"{quoted(joined)}. Write `;` between the sources of a frame, and other names where they are none."
    )
    each = iter(changed)
    return {split: tuple(islice(each, len(of_part))) for split, of_part in frames.items()}, (remark,)


def gather(settings: FrameSetSettings, base: Path) -> Gathered:
    """What lies at the locations that an entry of the experiment file names; paths are relative to `base`."""
    if settings.path is None:
        return _gather_locations(settings.locations, base)
    listing = _listed(settings, settings.path, base)
    parts = {split: _located(listing, split, settings) for split in listing.parts}
    problems = list(listing.problems)
    if not problems and settings.split == "auto" and None not in parts:
        problems.append(f"{listing.root}: is split already ({listed(parts)}); leave out `split: auto`")
    elif not problems and None not in parts and "test" not in parts:
        problems.append(f"{listing.root}: has no test split, only {listed(parts)}")
    return Gathered(parts, problems, {listing.root: listing.unused}, listing.remarks)


def _listed(settings: FrameSetSettings | Location, path: str, base: Path) -> layouts.Listing:
    """What lies at a place, each frame with its mask, where the settings name a folder of these."""
    listing = layouts.read(resolve(base, path), options_of(settings))
    if not settings.masks:
        return listing
    return masks.with_folder(listing, resolve(base, settings.masks), of_videos=settings.extract is not None)


def _located(listing: layouts.Listing, split: Split | None, settings: FrameSetSettings | Location) -> Located:
    part, missing = listing.parts[split], listing.missing.get(split, ())
    return Located(listing.root, part, settings.source_pattern, missing, listing.native_masks)


def _gather_locations(locations: Mapping[Split, Location], base: Path) -> Gathered:
    """What lies at the locations of the splits, each of its own."""
    parts: dict[Split | None, Located] = {}
    problems: list[str] = []
    remarks: list[str] = []
    listings: dict[Path, layouts.Listing] = {}
    used: set[tuple[Path, Split | None]] = set()
    for split, location in locations.items():
        listing = _listed(location, location.path, base)
        problems += [problem for problem in listing.problems if problem not in problems]
        remarks += [remark for remark in listing.remarks if remark not in remarks]
        listings.setdefault(listing.root, listing)
        inside = split if split in listing.parts else None
        if inside in listing.parts:
            parts[split] = _located(listing, inside, location)
            used.add((listing.root, inside))
        elif not listing.problems:
            problems.append(f"{listing.root}: has no {split} split, only {listed(filter(None, listing.parts))}")
    unused = {root: (*listing.unused, *_other_splits(listing, used)) for root, listing in listings.items()}
    return Gathered(parts, problems, unused, remarks)


def _other_splits(listing: layouts.Listing, used: Container[tuple[Path, Split | None]]) -> Iterator[Unused]:
    """The splits of a place that no location takes."""
    for split, part in listing.parts.items():
        if split and (listing.root, split) not in used:
            yield Unused("split", split, len(part.entries))
