"""Videos that an extraction beside this one has read: their frames are linked and not made again."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from bench.files import make_folder, remove, rename, temporary_name
from bench.footage import folder, masks, outcomes
from bench.footage.outcomes import Outcome
from bench.records import Event, Extraction, OnEvent, Video, silent

WORK = "linking frames that are there"


def is_done(target: Path, video: Video) -> bool:
    """Whether the folder has the frames of a video, or says why it has none."""
    return _outcome(target, video) is not None


def _outcome(target: Path, video: Video) -> Outcome | None:
    outcome = folder.outcome_of(target, video)
    if outcome is None or (outcome.status == "ok" and not (target / folder.of_video(video)).is_dir()):
        return None
    return outcome


def alike(target: Path, extraction: Extraction, finder: str, version: int) -> list[Path]:
    """The folders beside `target` with frames that were extracted just so.

    `finder` is the digest of the face finder's model, `version` that of the extraction.
    """
    beside = sorted(path for path in target.parent.glob("*") if path.name != target.name)
    return [path for path in beside if folder.is_made_so(path, extraction, finder, version)]


def due(videos: Sequence[Video], target: Path, earlier: Sequence[Path]) -> list[Video]:
    """The videos that must be read, since neither the folder `target` nor an earlier one has them."""
    return [video for video in videos if not any(is_done(path, video) for path in (target, *_earlier(video, earlier)))]


def _earlier(video: Video, earlier: Sequence[Path]) -> Sequence[Path]:
    """Of another folder only a video of the same content is the same: sizes and times may agree by chance."""
    return earlier if video.content else ()


def link(videos: Sequence[Video], target: Path, earlier: Sequence[Path], on_event: OnEvent = silent) -> int:
    """Link into `target` what earlier folders have of the videos that it lacks; how many these were."""
    lacking = [video for video in videos if _earlier(video, earlier) and not is_done(target, video)]
    linked = 0
    for number, video in enumerate(lacking, start=1):
        linked += any(_link(video, path, target) for path in earlier)
        on_event(Event(WORK, number, len(lacking), "videos"))
    return linked


def _link(video: Video, source: Path, target: Path) -> bool:
    """Link a video's frames, then say so; False where the folder does not have them all."""
    outcome = _outcome(source, video)
    if outcome is None:
        return False
    if outcome.rows:
        under_way = target / folder.WORK / temporary_name()
        make_folder(under_way)
        frames = source / folder.of_video(video)
        names = [row.name for row in outcome.rows] + [masks.path_of(row) for row in outcome.rows if row.mask]
        if any(row.mask for row in outcome.rows):
            make_folder(under_way / masks.FOLDER)
        if not all(_link_file(frames / name, under_way / name) for name in names):
            remove(under_way)
            return False
        home = folder.home_of(target, video)
        folder.claim(target, video)
        remove(home)
        make_folder(home.parent)
        rename(under_way, home)
    else:
        folder.claim(target, video)
    outcomes.write(folder.record_of(target, video), outcome)
    return True


def _link_file(source: Path, target: Path) -> bool:
    """A second name for a file, or a copy where the file system has no such; False where it is no regular file."""
    try:
        if not stat.S_ISREG(source.lstat().st_mode):
            return False
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
