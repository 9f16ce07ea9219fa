"""What the numbers say, in sentences, with how far to trust them."""

from __future__ import annotations

from bench.errors import counted
from bench.records import Evaluation, RunRecord
from bench.reports.content import robustness
from bench.reports.content.spans import Sentence, joined, listed, sentence, strong
from bench.reports.content.text import MIB, chance, difference, number, rough, times, within
from bench.reports.content.variants import reduction

NEARLY_ALL = 0.95
"""From this share of frames on, one verdict for them is worth a sentence."""

HOLDS = ("baseline", "stable", "improved")
"""Verdicts that exclude a loss beyond the margin."""


def insights(run: RunRecord, evaluation: Evaluation) -> list[Sentence]:
    """One sentence or two for each bullet."""
    return [
        *_level(run, evaluation),
        *_smallest(run, evaluation),
        *_drops(evaluation),
        *_fastest(run, evaluation),
        *_flipped(run, evaluation),
        *_one_sided(run, evaluation),
        *robustness.insights(run, evaluation),
    ]


def _level(run: RunRecord, evaluation: Evaluation) -> list[Sentence]:
    baseline = evaluation.variants.get(run.baseline.name)
    if baseline is None or baseline.auc is None:
        return []
    frames = run.test
    counts = f"n = {frames.count:,}: {frames.fake:,} fake, {frames.real:,} real"
    auc = f"{number(baseline.auc.value, 4)} (95 % {within(baseline.auc.interval, 3)}; {counts})"
    return [sentence(f"The baseline's AUC is {auc}.")]


def _smallest(run: RunRecord, evaluation: Evaluation) -> list[Sentence]:
    """The smallest of the variants that are shown to lose less than the margin."""
    baseline = run.baseline.footprint
    sizes = {
        variant.name: variant.footprint.size_bytes
        for variant in run.variants[1:]
        if variant.footprint and variant.status == "ok"
    }
    compared = {name: judged.comparison for name, judged in evaluation.variants.items() if judged.comparison}
    if baseline is None or not (sizes.keys() & compared.keys()):
        return []
    rule = f"Smallest variant shown to lose less than {run.margin:g} AUC"
    smaller = [name for name, size in sizes.items() if size < baseline.size_bytes and name in compared]
    holding = [name for name in smaller if compared[name].verdict in HOLDS]
    if not holding and smaller:
        return [sentence(f"{rule}: none. Smaller than the baseline, but not shown to: ", listed(smaller), ".")]
    if not holding:
        return [sentence(f"{rule}: none is smaller than the baseline itself.")]
    least = min(sizes[name] for name in holding)
    names = [name for name in holding if sizes[name] == least]
    variant = next(variant for variant in run.variants if variant.name == names[0])
    deltas = ", ".join(difference(compared[name].delta) for name in names)
    tie = "a tie, " if len(names) > 1 else ""
    facts = f" ({tie}{number(least / MIB, 2)} MiB, {reduction(run, variant)}; ΔAUC {deltas})."
    return [sentence(f"{rule}: ", listed(names), facts)]


def _drops(evaluation: Evaluation) -> list[Sentence]:
    """Variants with a significant loss of AUC, the greatest loss first."""
    compared = {name: judged.comparison for name, judged in evaluation.variants.items() if judged.comparison}
    lost = {name: compared[name].delta for name in compared if compared[name].delta.interval.high < 0}
    if not lost:
        return [sentence("No variant lost AUC significantly.")] if compared else []
    ordered = sorted(lost, key=lambda name: lost[name].value)
    losses = joined((sentence(strong(name), f" {difference(lost[name])}") for name in ordered), "; ")
    alone = _only_alone(evaluation, ordered)
    return [sentence("Significant losses of AUC, each by its own interval: ", losses, ".", alone)]


def _only_alone(evaluation: Evaluation, names: list[str]) -> Sentence:
    """The losses of which p, corrected for all comparisons, says less than the interval."""
    compared = {name: judged.comparison for name, judged in evaluation.variants.items() if judged.comparison}
    alone = [name for name in names if compared[name].only_alone]
    if not alone:
        return Sentence()
    values = joined((sentence(f"{chance(compared[name].p_holm)} for ", strong(name)) for name in alone), ", ")
    corrected = f" After Holm's correction for {counted(len(compared), 'comparison')}, p is "
    return sentence(corrected, values, ", which is not significant.")


def _fastest(run: RunRecord, evaluation: Evaluation) -> list[Sentence]:
    """The fastest variant beside the baseline, and those whose intervals overlap with its."""
    speeds = {variant.name: evaluation.speeds[variant.name] for variant in run.variants[1:]}
    timed = {name: speed.speedup for name, speed in speeds.items() if speed.speedup is not None}
    if not timed:
        measured = any(speed.single for speed in evaluation.speeds.values())
        none = "Fastest: no variant could be compared with the baseline in the same runtime."
        return [sentence(none)] if measured else []
    name = max(timed, key=lambda name: timed[name].value)
    names = [name, *(other for other in timed if other != name and timed[other].high >= timed[name].low)]
    single, reference = speeds[name].single, speeds[name].reference
    assert single is not None
    assert reference is not None
    facts = (
        f"{times(timed[name])} the baseline at batch 1 in the same runtime ({single.runtime}, {single.device}; "
        f"median {rough(single.p50_ms)} ms, n = {counted(single.calls, 'call')}, "
        f"against {rough(reference.p50_ms)} ms, n = {counted(reference.calls, 'call')})"
    )
    if timed[name].low <= 1:
        closest = sentence(strong(name), f" comes closest: {facts}.")
        return [sentence("Fastest: none is faster than the baseline beyond the noise; ", closest)]
    tie = "" if len(names) == 1 else " (their intervals overlap); the first is"
    return [sentence("Fastest: ", listed(names), f"{tie or ','} {facts}.")]


def _flipped(run: RunRecord, evaluation: Evaluation) -> list[Sentence]:
    """The variants that get most frames wrong of those that the baseline gets right."""
    worse = {name: judged.flips.worse for name, judged in evaluation.variants.items() if judged.flips}
    if not worse:
        return []
    most = max(worse.values())
    if not most:
        return [sentence(f"At {run.threshold}, no variant gets a frame wrong that the baseline gets right.")]
    names = [name for name, count in worse.items() if count == most]
    point = evaluation.variants[run.baseline.name].fixed
    right = point.tp + point.tn
    answers = f"{most:,} of the baseline's {counted(right, 'right answer')}{' each' if names[1:] else ''}"
    share = number(100 * most / right, 1)
    flipped = f"Most frames flipped to wrong at {run.threshold}: "
    return [sentence(flipped, listed(names), f", {answers} ({share} %).")]


def _one_sided(run: RunRecord, evaluation: Evaluation) -> list[Sentence]:
    """The variants that call nearly all frames the same at the fixed threshold, though both classes are there."""
    by_class: dict[str, list[str]] = {}
    for name, judged in evaluation.variants.items():
        point = judged.fixed
        fakes, reals = point.tp + point.fn, point.fp + point.tn
        called = {"fake": point.tp + point.fp, "real": point.fn + point.tn}
        verdict, most = max(called.items(), key=lambda pair: pair[1])
        right = {"fake": fakes, "real": reals}[verdict]
        # As many of one verdict as there are frames of it is what a good detector says.
        if min(fakes, reals) and most >= NEARLY_ALL * (fakes + reals) and most > right:
            by_class.setdefault(verdict, []).append(name)
    count = run.test.count
    return [
        sentence(
            f"At {run.threshold}, ",
            listed(names),
            f" {'calls' if len(names) == 1 else 'each call'} nearly all {count:,} frames {verdict} "
            f"({100 * NEARLY_ALL:g} % or more): the threshold does not suit these scores, whatever the AUC; see the "
            "other thresholds, and check preprocessing.",
        )
        for verdict, names in by_class.items()
    ]


def other_reason(evaluation: Evaluation) -> list[Sentence]:
    """How many frames a variant gets right for another reason than the baseline."""
    counts = [
        sentence(strong(name), f" {len(judged.drift.other_reason):,} of {judged.drift.both_right:,}")
        for name, judged in evaluation.variants.items()
        if judged.drift and len(judged.drift.other_reason)
    ]
    if not counts:
        return []
    return [sentence("Right as the baseline is, but for another reason: ", joined(counts, ", "), " frames.")]
