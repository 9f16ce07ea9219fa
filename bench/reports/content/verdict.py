"""The report's first section: which variant to ship, and what is known of each; sentences in Markdown."""

from __future__ import annotations

from typing import Literal

from bench.records import (
    Candidate,
    Choice,
    Evaluation,
    LabelledFrames,
    Loosening,
    Requirement,
    RunRecord,
    VariantEvaluation,
    VariantResult,
)
from bench.reports.content.measured import recovery
from bench.reports.content.tables import area, reduction, verdict
from bench.reports.content.text import (
    ALL_EQUAL,
    MIB,
    NONE,
    Table,
    baseline_called,
    chance,
    counted,
    difference,
    enough,
    escape,
    further,
    listed,
    moved,
    number,
    rough,
    table,
    times,
)

PREFERRED = {"size": "by size", "latency": "by latency", "auc": "by AUC"}
UNITS = {"auc_drop": "", "size_mib": " MiB", "latency_ms": " ms"}
DIGITS = {"auc_drop": 4, "size_mib": 2, "latency_ms": 2}
ASKED = {"auc_drop": "an AUC drop of at most", "size_mib": "at most", "latency_ms": "at most"}


def answer(run: RunRecord, evaluation: Evaluation) -> str:
    """Which one to ship, and why."""
    return " ".join(answer_sentences(run, evaluation))


def answer_sentences(run: RunRecord, evaluation: Evaluation) -> list[str]:
    """Which one to ship and why, first in one sentence; then what else speaks for it or against it."""
    choice = evaluation.choice
    if choice is None:
        return [f"**No variant can be recommended**: {_why_no_choice(run, evaluation)}."]
    if not weighs(choice):
        return [_able(run, choice), *_undecided(run, evaluation, choice)]
    if choice.chosen is None:
        return [*_loosened(choice), *_undecided(run, evaluation, choice)]
    chosen = next(one for one in choice.candidates if one.name == choice.chosen)
    qualified = [one.name for one in choice.candidates if one.qualifies]
    keeps = chosen.name == run.baseline.name
    said = [_keep(chosen.name) if keeps else f"**Ship {escape(chosen.name)}**"]
    if keeps and len(qualified) == 1:
        said[0] += f": no other variant is proven to meet {_asked(choice)}."
    else:
        among = f"{len(qualified)} of {counted(len(choice.candidates), 'variant')} qualify, and it comes first"
        alone = f"the only one of {counted(len(choice.candidates), 'variant')} that qualifies"
        why = alone if len(qualified) == 1 else f"{among} {_preferred(choice)}"
        said[0] += f"{_facts(run, evaluation, chosen)}: {why}."
    if not keeps:
        said.append(f"{_met(run, choice, chosen)}.")
    said += _at_the_fixed_threshold(evaluation.variants[chosen.name])
    if choice.runner_up is not None:
        second = next(one for one in choice.candidates if one.name == choice.runner_up)
        said.append(f"Runner-up: {listed([second.name])}{_facts(run, evaluation, second)}.")
    return [*said, *(_undecided(run, evaluation, choice) if keeps else [])]


def _at_the_fixed_threshold(judged: VariantEvaluation) -> list[str]:
    """What an AUC does not tell: the same ranking, and another share of right answers."""
    if not _flipped(judged) or judged.flips is None:
        return []
    lost = counted(judged.flips.worse, "frame")
    return [
        f"**At {judged.fixed.threshold:g} it is wrong in {lost} that the baseline gets right** "
        f"({judged.flips.better:,} the other way round): set its threshold anew first."
    ]


def _flipped(judged: VariantEvaluation) -> bool:
    return judged.flips is not None and judged.flips.worse > judged.flips.better and judged.flips.p < 0.05


def _keep(name: str) -> str:
    return "**Keep the baseline**" if name == "baseline" else f"**Keep the baseline**, {listed([name])}"


def weighs(choice: Choice) -> bool:
    """Whether anything is known that a smaller AUC could be worth."""
    return choice.asked or any(one.size_mib is not None or one.latency_ms is not None for one in choice.candidates)


def _able(run: RunRecord, choice: Choice) -> str:
    """Who could be shipped, where it is not known what for."""
    able = [one.name for one in choice.candidates if one.qualifies and one.name != run.baseline.name]
    limit = f"{run.margin:g} AUC, the margin"
    if not able:
        return f"{_keep(run.baseline.name)}: no other is proven to lose less than {limit}."
    which = " Sizes and times are not known here, so which of them is worth it cannot be said." if able[1:] else ""
    each = "each is" if able[1:] else "it is"
    return f"{listed(able)} can be shipped: {each} proven to lose less than {limit}.{which}"


def _why_no_choice(run: RunRecord, evaluation: Evaluation) -> str:
    baseline = evaluation.variants.get(run.baseline.name)
    if not evaluation.variants:
        return "every variant failed"
    if baseline is None:
        return f"the {baseline_called(run.baseline.name)} failed, and nothing else can be compared with it"
    if baseline.auc is not None and baseline.auc.interval.low <= 0.5:
        alone = _from_one_source(evaluation.test)
        return alone or "the baseline itself is not proven to be better than chance"
    return "the baseline is the only variant that was judged"


def _from_one_source(test: LabelledFrames) -> str:
    """Which class has frames of one source only, where sources lead; "" where none has."""
    if not _share_sources(test):
        return ""
    classes = {"fakes": test.sources[test.labels == 1], "reals": test.sources[test.labels == 0]}
    alone = [name for name, sources in classes.items() if sources.notna().all() and sources.nunique() == 1]
    if not alone:
        return ""
    each = " each" if alone[1:] else ""
    return f"all {' and all '.join(alone)} come from one source{each}, which says nothing of others"


def _share_sources(test: LabelledFrames) -> bool:
    return bool(test.sources.dropna().duplicated().any())


def _preferred(choice: Choice) -> str:
    known = {
        "size": any(one.size_mib is not None for one in choice.candidates),
        "latency": any(one.latency_ms is not None for one in choice.candidates),
        "auc": True,
    }
    preferred = choice.constraints.prefer
    return PREFERRED[preferred] if known[preferred] else f"{PREFERRED['auc']}, since its {preferred} is not known"


def _asked(choice: Choice) -> str:
    """What the chosen one had to meet."""
    return "what was asked" if choice.asked else f"an AUC drop of at most {choice.constraints.auc_drop:g}, the margin"


def _met(run: RunRecord, choice: Choice, chosen: Candidate) -> str:
    """Every constraint with the room that is left, the margin apart from what was asked for."""
    by_margin = run.choose is None or run.choose.auc_drop is None
    asked = [_room(one) for one in chosen.requirements if not (by_margin and one.constraint == "auc_drop")]
    margin = [_room(one) for one in chosen.requirements if by_margin and one.constraint == "auc_drop"]
    if not choice.asked:
        return f"Nothing was asked for beyond the margin: {'; '.join(margin)}"
    return f"Asked for: {'; '.join(asked)}" + (f". The margin: {'; '.join(margin)}" if margin else "")


def _room(one: Requirement) -> str:
    """One constraint, and the margin on it."""
    unit = UNITS[one.constraint]
    limit = f"{ASKED[one.constraint]} {one.limit:g}{unit}"
    if one.value is None:
        return f"{limit} (unknown: {escape(one.reason)})"
    value = max(one.value, 0.0) if one.constraint == "auc_drop" else one.value
    room = abs(one.headroom or 0.0)
    digits = enough((value, room), DIGITS[one.constraint])
    at_worst = "at worst " if one.constraint == "auc_drop" else ""
    spare = f"{number(room, digits)}{unit} {'to spare' if one.met else 'too much'}"
    return f"{limit} ({at_worst}{number(value, digits)}{unit}, {spare})"


def _facts(run: RunRecord, evaluation: Evaluation, one: Candidate) -> str:
    """Size, speed and AUC difference, as far as they are known; the baseline's as they are, others' against it."""
    comparison, found = evaluation.variants[one.name].comparison, evaluation.speeds[one.name]
    if comparison is None:
        known = [f"{number(one.size_mib, 2)} MiB"] if one.size_mib is not None else []
        known += [f"{rough(one.latency_ms)} ms"] if one.latency_ms is not None else []
        return f" ({', '.join(known)})" if known else ""
    smaller = next((reduction(run, variant) for variant in run.variants if variant.name == one.name), None)
    known = [f"{number(one.size_mib, 2)} MiB{f', {smaller}' if smaller else ''}"] if one.size_mib is not None else []
    known += [f"speed {times(found.speedup)}"] if found.speedup else []
    return f" ({'; '.join([*known, f'ΔAUC {moved(comparison.delta.value)}'])})"


def _loosened(choice: Choice) -> list[str]:
    needs: dict[str, list[str]] = {}
    for one in choice.loosen:
        needs.setdefault(one.variant, []).append(_loosening(one))
    said = [f"{listed([name])}, with {' and '.join(found)}" for name, found in needs.items()]
    nearest = [f"Nearest: {'; '.join(said)}."] if said else []
    return [f"**None qualifies**: no variant meets {_asked(choice)}.", *nearest]


def _loosening(one: Loosening) -> str:
    digits, unit = DIGITS[one.constraint], UNITS[one.constraint]
    return f"`{one.constraint}` loosened from {one.limit:g} to {number(one.needed, digits)}{unit}"


def _undecided(run: RunRecord, evaluation: Evaluation, choice: Choice) -> list[str]:
    """Whom the frames cannot decide about, though nothing else is in the way."""
    # Further frames are reckoned for the margin, and would not settle another limit.
    if choice.constraints.auc_drop != run.margin:
        return []
    said = []
    for one in choice.candidates:
        missed = [requirement for requirement in one.requirements if not requirement.met]
        comparison = evaluation.variants[one.name].comparison
        if [requirement.constraint for requirement in missed] != ["auc_drop"] or comparison is None:
            continue
        if comparison.verdict == "inconclusive" and comparison.further_frames:
            more = f"{further(comparison.further_frames)} would settle it, if the difference stays what it is"
            said.append(f"These frames cannot decide about {listed([one.name])}: {more}.")
    return said


def overview(run: RunRecord, evaluation: Evaluation) -> Table:
    """One row a variant: its verdict, what it brings, and what to know."""
    titles: list[tuple[str, Literal["left", "right"]]] = [
        ("Model", "left"),
        ("Verdict", "left"),
        ("ΔAUC (95 %)", "right"),
        ("p (Holm)", "right"),
        ("MiB", "right"),
        ("Speed-up", "right"),
        ("What to know", "left"),
    ]
    return table(titles, [_row(run, variant, evaluation) for variant in run.variants])


def _row(run: RunRecord, variant: VariantResult, evaluation: Evaluation) -> list[str]:
    name = f"**{escape(variant.name)}**"
    if variant.status != "ok":
        return [name, "failed", *[NONE] * 4, escape(variant.reason or "no reason was recorded")]
    judged, found = evaluation.variants[variant.name], evaluation.speeds[variant.name]
    is_baseline = variant is run.baseline
    comparison = judged.comparison
    level = [f"AUC {area(judged.auc)}"] if is_baseline and judged.auc else []
    return [
        name,
        verdict(is_baseline, judged),
        difference(comparison.delta) if comparison else NONE,
        chance(comparison.p_holm) if comparison else NONE,
        number(variant.footprint.size_bytes / MIB, 2) if variant.footprint else NONE,
        NONE if is_baseline else times(found.speedup),
        "; ".join([*level, *to_know(run, variant, evaluation)]) or NONE,
    ]


def to_know(
    run: RunRecord, variant: VariantResult, evaluation: Evaluation, *, for_receivers: bool = False
) -> list[str]:
    """What the verdict alone does not say of a variant, in Markdown, without full stops.

    `for_receivers`, who get the variant alone, it stands without a table around it, and without what was asked for.
    """
    found = []
    judged = evaluation.variants[variant.name]
    choice = evaluation.choice
    comparison = judged.comparison
    if comparison and comparison.small_but_real:
        found.append("the loss is small but real")
    if comparison and comparison.only_alone:
        found.append(
            f"a difference by its own interval, not as one of several: p (Holm) is {chance(comparison.p_holm)}"
        )
    if comparison and comparison.verdict == "inconclusive" and not comparison.all_equal:
        more = comparison.further_frames
        settled = f"{further(more)} would settle it, if the difference stays what it is" if more else ""
        undecided = "these frames cannot decide whether it keeps its AUC: " if for_receivers else ""
        found.append(f"{undecided}{settled or 'more such frames may not settle it'}")
    if judged.flips and (_flipped(judged) or (comparison and comparison.verdict == "degraded" and judged.flips.worse)):
        found.append(f"wrong in {counted(judged.flips.worse, 'frame')} that the baseline gets right")
    return [
        *_inexact(variant),
        *_unfit(judged),
        *found,
        *_shifted(judged),
        *_in_slices(run, judged),
        *(escape(recovery(done)) for done in variant.recovered),
        *_size_only(variant, evaluation),
        *([] if for_receivers else _in_choice(run, judged, variant.name, choice)),
    ]


def _inexact(variant: VariantResult) -> list[str]:
    """A runtime that computes something else than the artifact says."""
    measured = variant.fidelity
    if measured is None or measured.exact is not False:
        return []
    if measured.mean is None or measured.largest is None:
        return ["**inexact on this processor**"]
    off = f"{number(measured.mean, 3)} of its deviation on average, {number(measured.largest, 3)} at most"
    return [f"**inexact on this processor**: its logit difference is off by {off}"]


def _size_only(variant: VariantResult, evaluation: Evaluation) -> list[str]:
    """int8 that runs no faster than what was quantised."""
    if variant.name not in evaluation.size_only or variant.executed is None:
        return []
    if variant.executed.int8 == "simulated":
        return [f"int8 buys size only on this processor: {escape(variant.executed.runtime)} computes it in float"]
    effect = next(effect for effect in evaluation.effects if effect.variant == variant.name)
    return [f"int8 buys size only on this processor ({times(effect.speed)} beside {escape(effect.ancestor)})"]


def _unfit(judged: VariantEvaluation) -> list[str]:
    """Answers that look like a mistake in how they were made."""
    if judged.comparison is None or judged.auc is None:
        return []
    if judged.comparison.all_equal:
        return [f"**{ALL_EQUAL}**: it tells no frame from another, however many there are"]
    if judged.auc.interval.high < 0.5:
        return ["**ranks real above fake**: its scores may be those of *real*, or its classes swapped"]
    return []


def _shifted(judged: VariantEvaluation) -> list[str]:
    fixed, own = judged.fixed, judged.thresholds.get("own")
    if judged.shift is None or judged.shift.verdict is None or own is None:
        return []
    at_own = f"{number(own.accuracy, 3)} at its own {number(own.threshold, 3)}"
    return [f"**{judged.shift.verdict}**: accuracy {number(fixed.accuracy, 3)} at {fixed.threshold:g}, {at_own}"]


def _in_slices(run: RunRecord, judged: VariantEvaluation) -> list[str]:
    """Only a loss that holds for all slices at once, and is by more than the margin worse than that over all frames."""
    worst, overall = judged.worst_slice, judged.comparison.delta.value if judged.comparison else 0.0
    if worst is None or worst.delta is None or not worst.is_proven_loss:
        return []
    if worst.delta.value > min(overall, 0.0) - run.margin:
        return []
    return [f"is proven to lose where {escape(worst.column)} = {escape(worst.value)} (ΔAUC {moved(worst.delta.value)})"]


def _in_choice(run: RunRecord, judged: VariantEvaluation, name: str, choice: Choice | None) -> list[str]:
    if choice is None or not weighs(choice):
        return []
    if name == choice.chosen:
        proven = judged.comparison is None or judged.comparison.verdict in ("improved", "stable")
        limit = f"{choice.constraints.auc_drop:g}" if choice.constraints.auc_drop is not None else ""
        asked = f", as proven to lose less than the {limit} asked for, if not than the margin of {run.margin:g}"
        return [f"**chosen**{'' if proven else asked}"]
    if name == choice.runner_up:
        return ["runner-up"]
    found = next((one for one in choice.candidates if one.name == name), None)
    if found is None:
        return []
    # Without constraints the drop of AUC is what the verdict has said.
    missed = [_missed(one) for one in found.requirements if not one.met and choice.asked]
    if found.qualifies and any(one.name == found.beaten_by and one.qualifies for one in choice.candidates):
        return [f"{listed([str(found.beaten_by)])} is at least as good in everything"]
    return missed


def _missed(one: Requirement) -> str:
    unit = UNITS[one.constraint]
    if one.value is None:
        return f"`{one.constraint}` unknown: {escape(one.reason)}"
    digits = enough((one.value, one.limit), DIGITS[one.constraint])
    if one.constraint == "auc_drop":
        return f"may lose {number(one.value, digits)} AUC, {one.limit:g} allowed"
    return f"{number(one.value, digits)}{unit}, {one.limit:g}{unit} allowed"


def method(run: RunRecord, evaluation: Evaluation) -> str:
    """How verdicts are made, and from what."""
    margin = f"{run.margin:g}"
    compared = {name: one.comparison.delta for name, one in evaluation.variants.items() if one.comparison}
    if not compared:
        return ""
    by_source = [name for name, delta in compared.items() if delta.clustered]
    if by_source:
        whom = "" if len(by_source) == len(compared) else f" for {listed(by_source)}"
        leads = f"by source{whom} (Obuchowski), wider than that by frame (DeLong), since frames of a source are alike"
    elif _share_sources(evaluation.test):
        leads = "by frame (DeLong), here no narrower than that by source (Obuchowski)"
    else:
        leads = "by frame (DeLong): no two frames are known to share a source"
    if any(delta.narrow for delta in compared.values()):
        fewest = min((evaluation.test.labels == one).sum() for one in (0, 1))
        leads += (
            f". Where it holds 0, it is widened to at least 1/{fewest} on either side, which one frame of the smaller "
            "class could make; p is that of the interval before"
        )
    test = run.frames["test"]
    sources = f" from {counted(test.sources, 'source')}" if test.sources else ""
    return (
        f"Verdicts come from ΔAUC, the AUC minus the baseline's on the same {counted(test.count, 'frame')}{sources}, "
        f"with its 95 % interval and the margin of {margin}: **improved** where the interval lies above 0, **stable** "
        f"where it lies above −{margin}, **degraded** where it lies below 0 and ΔAUC below −{margin}, else "
        f"**inconclusive**. The interval is {leads}. It is each variant's own; p is two-sided and Holm-corrected over "
        f"{counted(len(compared), 'comparison')}, and may be 0.05 or more where an interval excludes 0. "
        f"{_rare(evaluation.test)}"
    )


def _rare(test: LabelledFrames) -> str:
    """What these frames may not show: by the rule of three, what strikes fewer than 3 in N is missing from N by luck.

    Hanley & Lippman-Hand 1983, "If nothing goes wrong, is everything all right?", JAMA 249: 1743-1745.
    """
    count = _independent(test)
    unit = "source" if _share_sources(test) else "frame"
    if count <= 3:
        return f"With {counted(count, unit)} of a class, any kind of loss can be absent from these frames."
    share = number(300 / count, enough((300 / count,), 1))
    rare = f"fewer than about 3 in {count:,} {unit}s of a class ({share} %)"
    return f"Losses that strike {rare} can be absent from these frames."


def _independent(test: LabelledFrames) -> int:
    """How many sources the class with fewer has; a frame of unknown source, as any that shares none, is one itself."""
    by_class = (test.sources[test.labels == label] for label in (0, 1))
    return min(int(sources.nunique() + sources.isna().sum()) for sources in by_class)
