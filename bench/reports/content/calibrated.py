"""P(fake) calibrated on validation frames: a row for each variant, and how it was fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping

from bench.errors import counted
from bench.records import CALIBRATION_METHODS, Calibration, Estimate, Evaluation, Interval, RunRecord, Scaling, Unit
from bench.reports.content.cells import EMPTY, Cell, Column, Table, cell, columns, table, variant_cell, with_interval
from bench.reports.content.spans import Part, Sentence, code, docs, listed, paragraph, sentence
from bench.reports.content.text import enough, number, signed, span, within

BINS = 15
"""Those of the expected calibration error."""
_TITLES = {"temperature": "temperature", "platt": "Platt scaling"}


def calibrated(run: RunRecord, evaluation: Evaluation) -> Table | None:
    """A row for each variant: temperature, Platt's parameters, ECE before and after, and where the threshold goes.

    ECE is of what is judged. Of videos no threshold decides the same before and after, since their scores are means.
    None where nothing was fitted to any.
    """
    if not any(of.scalings for of in _calibrations(evaluation).values()):
        return None
    judged = evaluation.by(run.judge)
    rows = [
        [
            variant_cell(name),
            *_fitted(of),
            cell(number(judged.variants[name].reliability.ece, 3)),
            *_after(run, of, judged.unit),
        ]
        for name, of in _calibrations(evaluation).items()
    ]
    parameters = [Column(title, stacked=True) for title in ("T", "Platt a", "Platt b")]
    ece = "ECE" if judged.unit == "frame" else "ECE per video"
    titles = (ece, "with T", "with Platt", f"{run.threshold:g} becomes with T", f"{run.threshold:g} becomes with Platt")
    return table([Column("Model", "left"), *parameters, *columns(titles)], rows)


def _calibrations(evaluation: Evaluation) -> Mapping[str, Calibration]:
    """By variant; empty without validation frames."""
    return {name: scored.calibration for name, scored in evaluation.variants.items() if scored.calibration}


def _fitted(of: Calibration) -> list[Cell]:
    """T, a and b with their intervals."""
    by_temperature, platt = (of.scalings.get(method) for method in CALIBRATION_METHODS)
    temperature = EMPTY
    if by_temperature:
        ends = by_temperature.temperature_interval
        temperature = with_interval(number(by_temperature.temperature, 2), _within(ends), by_temperature.temperature)
    return [temperature, _parameter(platt.slope if platt else None), _parameter(platt.shift if platt else None)]


def _within(interval: Interval) -> str:
    """The interval of a temperature, whose upper end may be missing."""
    if math.isfinite(interval.width):
        return within(interval, 2)
    return f"{number(interval.low, 2)} or more" if interval.low > 0 else "unknown"


def _parameter(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return EMPTY
    ends, value = estimate.interval, estimate.value
    if not math.isfinite(ends.width):
        return with_interval(signed(value, 2), "unknown", value)
    return with_interval(signed(value, enough((ends.low, value, ends.high), 2)), span(ends, 2), value)


def _after(run: RunRecord, of: Calibration, unit: Unit) -> list[Cell]:
    """ECE with each method, then the threshold with each; one that stays is not said."""
    fitted = [of.scalings.get(method) for method in CALIBRATION_METHODS]
    thresholds = [EMPTY if unit == "video" else _threshold(run, scaling) for scaling in fitted]
    return [*(_ece(scaling, unit) for scaling in fitted), *thresholds]


def _ece(scaling: Scaling | None, unit: Unit) -> Cell:
    if scaling is None:
        return EMPTY
    return cell(number(scaling.video_ece if unit == "video" else scaling.ece, 3))


def _threshold(run: RunRecord, scaling: Scaling | None) -> Cell:
    stays = scaling is None or scaling.threshold == run.threshold
    return EMPTY if stays or scaling is None else cell(number(scaling.threshold, 4))


def note(run: RunRecord, evaluation: Evaluation) -> Sentence:
    """How it was fitted, and what was not, with its reason; empty without validation frames."""
    by_variant = _calibrations(evaluation)
    if not by_variant:
        return Sentence()
    first = next(iter(by_variant.values()))
    frames = f"{counted(first.count, 'validation frame')} ({first.fake:,} fake, {first.real:,} real)"
    if any(of.scalings for of in by_variant.values()):
        is_of_videos = evaluation.by(run.judge).unit == "video"
        has_videos = evaluation.video is not None
        opening = _how_videos(run, frames) if is_of_videos else _how(run, frames, has_videos=has_videos)
    else:
        opening = sentence(f"P(fake) could not be calibrated on {frames}.")
    return paragraph([opening, *_reasons(by_variant), sentence("More: ", docs("verdicts.md#calibration"), ".")])


def _how(run: RunRecord, frames: str, *, has_videos: bool) -> Sentence:
    """How P(fake) was calibrated on `frames`, and what that leaves as it is."""
    of_frames = "; all of this is of frames, and no video's score is calibrated by it" if has_videos else ""
    exported: list[Part] = ["; ", code("bench export NAME --calibrated"), " writes it into a file"]
    return paragraph(
        (
            sentence(
                f"Fitted on {frames} by maximum likelihood: P(fake) is sigmoid(z / T), or with Platt sigmoid(a z + b), "
                f"of the logit difference z; ECE is on test frames, in {BINS} equal bins."
            ),
            sentence(
                f"No AUC changes, and no decision where the threshold moves along{of_frames}",
                *(exported if run.preprocessing else ()),
                ".",
            ),
        )
    )


def _how_videos(run: RunRecord, frames: str) -> Sentence:
    """How P(fake) of frames was calibrated, and what that makes of videos."""
    exported: list[Part] = [sentence(code("bench export NAME --calibrated"), " writes it into a file, for frames.")]
    return paragraph(
        (
            sentence(
                f"Fitted on {frames} by maximum likelihood: P(fake) of a frame is sigmoid(z / T), or with Platt "
                "sigmoid(a z + b), of the logit difference z. A video's score is made of these then, and ECE is on "
                f"test videos, in {BINS} equal bins. Frames keep their ranks, videos nearly."
            ),
            *(exported if run.preprocessing else ()),
        )
    )


def _reasons(by_variant: Mapping[str, Calibration]) -> list[Sentence]:
    """What was not fitted, and why: a sentence for each method and reason."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, of in by_variant.items():
        for method, reason in of.reasons.items():
            names.setdefault((reason, name), []).append(_TITLES[method])
    grouped: dict[tuple[str, str], list[str]] = {}
    for (reason, name), methods in names.items():
        grouped.setdefault((" and ".join(methods), reason), []).append(name)
    return [
        sentence(f"Not fitted: {titles}", _of_whom(of, len(by_variant)), f" ({reason}).")
        for (titles, reason), of in grouped.items()
    ]


def _of_whom(names: list[str], total: int) -> Sentence:
    """Which variants; nothing where it is all of them."""
    return sentence() if len(names) == total else sentence(" of ", listed(names))
