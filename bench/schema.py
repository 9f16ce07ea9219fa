"""The JSON Schema of experiments.yaml, for editors."""

from __future__ import annotations

from typing import Any

from bench import runtimes
from bench.detectors import families
from bench.detectors.presets import PRESETS
from bench.ensemble_settings import MixSettings
from bench.experiment import Experiments
from bench.footage import crops
from bench.records import LEAST_CROP_PCT
from bench.variants import steps
from bench.variants.search_settings import SearchSettings

_CLOSED = {"additionalProperties": False}
_PREPROCESSING = {
    "size": {"description": "side of the square input, in pixels", "minimum": 32, "maximum": 2048},
    "fit": {
        "description": "stretch both sides to `size`; crop: resize the short side and cut the centre; pad: resize the "
        "long side and fill the rest with black"
    },
    "interpolation": {
        "description": "OpenCV's filter (INTER_LINEAR, INTER_CUBIC, INTER_AREA) or Pillow's, which widens when a "
        "picture gets smaller, as torchvision's and timm's; {down: area, up: bicubic} takes one for either direction"
    },
    "channels": {"description": "the order in which the network was trained to see them"},
    "mean": {"description": "taken from each RGB channel, scaled to [0, 1]; finite"},
    "std": {"description": "what each RGB channel is then divided by; above 0 and finite"},
    "crop_pct": {
        "description": "of fit: crop: how much of the resized short side the cut keeps, as timm's crop_pct; 0.875 is "
        "Resize(256), CenterCrop(224)",
        "minimum": LEAST_CROP_PCT,
        "maximum": 1,
    },
    "pad": {"description": "of fit: pad: the picture in the top left corner, or in the centre"},
    "crop": {
        "description": "the crop of faces that frames are expected to be, made before they are resized (`fit: crop` "
        "is another one, at the size of the input); it changes nothing of a given frame",
        "enum": list(crops.PRESETS),
    },
    "wavelet": {"description": "sym2: blend with the approximation band of that wavelet, as FSBI does"},
}
"""What is said in `experiments.yaml` of the fields of `Preprocessing`, which knows nothing of schemas."""

_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def json_schema() -> dict[str, Any]:
    """JSON Schema of the file, with every step and its settings spelled out, for editors."""
    schema = Experiments.model_json_schema()
    entries: list[dict[str, Any]] = []
    for name in steps.names():
        step = steps.find(name)
        settings = step.Settings.model_json_schema()
        schema["$defs"] |= settings.pop("$defs", {})
        main = [settings["properties"][step.MAIN]] if step.MAIN else []
        alone = not any(field.is_required() for field in step.Settings.model_fields.values())
        nothing = [{"type": "null"}] if alone else []
        value = {"anyOf": [*main, *nothing, {**settings, "title": f"settings of {name}"}]}
        if alone:
            entries.append({"const": name})
        entries.append(
            {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}
        )
    chains = schema["$defs"]["ExperimentSettings"]["properties"]["variants"]
    search = SearchSettings.model_json_schema()
    schema["$defs"] |= {**search.pop("$defs", {}), "SearchSettings": search}
    schema["$defs"] |= {"MixSettings": MixSettings.model_json_schema()}
    steps_or_search = [
        {"type": "array", "items": {"anyOf": entries}},
        {"$ref": "#/$defs/SearchSettings"},
        {"$ref": "#/$defs/MixSettings"},
    ]
    chains["additionalProperties"] = {"anyOf": steps_or_search}
    schema["$defs"]["ExperimentSettings"]["properties"]["runtime"]["enum"] = ["auto", *runtimes.names()]
    schema["$defs"]["ExperimentSettings"]["oneOf"] = [{"required": [key]} for key in ("detector", "detectors")]
    for direction, filter_ in schema["$defs"]["Filters"]["properties"].items():
        size = "smaller" if direction == "down" else "larger"
        filter_["description"] = f"the filter for pictures that get {size}"
    schema["$defs"]["Filters"] |= _CLOSED
    preprocessing = _preprocessing(schema["$defs"].pop("Preprocessing"))
    for name in ("DetectorSettings", "TrainingSettings"):
        network = schema["$defs"][name]["properties"]
        network["preprocessing"] |= {"anyOf": preprocessing}
        del network["preprocessing"]["$ref"]
        del network["architecture"]["type"]
        network["architecture"]["anyOf"] = [
            {"enum": list(families.architectures())},
            *({"type": "string", "pattern": f"^{prefix}"} for prefix in families.prefixes()),
        ]
    # A file that trains needs neither detectors nor experiments yet.
    schema["required"] = ["datasets"]
    schema["anyOf"] = [{"required": ["detectors", "experiments"]}, {"required": ["trainings"]}]
    _short_forms(schema["$defs"])
    _name_limits(schema)
    return schema


def _short_forms(models: dict[str, Any]) -> None:
    """What stands for settings of trainings: a name, a share of frames, true or false."""
    training, changes = models["TrainingSettings"]["properties"], models["AugmentSettings"]["properties"]
    share, nothing = {"type": "number", "minimum": 0, "maximum": 1}, {"enum": [False, "none"]}
    for field in changes.values():
        field["anyOf"] = [share, nothing, {"$ref": field.pop("$ref")}]
    for key, model in (("optimizer", "OptimizerSettings"), ("schedule", "ScheduleSettings")):
        names = models[model]["properties"]["name"]["enum"]
        training[key]["anyOf"] = [{"enum": names}, {"$ref": training[key].pop("$ref")}]
    training["augment"]["anyOf"] = [{"enum": [True, False, "none", "usual"]}, {"$ref": training["augment"].pop("$ref")}]
    for key in ("self_blend", "maps"):
        training[key]["anyOf"] = [{"type": "boolean"}, *training[key]["anyOf"]]


def _preprocessing(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """A preset by name, or fields that override one's."""
    presets = {"enum": list(PRESETS), "description": "where the fields below start from; without it, `size` is needed"}
    fields = {name: field | _PREPROCESSING[name] for name, field in whole["properties"].items()}
    return [{"enum": list(PRESETS)}, {"type": "object", "properties": {"preset": presets, **fields}, **_CLOSED}]


def _name_limits(part: Any) -> None:
    """pydantic leaves limits that follow a validator of its own under its names, which no editor reads."""
    if isinstance(part, list):
        for item in part:
            _name_limits(item)
    elif isinstance(part, dict):
        if part.get("type") in ("number", "integer"):
            for short in [name for name in _LIMITS if name in part]:
                part[_LIMITS[short]] = part.pop(short)
        for inner in part.values():
            _name_limits(inner)
