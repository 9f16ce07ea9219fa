"""How the fixed threshold was found, for scores.json."""

from __future__ import annotations

from bench.records import Evaluation, OperatingPoint, RunRecord, ScoredRates, ScoredThresholdRule, ThresholdChoice


def scored_threshold(run: RunRecord, evaluation: Evaluation) -> ScoredThresholdRule | None:
    """What the rule found, and which rates it comes to on validation and on test; None where a number was given."""
    rule, choice = run.threshold_rule, run.threshold_choice
    if rule is None:
        return None
    baseline = evaluation.by(run.judge).variants.get(run.baseline.name)
    point = baseline.fixed if baseline else None
    return ScoredThresholdRule(
        criterion=rule.criterion,
        limit=rule.limit,
        unit=choice.unit if choice else run.judge,
        frame_set=(choice and choice.frame_set) or None,
        reached=choice is not None and choice.is_reached,
        validation=_on_validation(choice) if choice else None,
        test=_on_test(point) if point else None,
    )


def _on_validation(choice: ThresholdChoice) -> ScoredRates:
    return ScoredRates(
        real=choice.real,
        fake=choice.fake,
        fpr=choice.fp / choice.real,
        fpr_ci=(choice.fpr_ci.low, choice.fpr_ci.high),
        fnr=choice.fn / choice.fake,
        fnr_ci=(choice.fnr_ci.low, choice.fnr_ci.high),
    )


def _on_test(point: OperatingPoint) -> ScoredRates:
    """A rate of errors is what the rate of the same class that is right leaves."""
    (fpr, fpr_ci), (fnr, fnr_ci) = (
        (None if right is None else 1 - right, (1 - interval.high, 1 - interval.low) if interval else None)
        for right, interval in ((point.specificity, point.specificity_ci), (point.recall, point.recall_ci))
    )
    return ScoredRates(point.fp + point.tn, point.fn + point.tp, fpr, fpr_ci, fnr, fnr_ci)
