"""The fixed threshold where an experiment gives a rule: found on the first frame set's validation frames, for all sets.

A detector that ships has one threshold, so those of further frame sets do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.experiment import ExperimentSettings
from bench.pipeline import judging
from bench.provenance import digest
from bench.records import DEFAULT_THRESHOLD, FrameSet, LabelledFrames, RunRecord, Split
from bench.results import store


def as_asked(run: RunRecord, settings: ExperimentSettings) -> RunRecord:
    """The run with the threshold of `settings`; what was found by the same rule stays until it is found again."""
    rule = settings.threshold_rule
    if rule is None:
        assert isinstance(settings.threshold, float)
        return replace(run, threshold=settings.threshold, threshold_rule=None, threshold_choice=None)
    if run.threshold_rule == rule:
        return run
    return replace(run, threshold=DEFAULT_THRESHOLD, threshold_rule=rule, threshold_choice=None)


def remembered(run: RunRecord, results: Path) -> RunRecord:
    """The run with what the last run found by the same rule."""
    if run.threshold_rule is None:
        return run
    try:
        former = store.read_run(results)
    except UserError:
        return run
    if former.threshold_rule != run.threshold_rule:
        return run
    return replace(run, threshold=former.threshold, threshold_choice=former.threshold_choice)


def of_stored(run: RunRecord, results: Path) -> RunRecord:
    """The run of a first frame set with the threshold that its rule finds on the predictions in `results`."""
    if not _is_due(run):
        return _without_baseline(run)
    test, validation = store.read_labelled(results, run.baseline.name, run.frames)
    return _resolved(run, results, len(test.labels), validation)


def of_frames(run: RunRecord, results: Path, frames: Mapping[Split, FrameSet]) -> RunRecord:
    """The same while the run is under way and its record is not stored yet."""
    if not _is_due(run):
        return _without_baseline(run)
    validation = labelled(frames["validation"]) if "validation" in frames else None
    return _resolved(run, results, len(frames["test"].frames), validation)


def of_first_set(run: RunRecord, first: RunRecord) -> RunRecord:
    """The run of another frame set, with the threshold that was found on the first."""
    if run.threshold_rule is None:
        return run
    return replace(run, threshold=first.threshold, threshold_choice=first.threshold_choice)


def problems(settings: ExperimentSettings, frames: Mapping[Split, FrameSet]) -> Iterator[str]:
    """Why the rule finds no threshold on the validation frames of the first frame set, `frames`."""
    rule = settings.threshold_rule
    if rule is None:
        return
    from bench.results.score import operating

    unit = judging.judge(settings, frames["test"].frames)
    of_split = frames.get("validation")
    if unit == "frame":
        real = sum(frame.label == 0 for frame in of_split.distinct) if of_split else 0
        fake = len(of_split.distinct) - real if of_split else 0
    else:
        counts = judging.videos_of({"validation": of_split}).get("validation") if of_split else None
        scored = counts.missing if counts and settings.videos.missing != "exclude" else ()
        fake = counts.fake + sum(video.label == 1 for video in scored) if counts else 0
        real = counts.real + sum(video.label == 0 for video in scored) if counts else 0
    for problem in operating.problems(rule, fake, real, unit):
        name = settings.frame_sets[0]
        yield f"{problem} (of several frame sets, the first counts: {name})" if settings.has_several_sets else problem


def as_key(settings: ExperimentSettings) -> Any:
    """What the threshold hangs on beside predictions, for keys."""
    rule = settings.threshold_rule
    if rule is None:
        return settings.threshold
    return {"rule": asdict(rule), "judge": settings.judge, "videos": asdict(settings.videos.record)}


def labelled(frames: FrameSet) -> LabelledFrames:
    """The frames of a split as they are scored, without their attributes."""
    import numpy as np
    import pandas as pd

    names = pd.Series([frame.path for frame in frames.frames], dtype=object)
    has_videos = any(frame.video is not None for frame in frames.frames)
    videos, indices = [frame.video for frame in frames.frames], [frame.frame_index for frame in frames.frames]
    return LabelledFrames(
        names,
        np.array([frame.label for frame in frames.frames], np.int8),
        pd.Series(pd.array([frame.source for frame in frames.frames], dtype="string")),
        pd.DataFrame(index=names.index),
        np.array(frames.firsts) if frames.copies else None,
        videos=pd.Series(pd.array(videos, dtype="string")) if has_videos else None,
        frame_indices=pd.Series(pd.array(indices, dtype="Int64")) if has_videos else None,
    )


def _is_due(run: RunRecord) -> bool:
    """Whether the rule has to be applied to the baseline's predictions, as what is known hangs on others."""
    if run.threshold_rule is None or run.baseline.status != "ok":
        return False
    return run.threshold_choice is None or run.threshold_choice.basis != _basis(run)


def _without_baseline(run: RunRecord) -> RunRecord:
    """The run as it is; where the baseline failed, no threshold was found."""
    if run.threshold_rule is None or run.baseline.status == "ok":
        return run
    return replace(run, threshold=DEFAULT_THRESHOLD, threshold_choice=None)


def _resolved(run: RunRecord, results: Path, test: int, validation: LabelledFrames | None) -> RunRecord:
    from bench.results.score.operating import with_threshold

    baseline = store.read_predictions(results / run.baseline.name, test)
    return with_threshold(run, validation, baseline, run.frame_set, _basis(run))


def _basis(run: RunRecord) -> str:
    """The digest of all that the threshold hangs on."""
    validation, videos = run.frames.get("validation"), run.videos.get("validation")
    return digest(
        {
            "rule": asdict(run.threshold_rule) if run.threshold_rule else None,
            "predictions": run.baseline.predictions_key,
            "frames": [validation.digest, validation.copies] if validation else None,
            "judge": run.judge,
            "scoring": asdict(run.video_scoring),
            "videos": asdict(videos) if videos else None,
        }
    )
