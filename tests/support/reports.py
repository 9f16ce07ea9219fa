"""A made-up run and its predictions, for reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.records import (
    GRID,
    BlurredFrame,
    CalibrationShift,
    Conditions,
    Constraints,
    Degradation,
    Evaluation,
    Executed,
    FaceCounts,
    Fidelity,
    FittedMasks,
    Footprint,
    LabelledFrames,
    MaskCounts,
    Measurement,
    Occlusion,
    PeakMemory,
    Predictions,
    Preprocessing,
    Recovery,
    RunRecord,
    SplitSummary,
    VariantResult,
)
from bench.records.face_template import POINTS as TEMPLATE
from bench.reports import render, rows_in_galleries
from bench.results.localisation import localisation
from bench.results.regions import regions
from bench.results.score import evaluate, p_fake
from bench.results.score.faithfulness import faithfulness
from bench.results.score.robustness import robustness

SIZE = 32

DEGRADATIONS = (Degradation("jpeg", 50), Degradation("blur", 1.5))


CPU = Executed("onnxruntime", "cpu", "Xeon", ("CPUExecutionProvider",), "fp32", "fp32", threads=2)


CUT_SHORT = Recovery(14, 160, "no more fitted into 0.2 minutes", True, 14, "80 train frames", 0.05, 0.047)


NASTY = "a | b/`c` [d](e) #1?<i>_%41*\n(2).png"


TEST = 80
"""How many of the made-up frames are test frames; the rest is validation."""


@dataclass(frozen=True)
class Answers:
    """What made-up variants answered on made-up frames."""

    test: LabelledFrames
    validation: LabelledFrames | None
    predictions: dict[str, Predictions]

    def labelled(self, labels: NDArray[np.int8]) -> Answers:
        return dataclasses.replace(self, test=dataclasses.replace(self.test, labels=labels), validation=None)

    def answering(self, name: str, p_fakes: dict[int, float]) -> Answers:
        """With these P(fake) by row instead."""
        predicted = self.predictions[name]
        changed = predicted.test.copy()
        changed[list(p_fakes)] = list(p_fakes.values())
        return dataclasses.replace(
            self,
            predictions={**self.predictions, name: dataclasses.replace(predicted, test=changed, cam=predicted.cam)},
        )


def labelled(frames: Sequence[str], labels: NDArray[np.int8]) -> LabelledFrames:
    quality = pd.DataFrame({"quality": [("low", "high")[index // 2 % 2] for index in range(len(frames))]})
    names = pd.Series(list(frames), dtype=object)
    return LabelledFrames(names, labels, pd.Series([f"video-{index // 2}" for index in range(len(frames))]), quality)


def predictions(
    labels: NDArray[np.int8], noise: float, shift: float = 0.0, cam_side: int = 4, seed: int = 5
) -> Predictions:
    """Made-up answers, all logits of the margin `shift` too high."""
    rng = np.random.default_rng(seed)
    logits = (np.array([0.4, -0.4])[labels] + rng.normal(0, noise, len(labels)) - shift / 2).astype(np.float32)
    cam = rng.normal(0, 1, (len(labels), cam_side, cam_side)).astype(np.float32)
    cam -= 2 * logits[:, None, None]
    scored = p_fake(logits, -logits)
    return Predictions(scored[:TEST], scored[TEST:], cam)


def timed(runtime: str, single_ms: float, calls: int = 40) -> tuple[Measurement, ...]:
    rounds = tuple(
        tuple(single_ms * (1 + 0.01 * ((number + index) % 7)) for index in range(calls // 10)) for number in range(10)
    )
    sixfold = tuple(tuple(6 * sample for sample in samples) for samples in rounds)
    return (
        Measurement(runtime, "cpu", 1, rounds, peak_memory=PeakMemory(512.0)),
        Measurement(runtime, "cpu", 8, sixfold, peak_memory=PeakMemory(640.0)),
    )


def made_up(frames: Sequence[str]) -> tuple[RunRecord, Answers]:
    """A baseline, one that equals it, an int8 one that was simulated, one whose scores shifted, one that failed."""
    half = dataclasses.replace(CPU, runtime="pytorch", providers=(), stored="fp16")
    int8 = dataclasses.replace(CPU, stored="int8", int8="simulated", int8_operators=0, heavy_operators=131)
    elsewhere = timed("pytorch", 25.0)
    variants = (
        VariantResult(
            "baseline",
            "b" * 64,
            (),
            "ok",
            None,
            Footprint(114_000_000, 28_344_882, 9_860_000_000),
            CPU,
            timed("onnxruntime", 10.0),
            timed("onnxruntime", 10.0),
        ),
        VariantResult(
            "q16",
            "c" * 64,
            ("cast: fp16",),
            "ok",
            None,
            Footprint(57_000_000, 28_344_882, 9_860_000_000),
            half,
            timed("pytorch", 20.0, 700),
            elsewhere,
            Conditions("2026-01-02T03:04:05+00:00", 61.0, 4, {"cpu": "Xeon"}, 0.25, (2600.0, 2500.0)),
            ("weights were upcast on loading",),
        ),
        VariantResult(
            "q8",
            "d" * 64,
            ("quantize: int8",),
            "ok",
            None,
            Footprint(114_200_000, None, None),
            int8,
            timed("onnxruntime", 30.0),
            fidelity=Fidelity(0.0784, 0.345, 16, "calibration", False),
            calibration_shift=CalibrationShift(
                0.104, 4.9, 0.0003, 5.1, 0.012, "blocks.3.1.conv_dw.input", 0.1234, 48, True
            ),
        ),
        VariantResult(
            "q16-p50",
            "f" * 64,
            ("prune: 0.5", "recover: {minutes: 0.2}", "cast: fp16"),
            "ok",
            None,
            Footprint(28_000_000, 14_000_000, 4_800_000_000),
            CPU,
            timed("onnxruntime", 8.0),
            timed("onnxruntime", 10.0),
            recovered=(CUT_SHORT,),
        ),
        VariantResult(
            "q32-p50", "e" * 64, ("prune: 0.5", "recover"), "failed", "recover: loss is NaN\nat step 12 | lower `rate`"
        ),
    )
    labels = (np.arange(len(frames)) % 5 < 3).astype(np.int8)
    fake = int(labels[:TEST].sum())
    held = len(frames) - TEST
    summaries = {
        "test": SplitSummary("datasets/demo/test", TEST, fake, TEST - fake, TEST // 2, "5" * 64),
        "validation": SplitSummary("datasets/demo/validation", held, held * 3 // 5, held * 2 // 5, held // 2, "6" * 64),
    }
    run = RunRecord(
        experiment="demo",
        detector="demo",
        architecture="efficientnet_b5",
        preprocessing=Preprocessing(size=SIZE, channels="bgr", wavelet="sym2"),
        threshold=0.5,
        gallery_top=2,
        gallery_heatmaps="gallery",
        frames=summaries,
        variants=variants,
        provenance={"weights": "w" * 64, "machine": "Linux, 2 cores", "command": "bench run demo --only a|b"},
        choose=Constraints(auc_drop=0.02, size_mib=60.0),
    )
    answered = {
        "baseline": predictions(labels, 0.4),
        "q16": predictions(labels, 0.4),
        "q8": predictions(labels, 1.5, cam_side=3, seed=6),
        "q16-p50": predictions(labels, 0.4, shift=2.0, seed=7),
    }
    parts = (labelled(frames[:TEST], labels[:TEST]), labelled(frames[TEST:], labels[TEST:]))
    return run, Answers(*parts, answered)


FRAMES = [f"{'fake' if index % 5 < 3 else 'real'}/{index:04}.png" for index in range(TEST + 40)]


def pixels(frame: str) -> NDArray[np.uint8]:
    return np.full((SIZE, SIZE, 3), len(frame) % 256, np.uint8)


def judged(run: RunRecord, answers: Answers) -> Evaluation:
    return evaluate(run, answers.test, answers.validation, answers.predictions)


def blurred(run: RunRecord, evaluation: Evaluation) -> Evaluation:
    """With what blurring might have done to the galleries' frames: every third map points at nothing that matters."""
    by_variant = {}
    for name, rows in rows_in_galleries(run, evaluation).items():
        p_fake = evaluation.predictions[name].test
        by_variant[name] = {row: _blurred(row, float(p_fake[row]), bool(p_fake[row] >= run.threshold)) for row in rows}
    baseline = run.baseline.name
    of_baseline = evaluation.predictions[baseline].test if baseline in by_variant else np.zeros(0)
    beside = {row: _blurred(row, float(p), bool(p >= run.threshold)) for row, p in enumerate(of_baseline)}
    compared = {name: beside if name != baseline and beside else None for name in by_variant}
    occlusions = {
        name: Occlusion(frames, {}, faithfulness(list(frames.values()), compared[name]))
        for name, frames in by_variant.items()
    }
    return dataclasses.replace(evaluation, occlusions=occlusions)


def _blurred(row: int, p_fake: float, fake: bool) -> BlurredFrame:
    inside = min(max(p_fake, 1e-6), 1 - 1e-6)
    logit_diff, towards = float(np.log(inside / (1 - inside))), 1 if fake else -1
    falls = (0.0, 0.5, -0.25, 0.125) if row % 3 == 0 else (2.0, 0.25, 0.0, -0.125)
    answers = [logit_diff - towards * fall for fall in falls]
    return BlurredFrame(row, fake, logit_diff, (0.3, 0.25), answers[0], tuple(answers[1:]))


def masked(run: RunRecord, evaluation: Evaluation) -> Evaluation:
    """With masks of the fakes but the last two: the half of the frame that speaks for fake more in the baseline's map.

    So that the baseline looks at them, and the others more or less.
    """
    rows = np.flatnonzero(evaluation.test.labels)
    cam = next((each.cam for each in evaluation.predictions.values() if each.cam is not None), None)
    if cam is None:
        return evaluation
    shares = np.zeros((len(rows) - 2, GRID, GRID), np.uint8)
    for share, row in zip(shares, rows, strict=False):
        columns = cam[row].mean(0)
        half = slice(0, GRID // 2) if columns[:2].sum() > columns[2:].sum() else slice(GRID // 2, None)
        share[:, half] = 255
    counts = MaskCounts("ab" * 8, len(rows), len(shares), missing=2)
    fitted = FittedMasks(counts, rows[: len(shares)], np.arange(len(shares)), shares)
    located = localisation(fitted, evaluation.test, evaluation.predictions, run.baseline.name)
    return dataclasses.replace(evaluation, masks=fitted, localisation=located)


def with_faces(run: RunRecord, evaluation: Evaluation) -> Evaluation:
    """With a face of the same place in every frame but the first five."""
    points = np.stack([TEMPLATE * 0.2 + [0.5, 0.42]] * len(evaluation.test.labels))
    points[:5] = np.nan
    counts = FaceCounts("ab" * 8, "yunet", len(points), len(points) - 5)
    of = run.baseline.name, run.threshold
    return dataclasses.replace(evaluation, regions=regions(counts, points, evaluation.test, evaluation.predictions, of))


def degraded(run: RunRecord, evaluation: Evaluation) -> Evaluation:
    """With answers to re-compressed frames, by which the last variant loses more than the others."""
    noise = np.random.default_rng(11).normal(0, 1, (len(DEGRADATIONS) + 1, len(evaluation.test.labels)))
    levels = {
        name: {
            level: dataclasses.replace(predicted, test=_noisier(predicted.test, noise[index], noise[-1] * 2 * number))
            for index, level in enumerate(DEGRADATIONS)
        }
        for number, (name, predicted) in enumerate(evaluation.predictions.items())
    }
    scores = robustness(evaluation.test, evaluation.predictions, levels, run.baseline.name, run.margin)
    return dataclasses.replace(evaluation, degraded=scores)


def _noisier(p_fake: NDArray[np.float64], *noises: NDArray[np.float64]) -> NDArray[np.float64]:
    logits = np.log(p_fake / (1 - p_fake)) + sum(noises)
    shifted: NDArray[np.float64] = 1 / (1 + np.exp(-logits))
    return shifted


def rendered(root: Path, run: RunRecord, answers: Answers) -> tuple[Path, Path]:
    results, report = root / "results" / run.experiment, root / "reports" / run.experiment
    run = dataclasses.replace(run, degradations=DEGRADATIONS)
    render(
        run, degraded(run, with_faces(run, masked(run, blurred(run, judged(run, answers))))), pixels, results, report
    )
    return results, report
