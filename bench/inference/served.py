"""Variants that are served: their sessions, and what the report says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.errors import UserError, listed
from bench.experiment import ExperimentSettings
from bench.inference import variants
from bench.inference.subjects import FramesOfSet
from bench.inference.variants import Chosen, Loaded
from bench.pipeline import render, threshold
from bench.pipeline.rendered import evaluate_run
from bench.records import Evaluation, Event, OnEvent, Preprocessing, RunRecord, Session, VariantResult, VideoScoring
from bench.records.inspection import Judge
from bench.reports.content.text import MIB, estimate_and_range, number
from bench.results import predict, store
from bench.results.score.frame_sets import over_all

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Map = NDArray[np.floating] | None
    Join = Callable[[NDArray[np.float64]], NDArray[np.float64]]
    JoinMaps = Callable[[Sequence[Map], Sequence[float]], Map]

WORK = "loading variants"


@dataclass(frozen=True)
class Member:
    """A loaded variant of one detector.

    `latency_ms` has the median time of a call by batch size, as it was measured in the runtime and on the device that
    it runs in; empty where it was not.
    """

    name: str
    weight: float
    judge: Judge
    session: Session
    preprocessing: Preprocessing
    of_set: FramesOfSet
    latency_ms: Mapping[int, float]


@dataclass(frozen=True)
class Served:
    """What answers under one name: one member, or the members of an ensemble.

    `join` makes the P(fake) [n] of the members' [m, n], `join_maps` the signed map of the members' maps [h, w] and
    P(fake). `verdict` is the sentence of the report on it, `auc` that of the test frames, None where it has none.
    `has_map` is whether it can say where it looks, `video_scoring` how the score of a video is made of its frames'.
    """

    name: str
    members: tuple[Member, ...]
    join: Join
    join_maps: JoinMaps
    threshold: float
    verdict: str
    auc: float | None
    size_mib: float
    has_map: bool
    video_scoring: VideoScoring


@dataclass(frozen=True)
class Scored:
    """The run of a detector with the settings of now, and its scores as they are judged."""

    run: RunRecord
    judged: Evaluation


def serve(
    base: Path, name: str, settings: ExperimentSettings, titles: Sequence[str], on_event: OnEvent
) -> tuple[Served, ...]:
    """The variants of these names, loaded, the first by default; without names the one that the report says to ship.

    Raises `UserError` where one was not evaluated or its artifact is gone, or nothing is to be shipped.
    """
    if not titles and settings.is_side_by_side:
        raise UserError(
            f"several detectors are compared ({listed(settings.detector_names)}): `--variant` says which variant is "
            f"served: {', '.join(settings.titles)}"
        )
    pairs = [variants.find_listed(settings, title) for title in titles]
    detectors = dict.fromkeys(detector for detector, _ in pairs) if pairs else settings.detector_names
    scored = {detector: _scored(base, name, settings, detector) for detector in detectors}
    pairs = pairs or [_to_ship(name, settings, scored)]
    several = settings.is_side_by_side
    all_chosen = []
    for detector, variant in dict.fromkeys(pairs):
        chosen = variants.of_detector(base, name, settings, detector, [variant])
        variants.refuse_missing(chosen)
        all_chosen.append((f"{detector}/{variant}" if several else variant, detector, chosen))
    served = []
    for index, (title, detector, chosen) in enumerate(all_chosen):
        on_event(Event(WORK, index, len(all_chosen), "variants", title))
        served.append(_served(title, chosen, scored[detector]))
    on_event(Event(WORK, len(all_chosen), len(all_chosen), "variants"))
    return tuple(served)


def _scored(base: Path, name: str, settings: ExperimentSettings, detector: str) -> Scored:
    """The scores of a detector's variants, over all frame sets where there are several."""
    judged: dict[str, Evaluation] = {}
    first: RunRecord | None = None
    for frame_set in settings.frame_sets:
        results = base / "results" / name / settings.folder(detector, frame_set)
        run = render.as_set(store.read_run(results), settings)
        run = threshold.of_first_set(run, first) if first else threshold.of_stored(run, results)
        first = first or run
        judged[frame_set] = evaluate_run(run, results).by(run.judge)
    assert first is not None  # there is a frame set in every experiment
    return Scored(first, judged[settings.frame_sets[0]] if len(judged) == 1 else over_all(first, judged))


def _to_ship(name: str, settings: ExperimentSettings, scored: Mapping[str, Scored]) -> tuple[str, str]:
    """The detector and the variant that the report says to ship."""
    detector, of = next(iter(scored.items()))
    choice = of.judged.choice
    if choice is None or choice.chosen is None:
        raise UserError(
            f"the report of {name} names no variant to ship (none meets the limits, or none can be judged); "
            f"`--variant` names the one to serve: {', '.join(settings.titles)}"
        )
    return detector, choice.chosen


def _served(title: str, chosen: Chosen, scored: Scored) -> Served:
    """A detector's variant, loaded, with what the report says of it."""
    (result,) = chosen.variants
    loaded = variants.load(chosen.base / "variants", result, chosen.settings)
    of_set = FramesOfSet(chosen.base, chosen.run, chosen.results)
    member = Member(
        title, 1.0, loaded.judge, loaded.session, chosen.preprocessing, of_set, _latency_ms(result, loaded)
    )  # fmt: skip
    evaluated = scored.judged.variants.get(result.name)
    return Served(
        name=title,
        members=(member,),
        join=lambda answers: answers[0],
        join_maps=lambda maps, answers: maps[0],
        threshold=scored.run.threshold,
        verdict=verdict(result, scored),
        auc=evaluated.auc.value if evaluated and evaluated.auc else None,
        size_mib=loaded.built.size_bytes / MIB,
        has_map=predict.has_cams(chosen.results / result.name),
        video_scoring=scored.run.video_scoring,
    )


def _latency_ms(result: VariantResult, loaded: Loaded) -> dict[int, float]:
    """The median of a call by batch size, of the runtime and the device that it runs in."""
    ran = loaded.session.executed
    return {
        each.batch_size: median(sample for part in each.rounds_ms for sample in part)
        for each in sorted(result.measurements, key=lambda each: each.batch_size)
        if (each.runtime, each.device) == (ran.runtime, ran.device) and any(each.rounds_ms)
    }


def verdict(result: VariantResult, scored: Scored) -> str:
    """What the report says of a variant, in a sentence: "stable: AUC 0.9678, −0.0005 (95 % −0.0020 to +0.0009) …"."""
    evaluated = scored.judged.variants.get(result.name)
    if evaluated is None:
        return "not judged: it was not scored on all frame sets"
    area = f"AUC {number(evaluated.auc.value, 4)}" if evaluated.auc else "no AUC"
    if result is scored.run.baseline or result.name == scored.run.baseline.name:
        return f"the uncompressed detector itself: {area}"
    compared = evaluated.comparison
    if compared is None:
        return f"not compared with the baseline: {area}"
    change, span = estimate_and_range(compared.delta)
    return f"{compared.verdict}: {area}, {change} (95 % {span}) against the baseline"
