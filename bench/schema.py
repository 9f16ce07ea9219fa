"""The JSON Schema of experiments.yaml, for editors."""

from __future__ import annotations

from typing import Any

from bench import detectors
from bench.detectors.presets import PRESETS
from bench.experiment import Experiments
from bench.variants import steps

_CLOSED = {"additionalProperties": False}


def json_schema() -> dict[str, Any]:
    """JSON Schema of the file, with every step and its settings spelled out, for editors."""
    found = Experiments.model_json_schema()
    entries: list[dict[str, Any]] = []
    for name in steps.names():
        step = steps.find(name)
        settings = step.Settings.model_json_schema()
        main = [settings["properties"][step.MAIN]] if step.MAIN else []
        value = {"anyOf": [*main, {**settings, "title": f"settings of {name}"}]}
        if not settings.get("required"):
            entries.append({"const": name})
        entries.append(
            {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}
        )
    chains = found["$defs"]["ExperimentSettings"]["properties"]["variants"]
    chains["additionalProperties"] = {"type": "array", "items": {"anyOf": entries}}
    presets = {"enum": list(PRESETS)}
    overrides = {
        "type": "object",
        "properties": {"preset": presets, **found["$defs"]["Preprocessing"]["properties"]},
        **_CLOSED,
    }
    found["$defs"]["DetectorSettings"]["properties"]["preprocessing"] = {"anyOf": [presets, overrides]}
    found["$defs"]["DetectorSettings"]["properties"]["architecture"]["enum"] = list(detectors.architectures())
    return found
