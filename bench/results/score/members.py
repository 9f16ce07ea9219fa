"""Which members of an ensemble to compress or to leave out: each set of members and variants beside the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice, product
from math import inf
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.records import Constraints, Evaluation, Predictions, RunRecord
from bench.records.ensembles import MOST_SETS, Ensemble, EnsembleRun, EnsembleScores, MemberSet, total
from bench.results.score import auc, clusters, noninferiority, videos
from bench.results.score.clusters import Clusters
from bench.results.score.placements import Placements, of_predictions

Part: TypeAlias = tuple[str, str]
"""A member and its variant."""

_MOST_COUNTED = 1_000_000
"""Of so many sets of members and variants the cheapest are tried, `MOST_SETS` of them."""


@dataclass(frozen=True)
class Answers:
    """What a variant of a member answered, its size and its latency, None where that is not known."""

    predicted: Predictions
    size_mib: float | None
    latency_ms: float | None


@dataclass(frozen=True)
class _Sets:
    """The sets of members of an ensemble: their scores on the rows that count."""

    run: RunRecord
    ensemble: EnsembleRun
    evaluation: Evaluation
    answers: Mapping[Part, Answers]
    labels: NDArray[np.int8]
    clusters: Clusters | None

    def join(self, parts: Mapping[str, str]) -> Predictions:
        """The joined scores of some members on all frames or videos that are judged, without copies."""
        weights = {name: self.ensemble.rule.weights[name] for name in parts}
        rule = Ensemble(weights, self.ensemble.rule.combine)
        differences = [_difference(self.answers[part].predicted) for part in parts.items()]
        p_fake, difference = rule.join_differences(differences)
        joined = Predictions(p_fake, None, None, difference)
        if self.run.judge == "video" and self.evaluation.videos is not None:
            joined = videos.predictions(joined, self.evaluation.videos, None, self.run.video_scoring)
        return joined.of(self.evaluation.by(self.run.judge).test.counted, slice(None))

    def placed(self, parts: Mapping[str, str]) -> Placements:
        return of_predictions(self.labels, self.join(parts))

    def cost(self, parts: Mapping[str, str]) -> tuple[float | None, float | None]:
        """Size and latency of a set: the sums of its members'."""
        of = [self.answers[part] for part in parts.items()]
        sizes, latencies = [each.size_mib for each in of], [each.latency_ms for each in of]
        return total(sizes), total(latencies)


def score(run: RunRecord, evaluation: Evaluation, answers: Mapping[Part, Answers]) -> EnsembleScores | None:
    """What each member is worth: the ensemble without it, it alone, it compressed alone; and the set to ship.

    Differences are paired, against the ensemble as it is, and p is corrected for their number. None where the test
    frames are of one class, or a member's baseline did not answer.
    """
    ensemble = run.ensemble
    assert ensemble is not None
    test = evaluation.by(run.judge).test.without_copies()
    baseline = dict(ensemble.parts[run.baseline.name])
    if len(np.unique(test.labels)) != 2 or any(part not in answers for part in baseline.items()):
        return None
    of_sources = clusters.clusters(test.sources, test.labels)
    sets = _Sets(run, ensemble, evaluation, answers, test.labels, of_sources)
    titled = {"all members": baseline, **dict(_around(ensemble, baseline, answers))}
    placed = {title: sets.placed(parts) for title, parts in titled.items()}
    compared = noninferiority.compare(placed, "all members", of_sources, run.margin)
    rows = tuple(
        MemberSet(title, parts, *sets.cost(parts), auc.estimate(placed[title], of_sources), compared.get(title))
        for title, parts in titled.items()
    )
    tried = nsmallest(MOST_SETS, _candidates(sets, baseline), key=lambda parts: _cost(sets, parts))
    return EnsembleScores(
        sets=rows,
        chosen=_chosen(sets, tried, placed["all members"]),
        tried=len(tried),
        agreeing=_agreeing(sets, baseline),
        unit="video" if run.judge == "video" and evaluation.videos is not None else "frame",
    )


def _around(
    ensemble: EnsembleRun, baseline: Mapping[str, str], answers: Mapping[Part, Answers]
) -> Iterator[tuple[str, dict[str, str]]]:
    """The sets next to the whole: without a member, a member alone, a member compressed and the others not."""
    for name in baseline:
        yield f"without {name}", {other: part for other, part in baseline.items() if other != name}
    for name, part in baseline.items():
        yield f"{name} alone", {name: part}
    for name, part in ((name, part) for name, part in answers if part != baseline.get(name)):
        yield f"{name} as {part}", {**baseline, name: part}


def _candidates(sets: _Sets, baseline: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """All sets of at least as many members as must answer, each in any of its variants, within the limits of cost."""
    limits = sets.run.choose or Constraints()
    options: list[list[str | None]] = [[None, *(part for of, part in sets.answers if of == name)] for name in baseline]
    for chosen in islice(product(*options), _MOST_COUNTED):
        parts = {name: part for name, part in zip(baseline, chosen, strict=True) if part is not None}
        if len(parts) < max(1, sets.ensemble.rule.minimum):
            continue
        size_mib, latency_ms = sets.cost(parts)
        fits = (limits.size_mib, size_mib), (limits.latency_ms, latency_ms)
        if all(limit is None or (value is not None and value <= limit) for limit, value in fits):
            yield parts


def _cost(sets: _Sets, parts: Mapping[str, str]) -> tuple[float, float]:
    """What is to be small of a set: its size, and then its latency, or the other way round."""
    size_mib, latency_ms = (inf if cost is None else cost for cost in sets.cost(parts))
    prefer = (sets.run.choose or Constraints()).prefer
    return (latency_ms, size_mib) if prefer == "latency" else (size_mib, latency_ms)


def _chosen(sets: _Sets, tried: Sequence[dict[str, str]], whole: Placements) -> MemberSet | None:
    """The first set, in the order of what is preferred, whose interval excludes a loss beyond the limit."""
    limits = sets.run.choose or Constraints()
    most = sets.run.margin if limits.auc_drop is None else limits.auc_drop
    placed = {index: sets.placed(parts) for index, parts in enumerate(tried)} if limits.prefer == "auc" else {}

    def order(index: int) -> tuple[float, float, float]:
        cost = _cost(sets, tried[index])
        return (-placed[index].auc, *cost) if limits.prefer == "auc" else (*cost, 0.0)

    for index in sorted(range(len(tried)), key=order):
        parts = tried[index]
        of_set = placed.get(index) or sets.placed(parts)
        # Its estimate is quickly known, its interval is not.
        if of_set.auc - whole.auc <= -most:
            continue
        compared = noninferiority.compare({"set": of_set, "whole": whole}, "whole", sets.clusters, sets.run.margin)[
            "set"
        ]
        if compared.delta.interval.low > -most:
            title = ", ".join(f"{name}: {part}" for name, part in parts.items())
            return MemberSet(title, parts, *sets.cost(parts), auc.estimate(of_set, sets.clusters), compared)
    return None


def _agreeing(sets: _Sets, baseline: Mapping[str, str]) -> float:
    """The share of rows that all members call alike at the fixed threshold."""
    calls = np.array([sets.join({name: part}).test >= sets.run.threshold for name, part in baseline.items()])
    return float((calls == calls[0]).all(axis=0).mean())


def _difference(predicted: Predictions) -> NDArray[np.float64]:
    assert predicted.logit_diff is not None
    return predicted.logit_diff
