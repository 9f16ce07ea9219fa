"""What the verdict alone does not say of a variant: the column "What to know"."""

from __future__ import annotations

from bench.errors import counted
from bench.records import Choice, Evaluation, Requirement, RunRecord, VariantEvaluation, VariantResult
from bench.reports.content.measured import recovery
from bench.reports.content.recommendation import DIGITS, UNITS, is_worse_at_fixed, weighs
from bench.reports.content.spans import Part, code, emphasis, sentence, strong
from bench.reports.content.text import ALL_EQUAL, chance, cutoff, enough, further, moved, number, small, times


def remarks(
    run: RunRecord, variant: VariantResult, evaluation: Evaluation, *, for_receivers: bool = False
) -> list[Part]:
    """Each remark on a variant that was evaluated, without a full stop.

    With `for_receivers`, who get the variant alone, each stands without a table around it, and nothing is said of what
    was asked for.
    """
    judged = evaluation.variants[variant.name]
    return [
        *([f"imported from {variant.imported}"] if variant.imported and not for_receivers else []),
        *_inexact(variant),
        *_outside_calibration(variant),
        *_unfit(judged),
        *_on_the_verdict(judged, for_receivers=for_receivers),
        *_flips(judged),
        *_shifted(run, judged),
        *_in_slices(run, judged),
        *(recovery(trained) for trained in variant.recovered),
        *_size_only(variant, evaluation),
        *([] if for_receivers else _in_choice(run, judged, variant.name, evaluation.choice)),
    ]


def _on_the_verdict(judged: VariantEvaluation, *, for_receivers: bool) -> list[Part]:
    """How far to trust the verdict, and what would settle an inconclusive one."""
    comparison = judged.comparison
    if comparison is None:
        return []
    texts: list[Part] = ["the loss is small but real"] if comparison.small_but_real else []
    if comparison.only_alone:
        texts.append(
            f"significant by its own interval, but not after Holm's correction: p is {chance(comparison.p_holm)}"
        )
    if comparison.verdict == "inconclusive" and not comparison.all_equal:
        frames = comparison.further_frames
        settled = f"{further(frames)} would settle it, if the difference stays what it is" if frames else ""
        undecided = "these frames cannot decide whether it keeps its AUC: " if for_receivers else ""
        texts.append(f"{undecided}{settled or 'more such frames may not settle it'}")
    return texts


def _flips(judged: VariantEvaluation) -> list[Part]:
    if judged.flips is None:
        return []
    degraded = judged.comparison is not None and judged.comparison.verdict == "degraded"
    if not (is_worse_at_fixed(judged) or (degraded and judged.flips.worse)):
        return []
    return [f"wrong in {counted(judged.flips.worse, 'frame')} that the baseline gets right"]


def _inexact(variant: VariantResult) -> list[Part]:
    """A runtime that computes something else than the artifact says."""
    measured = variant.fidelity
    if measured is None or measured.exact is not False:
        return []
    if measured.mean is None or measured.largest is None:
        return [strong("inexact on this processor")]
    off = f"{number(measured.mean, 3)} of its deviation on average, {number(measured.largest, 3)} at most"
    return [sentence(strong("inexact on this processor"), f": its logit difference is off by {off}")]


def _outside_calibration(variant: VariantResult) -> list[Part]:
    """Test frames whose activations lie outside of the ranges that calibration fixed."""
    shift = variant.calibration_shift
    if shift is None or shift.noise is None or not shift.warned:
        return []
    return [sentence(strong("calibration shift"), f": clipping adds noise of {small(shift.noise)}")]


def _size_only(variant: VariantResult, evaluation: Evaluation) -> list[Part]:
    """int8 that runs no faster than what was quantised."""
    if variant.name not in evaluation.size_only or variant.executed is None:
        return []
    if variant.executed.int8 == "simulated":
        return [f"int8 buys size only on this processor: {variant.executed.runtime} computes it in float"]
    effect = next(effect for effect in evaluation.effects if effect.variant == variant.name)
    return [f"int8 buys size only on this processor ({times(effect.speed)} beside {effect.ancestor})"]


def _unfit(judged: VariantEvaluation) -> list[Part]:
    """Scores that look like a mistake in how they were made."""
    if judged.comparison is None or judged.auc is None:
        return []
    if judged.comparison.all_equal:
        return [sentence(strong(ALL_EQUAL), ": it cannot distinguish frames, however many there are")]
    if judged.auc.interval.high < 0.5:
        swapped = sentence(": its scores may be those of ", emphasis("real"), ", or its classes swapped")
        return [sentence(strong("ranks real above fake"), swapped)]
    return []


def _shifted(run: RunRecord, judged: VariantEvaluation) -> list[Part]:
    """Accuracy at each threshold; at the carried one where the experiment asks for its false-positive rate."""
    fixed, best, carried = judged.fixed, judged.thresholds.get("own"), judged.thresholds.get("carried")
    if judged.shift is None or judged.shift.verdict is None or best is None:
        return []
    at_best = f"{number(best.accuracy, 3)} at its own {cutoff(best.threshold)}"
    at_fixed = f"accuracy {number(fixed.accuracy, 3)} at {fixed.threshold}"
    keeps_rate = run.threshold_rule is not None and run.threshold_rule.criterion == "fpr"
    if carried is not None and keeps_rate:
        at_fixed += f", {number(carried.accuracy, 3)} at the carried {cutoff(carried.threshold)}"
    return [sentence(strong(judged.shift.verdict), f": {at_fixed}, {at_best}")]


def _in_slices(run: RunRecord, judged: VariantEvaluation) -> list[Part]:
    """Slices that were confirmed; or else a loss that holds for all at once and is by the margin worse than overall."""
    if judged.confirmed:
        where = ", ".join(f"{part.column} = {part.value} (ΔAUC {moved(part.delta)})" for part in judged.confirmed)
        return [f"loses more where {where}, confirmed"]
    worst, overall = judged.worst_slice, judged.comparison.delta.value if judged.comparison else 0.0
    if worst is None or worst.delta is None or not worst.is_proven_loss:
        return []
    if worst.delta.value > min(overall, 0.0) - run.margin:
        return []
    return [f"loses significantly where {worst.column} = {worst.value} (ΔAUC {moved(worst.delta.value)})"]


def _in_choice(run: RunRecord, judged: VariantEvaluation, name: str, choice: Choice | None) -> list[Part]:
    """Whether a variant was chosen, and what kept it from that."""
    if choice is None or not weighs(choice):
        return []
    if name == choice.chosen:
        return [_chosen(run, judged, choice)]
    if name == choice.runner_up:
        return ["runner-up"]
    candidate = next((candidate for candidate in choice.candidates if candidate.name == name), None)
    if candidate is None:
        return []
    qualified = {other.name for other in choice.candidates if other.qualifies}
    if candidate.qualifies and candidate.beaten_by in qualified:
        better = " is no larger and no slower, and its AUC estimate is no lower"
        return [sentence(strong(str(candidate.beaten_by)), better)]
    # Without constraints the drop of AUC is what the verdict has said.
    return [_missed(missed) for missed in candidate.requirements if not missed.met and choice.asked]


def _chosen(run: RunRecord, judged: VariantEvaluation, choice: Choice) -> Part:
    if judged.comparison is None or judged.comparison.verdict in ("improved", "stable"):
        return strong("chosen")
    limit = f"{choice.constraints.auc_drop:g}" if choice.constraints.auc_drop is not None else ""
    lost = f", since it is shown to lose less than the {limit} asked for, if not than the margin of {run.margin:g}"
    return sentence(strong("chosen"), lost)


def _missed(requirement: Requirement) -> Part:
    unit, value = UNITS[requirement.constraint], requirement.value
    if value is None:
        return sentence(code(requirement.constraint), f" unknown: {requirement.reason}")
    digits = enough((value, requirement.limit), DIGITS[requirement.constraint])
    if requirement.constraint == "auc_drop":
        return f"may lose {number(value, digits)} AUC, {requirement.limit:g} allowed"
    return f"{number(value, digits)}{unit}, {requirement.limit:g}{unit} allowed"
