"""What the report of a training is made of: how it went, what the best epoch says of validation frames, provenance."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import datasets, stored
from bench.commands.train import judging
from bench.commands.train.entry import entry
from bench.commands.train.material import Material
from bench.errors import UserError, counted, in_yaml
from bench.records import Auc, Frame, VariantEvaluation
from bench.records.trainings import Curves, SampleFrame, TrainingReport
from bench.reports.content.text import area
from bench.results.score import alone
from bench.training import loop, selection
from bench.training.job import Job
from bench.training_settings import TrainingSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SAMPLES = 16


def report_of(
    name: str, settings: TrainingSettings, base: Path, frames: Material, job: Job, progress: loop.Progress
) -> TrainingReport:
    """The report of a training that came to its end."""
    import numpy as np
    import pandas as pd

    labels = np.array([frame.label for frame in job.validation], np.int8)
    answers = _answers(job.folder)
    p_fake = judging.p_fake_of(answers)
    sources = pd.Series(pd.array([frame.source for frame in job.validation], dtype="string"))
    judged = alone.judged(labels, p_fake, sources, settings.threshold)
    fakes, reals, point = int((labels == 1).sum()), int((labels == 0).sum()), judged.fixed
    best = next(row for row in progress.rows if row.epoch == progress.best)
    about = _about(job.folder)
    weights = job.folder / f"{loop.BEST}.safetensors"
    return TrainingReport(
        name=name,
        run=job.folder.name,
        facts=_facts(settings, frames, job, progress, about),
        rows=progress.rows,
        best=progress.best,
        ended=progress.ended,
        auc=judged.auc,
        selection=settings.selection,
        all_fake=selection.score_of(selection.of_all_fake(fakes, reals), settings.selection),
        threshold=settings.threshold,
        confusion=(point.tp, point.fn, point.fp, point.tn),
        curves=_curves(judged),
        samples=_samples(job, labels, p_fake, settings.threshold),
        warnings=[
            *selection.warnings_before(settings.selection, fakes, reals),
            *selection.warnings_after(best.score, best.metrics, settings.selection, fakes, reals),
            *may_be_guessing(judged.auc),
            *([f"It ended before its time: {progress.ended}."] if progress.diverged else []),
        ],
        remarks=frames.remarks,
        settings=_settings(settings),
        entry=entry(name, settings.architecture, str(about["flavour"]), settings.preprocessing, weights, base),
    )


def may_be_guessing(auc: Auc | None) -> list[str]:
    """That the validation frames do not show a detector that is better than guessing, where they do not."""
    if auc is None or auc.interval.low > 0.5:
        return []
    if auc.interval.high < 0.5:
        return [
            f"The ROC AUC of the best epoch is below that of guessing: {area(auc)}. Perhaps real and fake are swapped "
            "in the labels of train or of validation frames."
        ]
    return [
        f"The ROC AUC of the best epoch may be that of guessing: {area(auc)} includes 0.5. Train longer, with other "
        "rates or more frames, before it is measured."
    ]


def _curves(judged: VariantEvaluation) -> Curves:
    """ROC and precision-recall curve; empty where a class has no frame."""
    if judged.roc is None or judged.precision_recall is None:
        return Curves()
    return Curves(*(values.tolist() for values in (*judged.roc, *judged.precision_recall)))


def _unreadable(file: Path, error: Exception) -> UserError:
    return UserError(f"{file}: cannot be read ({error}); `bench train --again` trains anew")


def _about(folder: Path) -> dict[str, Any]:
    """What stands beside the best epoch's weights; `UserError` where that was damaged since."""
    file = folder / f"{loop.BEST}.json"
    try:
        about: dict[str, Any] = stored.read_json(file)
        needed = {"precision", "device", "threads", "command", "libraries", "flavour"}
        if lacking := needed - about.keys():
            raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
    except (OSError, ValueError, AttributeError) as error:
        raise _unreadable(file, error) from error
    return about


def _answers(folder: Path) -> NDArray[np.float64]:
    """The best epoch's logit differences; `UserError` where its file was damaged since."""
    import numpy as np

    file = folder / loop.ANSWERS
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return np.array([float(row["logit_diff"]) for row in csv.DictReader(lines)])
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(file, error) from error


def _facts(
    settings: TrainingSettings, frames: Material, job: Job, progress: loop.Progress, about: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """What was trained, on what, where and with what; `about` is what stands beside the best epoch's weights."""
    validation = job.validation
    return [
        ("network", settings.architecture),
        ("begun with", settings.weights.file if settings.weights else "random weights"),
        ("frames", ", ".join(settings.frames)),
        ("train frames", _counted(frames.of("train"))),
        ("validation frames", f"{_counted(validation)} ({frames.chosen_by})"),
        ("steps", f"{progress.step:,} of {job.plan.batch_size} frames, {job.plan.steps:,} an epoch"),
        ("precision", str(about["precision"])),
        ("device", f"{about.get('computed_on', about['device'])}, {counted(int(about['threads']), 'thread')}"),
        ("time", f"{sum(row.seconds for row in progress.rows):,.0f} s"),
        ("command", str(about["command"])),
        ("libraries", ", ".join(f"{library} {version}" for library, version in about["libraries"].items())),
    ]


def _counted(frames: Sequence[Frame]) -> str:
    fakes = sum(frame.label == 1 for frame in frames)
    return f"{len(frames):,}: {len(frames) - fakes:,} real, {fakes:,} fake"


def _settings(settings: TrainingSettings) -> list[tuple[str, str]]:
    """Every key with its value, nested ones with points between."""
    pairs: list[tuple[str, str]] = []

    def add(key: str, value: object) -> None:
        if isinstance(value, dict) and value:
            for inner, of_inner in value.items():
                add(f"{key}.{inner}" if key else inner, of_inner)
        else:
            pairs.append((key, in_yaml(value)))

    add("", settings.model_dump(mode="json"))
    return pairs


def _samples(job: Job, labels: NDArray[np.int8], p_fake: NDArray[np.float64], threshold: float) -> list[SampleFrame]:
    """The most confidently wrong validation frames, at most half of all shown, then others at even distances."""
    import numpy as np

    wrong_by = np.where(labels == 1, threshold - p_fake, p_fake - threshold)
    order = np.argsort(-wrong_by, kind="stable")
    wrong = [int(index) for index in order if (p_fake[index] >= threshold) != (labels[index] == 1)][: _SAMPLES // 2]
    others = [int(index) for index in order if int(index) not in wrong]
    count = min(_SAMPLES - len(wrong), len(others))
    chosen = wrong + [others[index * len(others) // count] for index in range(count)]
    spec = job.samples.spec
    return [
        SampleFrame(
            job.validation[index].path, int(labels[index]), float(p_fake[index]),
            datasets.decode(job.validation[index].file, spec),
        )
        for index in chosen
    ]  # fmt: skip
