"""Whether forecasts are to be trusted: the noise that steps foretold, beside what test frames showed."""

from __future__ import annotations

import math

from bench.errors import counted
from bench.records import Evaluation, MeasuredNoise, RunRecord, VariantResult
from bench.reports.content.cells import Cell, Column, Table, cell, table, variant_cell
from bench.reports.content.spans import Sentence, docs, sentence, strong
from bench.reports.content.text import number

MUCH = 2.0
"""Further off than by this factor, a forecast is not to be trusted, and the report says so."""

# What makes at least so much of the noise is named as its reason: clipping, or the noisiest hundredth of the frames.
_MOST_OF_IT, _MUCH_OF_IT = 0.5, 0.25
_OF_CHANNELS = (
    "the forecast counts each group of channels alone, as if the others were whole, by few calibration frames"
)


def forecasts(evaluation: Evaluation) -> Table | None:
    """The noise of each variant, foretold and measured, in deviations of the logit difference; None without any."""
    if not evaluation.noises:
        return None
    titles = ("Foretold", "Measured, typical frame", "Measured, all frames", "Measured / foretold")
    head = [Column("Model", "left"), Column("Against", "left"), *map(Column, titles)]
    return table(head, (_row(name, noise) for name, noise in evaluation.noises.items()))


def _row(name: str, noise: MeasuredNoise) -> list[Cell]:
    return [
        variant_cell(name),
        cell(noise.against),
        *(_deviation(square) for square in (noise.foretold, noise.typical, noise.measured)),
        cell(number(factor(noise), 2), value=factor(noise)) if noise.foretold else cell("–"),
    ]


def _deviation(noise: float) -> Cell:
    deviation = math.sqrt(noise)
    return cell(number(deviation, 4 if deviation < 0.1 else 3), value=deviation)


def factor(noise: MeasuredNoise) -> float:
    """How many times as large as foretold the measured noise is, as a deviation."""
    return math.sqrt(noise.measured / noise.foretold) if noise.foretold else math.inf


def is_far_off(noise: MeasuredNoise) -> bool:
    """Whether a forecast is not to be trusted."""
    return bool(noise.foretold) and not 1 / MUCH <= factor(noise) <= MUCH


def note(evaluation: Evaluation) -> Sentence:
    """What the numbers of the table are."""
    counts = {noise.count for noise in evaluation.noises.values()}
    frames = counted(max(counts), "test frame") if counts else "test frames"
    return sentence(
        "The root mean square of what a variant adds to the logit difference of the variant that its steps began with, "
        f"in standard deviations of that over {frames}: foretold on calibration frames, and measured on these; the "
        "typical frame's is that of the median. More: ",
        docs("compression.md#where-the-loss-sits"),
        ".",
    )


def misses(run: RunRecord, evaluation: Evaluation) -> list[Sentence]:
    """A sentence for each variant whose forecast was far off, with the reason where that is known."""
    by_name = {variant.name: variant for variant in run.variants}
    return [
        _miss(by_name[name], noise, _counts_channels(by_name[name], by_name.get(noise.against)))
        for name, noise in evaluation.noises.items()
        if is_far_off(noise)
    ]


def _counts_channels(variant: VariantResult, against: VariantResult | None) -> bool:
    """Whether any step since the variant that this one is compared with foretold the noise of channels."""
    by_artifact, artifact = {forecast.id: forecast for forecast in variant.forecasts}, variant.id
    while (against is None or artifact != against.id) and (forecast := by_artifact.pop(artifact, None)) is not None:
        if forecast.foretold.channels:
            return True
        artifact = forecast.parent
    return False


def _miss(variant: VariantResult, noise: MeasuredNoise, of_channels: bool) -> Sentence:
    """How far off, and why."""
    off = factor(noise)
    if not off:
        return sentence(strong(variant.name), " leaves the logit difference as it is, where some noise was foretold.")
    if off > 1:
        return sentence(
            strong(variant.name),
            f" moves the logit difference {number(off, 1)} times as far as was foretold"
            f"{_why_more(variant, noise, of_channels)}.",
        )
    return sentence(
        strong(variant.name),
        f" moves the logit difference {number(off, 2)} times as far as was foretold{_why_less(of_channels)}.",
    )


def _why_more(variant: VariantResult, noise: MeasuredNoise, of_channels: bool) -> str:
    """The reasons that are known, and those that are likely of channels."""
    shift, fidelity = variant.calibration_shift, variant.fidelity
    reasons = []
    if fidelity is not None and fidelity.exact is False:
        reasons.append("its runtime computes something else than the file says")
    if shift is not None and (shift.noise or 0.0) >= _MOST_OF_IT * noise.measured:
        reasons.append("most of the noise comes from activations beyond their calibrated ranges, which are clipped")
    if noise.noisiest >= _MUCH_OF_IT:
        typical = math.sqrt(noise.typical / noise.foretold)
        reasons.append(
            f"the noisiest hundredth of the frames makes {number(100 * noise.noisiest, 0)} % of the noise, and "
            f"the typical frame's moves {number(typical, 1)} times as far as was foretold"
        )
    if of_channels:
        reasons.append(_OF_CHANNELS)
    return f": {'; '.join(reasons)}" if reasons else "; why is not known"


def _why_less(of_channels: bool) -> str:
    return f": {_OF_CHANNELS}" if of_channels else "; why is not known"
