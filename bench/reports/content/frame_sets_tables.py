"""The tables of the report of several frame sets: variants by sets, and the sets themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from bench.records import Alone, Choice, OnSets, OverallVerdict, VariantEvaluation, VariantResult
from bench.reports.content.cells import (
    EMPTY,
    NOT_PRINTED,
    ON_SET,
    Cell,
    Column,
    Table,
    cell,
    several,
    table,
    variant_cell,
)
from bench.reports.content.recommendation import recommend
from bench.reports.content.spans import link, sentence, strong
from bench.reports.content.text import MIB, number, rough
from bench.reports.content.variants import area_cell, difference_cell, ratio_cell


def variants(across: OnSets) -> Table:
    """A row for each variant: the verdict for all sets, size and speed, and ΔAUC on each set, the worst set first."""
    choice, sets = across.evaluation.choice, across.worst_first
    rows = []
    for variant in across.run.variants:
        is_baseline = variant is across.run.baseline
        speed = next(iter(across.sets.values())).evaluation.speeds[variant.name]
        overall = across.verdicts.get(variant.name)
        rows.append(
            [
                variant_cell(variant.name),
                _for_all(variant.name, overall, choice),
                *(_on(across.sets[name], variant.name, overall, name) for name in sets),
                _size(variant),
                EMPTY if speed.latency_ms is None else cell(rough(speed.latency_ms), value=speed.latency_ms),
                EMPTY if is_baseline else ratio_cell(speed.speedup),
            ]
        )  # fmt: skip
    return table(
        [
            Column("Variant", "left"),
            Column("For all", "left"),
            *set_columns(sets, across.home),
            Column("Size (MiB)"),
            Column("Latency (ms)"),
            Column("Speed-up", key=NOT_PRINTED, stacked=True),
        ],
        rows,
    )


def _for_all(name: str, overall: OverallVerdict | None, choice: Choice | None) -> Cell:
    """The verdict for all sets, and whether it is the variant to ship."""
    verdict = cell("baseline") if overall is None else verdict_cell(overall)
    if choice and choice.chosen == name:
        return several([verdict.text, strong("ship")])
    return several([verdict.text, "runner-up"]) if choice and choice.runner_up == name else verdict


def set_columns(sets: Iterable[str], home: str) -> list[Column]:
    """A column of ΔAUC for each set."""
    return [
        Column(f"ΔAUC on {name}{' (home)' if name == home else ''}", key=f"{ON_SET}{name}", stacked=True)
        for name in sets
    ]


def _on(alone: Alone, variant: str, overall: OverallVerdict | None, name: str) -> Cell:
    """A variant on one set: its difference to the baseline there, and the verdict; the baseline's own AUC."""
    judged = alone.judged.variants.get(variant)
    if judged is None:
        return cell("failed")
    if overall is None:
        return auc_cell(judged)
    return comparison_cell(overall, name)


def auc_cell(judged: VariantEvaluation) -> Cell:
    """The AUC of what nothing is compared with, among differences."""
    shown = area_cell(judged.auc)
    return Cell(sentence("AUC ", shown.text), shown.interval) if judged.auc else EMPTY


def comparison_cell(overall: OverallVerdict, name: str) -> Cell:
    """The difference on a set with its interval and its verdict, which is stressed where the loss is proven."""
    comparison = overall.comparisons.get(name)
    if comparison is None:
        return EMPTY
    shown, is_lost = difference_cell(comparison.delta), name in overall.lost
    word = strong(comparison.verdict) if is_lost else comparison.verdict
    return replace(shown, text=sentence(word, " ", shown.text))


def verdict_cell(overall: OverallVerdict | None) -> Cell:
    """The verdict for all sets; where an AUC is kept at home and lost elsewhere, "abroad"."""
    if overall is None or overall.verdict is None:
        return EMPTY
    if overall.keeps_at_home_only:
        return cell(strong(f"{overall.verdict} abroad"))
    return cell(strong(overall.verdict) if overall.verdict == "degraded" else overall.verdict)


def sets(across: OnSets, page: str, below: Mapping[str, str]) -> Table:
    """A row for each set, in the order of the file: its frames, how good the baseline is there, and what it says."""
    rows = []
    has_videos = any(alone.judged.unit == "video" for alone in across.sets.values())
    for name, alone in across.sets.items():
        judged = alone.judged.variants.get(alone.baseline)
        test = alone.run.test
        rows.append(
            [
                Cell(sentence(link(name, f"{below[name]}/{page}"))),
                cell(f"{test.count:,}", value=test.count),
                cell(f"{test.fake:,}", value=test.fake),
                cell(f"{test.real:,}", value=test.real),
                cell(f"{test.sources:,}", value=test.sources) if test.sources else EMPTY,
                *([_videos(alone)] if has_videos else []),
                area_cell(judged.auc) if judged else cell("failed"),
                _verdicts(alone),
                _ships(alone),
            ]
        )
    return table(
        [
            Column("Frame set", "left"),
            Column("Test frames"),
            Column("Fake"),
            Column("Real"),
            Column("Sources"),
            *([Column("Videos judged")] if has_videos else []),
            Column("AUC of the baseline", stacked=True),
            Column("Verdicts", "left", key=NOT_PRINTED),
            Column("By this set alone", "left", key=NOT_PRINTED),
        ],
        rows,
    )


def _videos(alone: Alone) -> Cell:
    """How many videos are judged; nothing where frames are."""
    count = len(alone.judged.test.labels)
    return cell(f"{count:,}", value=count) if alone.judged.unit == "video" else EMPTY


def _verdicts(alone: Alone) -> Cell:
    """How many variants have which verdict on a set, each by itself."""
    compared = [judged.comparison.verdict for judged in alone.judged.variants.values() if judged.comparison]
    counts = Counter(compared)
    words = [f"{counts[word]} {word}" for word in ("degraded", "inconclusive", "stable", "improved") if counts[word]]
    failed = sum(variant.status == "failed" for variant in alone.run.variants)
    words += [f"{failed} failed"] if failed else []
    return cell(", ".join(words)) if words else EMPTY


def _ships(alone: Alone) -> Cell:
    """What the set's own report recommends."""
    recommended = recommend(alone.judged.choice, alone.baseline)
    if recommended.chosen is None:
        return cell("none qualifies") if recommended.kind == "unmet" else EMPTY
    return cell(f"{'keep' if recommended.kind == 'keep' else 'ship'} ", strong(recommended.chosen))


def _size(variant: VariantResult) -> Cell:
    if variant.footprint is None:
        return EMPTY
    size_mib = variant.footprint.size_bytes / MIB
    return cell(number(size_mib, 2), value=size_mib)
