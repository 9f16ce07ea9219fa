"""Writes what is generated in docs/experiments.md and docs/detectors.md anew; with `--check` it only compares.

    python tools/reference_pages.py [--check]

What a key means is said once, at its field in the models (`bench/experiment.py`, and the settings of detectors,
frame sets, gates and steps): editors show it from the JSON Schema, people read it on the first page. The second tells
which checkpoints can be read, from the families' schemes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.commands import init
from bench.detectors import families
from bench.detectors.presets import PRESETS
from bench.detectors.weights import huggingface_names, torchvision_names
from bench.detectors.weights.schemes import Scheme
from bench.schema import json_schema
from bench.variants import steps

DOCS = Path(__file__).parent.parent / "docs"

_LIMITS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}
_CHANGES = {
    "crop": "Crop", "flip": "Change", "rotation": "Rotation", "affine": "Affine", "colour": "Colour", "blur": "Blur",
    "noise": "Noise", "colours": "Colours", "jpeg": "Jpeg", "erase": "Erase",
}  # fmt: skip
"""Changes of frames by the models of their settings."""
_TYPES = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}

Node = Mapping[str, Any]


def renewed(page: Path) -> str:
    """A page's text with all that is generated made anew; what stands around it stays."""
    text = page.read_text(encoding="utf-8")
    for mark, make in PAGES[page.name].items():
        before, _, rest = text.partition(f"<!-- {mark} -->\n")
        _, end, after = rest.partition(f"<!-- /{mark} -->\n")
        if not end:
            raise SystemExit(f"{page}: the marks <!-- {mark} --> and <!-- /{mark} --> are missing")
        text = f"{before}<!-- {mark} -->\n{make()}\n{end}{after}"
    return text


def _example() -> str:
    return f"```yaml\n{(init.TEMPLATES / 'experiments.yaml').read_text(encoding='utf-8')}```"


def _sections() -> Iterator[str]:
    """A section for each part of the file, then one for each step."""
    models = json_schema()["$defs"]
    detector = models["DetectorSettings"]
    yield _section("detectors: {name: …}", detector)
    yield _section("detectors: {name: {weights: …}}", models["WeightsSettings"])
    yield _section("detectors: {name: {input: …}}", models["InputSettings"])
    yield _section("detectors: {name: {preprocessing: …}}", detector["properties"]["preprocessing"]["anyOf"][1])
    yield _presets()
    yield _section("datasets: {name: …}", models["FrameSetSettings"])
    yield _section("datasets: {name: {test: …}}", models["Location"])
    yield _section("datasets: {name: {columns: …}}", models["ColumnSettings"])
    yield _section("datasets: {name: {extract: …}}", models["ExtractSettings"])
    yield _section("experiments: {name: …}", models["ExperimentSettings"])
    named = {
        "threshold": "Threshold",
        "timing": "Timing",
        "gallery": "Gallery",
        "videos": "Video",
        "choose": "Choose",
        "robustness": "Robustness",
    }
    yield _section("experiments: {name: {variants: {name: {find: …}}}}", models["SearchSettings"])
    yield _section("experiments: {name: {variants: {name: {keep: …}}}}", models["KeepSettings"])
    yield _section("experiments: {name: {variants: {name: {within: …}}}}", models["WithinSettings"])
    for key, model in named.items():
        yield _section(f"experiments: {{name: {{{key}: …}}}}", models[f"{model}Settings"])
    yield _section("experiments: {name: {gates: {variant: …}}}", models["GateSettings"])
    yield _section("trainings: {name: …}", models["TrainingSettings"])
    for key in ("optimizer", "schedule", "augment", "self_blend", "maps", "stop"):
        name = "".join(part.capitalize() for part in key.split("_"))
        yield _section(f"trainings: {{name: {{{key}: …}}}}", models[f"{name.removesuffix('s')}Settings"])
    for key, name in _CHANGES.items():
        yield _section(f"trainings: {{name: {{augment: {{{key}: …}}}}}}", models[name])
    for name in steps.names():
        yield _step(name, steps.find(name))


def _section(spelled: str, model: Node) -> str:
    description = " ".join(model.get("description", "").split())
    return "\n".join([f"### `{spelled}`", *([description, ""] if description else []), *_table(model)])


def _step(name: str, step: Any) -> str:
    """What the step does, what it reads, and its settings."""
    purpose = " ".join((step.__doc__ or "").split("\n\n")[0].split())
    frames = "; ".join(f"`{split}` frames ({use})" for split, use in step.FRAMES.items())
    short = f"`{name}: …` alone sets `{step.MAIN}`." if step.MAIN else ""
    after = f"After {' or '.join(f'`{earlier}`' for earlier in step.AFTER)} only." if getattr(step, "AFTER", ()) else ""
    once = "Once in a chain." if getattr(step, "ONCE", False) else ""
    once = "The only entry of its chain." if step.ACCEPTS is None else once
    graph = "Also on a detector of which there is an ONNX file alone." if hasattr(step, "apply_onnx") else ""
    reads = f"Reads {frames or 'no frames'}."
    text = " ".join(part for part in (purpose, reads, short, after, once, graph) if part)
    needed = [key for key, field in step.Settings.model_fields.items() if field.is_required()]
    return "\n".join([f"### `{name}`", text, "", *_table({**step.Settings.model_json_schema(), "required": needed})])


def _table(model: Node) -> Iterator[str]:
    yield "| key | value | if not given | meaning |"
    yield "| --- | --- | --- | --- |"
    for key, field in model["properties"].items():
        default = "**needed**" if key in model.get("required", ()) else _default(field)
        cells = (f"`{key}`", _value(field), default, field["description"])
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _presets() -> str:
    names = [field.name for field in fields(PRESETS["fsbi"])]
    rows = [(f"`{name}`", *(_spelled(value) for value in vars(preset).values())) for name, preset in PRESETS.items()]
    table = [("preset", *names), ("---",) * (len(names) + 1), *rows]
    return "\n".join(["The presets:", "", *(f"| {' | '.join(row)} |" for row in table)])


def _value(field: Node) -> str:
    """What a key may hold, in words."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_value(choice) for choice in field["anyOf"] if choice.get("type") != "null"))
    if "pattern" in field:
        return f"`{field['pattern'].removeprefix('^')}…`"
    if "const" in field or "enum" in field:
        return ", ".join(f"`{choice}`" for choice in field.get("enum", [field.get("const")]))
    if "$ref" in field or field["type"] == "object":
        return "name: …" if "additionalProperties" in field and "properties" not in field else "keys"
    if field["type"] == "array":
        return _array(field)
    limits = [words.format(_spelled(field[key])) for key, words in _LIMITS.items() if key in field]
    return f"{_TYPES[field['type']]} {', '.join(limits)}".strip()


def _array(field: Node) -> str:
    if choices := field.get("prefixItems", [{}])[0].get("enum"):
        return f"[{_code(choices)}] in either order"
    if "minItems" in field and field.get("items", {}).get("type") != "string":
        return f"{field['minItems']} numbers"
    is_number = field["items"].get("type") in ("number", "integer")
    return f"list, each a {_value(field['items'])}" if is_number else "[name, …]"


def _default(field: Node) -> str:
    default = "as below" if "$ref" in field else field.get("default")
    return "–" if default in (None, {}, []) else _spelled(default)


def _spelled(value: object) -> str:
    """As it would stand in the file, on one line."""
    if isinstance(value, float):
        return f"{value:g}"
    if is_dataclass(value):
        return f"{{{', '.join(f'{key}: {_spelled(part)}' for key, part in vars(value).items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_spelled, value))}]"
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip().strip("'")


# ------------------------------------------------------------------------------------ detectors
def _families() -> Iterator[str]:
    """A section for each detector family: its architectures, the checkpoints that are read, and its flavours."""
    for family in families.modules():
        name, *paragraphs = (" ".join(part.split()) for part in (family.__doc__ or "").split("\n\n"))
        lines = [f"### {name.removesuffix('.')}"]
        for offers, names in families.by_offers(family).items():
            offered = f" {_what_works(offers)}" if offers else ""
            lines.append(f"`architecture:` {_code(names)}.{offered}\n")
        lines += [f"{paragraph}\n" for paragraph in paragraphs]
        first = getattr(family, "TYPICAL", family.ARCHITECTURES[0])
        if family.schemes(first):
            lines += _checkpoints(family, first)
        if families.is_open(family):
            lines += ["", *_of_torchvision(family), "", *_of_transformers(family)]
        if choices := families.flavours(family, first):
            lines += ["", f"| `flavour:` | the arithmetic, of `{first}` |", "| --- | --- |"]
            lines += [f"| `{flavour}` | {text} |" for flavour, text in choices.items()]
        yield "\n".join(lines).rstrip()


def _what_works(offers: Set[str]) -> str:
    """What an experiment can do with such detectors, by what they offer to steps."""
    steps = "every step" if "widths" in offers else "every step but `prune` of channels"
    return f"It takes {steps} and has {'heatmaps' if 'cam' in offers else 'no heatmaps but those of occlusion'}."


def _checkpoints(family: families.Family, architecture: str) -> Iterator[str]:
    several = bool(families.flavours(family, architecture))
    yield f"| names of | such as | the logits |{' `flavour:` if not given |' * several}"
    yield f"| --- | --- | --- |{' --- |' * several}"
    for scheme in family.schemes(architecture):
        meaning = f"; one is for {scheme.positive}" if scheme.positive else ""
        logits = scheme.head or scheme.rename(getattr(family, "LOGITS", "head"))
        flavour = f" {_flavour(scheme)} |" * several
        yield f"| {scheme.owner} | `{scheme.rename(family.EXAMPLE)}` | `{logits}`{meaning} |{flavour}"


def _of_torchvision(family: Any) -> Iterator[str]:
    """Which of torchvision's networks are read, by what their tensors are called."""
    yield "| torchvision's | `architecture:` | such as | the logits | `flavour:` if not given |"
    yield "| --- | --- | --- | --- | --- |"
    kinds: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, (other, kind) in torchvision_names.NETWORKS.items():
        kinds.setdefault((kind.example, kind.head), []).append((name, other))
    for (example, head), names in kinds.items():
        schemes = family.schemes(architecture := f"{family.PREFIX}{names[0][0]}")
        scheme = next((scheme for scheme in schemes if scheme.owner == torchvision_names.OWNER), schemes[0])
        flavour = _flavour(scheme) if families.flavours(family, architecture) else "–"
        others = [f"{family.PREFIX}{name}" for name, _ in names]
        such_as = scheme.rename(f"backbone.{example}")
        yield f"| {_code(other for _, other in names)} | {_code(others)} | `{such_as}` | `{head}` | {flavour} |"


def _of_transformers(family: Any) -> Iterator[str]:
    """Which of transformers' networks are read, by what their tensors are called."""
    yield "| transformers' | `architecture:`, such as | such as | the logits | `flavour:` if not given |"
    yield "| --- | --- | --- | --- | --- |"
    for kind in huggingface_names.KINDS:
        schemes = family.schemes(architecture := f"{family.PREFIX}{kind.example}")
        for scheme in schemes:
            if scheme.owner in kind.names:
                such_as = f"`{scheme.rename('backbone.blocks.0.attn.q.weight')}`"
                row = (f"`{kind.title}`", f"`{architecture}`", such_as, f"`{scheme.head}`", _flavour(scheme))
                yield f"| {' | '.join(row)} |"


def _flavour(scheme: Scheme) -> str:
    if scheme.flavour is None:
        return "**needed**"
    return f"`{scheme.flavour}`" if scheme.flavour else "–"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "experiments.md": {"example": _example, "keys": lambda: "\n\n".join(_sections())},
    "detectors.md": {"families": lambda: "\n\n".join(_families())},
}


def main() -> None:
    for page in (DOCS / name for name in PAGES):
        text = renewed(page)
        if "--check" not in sys.argv[1:]:
            page.write_text(text, encoding="utf-8")
        elif text != page.read_text(encoding="utf-8"):
            raise SystemExit(f"{page}: is out of date; run python tools/reference_pages.py")


if __name__ == "__main__":
    main()
