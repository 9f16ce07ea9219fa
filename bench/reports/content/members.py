"""The members of an ensemble: what each is worth to it, and which set of them to ship, as a table and in sentences."""

from __future__ import annotations

from bench.errors import counted, listed
from bench.records import Evaluation, RunRecord
from bench.records.ensembles import MOST_SETS, EnsembleScores, FittedWeights, MemberSet
from bench.reports.content.cells import Cell, Column, Table, cell, table
from bench.reports.content.spans import Sentence, docs, sentence, strong
from bench.reports.content.text import number, signed, span, within

_HOW = {
    "mean": "the weighted mean of P(fake)",
    "logits": "the weighted mean of the differences of logits",
    "vote": "the weighted share of members that call it fake",
    "max": "the highest P(fake)",
}


def members(evaluation: Evaluation) -> Table | None:
    """A row for each set of members next to the whole; None where nothing compares, or of a single network."""
    scored = evaluation.ensemble
    if scored is None:
        return None
    columns = [
        Column("Members", "left"),
        Column("MiB"),
        Column("ms"),
        Column("AUC", stacked=True),
        Column("ΔAUC", stacked=True),
        Column("Verdict", "left"),
    ]
    return table(columns, [_row(each) for each in scored.sets])


def _row(of: MemberSet) -> list[Cell]:
    delta, verdict = cell(""), cell("")
    if of.comparison is not None:
        change = of.comparison.delta
        is_loss = change.interval.high < 0
        delta = Cell(sentence(signed(change.value, 4)), span(change.interval, 4), change.value, stressed=is_loss)
        verdict = cell(of.comparison.verdict)
    area = Cell(sentence(number(of.auc.value, 4)), within(of.auc.interval, 3), of.auc.value)
    size, latency = (cell(number(cost, 1), value=cost) for cost in (of.size_mib, of.latency_ms))
    return [cell(of.title), size, latency, area, delta, verdict]


def joined(run: RunRecord, evaluation: Evaluation) -> list[Sentence]:
    """How members are joined, who can go, and which set of members and variants is to ship."""
    if run.ensemble is None:
        return []
    rule, scored = run.ensemble.rule, evaluation.ensemble
    total = sum(rule.weights.values())
    weights = listed(f"{name} ({weight / total:.3g})" for name, weight in rule.weights.items())
    sentences = [sentence(f"P(fake) is {_HOW[rule.combine]} of ", weights, f"; at least {rule.minimum} must answer.")]
    if run.ensemble.fitted is not None:
        sentences.append(_fitted(run.ensemble.fitted))
    if scored is not None:
        sentences += [_agreeing(scored), _dispensable(run, scored), _chosen(scored)]
    return sentences


def _fitted(fitted: FittedWeights) -> Sentence:
    """On what weights were fitted, and what such weights are worth on sources that were held back."""
    on = f"The weights have the least log loss on {counted(fitted.frames, 'validation frame')}"
    if fitted.auc is None or fitted.equal_auc is None:
        return sentence(
            f"{on}; too few sources to hold some back, so nobody knows whether they are better than equal ones."
        )
    better = "more" if fitted.auc > fitted.equal_auc else "no more"
    return sentence(
        f"{on}. Fitted without the sources of each of {fitted.folds} parts, such weights come to an AUC of "
        f"{number(fitted.auc, 4)} there, {better} than equal weights ({number(fitted.equal_auc, 4)})."
    )


def _agreeing(scored: EnsembleScores) -> Sentence:
    return sentence(f"All members agree on {number(100 * scored.agreeing, 1)} % of the test {scored.unit}s.")


def _dispensable(run: RunRecord, scored: EnsembleScores) -> Sentence:
    """The members without which the ensemble is shown to be as good."""
    without = [each for each in scored.sets if each.title.startswith("without ") and each.comparison]
    names = [
        each.title.removeprefix("without ")
        for each in without
        if each.comparison and each.comparison.verdict in ("stable", "improved")
    ]
    if not names:
        return sentence(f"Of no member is it shown that it can go: AUC may fall by {run.margin:g} or more without it.")
    return sentence(
        "Shown to be dispensable, each alone, since AUC falls by less than ",
        f"{run.margin:g} without it: ",
        strong(listed(names)),
        ".",
    )


def _chosen(scored: EnsembleScores) -> Sentence:
    """The set of members and variants to ship, of how many."""
    if scored.tried == 0:
        return sentence("No set of members keeps the limits of size and latency.")
    sets = counted(scored.tried, "set") if scored.tried < MOST_SETS else f"the {MOST_SETS:,} cheapest sets"
    of = f"of {sets} of members and variants within the limits"
    if scored.chosen is None:
        return sentence(f"None {of} is shown to keep the AUC.")
    best = scored.chosen
    assert best.comparison is not None
    costs = [f"{number(best.size_mib, 1)} MiB"] if best.size_mib is not None else []
    costs += [f"{number(best.latency_ms, 1)} ms"] if best.latency_ms is not None else []
    delta = best.comparison.delta
    return sentence(
        "To ship, ",
        of,
        ": ",
        strong(best.title),
        f" ({', '.join([*costs, f'ΔAUC {signed(delta.value, 4)}, {span(delta.interval, 4)}'])}). It is the first that "
        "keeps the verdict, and the more are tried the more flattering the first is: write it as a variant, ",
        "and look at it on frames that had no part in the choice.",
    )


def note() -> Sentence:
    """What the numbers of the table are."""
    return sentence(
        "Sets of members beside the whole ensemble as it is, on the same test frames: sizes are sums of the members' "
        "files, latencies of their latencies, since they run one after another. ΔAUC is paired, with its interval of "
        "95 %, by source where frames share some, bold where a loss is significant. More: ",
        docs("ensembles.md"),
        ".",
    )
