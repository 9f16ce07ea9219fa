"""What the report of several frame sets says: which variant to ship on all, and what each set says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.errors import counted
from bench.records import Comparison, Evaluation, OnSets, OverallVerdict, RunRecord, Unit
from bench.reports.content import frame_sets_tables as tables
from bench.reports.content import recommendation, robustness
from bench.reports.content.cells import Table
from bench.reports.content.heatmaps_of_several import Tables, heatmaps
from bench.reports.content.inputs import input_of
from bench.reports.content.side_by_side import warnings_of
from bench.reports.content.spans import Part, Sentence, code, docs, joined, listed, paragraph, sentence, strong
from bench.reports.content.text import difference, estimate_and_range, further, moved


@dataclass(frozen=True)
class AllSets:
    """The whole report; `warnings` must be read before any number, each with the frame sets that it is about."""

    experiment: str
    opening: Sentence
    answer: list[Sentence]
    warnings: list[Sentence]
    verdicts: list[Sentence]
    variants: Table
    sets: Table
    note: Sentence
    heatmaps: list[Tables]


def all_sets(across: OnSets, warnings: Mapping[str, Sequence[str]], page: str, below: Mapping[str, str]) -> AllSets:
    """What is said of a detector on several frame sets.

    `warnings` are those of each set's report: the file `page` in the folders `below`, by the name of the set.
    """
    return AllSets(
        experiment=across.run.experiment,
        opening=_opening(across),
        answer=[*answer(across.run, across.evaluation, across.at_chance, across.verdicts, len(across.sets)),
                *against(across, across.evaluation.choice.chosen if across.evaluation.choice else None)],
        warnings=list(warnings_of(warnings)),
        verdicts=[*verdicts(across.verdicts, units(across), is_pooled=across.is_pooled),
                  *robustness.on_sets({name: alone.judged.degraded for name, alone in across.sets.items()})],
        variants=tables.variants(across),
        sets=tables.sets(across, page, below),
        note=note(across),
        heatmaps=heatmaps(across.sets),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- which to ship
def _opening(across: OnSets) -> Sentence:
    """Which detector, on which frame sets, and with which of them it was built."""
    run = across.run
    return sentence(
        f"{counted(len(run.variants), 'variant')} of ",
        strong(run.detector),
        f" ({run.architecture}, {input_of(run)}), judged on {counted(len(across.sets), 'frame set')}: ",
        listed(list(across.sets)),
        ". ",
        at_home(across),
    )


def at_home(across: OnSets) -> Sentence:
    """Which set is home, and why."""
    if across.built_with in across.sets:
        return sentence(strong(across.home), " is home: variants are built with it.")
    built = sentence("Variants are built with ", strong(across.built_with), ", which is not judged here: ")
    return sentence(built, strong(across.home), ", the first set, counts as home.")


def answer(
    run: RunRecord,
    evaluation: Evaluation,
    at_chance: Sequence[str],
    verdicts_over_all: Mapping[str, OverallVerdict],
    count: int,
    *,
    of_several: bool = False,
) -> list[Sentence]:
    """Which variant to ship where its AUC must hold on each of `count` sets; `evaluation` is that over all."""
    if at_chance:
        why = sentence("on ", listed(list(at_chance)), " even the baseline is not significantly better than chance")
        advice = sentence("A loss there says nothing: mend that, or take the set out of ", code("frames:"), ".")
        return [sentence(strong("No variant can be recommended"), ": ", why, "."), advice]
    texts = recommendation.sentences(run, evaluation, of_several=of_several)
    recommended = recommendation.recommend(evaluation.choice, "" if of_several else run.baseline.name)
    if recommended.chosen is None:
        return [*texts, sentence(f"Limits on AUC must hold on each of the {count} frame sets.")]
    by = _by(verdicts_over_all, recommended.chosen)
    keeps = f" keeps within the limit on each of the {count} frame sets"
    return [*texts, sentence(strong(recommended.chosen), keeps, *by, ".")]


def _by(verdicts_over_all: Mapping[str, OverallVerdict], name: str) -> list[Part]:
    """Which set a variant's ΔAUC is of."""
    overall = verdicts_over_all.get(name)
    if overall is None or not overall.comparisons:
        return []
    lowest = min(overall.comparisons, key=lambda each: overall.comparisons[each].delta.interval.low)
    return ["; ΔAUC and the worst case are those on ", strong(lowest), ", where it may have lost most"]


def against(across: OnSets, chosen: str | None, baseline: str = "the baseline") -> Iterable[Sentence]:
    """What an AUC does not show of the chosen variant: a threshold to be set anew, losses under re-compression.

    `baseline` is what its detector's baseline is called.
    """
    yield from _wrong_at_fixed(across, chosen)
    for name, alone in across.sets.items():
        yield from robustness.of_variant(alone.judged.degraded.get(chosen or "", ()), baseline, name)


def _wrong_at_fixed(across: OnSets, chosen: str | None) -> Iterable[Sentence]:
    """On which sets the chosen variant's threshold must be set anew."""
    for name, alone in across.sets.items():
        judged = alone.judged.variants.get(chosen or "")
        if judged and judged.flips and recommendation.is_worse_at_fixed(judged):
            count = counted(judged.flips.worse, alone.judged.unit)
            wrong = f"At {judged.fixed.threshold} it is wrong in {count} of {name}"
            better = f" that the baseline gets right ({judged.flips.better:,} the other way round)"
            yield sentence(strong(wrong), better, ": set its threshold anew first.")


# ------------------------------------------------------------------------------------- what each set says
def units(across: OnSets) -> dict[str, Unit]:
    """What each set is judged by."""
    return {name: alone.judged.unit for name, alone in across.sets.items()}


def verdicts(
    over_all: Mapping[str, OverallVerdict], units_by_set: Mapping[str, Unit], *, is_pooled: bool
) -> Iterable[Sentence]:
    """A sentence on each variant, the worst first; those that lose nothing on any set together."""
    order = {verdict: index for index, verdict in enumerate(("degraded", "inconclusive", None, "stable", "improved"))}
    whole: dict[str, list[str]] = {}
    for name in sorted(over_all, key=lambda each: order[over_all[each].verdict]):
        overall = over_all[name]
        if not overall.lost and not overall.unknown and overall.verdict in ("stable", "improved") and not is_pooled:
            whole.setdefault(overall.verdict, []).append(name)
        elif overall.comparisons:
            yield paragraph(_of_variant(name, overall, units_by_set))
    for verdict, names in whole.items():
        what = "improved on every set" if verdict == "improved" else "shown to lose less than the margin on every set"
        yield sentence(listed(names), f" {'is' if len(names) == 1 else 'are'} {what}.")


def _of_variant(name: str, overall: OverallVerdict, units_by_set: Mapping[str, Unit]) -> Iterable[Sentence]:
    """What the sets say of a variant, that with the worst verdict first."""
    if overall.pooled:
        pooled = f": {overall.pooled.verdict}, ΔAUC {difference(overall.pooled.delta)}."
        yield sentence(strong(name), " by the scores of all sets together", pooled)
    losses = joined((sentence(strong(each), _loss(overall, each)) for each in overall.lost), "; ")
    if overall.keeps_at_home_only:
        yield sentence(
            strong(name), " ", strong("keeps its AUC at home, loses it abroad"), ": ",
            overall.comparisons[overall.home].verdict, " on ", strong(overall.home),
            f" ({moved(overall.comparisons[overall.home].delta.value)}), degraded on ", losses, ".",
        )  # fmt: skip
    elif overall.lost:
        yield sentence(strong(name), " is degraded on ", losses, ".")
    for each in overall.uncorrected:
        yield sentence(
            strong(name), " is degraded on ", strong(each), " by the interval of that set alone, but not after the "
            f"correction for {len(overall.comparisons)} sets (p {overall.p_sets[each]:.2g}).",
        )  # fmt: skip
    undecided = [] if overall.lost else [each for each in overall.comparisons if _is_undecided(overall, each)]
    if undecided:
        shown = {each: _undecided(overall.comparisons[each], units_by_set[each]) for each in undecided}
        facts = joined((sentence(strong(each), text) for each, text in shown.items()), "; ")
        yield sentence("Undecided about ", strong(name), ": ", facts, ".")
    if overall.unknown:
        yield sentence("On ", listed(list(overall.unknown)), " there is nothing to compare ", strong(name), " by.")


def _is_undecided(overall: OverallVerdict, name: str) -> bool:
    return overall.comparisons[name].verdict == "inconclusive"


def _undecided(comparison: Comparison, unit: Unit) -> str:
    """How far a set is from deciding: the difference, and how many more of its frames or videos it would take."""
    frames = comparison.further_frames
    settled = f"; {further(frames, unit)} would settle it, if the difference stays what it is" if frames else ""
    return f" ({_estimate(comparison)}{settled})"


def _loss(overall: OverallVerdict, name: str) -> str:
    return f" ({_estimate(overall.comparisons[name])})"


def _estimate(comparison: Comparison) -> str:
    """A difference and its interval, for parentheses."""
    return ", ".join(estimate_and_range(comparison.delta))


def note(across: OnSets) -> Sentence:
    """How one verdict is made of those of all sets."""
    texts = [
        sentence(
            "“For all” is made of each set's own AUC: stable where the interval of every set is above the margin "
            f"(−{across.run.margin:g}), which needs no correction; degraded where one set's loss is beyond it and "
            f"significant after the correction for {len(across.sets)} sets (Holm), which bold letters mark; "
            "inconclusive otherwise."
        )
    ]
    if across.is_pooled:
        texts = [
            sentence(
                "“For all” is of the scores of all sets put together, as ", code("pool: true"), " asks for: it also "
                "counts how well fakes of one set rank above real frames of another, and large sets count more. Limits "
                "on AUC hold on each set all the same.",
            )
        ]  # fmt: skip
        if len(set(units(across).values())) > 1:
            texts.append(sentence("Since some sets are judged by frame, these are the scores of frames on every set."))
    texts.append(sentence("Sizes and times do not depend on frames; they were taken with those of the first set."))
    texts.append(sentence("How to read it: ", docs("verdicts.md#several-frame-sets"), "."))
    return paragraph(texts)
