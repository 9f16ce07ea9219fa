"""One verdict over several frame sets, and which variant to ship where limits must hold on each of them.

"Not worse on every set" is an intersection-union test: each set must show it by its own interval, and no correction is
needed (Berger 1982, Technometrics 24: 295-300). "Worse on some set" has as many chances to be wrong as there are sets:
it needs one, by Holm. docs/log.md has the size and the power of both in a simulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench.records import (
    Alone,
    Auc,
    Comparison,
    Evaluation,
    Interval,
    OnSets,
    OverallVerdict,
    RunRecord,
    SideBySideOnSets,
    VariantEvaluation,
    Verdict,
    joined_sources,
    sources_of,
)
from bench.records.frame_sets import home_of, standing
from bench.results.score import choice, clusters, noninferiority, placements
from bench.results.score.intervals import holm
from bench.results.score.side_by_side import measures, side_by_side

SIGNIFICANT = 0.05


def on_sets(sets: Mapping[str, Alone], built_with: str, *, pool: bool = False) -> OnSets:
    """Judge the variants of a detector over all frame sets; with `pool`, the verdict is of all scores together.

    `built_with` is the set that variants were built with, which need not be one of these.
    """
    home = home_of(sets, built_with)
    first = next(iter(sets.values()))
    evaluations = {name: alone.judged for name, alone in sets.items()}
    pooled = _pooled(sets) if pool else {}
    return OnSets(
        sets=sets,
        built_with=built_with,
        evaluation=over_all(first.run, evaluations),
        verdicts={
            variant.name: overall({name: _comparison(each, variant.name) for name, each in evaluations.items()}, home,
                                  pooled.get(variant.name), pool=pool)
            for variant in first.run.variants
            if variant is not first.run.baseline
        },
        at_chance=tuple(name for name, alone in sets.items() if _is_at_chance(alone)),
        is_pooled=pool,
    )  # fmt: skip


def side_by_side_on_sets(
    sets: Mapping[str, Mapping[str, Alone]], built_with: str, *, pool: bool = False
) -> SideBySideOnSets:
    """Judge the variants of several detectors over all frame sets; `sets` has all detectors on each.

    The reference is the same on each set: of the baselines, that of the highest AUC, averaged over the sets.
    """
    names, home = list(next(iter(sets.values()))), home_of(sets, built_with)
    detectors = {name: on_sets({each: of[name] for each, of in sets.items()}, built_with, pool=pool) for name in names}
    by = measures({name: Alone(detector.run, detector.evaluation) for name, detector in detectors.items()})
    compared = {name: side_by_side(of_set, by) for name, of_set in sets.items()}
    first = next(iter(compared.values()))
    evaluations = {name: together.evaluation for name, together in compared.items()}
    return SideBySideOnSets(
        compared=compared,
        detectors=detectors,
        evaluation=over_all(first.run, evaluations),
        verdicts={
            title: overall({name: _comparison(each, title) for name, each in evaluations.items()}, home)
            for title in first.titles
            if title != first.reference
        },
    )


def _comparison(evaluation: Evaluation, variant: str) -> Comparison | None:
    judged = evaluation.variants.get(variant)
    return judged.comparison if judged else None


def _is_at_chance(alone: Alone) -> bool:
    """Whether the baseline is not significantly better than chance, where it has an AUC."""
    judged = alone.judged.variants.get(alone.baseline)
    return judged is not None and judged.auc is not None and judged.auc.interval.low <= 0.5


# ------------------------------------------------------------------------------------------------- the verdict
def overall(
    by_set: Mapping[str, Comparison | None], home: str, pooled: Comparison | None = None, *, pool: bool = False
) -> OverallVerdict:
    """The verdict on a variant, compared with the baseline on each set; with `pool`, that of `pooled`."""
    compared = {name: comparison for name, comparison in by_set.items() if comparison is not None}
    p_sets = dict(zip(compared, holm([comparison.p for comparison in compared.values()]), strict=True))
    lost = [name for name, each in compared.items() if each.verdict == "degraded" and p_sets[name] < SIGNIFICANT]
    order = sorted(compared, key=lambda name: standing(compared[name], is_lost=name in lost))
    verdict = _verdict([each.verdict for each in compared.values()], bool(lost), is_whole=len(compared) == len(by_set))
    return OverallVerdict(
        verdict=(pooled.verdict if pooled else None) if pool else verdict,
        home=home,
        comparisons={name: compared[name] for name in order},
        p_sets={name: p_sets[name] for name in order},
        lost=tuple(name for name in order if name in lost),
        unknown=tuple(name for name in by_set if name not in compared),
        pooled=pooled,
    )


def _verdict(verdicts: Sequence[Verdict], is_lost: bool, *, is_whole: bool) -> Verdict | None:
    """One verdict of those of each set; `is_whole` is whether all sets have one."""
    if not verdicts:
        return None
    if is_lost:
        return "degraded"
    if not is_whole or not set(verdicts) <= {"stable", "improved"}:
        return "inconclusive"
    return "improved" if set(verdicts) == {"improved"} else "stable"


# ------------------------------------------------------------------------------------------------- the choice
def over_all(run: RunRecord, evaluations: Mapping[str, Evaluation]) -> Evaluation:
    """The variants that were scored on all sets, each by the set where it may have lost most; and which to ship.

    What hangs on no frames, such as speed, is the first set's.
    """
    first, *others = evaluations.values()
    scored = {
        name: _by_the_worst([judged, *(other.variants[name] for other in others)])
        for name, judged in first.variants.items()
        if all(name in other.variants for other in others)
    }
    return replace(first, variants=scored, choice=choice.choose(run, scored, first.speeds))


def _by_the_worst(judged: Sequence[VariantEvaluation]) -> VariantEvaluation:
    """The scores of a variant on the first set with its AUC averaged over all, and the comparison that may be worst.

    The interval of the AUC holds those of all sets: it reaches down to chance where one of them does. What is about the
    frames of one set alone is left out.
    """
    aucs = [each.auc for each in judged if each.auc is not None]
    comparisons = [each.comparison for each in judged if each.comparison is not None]
    auc = None
    if len(aucs) == len(judged):
        ends = [each.interval for each in aucs]
        whole = Interval(min(each.low for each in ends), max(each.high for each in ends))
        auc = Auc(float(np.mean([each.value for each in aucs])), whole)
    worst = None
    if comparisons and len(comparisons) == len(judged):
        worst = replace(min(comparisons, key=lambda each: each.delta.interval.low), further_frames=None)
    return replace(judged[0], auc=auc, comparison=worst, flips=None)


# ------------------------------------------------------------------------------------------------- pooled scores
def _pooled(sets: Mapping[str, Alone]) -> dict[str, Comparison]:
    """Each variant's scores of all sets put together, compared with the baseline's; a source is one of its own set.

    Where some sets are judged by video and some by frame, all are put together frame by frame.
    """
    import pandas as pd

    units = {alone.run.judge for alone in sets.values()}
    scored = {name: alone.judged if len(units) == 1 else alone.evaluation for name, alone in sets.items()}
    first, *others = scored.values()
    tests = {name: evaluation.test for name, evaluation in scored.items()}
    distinct = {name: test.without_copies() for name, test in tests.items()}
    labels = np.concatenate([test.labels for test in distinct.values()])
    if len(np.unique(labels)) != 2:
        return {}
    names = [name for name in first.predictions if all(name in other.predictions for other in others)]
    counted = [(evaluation.predictions, tests[name].counted) for name, evaluation in scored.items()]
    placed = {
        variant: placements.joined(
            labels, [predictions[variant].of(rows, slice(None)) for predictions, rows in counted]
        )
        for variant in names
    }
    sources = pd.concat(
        [test.sources.map(lambda source, of=name: _of_set(of, source), na_action="ignore")
         for name, test in distinct.items()], ignore_index=True,
    )  # fmt: skip
    of_sources = clusters.clusters(sources, labels)
    first_alone = next(iter(sets.values()))
    return noninferiority.compare(placed, first_alone.baseline, of_sources, first_alone.run.margin)


def _of_set(frame_set: str, source: str) -> str | None:
    """A frame's sources as those of its set: in two data sets the same name stands for two videos."""
    return joined_sources(*(f"{frame_set}/{name}" for name in sources_of(source)))
