"""The report's first section: which variant to ship, and what is known of each, in Markdown."""

from __future__ import annotations

from bench.records import Candidate, Choice, Judged, Judgement, Loosening, Requirement, Run, VariantResult
from bench.reports.tables import area, verdict
from bench.reports.text import NONE, about, chance, counted, difference, escape, listed, number, rough, signed, table

PREFERRED = {"size": "by size", "latency": "by latency", "auc": "by AUC"}
UNITS = {"auc_drop": "", "size_mib": " MiB", "latency_ms": " ms"}
DIGITS = {"auc_drop": 4, "size_mib": 2, "latency_ms": 2}
FEW_SOURCES, NEAR_PERFECT = 100, 0.97
ASKED = {"auc_drop": "an AUC drop of at most", "size_mib": "at most", "latency_ms": "at most"}


def answer(run: Run, judgement: Judgement) -> str:
    """Which one to ship, and why."""
    choice = judgement.choice
    if choice is None:
        return f"**No variant can be recommended**: {_why_no_choice(run, judgement)}."
    if not _weighs(choice):
        return " ".join([_able(run, choice), *_undecided(judgement, choice)])
    if choice.chosen is None:
        return " ".join([_loosened(choice), *_undecided(judgement, choice)])
    chosen = next(one for one in choice.candidates if one.name == choice.chosen)
    qualified = [one.name for one in choice.candidates if one.qualifies]
    keeps = chosen.name == run.variants[0].name
    said = [f"**Keep the baseline**, {listed([chosen.name])}" if keeps else f"**Ship {escape(chosen.name)}**"]
    if keeps and len(qualified) == 1:
        said[0] += f": no other variant is proven to meet {_asked(choice)}."
    else:
        among = f"{len(qualified)} of {counted(len(choice.candidates), 'variant')} qualify, and it comes first"
        alone = f"the only one of {counted(len(choice.candidates), 'variant')} that qualifies"
        why = alone if len(qualified) == 1 else f"{among} {_preferred(choice)}"
        said[0] += f"{_facts(judgement, chosen)}: {why}."
    if not keeps:
        said.append(f"{_asked(choice, first=True)}: {'; '.join(map(_room, chosen.requirements))}.")
    if choice.runner_up is not None:
        second = next(one for one in choice.candidates if one.name == choice.runner_up)
        said.append(f"Runner-up: {listed([second.name])}{_facts(judgement, second)}.")
    return " ".join([*said, *(_undecided(judgement, choice) if keeps else [])])


def _weighs(choice: Choice) -> bool:
    """Whether anything is known that a smaller AUC could be worth."""
    return choice.asked or any(one.size_mib is not None or one.latency_ms is not None for one in choice.candidates)


def _able(run: Run, choice: Choice) -> str:
    """Who could be shipped, where it is not known what for."""
    able = [one.name for one in choice.candidates if one.qualifies and one.name != run.variants[0].name]
    limit = f"{run.margin:g} AUC, the margin"
    if not able:
        return f"**Keep the baseline**, {listed([run.variants[0].name])}: no other is proven to lose less than {limit}."
    which = " Sizes and times are not known here, so which of them is worth it cannot be said." if able[1:] else ""
    each = "each is" if able[1:] else "it is"
    return f"{listed(able)} can be shipped: {each} proven to lose less than {limit}.{which}"


def _why_no_choice(run: Run, judgement: Judgement) -> str:
    baseline = judgement.variants.get(run.variants[0].name)
    if baseline is None:
        return f"the baseline {listed([run.variants[0].name])} failed, and nothing else can be compared with it"
    if baseline.auc is None:
        return "the test frames are all of one class, so that there is no AUC to judge by"
    if baseline.auc.interval.low <= 0.5:
        return "the baseline itself is not proven to be better than chance"
    return "the baseline is the only variant that was judged"


def _preferred(choice: Choice) -> str:
    known = {
        "size": any(one.size_mib is not None for one in choice.candidates),
        "latency": any(one.latency_ms is not None for one in choice.candidates),
        "auc": True,
    }
    preferred = choice.constraints.prefer
    return PREFERRED[preferred] if known[preferred] else f"{PREFERRED['auc']}, since its {preferred} is not known"


def _asked(choice: Choice, first: bool = False) -> str:
    """What the chosen one had to meet."""
    if choice.asked:
        return "Asked for" if first else "what was asked"
    limit = number(choice.constraints.auc_drop, 4).rstrip("0")
    if first:
        return "Nothing was asked for beyond the margin"
    return f"an AUC drop of at most {limit}, the margin"


def _room(one: Requirement) -> str:
    """One constraint, and the margin on it."""
    unit, digits = UNITS[one.constraint], DIGITS[one.constraint]
    limit = f"{ASKED[one.constraint]} {one.limit:g}{unit}"
    if one.value is None:
        return f"{limit} (unknown: {escape(one.reason)})"
    found = number(max(one.value, 0.0), digits) if one.constraint == "auc_drop" else number(one.value, digits)
    at_worst = "at worst " if one.constraint == "auc_drop" else ""
    room = number(abs(one.room or 0.0), digits)
    return f"{limit} ({at_worst}{found}{unit}, {room}{unit} {'to spare' if one.met else 'too much'})"


def _facts(judgement: Judgement, one: Candidate) -> str:
    """Size, latency and AUC difference, as far as they are known."""
    comparison = judgement.variants[one.name].comparison
    found = [f"{number(one.size_mib, 2)} MiB"] if one.size_mib is not None else []
    found += [f"{rough(one.latency_ms)} ms"] if one.latency_ms is not None else []
    found += [f"ΔAUC {signed(comparison.delta.value, 4)}"] if comparison else []
    return f" ({', '.join(found)})" if found else ""


def _loosened(choice: Choice) -> str:
    needs: dict[str, list[str]] = {}
    for one in choice.loosen:
        needs.setdefault(one.variant, []).append(_loosening(one))
    said = [f"{listed([name])}, with {' and '.join(found)}" for name, found in needs.items()]
    nearest = f" Nearest: {'; '.join(said)}." if said else ""
    return f"**None qualifies**: no variant meets {_asked(choice)}.{nearest}"


def _loosening(one: Loosening) -> str:
    digits, unit = DIGITS[one.constraint], UNITS[one.constraint]
    return f"`{one.constraint}` loosened from {one.limit:g} to {number(one.needed, digits)}{unit}"


def _undecided(judgement: Judgement, choice: Choice) -> list[str]:
    """Whom the frames cannot decide about, though nothing else is in the way."""
    said = []
    for one in choice.candidates:
        missed = [requirement for requirement in one.requirements if not requirement.met]
        comparison = judgement.variants[one.name].comparison
        if [requirement.constraint for requirement in missed] != ["auc_drop"] or comparison is None:
            continue
        if comparison.verdict == "inconclusive" and comparison.further_frames:
            more = f"about {_further(comparison.further_frames)} would settle it"
            said.append(f"These frames cannot decide about {listed([one.name])}: {more}.")
    return said


def _further(frames: int) -> str:
    return f"{about(frames)} further {'frame' if frames == 1 else 'frames'}"


def overview(run: Run, judgement: Judgement) -> str:
    """One row a variant: its verdict and what to know."""
    rows = [_row(run, variant, judgement) for variant in run.variants]
    titles = [("Model", "left"), ("Verdict", "left"), ("ΔAUC (95 %)", "right"), ("p (Holm)", "right")]
    return table([*titles, ("What to know", "left")], rows)  # type: ignore[list-item]


def _row(run: Run, variant: VariantResult, judgement: Judgement) -> list[str]:
    name = f"**{escape(variant.name)}**"
    if variant.status != "ok":
        return [name, "failed", NONE, NONE, escape(variant.reason or "no reason was recorded")]
    judged = judgement.variants[variant.name]
    is_baseline = variant is run.variants[0]
    comparison = judged.comparison
    level = [f"AUC {area(judged.auc)}"] if is_baseline and judged.auc else []
    return [
        name,
        verdict(is_baseline, judged),
        difference(comparison.delta) if comparison else NONE,
        chance(comparison.p_holm) if comparison else NONE,
        "; ".join([*level, *_notes(run, judged, variant.name, judgement.choice)]) or NONE,
    ]


def _notes(run: Run, judged: Judged, name: str, choice: Choice | None) -> list[str]:
    """What the verdict alone does not say."""
    found = []
    comparison = judged.comparison
    if comparison and comparison.small_but_real:
        found.append("the loss is small but real")
    if comparison and comparison.verdict == "inconclusive":
        more = comparison.further_frames
        found.append(f"about {_further(more)} would settle it" if more else "more such frames may not settle it")
    if comparison and comparison.verdict == "degraded" and judged.flips:
        found.append(f"wrong in {counted(judged.flips.worse, 'frame')} that the baseline gets right")
    return [*found, *_shifted(judged), *_in_slices(run, judged), *_in_choice(name, choice)]


def _shifted(judged: Judged) -> list[str]:
    fixed, own = judged.fixed, judged.thresholds.get("own")
    if judged.shift is None or judged.shift.verdict is None or own is None:
        return []
    at_own = f"{number(own.accuracy, 3)} at its own {number(own.threshold, 3)}"
    return [f"**{judged.shift.verdict}**: accuracy {number(fixed.accuracy, 3)} at {fixed.threshold:g}, {at_own}"]


def _in_slices(run: Run, judged: Judged) -> list[str]:
    """Only a loss that holds for all slices at once, and is by more than the margin worse than that over all frames."""
    worst, overall = judged.worst_slice, judged.comparison.delta.value if judged.comparison else 0.0
    if worst is None or worst.delta is None or worst.simultaneous is None or worst.simultaneous.high >= 0:
        return []
    if worst.delta.value > min(overall, 0.0) - run.margin:
        return []
    return [f"loses most where {escape(worst.column)} = {escape(worst.value)} (ΔAUC {signed(worst.delta.value, 4)})"]


def _in_choice(name: str, choice: Choice | None) -> list[str]:
    if choice is None or not _weighs(choice):
        return []
    if name == choice.chosen:
        return ["**chosen**"]
    if name == choice.runner_up:
        return ["runner-up"]
    found = next((one for one in choice.candidates if one.name == name), None)
    if found is None:
        return []
    # Without constraints the drop of AUC is what the verdict has said.
    missed = [_missed(one) for one in found.requirements if not one.met and choice.asked]
    if found.qualifies and found.beaten_by is not None:
        return [f"{listed([found.beaten_by])} is at least as good in everything"]
    return missed


def _missed(one: Requirement) -> str:
    unit, digits = UNITS[one.constraint], DIGITS[one.constraint]
    if one.value is None:
        return f"`{one.constraint}` unknown: {escape(one.reason)}"
    if one.constraint == "auc_drop":
        return f"may lose {number(one.value, digits)} AUC, {one.limit:g} allowed"
    return f"{number(one.value, digits)}{unit}, {one.limit:g}{unit} allowed"


def method(run: Run, judgement: Judgement) -> str:
    """How verdicts are made, and from what."""
    margin = f"{run.margin:g}"
    compared = {name: one.comparison.delta for name, one in judgement.variants.items() if one.comparison}
    if not compared:
        return ""
    by_source = [name for name, delta in compared.items() if delta.clustered]
    if by_source:
        whom = "" if len(by_source) == len(compared) else f" for {listed(by_source)}"
        leads = f"by source{whom} (Obuchowski), wider than that by frame (DeLong), since frames of a source are alike"
    elif any(delta.by_source for delta in compared.values()):
        leads = "by frame (DeLong), here wider than that by source (Obuchowski)"
    else:
        leads = "by frame (DeLong): no two frames are known to share a source"
    test = run.frames["test"]
    sources = f" from {counted(test.sources, 'source')}" if test.sources else ""
    return (
        f"Verdicts come from ΔAUC, the AUC minus the baseline's on the same {counted(test.count, 'frame')}{sources}, "
        f"with its 95 % interval and the margin of {margin}: **improved** where the interval lies above 0, **stable** "
        f"where it lies above −{margin}, **degraded** where it lies below 0 and ΔAUC below −{margin}, else "
        f"**inconclusive**. The interval is {leads}. p is two-sided and Holm-corrected over "
        f"{counted(len(compared), 'comparison')}.{_few_sources(run, judgement) if by_source else ''}"
    )


def _few_sources(run: Run, judgement: Judgement) -> str:
    """Where simulation shows the interval by source to be too narrow (docs/verdicts.md, What they are worth)."""
    test, baseline = judgement.test, judgement.variants[run.variants[0].name]
    sources = min(test.sources[test.labels == label].nunique() for label in (0, 1))
    if sources >= FEW_SOURCES or baseline.score.auc is None or baseline.score.auc < NEAR_PERFECT:
        return ""
    return (
        f" **With {counted(sources, 'source')} of a class and an AUC this near to 1 that interval is too narrow**, "
        "since the rare source on which a variant fails may not be among them: bring more before you rely on it."
    )
