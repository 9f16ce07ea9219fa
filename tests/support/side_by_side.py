"""Made-up runs of three detectors on the same frames, for the comparison of several."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from bench.pipeline.rendered import evaluate_run
from bench.records import (
    Alone,
    Conditions,
    Constraints,
    Filters,
    Footprint,
    LabelledFrames,
    Predictions,
    Preprocessing,
    RunRecord,
    SideBySide,
    SplitSummary,
    VariantResult,
)
from bench.reports import plain_warnings, render_side_by_side
from bench.reports.scores_json import scores
from bench.results.score import evaluate, p_fake, side_by_side
from tests.support.reports import CPU, timed

COUNT = 600
SESSION = Conditions("2026-01-02T03:04:05+00:00", 61.0, 8, {"cpu": "Xeon"}, 0.01)
LATER = dataclasses.replace(SESSION, began="2026-01-03T03:04:05+00:00")

# By detector its network and input, and by variant: steps, MiB, milliseconds, and the noise of its answers.
Spec = dict[str, tuple[tuple[str, ...], float, float, float]]
B5: Spec = {
    "baseline": ((), 108.68, 80.0, 1.0),
    "q16": (("cast: fp16",), 54.37, 78.0, 1.001),
    "q8": (("quantize: int8",), 28.05, 41.0, 1.02),
}
XCEPTION: Spec = {
    "baseline": ((), 79.46, 30.0, 1.12),
    "q16": (("cast: fp16",), 39.75, 29.5, 1.121),
    "q8": (("quantize: int8",), 20.44, 15.0, 1.125),
}
MOBILE: Spec = {
    "baseline": ((), 16.2, 6.0, 1.9),
    "q16": (("cast: fp16",), 8.12, 6.1, 1.9),
    "q8": (("quantize: int8",), 4.31, 4.0, 2.3),
}
HALF = (0.5, 0.5, 0.5)
INPUTS = {
    "b5": ("efficientnet_b5", Preprocessing(size=380, channels="bgr", wavelet="sym2")),
    "xception": (
        "xception",
        Preprocessing(size=256, interpolation="bicubic", mean=HALF, std=HALF),
    ),
    "mobile": ("mobilenetv3_large_100", Preprocessing(size=224, interpolation=Filters("area", "bicubic"))),
}
SPECS = {"b5": B5, "xception": XCEPTION, "mobile": MOBILE}


def alone(
    detector: str,
    spec: Spec,
    *,
    choose: Constraints | None = None,
    session: Conditions = SESSION,
    failed: dict[str, str] | None = None,
) -> Alone:
    """One of the detectors with its scores; variants that are named in `failed` failed for these reasons."""
    architecture, preprocessing = INPUTS[detector]
    baseline = next(iter(spec.values()))
    variants = tuple(
        VariantResult(
            name, name * 8, steps, "ok", None, Footprint(round(size * 2**20), 1_000_000, 10**9), CPU,
            timed("onnxruntime", ms), timed("onnxruntime", baseline[2]), session,
        )
        for name, (steps, size, ms, _) in spec.items()
    )  # fmt: skip
    gone = tuple(VariantResult(name, "", ("prune: 0.5",), "failed", why) for name, why in (failed or {}).items())
    labels = (np.arange(COUNT) % 2).astype(np.int8)
    run = RunRecord(
        experiment="first", detector=detector, architecture=architecture, preprocessing=preprocessing, threshold=0.5,
        gallery_top=2, gallery_heatmaps="gallery",
        frames={"test": SplitSummary("faces/test", COUNT, COUNT // 2, COUNT // 2, 0, "5" * 64)},
        variants=(*variants, *gone), provenance={"machine": "Linux, 2 cores"}, choose=choose,
    )  # fmt: skip
    frames = pd.Series([f"{index:04}.png" for index in range(COUNT)], dtype=object)
    test = LabelledFrames(frames, labels, pd.Series([None] * COUNT, dtype=object), pd.DataFrame(index=frames.index))
    answers = {name: _answers(labels, noise) for name, (*_, noise) in spec.items()}
    return Alone(run, evaluate(run, test, None, answers))


def all_failed(detector: str, spec: Spec) -> Alone:
    """One of the detectors of which no variant could be loaded."""
    run = alone(detector, spec).run
    failed = [VariantResult(variant.name, "", variant.steps, "failed", "lost | <b>") for variant in run.variants]
    run = dataclasses.replace(run, variants=tuple(failed))
    return Alone(run, evaluate_run(run, Path()))


def _answers(labels: np.ndarray[tuple[int], np.dtype[np.int8]], noise: float) -> Predictions:
    """What is hard for one network is hard for another; each has a noise of its own beside that."""
    hard = np.random.default_rng(1).normal(0, 0.35, len(labels))
    noises = np.random.default_rng(round(1000 * noise)).normal(0, 0.2, len(labels))
    margin = np.array([-1.0, 1.0])[labels] + noise * (hard + noises) * 1.6
    scored = p_fake(-margin.astype(np.float32), margin.astype(np.float32))
    return Predictions(scored, scored[:0], None)


def three(choose: Constraints | None = None) -> SideBySide:
    return side_by_side({name: alone(name, spec, choose=choose) for name, spec in SPECS.items()})


def rendered(together: SideBySide, report: Path) -> Path:
    """The report of several detectors in a folder."""
    warnings = {
        name: plain_warnings(detector.run, scores(detector.run, detector.evaluation))
        for name, detector in together.detectors.items()
    }
    below = {name: Path(name) for name in together.detectors}
    render_side_by_side({"faces": together}, warnings, below, report)
    return report
