"""Warnings of scores that say less than they seem: decisions, rounded and saturated scores."""

from __future__ import annotations

from bench.records import Resolution, RunRecord, ScoresFile
from bench.reports.content.spans import Sentence, code, joined, listed, paragraph, sentence
from bench.reports.content.text import number


def coarse(run: RunRecord, numbers: ScoresFile) -> list[tuple[Sentence, Sentence]]:
    """What is known of the scores of which variants, and what to do about it; variants that are alike together."""
    by_kind: dict[tuple[str, int | None], dict[str, Resolution]] = {}
    for name, variant in numbers.judged.items():
        if variant.resolution:
            key = (variant.resolution.kind, variant.resolution.decimals)
            by_kind.setdefault(key, {})[name] = variant.resolution
    is_imported = run.preprocessing is None
    warned = [
        (_fact(alike, numbers.judge), _advice(kind, is_imported=is_imported)) for (kind, _), alike in by_kind.items()
    ]
    scored = sum(variant.status == "ok" for variant in numbers.judged.values())
    is_mixed = len(by_kind) > 1 or sum(map(len, by_kind.values())) < scored
    if warned and is_imported and is_mixed:
        fact, advice = warned[-1]
        unlike = "Give all files the same digits: beside finer scores, coarser ones lose AUC by that alone."
        warned[-1] = (fact, paragraph((advice, sentence(unlike))))
    return warned


def _fact(alike: dict[str, Resolution], unit: str) -> Sentence:
    """What these variants' scores are, and what that hides."""
    first, names = next(iter(alike.values())), listed(list(alike))
    verb = "give" if len(alike) > 1 else "gives"
    tied = ", ".join(f"{number(100 * each.tied, 1)} %" for each in alike.values())
    tied += f" of all pairs of a fake and a real {unit} share a score"
    if first.kind == "decisions":
        what = f" {verb} every {unit} one of two scores: these are decisions, and AUC is their balanced accuracy."
        return sentence(names, what)
    if first.kind == "rounded":
        digits = f"{first.decimals or 'no'} decimal{'' if first.decimals == 1 else 's'}"
        return sentence("The scores of ", names, f" have {digits}: {tied}, and smaller changes are hidden.")
    if first.kind == "saturated":
        ends = ", ".join(f"{number(100 * each.at_ends, 1)} %" for each in alike.values())
        return sentence(names, f" {verb} {ends} of the {unit}s a P(fake) of 0 or 1 to the last digit: {tied}.")
    levels = ", ".join(f"{each.distinct:,}" for each in alike.values())
    return sentence(names, f" {verb} few different scores ({levels}): {tied}.")


def _advice(kind: str, *, is_imported: bool) -> Sentence:
    """How scores that say more are had."""
    if not is_imported:
        return sentence("Have the detector answer with logits that it has not rounded.")
    logits = joined((sentence(code("logit_real")), sentence(code("logit_fake"))), " and ")
    if kind == "saturated":
        return sentence("Write logits: columns ", logits, ", or one with ", code("--scale logit"), ".")
    what = "P(fake) of each, or its logit, in place of the class" if kind == "decisions" else "all digits, or logits"
    return sentence(f"Write {what} (", code("--scale logit"), ").")
