"""What blurring did to the frames that galleries show: under which key it is whole, and adding it to the scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench import reports
from bench.detectors import families
from bench.pipeline import threshold
from bench.pipeline.prepared import Setup
from bench.provenance import digest
from bench.records import OUTCOMES, BlurredFrame, Evaluation, Occlusion, RunRecord
from bench.results import occlusion
from bench.results.score.faithfulness import faithfulness


def galleries_key(setup: Setup, predictions_key: str, of_baseline: str) -> str:
    """What a variant's galleries show hangs on its predictions, the baseline's and the settings of the galleries."""
    return digest(
        {
            "predictions": [predictions_key, of_baseline],
            "threshold": threshold.as_key(setup.settings),
            "top": setup.settings.gallery.top,
        }
    )


def is_due(setup: Setup, folder: Path, predictions_key: str, of_baseline: str) -> bool:
    """Whether frames that the galleries of a variant show may still have to be blurred."""
    galleries = galleries_key(setup, predictions_key, of_baseline)
    return setup.settings.gallery.occlusion and not occlusion.is_complete(folder, predictions_key, galleries)


def answers(setup: Setup, variant: str) -> int:
    """About how many blurred frames a variant has to answer to, where none was blurred before.

    The baseline's are those of all galleries; variants show much the same frames.
    """
    galleries = 2 if variant == setup.baseline and len(setup.selected) > 1 else 1
    frames = min(len(setup.frames["test"].frames), galleries * len(OUTCOMES) * setup.settings.gallery.top)
    is_import = any(use.step.ACCEPTS is None for use in setup.chains[variant])
    has_cam = "cam" in families.offers(setup.source.architecture) and not is_import
    return frames * (occlusion.ANSWERS_PER_JUDGED if has_cam else occlusion.ANSWERS_PER_MAP)


def with_occlusions(run: RunRecord, evaluation: Evaluation, results: Path) -> Evaluation:
    """The scores with what blurring did to the frames that the galleries show, as far as it is stored."""
    if not run.gallery_occlusion or not evaluation.variants:
        return evaluation
    keys = {variant.name: variant.predictions_key for variant in run.variants}
    blurred = {name: occlusion.read(results / name, keys[name]) for name in evaluation.variants}
    judged = {name: _judged(run, evaluation, name, frames) for name, frames in blurred.items()}
    baseline = run.baseline.name
    occlusions = {}
    for name, rows in reports.rows_in_galleries(run, evaluation).items():
        shown = [judged[name][row] for row in rows if row in judged[name]]
        by_class = faithfulness(shown, None if name == baseline else judged.get(baseline))
        occlusions[name] = Occlusion(judged[name], blurred[name].maps, by_class)
    return replace(evaluation, occlusions=occlusions)


def _judged(run: RunRecord, evaluation: Evaluation, name: str, blurred: occlusion.Blurred) -> dict[int, BlurredFrame]:
    """The frames that were judged as what they are called at the threshold now."""
    p_fake = evaluation.predictions[name].test
    return {
        row: frame
        for row, frame in blurred.judged.items()
        if row < len(p_fake) and frame.fake == bool(p_fake[row] >= run.threshold)
    }
