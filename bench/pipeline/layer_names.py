"""Names of layers in the settings of steps: whether a detector has such layers, looked at once, then remembered."""

from __future__ import annotations

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

# Raised whenever the same names would be refused otherwise.
_VERSION = 1


@dataclass(frozen=True)
class _Refusal:
    """Why names were refused; empty where a detector has such layers."""

    text: str


def check(use: Use, source: Source, variants: Path) -> None:
    """Raise `UserError` where a step names layers that the detector does not have, or leaves none to work on.

    Weights that can't be read are refused elsewhere.
    """
    step: Any = use.step
    if not (hasattr(step, "names_layers") and step.names_layers(use.settings)):
        return
    depends_on = {
        "layers": [_VERSION, use.name, step.VERSION],
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
        step.refuse_names(settings, model)
    except UserError as error:
        return str(error)
    return ""
