"""How the fixed threshold was found where the experiment gives a rule, and what a reader must know of it."""

from __future__ import annotations

from collections.abc import Iterator

from bench.records import RunRecord, ScoredRates, ScoredThresholdRule, ScoresFile
from bench.reports.content.spans import Sentence, code, docs, sentence, strong
from bench.reports.content.text import number

_DOCS = "verdicts.md#a-threshold-by-a-rule"


def how_found(run: RunRecord, numbers: ScoresFile) -> Sentence:
    """On which frames the threshold was found, by which rule, and what it comes to; empty where it is a number."""
    scored, rule = numbers.threshold_rule, run.threshold_rule
    if scored is None or rule is None or scored.validation is None:
        return sentence()
    validation, unit = scored.validation, scored.unit
    of_set = f" of {scored.frame_set}" if scored.frame_set else ""
    on_test = (f"; on the test {unit}s ", _errors(scored.test)) if scored.test else ()
    return sentence(
        strong(f"The threshold {run.threshold}"),
        " was found by ",
        code(rule.text),
        f" on the baseline's validation {unit}s{of_set} ({validation.fake:,} fake, {validation.real:,} real), which "
        "have ",
        _errors(validation),
        *on_test,
        ". All variants are judged at it. More: ",
        docs(_DOCS),
        ".",
    )


def facts(run: RunRecord, numbers: ScoresFile) -> Iterator[tuple[Sentence, Sentence]]:
    """What is wrong with a threshold that a rule found, and what to do about it."""
    scored, rule = numbers.threshold_rule, run.threshold_rule
    if scored is None or rule is None:
        return
    if scored.validation is None:
        missing = strong(f"The threshold is {run.threshold}")
        yield (
            sentence(missing, ": ", code(rule.text), " is found on the baseline's answers, and it failed."),
            sentence(),
        )
        return
    if not scored.reached:
        yield _not_reached(run, scored)
    elif scored.test is not None and scored.limit is not None:
        yield from _exceeded(run, scored, scored.test)
    if rule.is_one_sided:
        other = "recall" if rule.criterion == "precision" else "specificity"
        side = scored.validation.fnr if rule.criterion == "precision" else scored.validation.fpr
        yield (
            sentence(
                code(rule.text),
                " looks at one kind of error alone: of thresholds that are equally good by it, the one of best ",
                f"{other} was taken, and that is {number(1 - (side or 0.0), 3)} on the validation {scored.unit}s.",
            ),
            sentence("Give a limit, such as ", code("{fpr: 0.01}"), ", or ", code("{best: f1}"), "."),
        )


def _not_reached(run: RunRecord, scored: ScoredThresholdRule) -> tuple[Sentence, Sentence]:
    """No threshold keeps the limit, since too many scores tie at an end."""
    assert scored.validation is not None
    is_fpr = scored.criterion == "fpr"
    rate = scored.validation.fpr if is_fpr else scored.validation.fnr
    which, end = ("real", "1") if is_fpr else ("fake", "0")
    return (
        sentence(
            strong(f"No threshold keeps {scored.criterion} {scored.limit:g}"),
            f" on the validation {scored.unit}s: P(fake) of too many {which} ones is {end}. The threshold "
            f"{run.threshold} comes nearest, with {number(rate, 3)}.",
        ),
        sentence("Give a limit that scores like these can keep, or look why they are saturated."),
    )


def _exceeded(run: RunRecord, scored: ScoredThresholdRule, test: ScoredRates) -> Iterator[tuple[Sentence, Sentence]]:
    """The rate that was limited is significantly higher on test frames than its limit."""
    name = "FPR" if scored.criterion == "fpr" else "FNR"
    rate, interval = (test.fpr, test.fpr_ci) if name == "FPR" else (test.fnr, test.fnr_ci)
    if rate is not None and interval is not None and scored.limit is not None and interval[0] > scored.limit:
        low, high = interval
        yield (
            sentence(
                strong(f"At {run.threshold} the baseline's {name} on the test {scored.unit}s is {number(rate, 3)}"),
                f" ({number(low, 3)}–{number(high, 3)}), above the {scored.limit:g} that the threshold was set to.",
            ),
            sentence("Validation frames are not like these: set it on frames like those that it will meet."),
        )


def _errors(rates: ScoredRates) -> str:
    """Both rates of errors, with their intervals: "FPR 0.010 (0.003–0.035) and FNR 0.120 (0.08–0.18)"."""
    return " and ".join(
        f"{name} {number(rate, 3)} ({number(ends[0], 3)}–{number(ends[1], 3)})" if ends else f"no {name}"
        for name, rate, ends in (("FPR", rates.fpr, rates.fpr_ci), ("FNR", rates.fnr, rates.fnr_ci))
    )
