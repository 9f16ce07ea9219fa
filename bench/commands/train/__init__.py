"""`bench train`: a detector from labelled frames, and what a reader must know of how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import datasets, locks, phases, yaml_file
from bench import detectors as detectors_room
from bench.addresses import is_address
from bench.commands.train import faces, material, run_folder, seen
from bench.commands.train.material import Material
from bench.detectors import families
from bench.detectors.weights import fetching, file_type
from bench.errors import Keys, UserError, problems_of, refuse_together
from bench.experiment import Experiments, select_training
from bench.pipeline import journal
from bench.provenance import (
    cpu_cores,
    cuda_device_name,
    cuda_devices,
    digest,
    file_digest,
    machine,
    versions,
    why_no_cuda,
)
from bench.records import Event, OnEvent, silent
from bench.remote import reading
from bench.system import allocator
from bench.training import logs, loop, sampling, selection
from bench.training.job import Job
from bench.training.samples import Pictures, Samples
from bench.training.sampling import Plan
from bench.training_settings import TrainingSettings

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.records.trainings import TrainingReport

VERSION = 2
"""Raised whenever the same training would give other weights: one that is under way begins again."""
_LIBRARIES = ("torch", "timm", "numpy", "opencv-python-headless", "pillow")
_MOST_WORKERS = 8
# These change no weight, and may differ when a training goes on.
_FREE = {"workers", "threads", "device", "tensorboard"}


@dataclass(frozen=True)
class Trained:
    """What a training came to: the checkpoint, its report, and what to write under `detectors:`."""

    name: str
    folder: Path
    weights: Path
    report: TrainingReport
    pages: Mapping[str, Path]

    @property
    def entry(self) -> str:
        return self.report.entry


@dataclass(frozen=True)
class _Request:
    """A training and the file that it stands in."""

    name: str
    settings: TrainingSettings
    path: Path

    @property
    def base(self) -> Path:
        return self.path.parent

    @property
    def weights(self) -> Path | None:
        """The file to begin with."""
        return self.settings.weights_file(self.base) if self.settings.weights else None


def train(
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    again: bool = False,
    device: str | None = None,
    on_event: OnEvent = silent,
) -> Trained:
    """Train a detector of the file `path`, or go on with a training that was interrupted, and write its report.

    A training of the same settings and frames that came to its end is not done again, unless `again`. Raises
    `UserError` before any step for all that can be known then.
    """
    name, settings = select_training(experiments, name, path)
    request = _Request(name, settings, path)
    chosen = _device(device or settings.device)
    with reading(f"training {name}"):
        _check_quickly(request, on_event)
        home = path.parent / run_folder.TRAININGS / name
        with locks.held(home / ".lock", f"training {name}", on_event, folder=home):
            frames = material.gather(experiments, settings, name, path, on_event)
            frames = seen.checked(frames, name, request.weights)
            frames, points = _with_faces(request, frames, home, on_event)
            key = _key(request, frames, points)
            folder, is_old = run_folder.choose(path.parent, name, key, {"settings": _as_json(settings)}, again=again)
            with journal.recording(folder, on_event) as log:
                job = _job(request, frames, points, folder, chosen)
                if is_old:
                    log(Event(_goes_on(folder), 1, 1, "note"))
                for remark in frames.remarks:
                    log(Event(remark, 1, 1, "note"))
                for warning in _warnings_before(job):
                    log(Event(warning, 1, 1, "warning"))
                try:
                    with phases.of(f"training {name}", log), allocator.large_blocks_stay():
                        progress = loop.train(job, log)
                except KeyboardInterrupt as interrupt:
                    if not again:
                        raise
                    raise KeyboardInterrupt(
                        f"what is trained is kept, and goes on with `bench train {name}`, without --again"
                    ) from interrupt
                return _finished(request, frames, job, progress, log)


# ------------------------------------------------------------------------------- before the first step
def _check_quickly(request: _Request, on_event: OnEvent) -> None:
    """Refuse what can be said without reading frames. Weights at an address are copied once nothing else is wrong."""
    settings = request.settings
    where: Keys = ("trainings", request.name)
    refuse = partial(refuse_together, partial(yaml_file.location_of, request.path))
    problems: list[tuple[Keys, str | UserError]] = []
    is_remote = settings.weights is not None and is_address(settings.weights.file)
    if not is_remote:
        problems += _in_weights(request)
    if settings.tensorboard:
        problems += problems_of((*where, "tensorboard"), logs.check_tensorboard)
    problems += problems_of((*where, "architecture"), partial(families.offers, settings.architecture))
    if not problems and settings.maps and "cam" not in families.offers(settings.architecture):
        problem = UserError(f"`maps` is about where a network's maps lie, and {settings.architecture} has none")
        problems.append(((*where, "maps"), problem))
    refuse(problems)
    if settings.weights is not None and is_remote:
        fetch = partial(fetching.fetch, settings.weights.file, request.base, on_event)
        refuse(list(problems_of((*where, "weights"), fetch)))
        refuse(_in_weights(request))


def _in_weights(request: _Request) -> list[tuple[Keys, str | UserError]]:
    """What is wrong with the file to begin with, where there is one."""
    if request.weights is None:
        return []
    return [*problems_of(("trainings", request.name, "weights"), partial(file_type.check, request.weights))]


def _device(asked: str) -> str:
    if asked == "cpu" or not cuda_devices():
        if asked == "cuda":
            raise UserError(f"device: cuda was asked for, but {why_no_cuda()}: no CUDA device; use auto or cpu")
        return "cpu"
    return "cuda"


def _with_faces(
    request: _Request, frames: Material, home: Path, on_event: OnEvent
) -> tuple[Material, dict[str, faces.Points]]:
    """The frames with faces, and where these are, where self-blends are made of them."""
    settings = request.settings
    if settings.self_blend is None:
        return frames, {}
    points: dict[str, faces.Points] = {}
    # Blends choose the best epoch only where there are no other fakes.
    has_fakes = any(frame.label == 1 for frame in frames.of("validation"))
    for split in ("train",) if has_fakes else ("train", "validation"):
        real = [frame for frame in frames.of(split) if frame.label == 0]
        points |= faces.points_of(real, split, home / ".faces.json", on_event)
    faceless = frozenset(frame.digest for frame in frames.of("train") if frame.digest not in points)
    if faceless:
        on_event(Event(f"{len(faceless)} real train frames have no face, and are left out", 1, 1, "note"))
    frames = material.without(frames, "train", faceless)
    where: Keys = ("trainings", request.name, "frames")
    refuse_together(
        partial(yaml_file.location_of, request.path), [(where, wrong) for wrong in material.too_few(frames, settings)]
    )
    return frames, points


def _key(request: _Request, frames: Material, points: Mapping[str, faces.Points]) -> str:
    """What a training hangs on: its settings, its frames with their faces, and the weights that it begins with."""
    weights = request.weights
    return digest({
        "version": VERSION,
        "detectors": detectors_room.version_for(request.settings.architecture),
        "settings": {name: value for name, value in _as_json(request.settings).items() if name not in _FREE},
        "frames": frames.digest,
        "points": sorted(points.items()),
        "weights": file_digest(weights) if weights else "",
    })  # fmt: skip


def _as_json(settings: TrainingSettings) -> dict[str, Any]:
    values: dict[str, Any] = settings.model_dump(mode="json")
    return values


def _start(request: _Request) -> Detector:
    """The detector before its first step."""
    from bench.detectors import starting

    settings, weights = request.settings, request.weights
    if weights is None:
        return starting.untrained(settings.architecture, settings.flavour, settings.preprocessing)
    if settings.new_head:
        return starting.of_other_task(
            settings.architecture, weights, settings.preprocessing, settings.conventions_of_weights
        )
    return detectors_room.load(settings.architecture, weights, settings.preprocessing, settings.conventions_of_weights)


def _job(request: _Request, frames: Material, points: Mapping[str, faces.Points], folder: Path, device: str) -> Job:
    """The training, put together."""
    from bench.commands.train.judging import AtThreshold
    from bench.datasets.face_blends import blended_face

    settings = request.settings
    train, validation = frames.of("train"), frames.of("validation")
    spec, cores = settings.preprocessing.input_spec, cpu_cores()
    blend = settings.self_blend
    if blend is not None and not any(frame.label == 1 for frame in validation):
        validation += faces.blended_validation(validation, points, spec, blend.scale, folder / "self-blends")
    threads = cores if settings.threads == "auto" else settings.threads
    pictures = Pictures(datasets.picture, datasets.fit, datasets.fitted_points, datasets.mask_of, blended_face)
    samples = Samples(
        train, pictures, spec, settings.augment, settings.seed,
        {index: points[frame.digest] for index, frame in enumerate(train) if frame.digest in points},
        blend.scale if blend else None, settings.maps is not None,
    )  # fmt: skip
    workers = min(_MOST_WORKERS, cores - 1) if settings.workers == "auto" else settings.workers
    return Job(
        request.name, settings, partial(_start, request), samples, _plan(request, samples), validation,
        partial(datasets.read_batches, threads=max(1, min(threads, cores))), AtThreshold(settings.threshold), folder,
        device, threads, workers, _about(request, frames, device),
    )  # fmt: skip


def _plan(request: _Request, samples: Samples) -> Plan:
    """The units of epochs; `UserError` where `pairs` has none."""
    settings = request.settings
    units, classes = sampling.singles(samples.frames)
    together = 1
    if settings.self_blend is not None:
        classes, together = (None,) * len(units), 2
    if settings.pairs:
        units, together = sampling.pairs(samples.frames, settings.seed), 2
        classes = (None,) * len(units)
        if len(units) < settings.batch_size // 2:
            where = yaml_file.location_of(request.path, "trainings", request.name, "pairs")
            raise UserError(
                f"{where}: {len(units)} fakes have a real frame of the same source, less than half a batch of "
                f"{settings.batch_size}; name sources (`source_pattern`, or a column), or leave `pairs` out"
            )
    return Plan(units, classes, settings.batch_size, settings.epoch_steps, settings.balance, settings.seed, together)


def _about(request: _Request, frames: Material, device: str) -> dict[str, Any]:
    """What the file beside every checkpoint says."""
    from bench.provenance import command

    return {
        "training": request.name,
        "architecture": request.settings.architecture,
        "settings": _as_json(request.settings),
        "command": command(),
        "libraries": versions(("bench", *_LIBRARIES)),
        "computed_on": cuda_device_name() if device == "cuda" else machine()["cpu"],
        "seen": seen.as_json(frames, request.weights),
    }


def _warnings_before(job: Job) -> list[str]:
    fakes = sum(frame.label == 1 for frame in job.validation)
    return selection.warnings_before(job.recipe.selection, fakes, len(job.validation) - fakes)


def _goes_on(folder: Path) -> str:
    if loop.is_ended(folder):
        return f"this training came to its end before, in {folder}: it is not done again; --again does"
    steps = loop.steps_done(folder)
    return f"going on in {folder} behind step {steps:,}" if steps else f"beginning anew in {folder}"


# ------------------------------------------------------------------------------- after the last step
def _finished(request: _Request, frames: Material, job: Job, progress: loop.Progress, on_event: OnEvent) -> Trained:
    """Write the report of a training that came to its end."""
    from bench.commands.train.report import report_of
    from bench.reports import training as pages

    report = report_of(request.name, request.settings, request.base, frames, job, progress)
    on_event(Event("rendering", 0, 1, "reports"))
    written = pages.write(report, job.folder)
    on_event(Event("rendering", 1, 1, "reports"))
    return Trained(request.name, job.folder, job.folder / f"{loop.BEST}.safetensors", report, written)
