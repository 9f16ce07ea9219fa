"""The five points of the face in every test frame where `regions: true` asks: kept with the results.

They are the manifest's where it tells them, as those that `bench extract` writes do; in other frames they are found
once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bench import datasets
from bench.errors import UserError, counted
from bench.pipeline.prepared import Prepared, Setup
from bench.provenance import digest
from bench.records import (
    Evaluation,
    Event,
    FaceCounts,
    Frame,
    InputSpec,
    LabelledFrames,
    OnEvent,
    Point,
    Predictions,
    RunRecord,
)
from bench.records.frames import as_inputs
from bench.results import regions

if TYPE_CHECKING:
    import pandas as pd

WORK = "finding faces"
_VERSION = 1
"""Raised whenever the same frames would give other points."""
_LEAST_SIDE = 320
"""Faces are sought in what the network sees, at this many pixels at least."""
_SAVED_EVERY = 500
FRAME_SECONDS = 0.02
"""YuNet's, on a core of an AMD EPYC, at 320 to 640 pixels."""


def key_of(setup: Setup) -> str:
    """What points hang on but the frames: how these are prepared, and the finder; empty where nobody asks for them."""
    if not setup.settings.regions:
        return ""
    from bench.footage import faces

    spec = as_inputs(setup.spec)
    inputs = {"version": _VERSION, "spec": spec, "finder": faces.digest(), **datasets.decoder_versions()}
    if of_manifest := _of_manifest(setup):
        inputs["points"] = digest(sorted(of_manifest.items()))
    return digest(inputs)


def _of_manifest(setup: Setup) -> dict[str, Sequence[Point]]:
    """The points of test frames, in pixels of their files, by their paths, where a manifest beside them tells them."""
    frames = setup.frames["test"].frames
    if not frames or not frames[0].digest:
        return {}
    below = PurePosixPath(frames[0].path)
    root = frames[0].file.parents[len(below.parts) - 1]
    points = datasets.points_at(root) if root / below == frames[0].file else {}
    return {frame.path: points[frame.path] for frame in frames if frame.path in points} if points else {}


def _used(setup: Setup) -> str:
    """What points come from: the finder's name, or the manifest's, or both."""
    from bench.footage import faces

    of_manifest = _of_manifest(setup)
    kinds = {frame.path in of_manifest for frame in setup.frames["test"].distinct}
    return " and ".join(["manifest"] * (True in kinds) + [faces.DEFAULT] * (kinds != {True}))


def problem() -> str:
    """Why no faces can be found here; empty where they can."""
    from bench.footage import faces

    try:
        faces.digest()
    except UserError as error:
        return str(error)
    return ""


def counts_of(setup: Setup) -> FaceCounts | None:
    """In how many test frames a face was found; None where nobody asks, or not all were looked at."""
    key = key_of(setup)
    if not key:
        return None
    points_of = regions.stored_faces(setup.results, key).points
    frames = setup.frames["test"].distinct
    if not all(frame.digest in points_of for frame in frames):
        return None
    return FaceCounts(key, _used(setup), len(frames), sum(points_of[frame.digest] is not None for frame in frames))


def frames_left(setup: Setup) -> int:
    """In how many test frames a face is still to be sought."""
    if not setup.settings.regions:
        return 0
    points_of, test = regions.stored_faces(setup.results, key_of(setup)).points, setup.frames["test"]
    of_manifest = _of_manifest(setup)
    frames = test.distinct if test.digest else test.frames
    return sum(frame.digest not in points_of and frame.path not in of_manifest for frame in frames)


def work_on(setup: Setup) -> str:
    """What this work on a frame set is called in events."""
    return f"{WORK}{setup.on_frames}"


def find(prepared: Prepared, on_event: OnEvent) -> None:
    """Find the face in every test frame of every set that was not looked at yet, for every detector's input.

    A killed run loses a few hundred frames at most.
    """
    for setup in prepared.setups:
        if setup.settings.regions and counts_of(setup) is None:
            _find(setup, on_event)


def _find(setup: Setup, on_event: OnEvent) -> None:
    """Look at the test frames of a set that have no row yet, and store what is there, a few hundred at a time."""
    key, frames = key_of(setup), setup.frames["test"].distinct
    points_of = dict(regions.stored_faces(setup.results, key).points)
    due = [frame for frame in frames if frame.digest not in points_of]
    names = [(frame.path, frame.digest) for frame in frames]
    work = work_on(setup)
    setup.results.mkdir(parents=True, exist_ok=True)
    on_event(Event(work, 0, len(due)))
    for done, (frame, points) in enumerate(_faces_in(setup, due), start=1):
        points_of[frame.digest] = points
        if done % _SAVED_EVERY == 0 or done == len(due):
            regions.write(setup.results, key, names, points_of)
            on_event(Event(work, done, len(due)))
        elif done % 10 == 0:
            on_event(Event(work, done, len(due)))
    if not due:  # frames have left the set
        regions.write(setup.results, key, names, points_of)


def _faces_in(setup: Setup, frames: list[Frame]) -> Iterator[tuple[Frame, regions.Points | None]]:
    """Each frame with the points of its largest face, as shares of the sides of what the network sees."""
    from bench.footage import faces
    from bench.footage.cutting import largest

    spec, of_manifest = setup.spec, _of_manifest(setup)
    side = max(spec.size, _LEAST_SIDE)
    finder = None
    for frame in frames:
        if given := _fitted(frame, of_manifest.get(frame.path, ()), spec):
            yield frame, given
            continue
        finder = finder or faces.load()
        of_largest = largest(finder.find(datasets.decode(frame.file, replace(spec, size=side))))
        points = of_largest[0].points if of_largest else ()
        yield frame, tuple(part / side for point in points for part in point) if points else None


def _fitted(frame: Frame, points: Sequence[Point], spec: InputSpec) -> regions.Points | None:
    """A manifest's points as shares of the sides of what the network sees; None where they are not of this frame.

    That is where a point lies farther outside of the frame than its side is long.
    """
    if not points:
        return None
    width, height = datasets.shown_size(frame.file)
    if not all(-width <= x <= 2 * width and -height <= y <= 2 * height for x, y in points):
        return None
    return tuple(part / spec.size for point in datasets.fitted_points(points, height, width, spec) for part in point)


def remarks(counts: FaceCounts | None) -> Iterator[str]:
    """That frames have no face, where they lack one."""
    if counts and counts.faces < counts.frames:
        yield (
            f"No face was found (by YuNet) in {counts.frames - counts.faces:,} of "
            f"{counted(counts.frames, 'test frame')}: which parts of the face variants look at leaves them out."
        )


def hottest_part(
    run: RunRecord, test: LabelledFrames, predictions: Mapping[str, Predictions], results: Path
) -> dict[str, pd.Series[str]]:
    """The part of the face on which the baseline's map of each test frame is hottest, as a column to search slices by.

    Empty where the run has found no faces, or the baseline has no maps.
    """
    baseline = predictions.get(run.baseline.name)
    if run.faces is None or baseline is None or baseline.cam is None:
        return {}
    points = regions.read(results, run.faces, test.frames)
    called = baseline.test >= run.threshold
    return {regions.HOTTEST_PART: regions.hottest_part(baseline.cam, points, called)}


def with_regions(run: RunRecord, evaluation: Evaluation, results: Path) -> Evaluation:
    """The scores with the parts of the face that heatmaps lie on, where the run has found faces."""
    if run.faces is None or not evaluation.variants:
        return evaluation
    test = evaluation.test
    points = regions.read(results, run.faces, test.frames)
    of = run.baseline.name, run.threshold
    return replace(evaluation, regions=regions.regions(run.faces, points, test, evaluation.predictions, of))
