"""What a run comes to: for each detector on each frame set its record, its scores and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import reports
from bench.errors import counted
from bench.records import RunRecord, ScoresFile

REPORT = "report.md"


@dataclass(frozen=True)
class Together:
    """The report of several detectors or frame sets together, and its scores as scores.json holds them."""

    scores: ScoresFile
    report: Path

    @property
    def page(self) -> Path:
        """The report in HTML."""
        return self.report.with_suffix(".html")


@dataclass(frozen=True)
class Finished:
    """A rendered experiment: its run, its scores as scores.json holds them, its report; the run's log if any.

    `remarks` say how the experiment file has changed since the run. Where there are several detectors or frame sets,
    these are the first detector's on the first set, and `further` has the others; `detector` and `frame_set` are then
    their names, each empty where there is one alone. `together` is the report of all.
    """

    run: RunRecord
    scores: ScoresFile
    report: Path
    log: Path | None = None
    remarks: tuple[str, ...] = ()
    further: tuple[Finished, ...] = ()
    detector: str = ""
    frame_set: str = ""
    together: Together | None = None

    @property
    def page(self) -> Path:
        """The report in HTML."""
        return self.report.with_suffix(".html")

    @property
    def parts(self) -> tuple[Finished, ...]:
        """Each detector on each frame set, this one first."""
        return (replace(self, further=(), together=None), *self.further)

    @property
    def whole(self) -> Finished | Together:
        """What the report of the whole experiment is, with its scores: that of all together where there are several."""
        return self.together or self

    @property
    def title(self) -> str:
        """What tells it from other detectors and frame sets: "b5 on celeb"; empty where there are none."""
        return " on ".join(filter(None, (self.detector, self.frame_set)))

    @property
    def prefix(self) -> str:
        """What its lines begin with where there are others."""
        return f"{self.title}: " if self.title else ""

    @property
    def failed(self) -> dict[str, str]:
        """Why each variant that failed did, on all frame sets."""
        detector = f"{self.detector}/" if self.detector else ""
        on_frames = f" on {self.frame_set}" if self.frame_set else ""
        reasons = {
            f"{detector}{variant.name}{on_frames}": variant.reason or "no reason was recorded"
            for variant in self.run.variants
            if variant.status == "failed"
        }
        return reasons | {name: reason for other in self.further for name, reason in other.failed.items()}

    @property
    def ending(self) -> str:
        """How the run went, in one line."""
        failed = [variant.name for variant in self.run.variants if variant.status == "failed"]
        warnings = "".join(f"\nwarning: {warning}" for warning in self.warnings)
        count, names = len(self.run.variants), ", ".join(failed) or "none"
        ended = f"{self.prefix}ended: {counted(count, 'variant')}, failed: {names}{warnings}"
        return "\n".join([ended, *(other.ending for other in self.further)])

    @property
    def warnings_by_title(self) -> dict[str, tuple[str, ...]]:
        """The warnings of each detector on each frame set by its title; under "", first, those that all have."""
        return apart({part.title: part.warnings for part in self.parts})

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """The warnings of all, each once, with whose it is where not all have it."""
        return tuple(
            f"{title}: {text}" if title else text for title, texts in self.warnings_by_title.items() for text in texts
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must be read before any number."""
        return (*reports.plain_warnings(self.run, self.scores), *self.remarks, *self.run.warnings)


def apart(warnings: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Warnings by title, those that all have under "" instead, first; with one title as they are."""
    first, *others = warnings.values()
    shared = [text for text in first if others and all(text in texts for texts in others)]
    rest = {title: tuple(text for text in texts if text not in shared) for title, texts in warnings.items()}
    return {"": tuple(shared), **rest}
