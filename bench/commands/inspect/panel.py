"""The variants that look at pictures, with their networks of layers beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.experiment import ExperimentSettings
from bench.inference import variants
from bench.inference.variants import Chosen
from bench.records import Event, OnEvent, Session, VariantResult
from bench.records.inspection import Judge

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.runtimes.onnxruntime.activations import Activations

WORK = "loading variants"


@dataclass(frozen=True)
class Panelist:
    """A loaded variant. `detector` has its weights in PyTorch, `activations` its graph; None where they can't be had.

    `remark` is what a reader must know of what is drawn of it.
    """

    judge: Judge
    session: Session
    detector: Detector | None
    activations: Activations | None
    remark: str = ""


def load(chosen: Chosen, on_event: OnEvent) -> tuple[Panelist, ...]:
    """Load each variant once, the baseline first. Raises `UserError` where an artifact is gone."""
    variants.refuse_missing(chosen)
    panelists, count = [], len(chosen.variants)
    for index, result in enumerate(chosen.variants):
        on_event(Event(WORK, index, count, "variants", result.name))
        panelists.append(_loaded(chosen.base / "variants", result, chosen.settings))
    on_event(Event(WORK, count, count, "variants"))
    return tuple(panelists)


def _loaded(folder: Path, result: VariantResult, settings: ExperimentSettings) -> Panelist:
    """A variant with what else can be had of it."""
    loaded = variants.load(folder, result, settings)
    built, activations = loaded.built, None
    detector = variants.network(folder, built)
    if built.kind == "onnx" and detector is not None:
        from bench.runtimes.onnxruntime import activations as further_outputs

        stages, parts = ([name for name, _ in each] for each in (detector.stages(), detector.parts()))
        # Of a backbone that is no chain, the graph tells its end alone, and that is no part of its own.
        if stages == parts:
            activations = further_outputs.load(built, stages, loaded.threads)
    return Panelist(loaded.judge, loaded.session, detector, activations, loaded.remark)
