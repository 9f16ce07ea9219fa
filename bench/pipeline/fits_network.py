"""Whether a detector's network has what the settings of steps name or ask for: looked at once, then remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import detectors
from bench.artifacts import imports
from bench.detectors import families
from bench.errors import UserError
from bench.pipeline import remembered
from bench.variants import ids
from bench.variants.context import Source
from bench.variants.steps import Use

# Raised whenever the same settings would be refused otherwise.
_VERSION = 2


@dataclass(frozen=True)
class _Refusal:
    """Why settings were refused; empty where they fit the network."""

    text: str


def check(use: Use, earlier: Sequence[Use], source: Source, variants: Path) -> None:
    """Raise `UserError` where a step, after `earlier` ones, names layers that the detector lacks, or asks too much.

    Weights that can't be read, and detectors without what the step needs at all, are refused elsewhere.
    """
    step: Any = use.step
    if not (hasattr(step, "depends_on_network") and step.depends_on_network(use.settings, earlier)):
        return
    if families.kind(source.architecture) == "onnx":
        if use.why_not_onnx:
            return
    elif not use.needs <= families.offers(source.architecture):
        return
    depends_on = {
        "network": [_VERSION, use.name, step.VERSION],
        "settings": use.settings.model_dump(mode="json"),
        "weights": ids.of_weights(source),
    }
    refusal = remembered.recall(variants, depends_on, _Refusal)
    if refusal is None:
        try:
            model = _model(source)
        except UserError:
            return
        refusal = _Refusal(_refused(step, use.settings, model))
        remembered.remember(variants, depends_on, refusal)
    if refusal.text:
        raise UserError(refusal.text)


def _model(source: Source) -> Any:
    if families.kind(source.architecture) == "onnx":
        return imports.read(source.weights, source.preprocessing, source.conventions)[0]
    return detectors.load(source.architecture, source.weights, source.preprocessing, source.conventions)


def _refused(step: Any, settings: Any, model: Any) -> str:
    try:
        step.refuse_unfit(settings, model)
    except UserError as error:
        return str(error)
    return ""
