"""Which variant to ship, decided once for the report, the page and the terminal; and the sentences that say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.errors import counted
from bench.records import (
    Candidate,
    Choice,
    Evaluation,
    Loosening,
    Requirement,
    RunRecord,
    ScoredChoice,
    VariantEvaluation,
)
from bench.reports.content import robustness
from bench.reports.content.spans import Part, Sentence, code, joined, listed, sentence, strong
from bench.reports.content.text import change, enough, further, moved, number, rough, times

PREFERRED = {"size": "by size", "latency": "by latency", "auc": "by AUC"}
UNITS = {"auc_drop": "", "size_mib": " MiB", "latency_ms": " ms"}
DIGITS = {"auc_drop": 4, "size_mib": 2, "latency_ms": 2}
ASKED = {"auc_drop": "an AUC drop of at most", "size_mib": "at most", "latency_ms": "at most"}


@dataclass(frozen=True)
class Recommendation:
    """What a choice comes to.

    "ship" and "keep" name the variant in `chosen`, which "keep" says is the baseline. "unmet" is where none
    qualifies: `loosen` says what the nearest would need. "able" is where neither sizes nor times are known and
    nothing was asked for: `able` may be shipped, and none of them is recommended. "none" is where nothing was
    compared.
    """

    kind: Literal["ship", "keep", "unmet", "able", "none"]
    chosen: str | None = None
    runner_up: str | None = None
    able: tuple[str, ...] = ()
    loosen: tuple[Loosening, ...] = ()


def recommend(choice: Choice | ScoredChoice | None, baseline: str) -> Recommendation:
    """What to recommend by a choice, as made or as read from scores.json; `baseline` is the baseline's name."""
    if choice is None:
        return Recommendation("none")
    if not weighs(choice):
        able = (candidate.name for candidate in choice.candidates if candidate.qualifies)
        return Recommendation("able", able=tuple(name for name in able if name != baseline))
    if choice.chosen is None:
        return Recommendation("unmet", loosen=choice.loosen)
    kind: Literal["ship", "keep"] = "keep" if choice.chosen == baseline else "ship"
    return Recommendation(kind, choice.chosen, choice.runner_up)


def weighs(choice: Choice | ScoredChoice) -> bool:
    """Whether anything is known that a smaller AUC could be worth."""
    return choice.asked or any(
        candidate.size_mib is not None or candidate.latency_ms is not None for candidate in choice.candidates
    )


def in_one_line(recommended: Recommendation, baseline: str) -> str:
    """The recommendation for a terminal; "" where there is none."""
    if recommended.kind == "none":
        return ""
    if recommended.kind == "able":
        return f"can ship: {', '.join(recommended.able) or f'none but the baseline, {baseline}'}"
    if recommended.kind == "unmet":
        first = recommended.loosen[0].variant if recommended.loosen else None
        needs = [
            f"{loosening.constraint} {loosening.needed:g} (limit: {loosening.limit:g})"
            for loosening in recommended.loosen
            if loosening.variant == first
        ]
        return f"ship: none qualifies{f'; {first} needs ' if needs else ''}{' and '.join(needs)}"
    second = f"; runner-up: {recommended.runner_up}" if recommended.runner_up else ""
    keep = " (keep the baseline)" if recommended.kind == "keep" else ""
    return f"ship: {recommended.chosen}{keep}{second}"


def sentences(run: RunRecord, evaluation: Evaluation, *, of_several: bool = False) -> list[Sentence]:
    """Which variant to ship and why, first in one sentence; then what else speaks for it or against it.

    Where they are variants `of_several` detectors, the run's baseline is a variant as any other, and not "kept".
    """
    choice, baseline = evaluation.choice, run.baseline.name
    recommended = recommend(choice, "" if of_several else baseline)
    if choice is None:
        why = _why_no_choice(run, evaluation, of_several=of_several)
        return [sentence(strong("No variant can be recommended"), ": ", why, ".")]
    if recommended.kind == "able":
        return [_able(run, recommended), *_undecided(run, evaluation, choice)]
    if recommended.kind == "unmet":
        return [*_loosened(choice), *_undecided(run, evaluation, choice)]
    candidates = {candidate.name: candidate for candidate in choice.candidates}
    chosen = candidates[str(recommended.chosen)]
    texts = [_shipped(run, evaluation, recommended, chosen)]
    if recommended.kind == "ship":
        texts.append(sentence(_met(run, choice, chosen), "."))
    texts += _at_the_fixed_threshold(evaluation.variants[chosen.name])
    texts += robustness.of_variant(evaluation.degraded.get(chosen.name, ()))
    if recommended.runner_up is not None:
        second = candidates[recommended.runner_up]
        texts.append(sentence("Runner-up: ", strong(second.name), _facts(run, evaluation, second), "."))
    return [*texts, *(_undecided(run, evaluation, choice) if recommended.kind == "keep" else [])]


def _shipped(run: RunRecord, evaluation: Evaluation, recommended: Recommendation, chosen: Candidate) -> Sentence:
    """Which variant to ship or keep, and why that one."""
    choice = evaluation.choice
    assert choice is not None
    qualified = [candidate.name for candidate in choice.candidates if candidate.qualifies]
    keeps = recommended.kind == "keep"
    steps = next(variant.steps for variant in run.variants if variant.name == chosen.name)
    made = sentence(", made by ", code(", ".join(steps))) if steps else ""
    what = _keep(chosen.name) if keeps else sentence(strong(f"Ship {chosen.name}"), made)
    if keeps and len(qualified) == 1:
        return sentence(what, f": no other variant is shown to meet {_asked(choice)}.")
    among = f"{len(qualified)} of {counted(len(choice.candidates), 'variant')} qualify, and it comes first"
    alone = f"the only one of {counted(len(choice.candidates), 'variant')} that qualifies"
    why = alone if len(qualified) == 1 else f"{among} {_preferred(choice)}"
    return sentence(what, f"{_facts(run, evaluation, chosen)}: {why}.")


def _at_the_fixed_threshold(judged: VariantEvaluation) -> list[Sentence]:
    """What an AUC does not show: the same ranking, and another share of right answers."""
    if not is_worse_at_fixed(judged) or judged.flips is None:
        return []
    lost = counted(judged.flips.worse, "frame")
    wrong = f"At {judged.fixed.threshold} it is wrong in {lost} that the baseline gets right"
    return [sentence(strong(wrong), f" ({judged.flips.better:,} the other way round): set its threshold anew first.")]


def is_worse_at_fixed(judged: VariantEvaluation) -> bool:
    """Whether significantly more frames got worse than better at the fixed threshold (McNemar)."""
    return judged.flips is not None and judged.flips.worse > judged.flips.better and judged.flips.p < 0.05


def _keep(name: str) -> Sentence:
    advice = strong("Keep the baseline")
    return sentence(advice) if name == "baseline" else sentence(advice, ", ", strong(name))


def _able(run: RunRecord, recommended: Recommendation) -> Sentence:
    """Which variants could be shipped, where it is not known what for."""
    able = recommended.able
    limit = f"{run.margin:g} AUC, the margin"
    if not able:
        return sentence(_keep(run.baseline.name), f": no other is shown to lose less than {limit}.")
    which = " Sizes and times are not known here, so which of them is worth it cannot be said." if able[1:] else ""
    each = "each is" if able[1:] else "it is"
    return sentence(listed(able), f" can be shipped: {each} shown to lose less than {limit}.{which}")


def baseline_called(name: str) -> Sentence:
    """The baseline with its name; where "baseline" is its name, once is enough."""
    return sentence("baseline") if name == "baseline" else sentence("baseline ", strong(name))


def _why_no_choice(run: RunRecord, evaluation: Evaluation, *, of_several: bool) -> Part:
    """Why nothing is recommended."""
    baseline = evaluation.variants.get(run.baseline.name)
    if not evaluation.variants:
        return "every variant failed"
    if baseline is None:
        called = baseline_called(run.baseline.name)
        return sentence("the ", called, " failed, and nothing else can be compared with it")
    if baseline.auc is not None and baseline.auc.interval.low <= 0.5:
        alone = _from_one_source(evaluation.independence.single_source)
        itself = sentence("even ", strong(run.baseline.name)) if of_several else sentence("the baseline itself")
        return alone or sentence(itself, " is not significantly better than chance")
    return "the baseline is the only variant that was evaluated"


def _from_one_source(classes: tuple[str, ...]) -> str:
    """Which classes have frames of one source only; "" where none has."""
    if not classes:
        return ""
    each = " each" if classes[1:] else ""
    return f"all {' and all '.join(classes)} come from one source{each}, which says nothing of others"


def _preferred(choice: Choice) -> str:
    measured = {
        "size": any(candidate.size_mib is not None for candidate in choice.candidates),
        "latency": any(candidate.latency_ms is not None for candidate in choice.candidates),
        "auc": True,
    }
    preferred = choice.constraints.prefer
    return PREFERRED[preferred] if measured[preferred] else f"{PREFERRED['auc']}, since its {preferred} is not known"


def _asked(choice: Choice) -> str:
    """What the chosen variant had to meet."""
    return "what was asked" if choice.asked else f"an AUC drop of at most {choice.constraints.auc_drop:g}, the margin"


def _met(run: RunRecord, choice: Choice, chosen: Candidate) -> str:
    """Every constraint with the headroom that is left, the margin apart from what was asked for."""
    by_margin = run.choose is None or run.choose.auc_drop is None
    asked: list[str] = []
    margin: list[str] = []
    for requirement in chosen.requirements:
        of_margin = by_margin and requirement.constraint == "auc_drop"
        (margin if of_margin else asked).append(_headroom(requirement))
    if not choice.asked:
        return f"Nothing was asked for beyond the margin: {'; '.join(margin)}"
    return f"Asked for: {'; '.join(asked)}" + (f". The margin: {'; '.join(margin)}" if margin else "")


def _headroom(requirement: Requirement) -> str:
    """One constraint, and the distance to its limit."""
    unit = UNITS[requirement.constraint]
    limit = f"{ASKED[requirement.constraint]} {requirement.limit:g}{unit}"
    if requirement.value is None:
        return f"{limit} (unknown: {requirement.reason})"
    of_auc = requirement.constraint == "auc_drop"
    value = max(requirement.value, 0.0) if of_auc else requirement.value
    headroom = abs(requirement.headroom or 0.0)
    digits = enough((value, headroom), DIGITS[requirement.constraint])
    spare = f"{number(headroom, digits)}{unit} {'to spare' if requirement.met else 'too much'}"
    return f"{limit} ({'at worst ' if of_auc else ''}{number(value, digits)}{unit}, {spare})"


def _facts(run: RunRecord, evaluation: Evaluation, candidate: Candidate) -> str:
    """Size, speed and AUC difference as far as they are known; the baseline's as they are, others' against it."""
    comparison, speed = evaluation.variants[candidate.name].comparison, evaluation.speeds[candidate.name]
    size = [] if candidate.size_mib is None else [f"{number(candidate.size_mib, 2)} MiB"]
    if comparison is None:
        latency = [] if candidate.latency_ms is None else [f"{rough(candidate.latency_ms)} ms"]
        return f" ({', '.join([*size, *latency])})" if size or latency else ""
    baseline = run.baseline.footprint
    variant = next(variant for variant in run.variants if variant.name == candidate.name)
    if size and baseline and variant.footprint:
        size = [f"{size[0]}, {change(variant.footprint.size_bytes, baseline.size_bytes)}"]
    faster = [f"speed {times(speed.speedup)}"] if speed.speedup else []
    return f" ({'; '.join([*size, *faster, f'ΔAUC {moved(comparison.delta.value)}'])})"


def _loosened(choice: Choice) -> list[Sentence]:
    """That none qualifies, and what the nearest variants would need."""
    needs: dict[str, list[Part]] = {}
    for loosening in choice.loosen:
        needs.setdefault(loosening.variant, []).append(_loosening(loosening))
    nearest = [sentence(strong(name), ", with ", joined(limits, " and ")) for name, limits in needs.items()]
    none = sentence(strong("None qualifies"), f": no variant meets {_asked(choice)}.")
    return [none, *([sentence("Nearest: ", joined(nearest, "; "), ".")] if nearest else [])]


def _loosening(loosening: Loosening) -> Part:
    digits, unit = DIGITS[loosening.constraint], UNITS[loosening.constraint]
    needed = number(loosening.needed, digits)
    return sentence(code(loosening.constraint), f" loosened from {loosening.limit:g} to {needed}{unit}")


def _undecided(run: RunRecord, evaluation: Evaluation, choice: Choice) -> list[Sentence]:
    """Which variants the frames cannot decide about, though nothing else is in the way."""
    # Further frames are reckoned for the margin, and would not settle another limit.
    if choice.constraints.auc_drop != run.margin:
        return []
    texts = []
    for candidate in choice.candidates:
        missed = [requirement.constraint for requirement in candidate.requirements if not requirement.met]
        comparison = evaluation.variants[candidate.name].comparison
        if missed != ["auc_drop"] or comparison is None:
            continue
        if comparison.verdict == "inconclusive" and comparison.further_frames:
            settled = f"{further(comparison.further_frames)} would settle it, if the difference stays what it is"
            texts.append(sentence("These frames cannot decide about ", strong(candidate.name), f": {settled}."))
    return texts
