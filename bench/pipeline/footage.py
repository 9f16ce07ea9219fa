"""Frame sets of videos: their frames are extracted below datasets/.extracted, once for each content and setting."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.datasets import FrameSetSettings, Listed, native
from bench.datasets.extract_settings import ExtractSettings
from bench.datasets.layouts import SUFFIXES
from bench.datasets.sharing import agreed
from bench.datasets.splits import split_by_source
from bench.errors import UserError, counted, listed, quoted, resolve_path
from bench.pipeline.videos import videos_of
from bench.provenance import digest
from bench.records import NO_CROP, SPLITS, Extraction, Frame, FrameSet, OnEvent, Split, Video

FOLDER = ".extracted"
_LONG_VIDEO = 300
"""Frames that a video is taken to have where nothing is known of it."""


@dataclass(frozen=True)
class Pending:
    """Videos that are still to be extracted: how many, how large, and how many frames they will give at most."""

    videos: int
    size_bytes: int
    frames: int
    form: str


@dataclass(frozen=True)
class _Unit:
    """Videos that are extracted into one folder: those of a split that has its own location, or all of the set."""

    split: Split | None
    extraction: Extraction
    finder: str
    videos: tuple[Video, ...]
    sharing: str

    def with_contents(self, digests: dict[str, str]) -> _Unit:
        """The same with the SHA-256 of each video and mask video, by its file."""
        from bench.footage import masks

        videos = [replace(video, content=digests[video.file]) for video in self.videos]
        return replace(self, videos=tuple(masks.with_states(videos, digests)))

    @property
    def key(self) -> str:
        """A digest of all that the frames and their manifest depend on."""
        from bench.footage.extracting import VERSION

        content = hashlib.sha256()
        for v in self.videos:
            of_mask = [v.mask_state] if v.mask else []
            facts = [v.name, v.label, v.split, v.source, v.attributes, v.content, *of_mask]
            content.update(json.dumps(facts).encode())
        settings = asdict(self.extraction) | {"faces": self.finder or self.extraction.faces}
        return digest({"version": VERSION, "settings": settings, "videos": content.hexdigest()})


def extractions(settings: FrameSetSettings) -> dict[Split | None, ExtractSettings]:
    """How videos are extracted, by the split that they are; None stands for the whole set. Empty where it has none."""
    whole: dict[Split | None, ExtractSettings] = {None: settings.extract} if settings.extract else {}
    return whole | {split: location.extract for split, location in settings.locations.items() if location.extract}


class Footage:
    """The videos of a frame set, and the folders that their frames lie in."""

    def __init__(self, name: str, settings: FrameSetSettings, base: Path, detectors_crops: Sequence[str]) -> None:
        self._name, self._settings, self._base, self._crops = name, settings, base, detectors_crops
        self._units: list[_Unit] = []
        self.folders: tuple[Path, ...] = ()
        self.pending: Pending | None = None

    def find(self, listing: Listed) -> None:
        """Take the listed videos; `UserError` for settings that can't be. Nothing is read."""
        if importlib.util.find_spec("av") is None:
            raise UserError("reading videos needs PyAV, which is not installed: python -m pip install 'av>=14'")
        for split, extract in extractions(self._settings).items():
            of_all = {part: located.part for part, located in listing.parts.items()}
            parts = list(native.without_drawn(of_all)) if split is None else [split] if split in of_all else []
            videos = [_masked(video, split) for part in parts for video in videos_of(listing, part)]
            extraction, finder = self._checked(extract)
            sharing = agreed({(listing.parts[part].root, listing.parts[part].part.sharing) for part in parts})
            _refuse_pictures(videos)
            self._units.append(_Unit(split, extraction, finder, tuple(videos), sharing))

    def _checked(self, settings: ExtractSettings) -> tuple[Extraction, str]:
        """The settings with the crop that the detectors want, and the digest of the face finder; or `UserError`."""
        from bench.footage import extracting

        crops = sorted(set(self._crops))
        if settings.crop is None and len(crops) > 1:
            raise UserError(
                f"the detectors want different crops ({', '.join(crops)}), and a frame set has one: write `crop:` "
                "below `extract:`, or a frame set and an experiment for each"
            )
        is_file = Path(settings.faces).suffix or "/" in settings.faces
        faces = str(resolve_path(self._base, settings.faces)) if is_file else settings.faces
        return extracting.settled(settings.extraction(crops[0] if crops else NO_CROP, faces))

    def read(self, for_run: bool, on_event: OnEvent) -> FrameSetSettings | None:
        """The settings of the frame set that is extracted; None where it is not, and `for_run` is not given."""
        from bench.footage import extracting, folder, masks
        from bench.footage.contents import digest_videos

        videos = [video for unit in self._units for video in unit.videos]
        files = [*videos, *masks.as_videos(videos)]
        digests = digest_videos(self._name, files, self._base / "datasets" / ".cache", on_event)
        self._units = [unit.with_contents(digests) for unit in self._units]
        _refuse_contradictions([video for unit in self._units for video in unit.videos])
        self.folders = tuple(self._base / "datasets" / FOLDER / unit.key for unit in self._units)
        pairs = zip(self._units, self.folders, strict=True)
        is_done = folder.is_finished if for_run else folder.has_ended
        due = [(unit, home) for unit, home in pairs if not is_done(home)]
        if due and not for_run:
            self.pending = _pending(due)
            return None
        for unit, home in due:
            if link := next((path for path in (home.parent, home) if path.is_symlink()), None):
                raise UserError(f"{link}: is a link, and may lead elsewhere; remove it")
            extracting.extract(unit.videos, home, unit.extraction, sharing=unit.sharing, on_event=on_event)
        self._refuse_empty()
        return self._extracted()

    def _extracted(self) -> FrameSetSettings:
        """The settings with folders of frames in location of videos."""
        # What these say of videos is done: in the folder of frames there are other names.
        changed = {"extract": None, "source_pattern": None, "columns": None, "masks": None, "exclude": ()}
        settings = self._settings
        for unit, home in zip(self._units, self.folders, strict=True):
            path = changed | {"path": str(home.relative_to(self._base))}
            if unit.split is None:
                return settings.model_copy(update=path)
            location = settings.locations[unit.split].model_copy(update=path)
            settings = settings.model_copy(update={unit.split: location})
        return settings

    def _refuse_empty(self) -> None:
        """Raise `UserError` where no video gave any frame."""
        from bench.footage import folder

        problems = []
        for home in self.folders:
            statuses = folder.statuses(home)
            if not statuses.get("ok"):
                reasons = listed(f"{count} {status}" for status, count in sorted(statuses.items()))
                problems.append(
                    f"none of its {sum(statuses.values()):,} videos has a frame ({reasons}); "
                    f"{(home / folder.VIDEOS).relative_to(self._base).as_posix()} says why for each, and "
                    "docs/frames.md, 'What goes wrong', what to do"
                )
        if problems:
            raise UserError(*problems)

    def remarks(self, judged: Collection[str]) -> Iterator[str]:
        """Which videos to learn from have no frames, and whose masks are not used.

        Of videos without frames that are `judged`, more is said where they are.
        """
        from bench.footage import folder

        for home in self.folders:
            where = (home / folder.VIDEOS).relative_to(self._base).as_posix()
            with (home / folder.VIDEOS).open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            learned = [row["status"] for row in rows if row["video"] not in judged]
            if without := Counter(status for status in learned if status != "ok"):
                reasons = listed(f"{count} {status}" for status, count in sorted(without.items()))
                yield f"{without.total():,} videos to learn from have no frames ({reasons}); {where} lists them."
            if unused := [f"{row['video']} ({problem})" for row in rows if (problem := row.get("mask_problem"))]:
                text = f"The masks of {counted(len(unused), 'video')} are not used: {listed(unused, 3)}"
                yield f"{text}; {where} lists them."

    def expected(self, listing: Listed) -> dict[Split, FrameSet]:
        """The splits as they may become, for who only counts: no frame has a file yet, and digests are empty."""
        frames: dict[Split, list[Frame]] = {}
        for unit in self._units:
            count = _expected(unit.extraction)
            for video in unit.videos:
                frames.setdefault(unit.split or video.split or "test", []).extend(
                    Frame(
                        f"{video.name}/{n}",
                        Path(),
                        video.label,
                        video.source,
                        _unlike(f"{video.name}/{n}"),
                        video=video.name,
                    )
                    for n in range(count)
                )
        for part, of_part in listing.frames.items():
            if part is not None and part not in frames:
                frames[part] = list(of_part)
        if self._settings.split == "auto":
            by_split = split_by_source([frame for of_split in frames.values() for frame in of_split])
        else:
            by_split = {split: tuple(frames[split]) for split in SPLITS if split in frames}
        return {
            split: FrameSet(self._name, split, tuple(replace(frame, digest="") for frame in of_split), "", "")
            for split, of_split in by_split.items()
        }


def _masked(video: Video, split: Split | None) -> Video:
    """A video with its masks where these are looked at: those of test frames are, and what is not split yet may be."""
    return video if (split or video.split) in (None, "test") else replace(video, mask="")


def _refuse_pictures(videos: Sequence[Video]) -> None:
    """Raise `UserError` where what is to be extracted are frames already."""
    if pictures := [video.name for video in videos if Path(video.file).suffix.lower() in SUFFIXES]:
        raise UserError(
            f"{len(pictures):,} of {len(videos):,} files are pictures and no videos: {listed(pictures, 3)}; take out "
            "`extract:`, and they are frames as they are"
        )


def _refuse_contradictions(videos: Sequence[Video]) -> None:
    """Raise `UserError` where the same video is labelled real and fake, before any is extracted."""
    first: dict[str, Video] = {}
    pairs = [
        f"{quoted(first[video.content].name)} and {quoted(video.name)}"
        for video in videos
        if video.label is not None and first.setdefault(video.content, video).label != video.label
    ]
    if pairs:
        raise UserError(f"identical videos, one real and one fake: {listed(pairs, 5)}; take out the wrong ones")


def _unlike(text: str) -> str:
    """What stands for a content that no other frame has."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _expected(extraction: Extraction) -> int:
    """How many frames a video gives."""
    from bench.footage import sampling

    expected = sampling.expected(extraction.sampling, extraction.frames)
    return expected or len(sampling.numbers(extraction.sampling, _LONG_VIDEO, extraction.frames))


def _pending(due: Sequence[tuple[_Unit, Path]]) -> Pending:
    """What is still to be read for these units and the folders that they are extracted into."""
    from bench.footage import reuse
    from bench.footage.extracting import VERSION

    videos = frames = size_bytes = 0
    for unit, home in due:
        earlier = reuse.alike(home, unit.extraction, unit.finder, VERSION)
        lacking = reuse.due(unit.videos, home, earlier)
        videos += len(lacking)
        size_bytes += sum(video.size_bytes for video in lacking)
        frames += len(lacking) * _expected(unit.extraction)
    return Pending(videos, size_bytes, frames, due[0][0].extraction.form)
