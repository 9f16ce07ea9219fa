"""The record of an ensemble on a frame set, and its predictions: made of those of its members."""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath

from bench.ensemble_settings import MixSettings
from bench.errors import UserError, listed
from bench.experiment import ExperimentSettings
from bench.pipeline import degraded, threshold
from bench.pipeline.ensembles import costs, fitting
from bench.pipeline.ensembles.joining import Answered, join
from bench.pipeline.prepared import Prepared, Setup
from bench.pipeline.summary import weights_digest
from bench.provenance import digest
from bench.records import DEFAULT_THRESHOLD, DegradedPredictions, RunRecord, VariantResult
from bench.records.ensembles import Ensemble, EnsembleRun, FittedWeights
from bench.records.weights import CLASS_ACTIVATION
from bench.results import predict, store
from bench.results.appearance import APPEARANCE
from bench.variants.search_settings import SearchSettings

NOT_SHOWN = "Not shown, since members have no results for these frames yet"
_OF_NETWORKS = ("weights", "weights read as")
"""What provenance says of a member, and not of all."""


def write(prepared: Prepared) -> None:
    """Store the predictions and the record of each ensemble on each frame set, below the experiment's results."""
    settings = prepared.first.settings
    for name in settings.ensembles:
        weights = None
        for frame_set, setups in prepared.by_frame_set.items():
            joined = _Joined(name, frame_set, settings, prepared.results)
            if settings.ensembles[name].weights == "fit":
                weights = weights or fitting.fitted(joined.given, joined.runs, joined.folders)
            _write(replace(joined, fitted=weights), setups[0])


def _write(joined: _Joined, setup: Setup) -> None:
    """Join what one ensemble's members answered on a frame set, whose frames are those of `setup`."""
    folder = joined.folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for variant in joined.parts if (row := joined.row(variant)) is not None]
    run = threshold.as_asked(_record(joined, rows), joined.settings)
    run = threshold.remembered(run, folder)
    store.write_attributes(folder, setup.frames, run)
    store.write_copies(folder, setup.frames, run)
    measured = setup.results / APPEARANCE
    if measured.exists() and not ((folder / APPEARANCE).exists() and filecmp.cmp(measured, folder / APPEARANCE, False)):
        shutil.copyfile(measured, folder / APPEARANCE)
    store.write_run(folder, run)


@dataclass(frozen=True)
class _Joined:
    """An ensemble on a frame set, with the runs of its members there."""

    name: str
    frame_set: str
    settings: ExperimentSettings
    results: Path
    fitted: FittedWeights | None = None

    @property
    def given(self) -> Ensemble:
        return self.settings.ensembles[self.name].record

    @property
    def rule(self) -> Ensemble:
        return replace(self.given, weights=self.fitted.weights) if self.fitted else self.given

    @property
    def folder(self) -> Path:
        return self.results / self.settings.folder(self.name, self.frame_set)

    @property
    def folders(self) -> dict[str, Path]:
        """Those of the members' results."""
        members = self.given.members
        return {member: self.results / self.settings.folder(member, self.frame_set) for member in members}

    @cached_property
    def runs(self) -> dict[str, RunRecord]:
        return {member: store.read_run(folder) for member, folder in self.folders.items()}

    @cached_property
    def parts(self) -> dict[str, dict[str, str]]:
        """The variant of each member that takes part in each variant of the ensemble."""
        variants = self.settings.of(self.name).variants
        return {variant: self.settings.taking_part(self.name, variant) for variant in variants}

    def unchanged(self, variant: str) -> tuple[str, ...]:
        """The members that do not allow the steps of a variant."""
        return tuple(name for name in self.parts[variant] if variant in self.settings.refused_by(name))

    @cached_property
    def has_maps(self) -> bool:
        """Whether maps of all members lie over the same part of a frame."""
        fits = {
            (each.fit, each.crop_pct, each.pad) for run in self.runs.values() if (each := run.preprocessing) is not None
        }
        return len(fits) == 1

    def row(self, variant: str) -> VariantResult | None:
        """The result of a variant, its predictions written; None where a member has none yet."""
        parts = self.parts[variant]
        members = {name: _of(self.runs[name], part) for name, part in parts.items()}
        if any(member is None for member in members.values()):
            return None
        answered = {name: member for name, member in members.items() if member and member.status == "ok"}
        failed = {name: member.reason or "" for name, member in members.items() if member and member.status != "ok"}
        steps = self._steps(variant)
        minimum = min(self.rule.minimum, len(parts))
        if len(answered) < max(1, minimum):
            why = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            reason = f"{len(answered)} of its members answered, and it needs {minimum}: {why}"
            return VariantResult(variant, "", steps, "failed", reason)
        of_members = list(answered.values())
        weights = {name: self.rule.weights[name] for name in answered}
        joined = Answered(
            replace(self.rule, weights=weights, minimum=1),
            tuple(self.folders[name] / parts[name] for name in answered),
            tuple(member.predictions_key for member in of_members),
            self.has_maps and all(predict.has_cams(self.folders[name] / parts[name]) for name in answered),
        )
        join(joined, self.folder / variant, self.runs[self.given.members[0]].frames)
        executed = costs.executed(of_members)
        beside = costs.measurements(self._whole(answered), executed.runtime, as_they_are=True)
        timed = costs.measurements(of_members, executed.runtime) if beside else ()
        return VariantResult(
            name=variant,
            id=digest({"joined": [member.id for member in of_members], "weights": weights, "by": self.rule.combine}),
            steps=steps,
            status="ok",
            reason=None,
            footprint=costs.footprint(of_members),
            executed=executed,
            measurements=timed,
            baseline=beside if timed else (),
            conditions=of_members[0].conditions if timed else None,
            notes=tuple(self._notes(variant, failed, of_members, is_timed=bool(timed))),
            predictions_key=joined.key,
            degraded=self._degraded(joined, of_members, variant),
        )

    def _whole(self, answered: Mapping[str, VariantResult]) -> list[VariantResult]:
        """The members of the whole ensemble, beside whose baselines the `answered` ones were timed."""
        parts = self.parts[self.settings.baseline]
        rows = [answered.get(name) or _of(self.runs[name], part) for name, part in parts.items()]
        return [row for row in rows if row and row.status == "ok"]

    def _steps(self, variant: str) -> tuple[str, ...]:
        given = self.settings.of(self.name).variants[variant]
        if isinstance(given, (MixSettings, SearchSettings)):
            return (given.text,)
        return tuple(use.text for use in given)

    def _notes(
        self, variant: str, failed: Mapping[str, str], members: Sequence[VariantResult], *, is_timed: bool
    ) -> Iterator[str]:
        """What a reader must know of a variant: who stays as it is, who failed, why there are no times."""
        if unchanged := self.unchanged(variant):
            yield f"{listed(unchanged)} {'stays as it is' if len(unchanged) == 1 else 'stay as they are'}: " + (
                "these steps need what it has not" if len(unchanged) == 1 else "these steps need what they have not"
            )
        for name, reason in failed.items():
            yield f"{name} failed, and the others answer for it: {reason}"
        if not is_timed and all(member.measurements for member in members):
            yield "not timed as a whole: its members were timed in different sessions; `bench run --time-again`"

    def _degraded(
        self, joined: Answered, members: Sequence[VariantResult], variant: str
    ) -> tuple[DegradedPredictions, ...]:
        """The predictions for re-compressed frames, at each level that all members have."""
        levels = [{level.degradation: level.key for level in member.degraded} for member in members]
        asked = self.settings.robustness.degradations if self.settings.robustness else ()
        written = []
        for degradation in (each for each in asked if all(each in level for level in levels)):
            of_level = Answered(
                joined.rule,
                tuple(degraded.folder_of(folder, degradation) for folder in joined.folders),
                tuple(level[degradation] for level in levels),
                with_maps=False,
            )
            join(of_level, degraded.folder_of(self.folder / variant, degradation))
            written.append(DegradedPredictions(degradation, of_level.key))
        return tuple(written)


def _of(run: RunRecord, variant: str) -> VariantResult | None:
    return next((row for row in run.variants if row.name == variant), None)


def _record(joined: _Joined, rows: Sequence[VariantResult]) -> RunRecord:
    """The record of an ensemble on a frame set, with the default threshold."""
    runs, parts = joined.runs, joined.parts
    first = next(iter(runs.values()))
    baseline = joined.settings.baseline
    if not any(row.name == baseline for row in rows):
        raise UserError(f"{joined.folder}: its members have no results of {baseline}; `bench run` makes them")
    shown = [row.name for row in rows]
    largest = max((run.preprocessing for run in runs.values() if run.preprocessing), key=lambda each: each.size)
    kinds = {run.map_kind for run in runs.values()}
    return replace(
        first,
        detector=joined.name,
        architecture=f"ensemble of {listed(runs)}",
        preprocessing=largest,
        threshold=DEFAULT_THRESHOLD,
        threshold_rule=None,
        threshold_choice=None,
        variants=tuple(rows),
        map_kind=next(iter(kinds)) if len(kinds) == 1 else CLASS_ACTIVATION,
        masks=None,
        faces=None,
        provenance=_provenance(joined),
        warnings=tuple(_warnings(joined, shown)),
        ensemble=EnsembleRun(
            rule=joined.rule,
            folders={name: _seen_from(joined.folder, folder) for name, folder in joined.folders.items()},
            parts={name: parts[name] for name in shown},
            unchanged={name: joined.unchanged(name) for name in shown if joined.unchanged(name)},
            fitted=joined.fitted,
        ),
    )


def _seen_from(folder: Path, other: Path) -> str:
    """The way from one folder of results to another one of the same experiment."""
    up = next(level for level, parent in enumerate((folder, *folder.parents)) if parent in other.parents)
    base = (folder, *folder.parents)[up]
    return PurePath(*[".."] * up, other.relative_to(base)).as_posix()


def _provenance(joined: _Joined) -> dict[str, str]:
    """That of the first member without what is of its weights, the weights of each, and one digest of them all."""
    first = next(iter(joined.runs.values()))
    shared = {key: text for key, text in first.provenance.items() if key not in _OF_NETWORKS}
    weights = {name: run.provenance.get("weights", "") for name, run in joined.runs.items()}
    of_members = {f"member {name}": f"weight {joined.rule.weights[name]:g}, {text}" for name, text in weights.items()}
    return {"weights": _weights(joined.given, weights), **of_members, **shared}


def _weights(given: Ensemble, weights: Mapping[str, str]) -> str:
    """A digest of what an ensemble is made of: other members, weights of these or rules give another one."""
    parts = {"rule": asdict(given), "digests": {name: weights_digest(text) for name, text in weights.items()}}
    text = json.dumps(parts, sort_keys=True)
    return f"those of {listed(weights)}, and the rule (SHA-256 {hashlib.sha256(text.encode()).hexdigest()})"


def _warnings(joined: _Joined, shown: Sequence[str]) -> Iterator[str]:
    """What all members' reports warn of, and what is of the ensemble."""
    first, *others = (run.warnings for run in joined.runs.values())
    yield from (text for text in first if all(text in texts for texts in others))
    if left_out := [name for name in joined.parts if name not in shown]:
        yield f"{NOT_SHOWN}: {', '.join(left_out)}."
    if not joined.has_maps:
        yield "No joined heatmaps, since members cut or pad frames in different ways: each member's report has its own."
    if any(run.masks or run.faces for run in joined.runs.values()):
        yield "Masks of forgeries and parts of the face are held beside the maps of members, in the report of each."
