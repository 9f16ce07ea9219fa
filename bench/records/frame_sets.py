"""What several frame sets together say of variants that were judged on each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.records.evaluation import Alone, Evaluation, SideBySide
from bench.records.runs import RunRecord
from bench.records.scores import Comparison, Verdict


@dataclass(frozen=True)
class OverallVerdict:
    """The verdict on a variant over all frame sets, and what each set says of it.

    `comparisons` are with the baseline on the same set, the worst set first. `p_sets` is each set's p, corrected for
    the number of sets (Holm). `lost` names the sets whose verdict "degraded" holds after that correction. `unknown`
    names those without a comparison. `pooled` compares the scores of all sets put together, where that was asked for;
    the verdict is then its own.
    """

    verdict: Verdict | None
    home: str
    comparisons: Mapping[str, Comparison]
    p_sets: Mapping[str, float]
    lost: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    pooled: Comparison | None = None

    @property
    def worst(self) -> str | None:
        """The set with the worst verdict, of several the one whose interval ends lowest."""
        return next(iter(self.comparisons), None)

    @property
    def keeps_at_home_only(self) -> bool:
        """Whether it keeps its AUC on the home set, and has lost it on another one."""
        at_home = self.comparisons.get(self.home)
        return at_home is not None and at_home.verdict in ("stable", "improved") and bool(self.lost)

    @property
    def uncorrected(self) -> tuple[str, ...]:
        """The sets that are degraded by their own interval alone, and not after the correction for all sets."""
        return tuple(
            name for name, each in self.comparisons.items() if each.verdict == "degraded" and name not in self.lost
        )


@dataclass(frozen=True)
class OnSets:
    """One detector on several frame sets.

    `sets` has its run and its scores on each set, the first one's first. `evaluation` has the variants that were
    scored on all of them, with their AUC averaged over the sets and the comparison of the set where they may have lost
    most, so that its `choice` holds on each set. `verdicts` has every variant but the baseline. `at_chance` names the
    sets on which the baseline is not significantly better than chance. `built_with` is the set that variants are built
    with, which need not be one of `sets`.
    """

    sets: Mapping[str, Alone]
    built_with: str
    evaluation: Evaluation
    verdicts: Mapping[str, OverallVerdict]
    at_chance: tuple[str, ...]
    is_pooled: bool

    @property
    def home(self) -> str:
        """The set that variants are built with, or the first where that is not judged."""
        return home_of(self.sets, self.built_with)

    @property
    def run(self) -> RunRecord:
        """Its run on the first set, where variants were timed."""
        return next(iter(self.sets.values())).run

    @property
    def worst_first(self) -> tuple[str, ...]:
        """The sets in the order of the worst that any variant came to there."""
        return worst_first(self.verdicts.values(), self.sets)


@dataclass(frozen=True)
class SideBySideOnSets:
    """Several detectors on several frame sets.

    `compared` has all on each set, compared with the same reference. `detectors` has each on all sets, against its own
    baseline. `evaluation` and `verdicts` are those of all variants over all sets against the reference, as in `OnSets`.
    """

    compared: Mapping[str, SideBySide]
    detectors: Mapping[str, OnSets]
    evaluation: Evaluation
    verdicts: Mapping[str, OverallVerdict]

    @property
    def first(self) -> SideBySide:
        """All detectors on the first set, where variants were timed."""
        return next(iter(self.compared.values()))

    @property
    def worst_first(self) -> tuple[str, ...]:
        """The sets in the order of the worst that any variant came to against its own baseline."""
        return worst_first(
            (verdict for detector in self.detectors.values() for verdict in detector.verdicts.values()), self.compared
        )


_ORDER: tuple[Verdict, ...] = ("degraded", "inconclusive", "stable", "improved")


def standing(comparison: Comparison, *, is_lost: bool) -> tuple[int, float]:
    """What a comparison sorts by, the worst first: its verdict, then how low its interval ends."""
    verdict: Verdict = "inconclusive" if comparison.verdict == "degraded" and not is_lost else comparison.verdict
    return _ORDER.index(verdict), comparison.delta.interval.low


def home_of(sets: Iterable[str], built_with: str) -> str:
    """The set that variants are built with, or the first where that is not judged."""
    names = list(sets)
    return built_with if built_with in names else names[0]


def worst_first(verdicts: Iterable[OverallVerdict], sets: Mapping[str, object]) -> tuple[str, ...]:
    """Sets in the order of the worst that any of the verdicts says of them; without a comparison, last."""
    worst: dict[str, tuple[int, float]] = {}
    for verdict in verdicts:
        for name, comparison in verdict.comparisons.items():
            stands = standing(comparison, is_lost=name in verdict.lost)
            worst[name] = min(stands, worst.get(name, stands))
    return tuple(sorted(sets, key=lambda name: worst.get(name, (len(_ORDER), 0.0))))
