"""`bench export --calibrated`: model files whose logits are calibrated, and what is said and compared of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.artifacts.rescaled import Rescaling, rescale_file
from bench.commands.export import models
from bench.errors import UserError, quoted
from bench.records import (
    CALIBRATION_METHODS,
    ONNX,
    AppliedCalibration,
    Built,
    CalibrationMethod,
    Evaluation,
    ModelFile,
    RunRecord,
    Scaling,
    ScoresFile,
)
from bench.reports.scores_json import scored_scaling
from bench.results.score import scaling as scalings

if TYPE_CHECKING:
    from bench.records import Calibration


@dataclass(frozen=True)
class Calibrated:
    """A variant's scaling, and what its record in model.json says of it."""

    scaling: Scaling
    applied: AppliedCalibration

    @property
    def rescaling(self) -> Rescaling:
        return Rescaling(self.scaling.slope.value, self.scaling.added)

    def moved(self, threshold: float) -> float:
        """The threshold on calibrated P(fake) of the same decisions."""
        return self.scaling.moved(threshold)


def checked_method(method: str | None) -> CalibrationMethod | None:
    """The method of this name, None for none; `UserError` where there is no such method."""
    for candidate in CALIBRATION_METHODS:
        if method == candidate:
            return candidate
    if method is not None:
        raise UserError(f"--calibrated: {quoted(method)} is no method; expected {' or '.join(CALIBRATION_METHODS)}")
    return None


def refuse_without_frames(run: RunRecord, variant: str, method: CalibrationMethod | None) -> None:
    """Raise `UserError` where a calibration is asked for and the run had no validation frames."""
    if method is not None and "validation" not in run.frames:
        raise UserError(
            f"--calibrated: {quoted(variant)} was evaluated without validation frames, and test frames are for judging "
            "alone. Add labelled validation frames to the frame set, then `bench run`"
        )


def calibration(
    run: RunRecord, evaluation: Evaluation, variant: str, method: CalibrationMethod | None
) -> Calibrated | None:
    """What a variant's logits are to be scaled by, None where nothing is asked for; `UserError` where it is unknown.

    The run has validation frames.
    """
    if method is None:
        return None
    scored = evaluation.variants[variant]
    assert scored.calibration is not None
    scaling = scored.calibration.scalings.get(method)
    if scaling is None:
        raise UserError(f"--calibrated {method}: {_refusal(scored.calibration, variant, method)}")
    return Calibrated(scaling, _applied(run, scored.calibration, scaling, scored.reliability.ece))


def _refusal(calibration: Calibration, variant: str, method: CalibrationMethod) -> str:
    """Why nothing was fitted, and what else there is."""
    others = [f"--calibrated {other}" for other in calibration.scalings]
    instead = f"; there is {others[0]}" if others else "; leave --calibrated out, or add validation frames"
    return f"nothing was fitted to {quoted(variant)}: {calibration.reasons[method]}{instead}"


def _applied(run: RunRecord, of: Calibration, scaling: Scaling, ece_before: float) -> AppliedCalibration:
    """The record of it, but for the digests of files."""
    scored = scored_scaling(scaling)
    return AppliedCalibration(
        method=scaling.method,
        temperature=scored.temperature,
        temperature_ci=scored.temperature_ci,
        slope=scored.slope,
        slope_ci=scored.slope_ci,
        shift=scored.shift,
        shift_ci=scored.shift_ci,
        frames=of.count,
        fake=of.fake,
        real=of.real,
        digest=run.frames["validation"].digest,
        experiment_threshold=run.threshold,
        ece_before=ece_before,
        ece=scored.ece,
        sha256_before={},
    )


def rewritten(
    calibrated: Calibrated | None, built: Built, files: Mapping[str, ModelFile], folder: Path
) -> tuple[Calibrated | None, Built, dict[str, ModelFile]]:
    """Scale the logits of an export's files, in `folder`; returns these as they are then, and the artifact with them.

    Without a calibration, all stays as it is.
    """
    if calibrated is None:
        return None, built, dict(files)
    for name in files:
        rescale_file(folder / name, calibrated.rescaling)
    before = {name: file.sha256 for name, file in files.items()}
    bias = calibrated.rescaling.margin_bias(built.margin_bias)
    # What is compared of an int8 variant beside predict.py is its artifact, which is here the scaled one.
    file = folder / ONNX if built.arranged else built.file
    return (
        replace(calibrated, applied=replace(calibrated.applied, sha256_before=before)),
        replace(built, margin_bias=bias, file=file),
        models.described_again(files, folder),
    )


def compared_with(
    calibrated: Calibrated | None, run: RunRecord, evaluation: Evaluation, variant: str
) -> tuple[RunRecord, Evaluation]:
    """The run and its predictions, calibrated where the files are: what these are compared with."""
    if calibrated is None:
        return run, evaluation
    predicted = evaluation.predictions[variant]
    p_fake = scalings.calibrated(calibrated.scaling, scalings.known_logits(predicted.logit_diff, predicted.test))
    predictions = {**evaluation.predictions, variant: replace(predicted, test=p_fake)}
    moved = calibrated.moved(run.threshold)
    return replace(run, threshold=moved), replace(evaluation, predictions=predictions)


def of_files(calibrated: Calibrated | None, numbers: ScoresFile, variant: str) -> ScoresFile:
    """The numbers of scores.json as they are of the files of an export: of frames, where the logits were scaled.

    A video's score is made of its frames' P(fake), so that nobody has judged videos by these files.
    """
    if calibrated is None:
        return numbers
    scored = replace(
        numbers.variants[variant], brier=calibrated.scaling.brier, ece=calibrated.scaling.ece,
        threshold=calibrated.moved(numbers.threshold),
    )  # fmt: skip
    return replace(
        numbers,
        judge="frame",
        threshold=calibrated.moved(numbers.threshold),
        variants={**numbers.variants, variant: scored},
    )
