"""Results that lie where the experiment had them before it named other detectors or frame sets: they are taken over.

Their key says that they are those of the same frames and the same artifact, wherever they lie.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.files import remove
from bench.pipeline.jobs import Job
from bench.pipeline.prepared import Setup
from bench.results import occlusion, predict, store

OF_A_VARIANT = (
    predict.SHARDS, predict.DEGRADED, store.MEASUREMENTS, occlusion.OCCLUSION, "result", predict.CAMS,
    predict.PREDICTIONS, predict.MARK,
)  # fmt: skip
"""What lies in the folder of a variant's results, what makes them whole last."""


def folder_of(setup: Setup, variant: str, key: str) -> Path:
    """Where the results of a variant lie: in its folder, unless those of this key are only where they were before."""
    present = setup.results / variant
    if predict.is_done(present, key):
        return present
    experiment = setup.base / "results" / setup.name
    level = setup.results.relative_to(experiment)
    before = (experiment / each / variant for each in earlier_folders(setup.detector_name, setup.frame_set, level))
    return next((folder for folder in before if not _is_link(folder) and predict.is_done(folder, key)), present)


def earlier_folders(detector: str, frame_set: str, present: Path) -> list[Path]:
    """The folders that results of a detector on a frame set may have lain in, but for the `present` one.

    All are below the experiment's: there are levels of detectors and of frame sets where there were several.
    """
    levels = ((), (frame_set,), (detector,), (detector, frame_set))
    return [folder for folder in (Path(*names) for names in levels) if folder != present]


def _is_link(folder: Path) -> bool:
    return any(path.is_symlink() for path in (folder, *list(folder.parents)[:2]))


def take_over(jobs: Iterable[Job]) -> None:
    """Move results to where they belong now; the caller holds their lock."""
    for job in jobs:
        before = folder_of(job.setup, job.variant, job.predictions_key)
        if before != job.folder:
            _move(before, job.folder)


def _move(before: Path, now: Path) -> None:
    """What is whole stays so until the last file moves: if the process is killed, it is evaluated again."""
    now.mkdir(parents=True, exist_ok=True)
    for name in OF_A_VARIANT:
        if (before / name).exists():
            remove(now / name)
            (before / name).rename(now / name)
    if not any(before.iterdir()):
        before.rmdir()
