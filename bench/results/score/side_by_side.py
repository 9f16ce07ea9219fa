"""Several detectors on the same frames: their variants compared as those of one, and which of all to ship."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.records import (
    Alone,
    Comparison,
    Conditions,
    Constraints,
    Evaluation,
    LabelledFrames,
    Measurement,
    RunRecord,
    SideBySide,
    VariantEvaluation,
    VariantResult,
)
from bench.results.score import choice, clusters, noninferiority, placements
from bench.results.score.placements import Placements
from bench.results.score.speed import comparable_latencies, speeds


@dataclass(frozen=True)
class _Variant:
    """A variant of one of the detectors, and what both are called together."""

    title: str
    detector: str
    result: VariantResult
    judged: VariantEvaluation | None
    latency_ms: float | None
    is_baseline: bool

    @property
    def auc(self) -> float | None:
        return self.judged.auc.value if self.judged and self.judged.auc else None

    def fits(self, limits: Constraints) -> bool:
        """Whether its size and its latency are within the limits."""
        footprint = self.result.footprint
        size_mib = footprint.size_bytes / 2**20 if footprint else None
        pairs = ((size_mib, limits.size_mib), (self.latency_ms, limits.latency_ms))
        return all(limit is None or (value is not None and value <= limit) for value, limit in pairs)


@dataclass(frozen=True)
class Measures:
    """The titles of the `best` baseline, and of the `reference` that all variants are compared with."""

    best: str
    reference: str


def measures(detectors: Mapping[str, Alone]) -> Measures:
    """What the variants of all detectors, which were evaluated on the same frames, are compared with.

    That is the most accurate baseline. Where sizes or latencies are limited and no drop of AUC is, it is the most
    accurate variant within these limits: a detector that is too large for them is no measure of what fits. All goes by
    what is judged, frames or videos.
    """
    detectors = {name: replace(alone, evaluation=alone.judged) for name, alone in detectors.items()}
    variants = list(_variants(detectors))
    best = _most_accurate([variant for variant in variants if variant.is_baseline]) or variants[0]
    limits = next(iter(detectors.values())).run.choose or Constraints()
    return Measures(best.title, _reference(variants, best, limits).title)


def side_by_side(detectors: Mapping[str, Alone], by: Measures | None = None) -> SideBySide:
    """Compare the variants of all detectors, which were evaluated on the same frames, `by` one of them.

    Without it, that is found by `measures`.
    """
    all_of_detectors = detectors
    detectors = {name: replace(alone, evaluation=alone.judged) for name, alone in detectors.items()}
    first = next((alone for alone in detectors.values() if alone.evaluation.variants), next(iter(detectors.values())))
    variants = list(_variants(detectors))
    by_title, by = {variant.title: variant for variant in variants}, by or measures(detectors)
    best, reference = by_title[by.best], by_title[by.reference]
    placed = _placements(first.evaluation.test, detectors)
    distinct = first.evaluation.test.without_copies()
    of_sources = clusters.clusters(distinct.sources, distinct.labels)
    compared = noninferiority.compare(placed, reference.title, of_sources, first.run.margin)
    baselines = {variant.detector: placed[variant.title] for variant in variants if _is_placed(variant, placed)}
    run = _run(first.run, detectors[reference.detector].run, variants, reference)
    return SideBySide(
        detectors=all_of_detectors,
        run=run,
        evaluation=_evaluation(run, first.evaluation, variants, compared),
        best=best.detector,
        baselines=noninferiority.compare(baselines, best.detector, of_sources, first.run.margin),
        sessions=len({_began(variant.result) for variant in variants if variant.latency_ms is not None}),
    )


def _variants(detectors: Mapping[str, Alone]) -> Iterator[_Variant]:
    for detector, alone in detectors.items():
        for result in alone.run.variants:
            yield _Variant(
                title=f"{detector}/{result.name}",
                detector=detector,
                result=result,
                judged=alone.evaluation.variants.get(result.name),
                latency_ms=alone.evaluation.speeds[result.name].latency_ms,
                is_baseline=result is alone.run.baseline,
            )


def _is_placed(variant: _Variant, placed: Mapping[str, Placements]) -> bool:
    return variant.is_baseline and variant.title in placed


def _most_accurate(variants: Sequence[_Variant]) -> _Variant | None:
    """The first variant of the highest AUC; None where none has one."""
    return max((variant for variant in variants if variant.auc is not None), key=_auc, default=None)


def _auc(variant: _Variant) -> float:
    return variant.auc or 0.0


def _reference(variants: Sequence[_Variant], best: _Variant, limits: Constraints) -> _Variant:
    is_limited = limits.size_mib is not None or limits.latency_ms is not None
    if limits.auc_drop is not None or not is_limited:
        return best
    return _most_accurate([variant for variant in variants if variant.fits(limits)]) or best


def _placements(test: LabelledFrames, detectors: Mapping[str, Alone]) -> dict[str, Placements]:
    """Of each variant that answered, by title; empty where the test frames are of one class."""
    if len(np.unique(test.labels)) != 2:
        return {}
    rows = test.counted
    return {
        f"{detector}/{name}": placements.of_predictions(test.labels[rows], answered.of(rows, slice(None)))
        for detector, alone in detectors.items()
        for name, answered in alone.evaluation.predictions.items()
    }


# ---------------------------------------------------------------------------------------- as those of one detector
def _run(first: RunRecord, of_reference: RunRecord, variants: Sequence[_Variant], reference: _Variant) -> RunRecord:
    """The variants of all, the reference first, each with the reference's times where these are of its session."""
    times = list(_times(of_reference, reference.result))
    results = {
        variant.title: replace(variant.result, name=variant.title, baseline=_beside(variant.result, times))
        for variant in [reference, *variants]
    }
    return replace(first, detector="", architecture="", variants=tuple(results.values()), warnings=(), provenance={})


def _times(run: RunRecord, reference: VariantResult) -> Iterator[tuple[Conditions, tuple[Measurement, ...]]]:
    """What was measured of the reference, with the session of each.

    A baseline was timed in each runtime of its detector's variants too, another reference in its own alone.
    """
    taken = [(reference.conditions, reference.measurements)]
    if reference is run.baseline:
        taken += [(variant.conditions, variant.baseline) for variant in run.variants]
    for conditions, measurements in taken:
        if conditions is not None and measurements:
            yield conditions, measurements


def _beside(
    variant: VariantResult, times: Sequence[tuple[Conditions, tuple[Measurement, ...]]]
) -> tuple[Measurement, ...]:
    """The reference's measurements in this variant's session, runtime and device; empty where there are none."""
    if variant.executed is None:
        return ()
    ran_on = (variant.executed.runtime, variant.executed.device)
    for session, measurements in times:
        if session == variant.conditions and ran_on == (measurements[0].runtime, measurements[0].device):
            return measurements
    return ()


def _evaluation(
    run: RunRecord, first: Evaluation, variants: Sequence[_Variant], compared: Mapping[str, Comparison]
) -> Evaluation:
    """The scores of all, each compared with the reference."""
    by_title = {variant.title: variant.judged for variant in variants}
    scored = {
        result.name: replace(judged, comparison=compared.get(result.name))
        for result in run.variants
        if (judged := by_title[result.name])
    }
    timed = speeds(run)
    return Evaluation(
        test=first.test,
        validation=None,
        predictions={},
        variants=scored,
        speeds=timed,
        choice=choice.choose(run, scored, timed),
        independence=first.independence,
        latencies=comparable_latencies(run, timed),
        unit=first.unit,
    )


def _began(variant: VariantResult) -> str:
    return variant.conditions.began if variant.conditions else ""
