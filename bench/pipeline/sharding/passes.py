"""What is evaluated in shards: every frame set as it is, and its test frames re-compressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.pipeline import degraded, former
from bench.pipeline.build import BuiltVariants
from bench.pipeline.evaluate import rows_of_set
from bench.pipeline.jobs import Job, job_of
from bench.pipeline.prepared import Prepared, Setup
from bench.records import AnySpec, DegradedSpec, Session
from bench.results import predict


@dataclass(frozen=True)
class Target:
    """What a variant answers to in a pass: where its predictions lie, under which key, and how frames go in."""

    title: str
    job: Job
    folder: Path
    key: str
    spec: AnySpec
    maps: bool = True

    @property
    def result_title(self) -> str:
        """The same, with the frame set where there are several."""
        return f"{self.title}{self.job.setup.on_frames}"

    def is_done(self) -> bool:
        """Whether all of its predictions are joined already, here or where earlier runs had them."""
        if self.maps:
            before = former.folder_of(self.job.setup, self.job.variant, self.job.predictions_key)
            return predict.is_done(before, self.key)
        return predict.is_done(self.folder, self.key)

    def missing(self, lows: Sequence[int]) -> list[int]:
        """Those of the shards that are not there; none where all predictions are joined."""
        return [] if self.is_done() else [low for low in lows if not predict.is_written(self.folder, self.key, low)]

    def pending(self, session: Session) -> predict.Pending:
        return predict.Pending(self.title, self.key, self.folder, session, self.spec, self.maps)


@dataclass(frozen=True)
class Pass:
    """The rows of a frame set that variants answer to, as they are or re-compressed, and what each answers to."""

    setup: Setup
    rows: Sequence[predict.FrameRow]
    targets: tuple[Target, ...]
    is_degraded: bool = False

    @property
    def lows(self) -> Sequence[int]:
        """The first row of each shard."""
        return predict.shard_lows(len(self.rows))


def passes_of(prepared: Prepared, built: BuiltVariants) -> list[Pass]:
    """The passes over each frame set, for the selected variants that were built; the same wherever it is prepared."""
    return [each for setups in prepared.by_frame_set.values() for each in _over_set(setups, built)]


def _over_set(setups: Sequence[Setup], built: BuiltVariants) -> Iterator[Pass]:
    jobs = [
        job_of(setup, variant, artifact)
        for setup in setups
        for variant in setup.chains
        if variant in setup.selected and (artifact := built.artifacts.get((setup.detector_name, variant)))
    ]
    yield Pass(setups[0], rows_of_set(setups[0]), tuple(map(_as_they_are, jobs)))
    if levels := tuple(level for job in jobs for level in _recompressed(job)):
        rows = [predict.FrameRow("test", frame) for frame in setups[0].frames["test"].frames]
        yield Pass(setups[0], rows, levels, is_degraded=True)


def _as_they_are(job: Job) -> Target:
    return Target(job.title, job, job.folder, job.predictions_key, job.setup.spec)


def _recompressed(job: Job) -> Iterator[Target]:
    for degradation in degraded.of_experiment(job.setup):
        yield Target(
            f"{job.title} under {degradation.title}",
            job,
            degraded.folder_of(job.folder, degradation),
            degraded.key_of(job.predictions_key, degradation),
            DegradedSpec(job.setup.spec, degradation),
            maps=False,
        )
