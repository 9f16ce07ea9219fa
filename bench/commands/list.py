"""`bench list`: what an experiment can be made of, read from the modules themselves, so that a new file is listed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from bench import runtimes, tracking
from bench.datasets.layouts import layouts
from bench.detectors import families
from bench.detectors.presets import PRESETS
from bench.errors import UserError, in_yaml, nearest, quoted
from bench.footage import crops, faces
from bench.footage.faces import graphs
from bench.records import Filters
from bench.variants import steps

WIDTH = 100

_TYPES = {"string": "text", "integer": "whole number"}
_LIMITS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}

Rows = list[tuple[str, str]]
"""Names as `experiments.yaml` spells them, each with one line."""


def catalogue(kind: str | None = None) -> str:
    """All choices, or those of one kind, at most 100 columns wide; `UserError` where there is no such kind."""
    if kind is not None and kind not in KINDS:
        raise UserError(f"list: there is no kind {quoted(kind)}{nearest(kind, KINDS)}; kinds are: {', '.join(KINDS)}")
    return "\n\n".join(f"{name}\n{_lines(KINDS[name]())}" for name in KINDS if kind in (None, name))


def _lines(rows: Rows) -> str:
    width = max(len(name) for name, _ in rows) + 4
    return "\n".join(
        textwrap.fill(text, WIDTH, initial_indent=f"  {name}".ljust(width), subsequent_indent=" " * width)
        for name, text in rows
    )


def _detectors() -> Rows:
    return [(_name(family), f"{_summary(family)}; {_architectures(family)}") for family in families.modules()]


def _architectures(family: families.Family) -> str:
    """The names of a family's architectures, by what they offer to steps."""
    groups = (
        f"{', '.join(names)} ({', '.join(sorted(offers))})" for offers, names in families.by_offers(family).items()
    )
    others = "; others by their names" if families.is_open(family) else ""
    return f"architectures, with what they offer to steps: {'; '.join(groups)}{others}"


def _presets() -> Rows:
    """Each preset with the fields that differ from their defaults."""
    return [
        (
            name,
            ", ".join(
                f"{field.name} {_spelled(value)}"
                for field in fields(preset)
                if (value := getattr(preset, field.name)) != field.default
            ),
        )
        for name, preset in PRESETS.items()
    ]


def _steps() -> Rows:
    return [_step(name, steps.find(name)) for name in steps.names()]


def _step(name: str, step: steps.Step) -> tuple[str, str]:
    """The step with its main setting, and all settings with the values that they take."""
    fields = step.Settings.model_json_schema().get("properties", {})
    settings = "; ".join(_setting(field, info) for field, info in fields.items())
    described = f". Settings, first what holds unless given: {settings}" if settings else ""
    return (f"{name}: {step.MAIN}" if step.MAIN else name), _summary(step) + described


def _setting(name: str, field: Mapping[str, Any]) -> str:
    """As "structure: structured | unstructured | 2of4"."""
    allowed = [value for choice in field.get("anyOf", [field]) for value in _allowed(choice)]
    if "default" not in field:
        return f"{name} (needed): {' | '.join(allowed)}"
    return f"{name}: {' | '.join(dict.fromkeys([_spelled(field['default']), *allowed]))}"


def _allowed(field: Mapping[str, Any]) -> list[str]:
    kind = field.get("type", "keys")
    if "const" in field or "enum" in field:
        return [_spelled(value) for value in field.get("enum", [field.get("const")])]
    if kind in ("boolean", "null"):
        return {"boolean": ["true", "false"], "null": ["null"]}[kind]
    limits = [limit.format(_spelled(field[key])) for key, limit in _LIMITS.items() if key in field]
    return [" ".join([_TYPES.get(kind, kind), *limits])]


def _runtimes() -> Rows:
    return [(name, _summary(runtimes.find(name))) for name in runtimes.names()]


def _trackers() -> Rows:
    return [(name, _summary(tracking.find(name))) for name in tracking.names()]


def _layouts() -> Rows:
    modules: list[Any] = list(layouts())
    return [(_name(module), _summary(module)) for module in modules]


def _crops() -> Rows:
    return [(name, crops.summary(name)) for name in crops.PRESETS]


def _finders() -> Rows:
    """Finders by name, and kinds of ONNX files that are understood."""
    by_name = [(name, _summary(faces.find(name))) for name in faces.names()]
    return by_name + [(f"an .onnx file: {name}", _summary(kind)) for name, kind in graphs.kinds().items()]


def _name(module: Any) -> str:
    return str(module.__name__.rpartition(".")[2])


def _spelled(value: object) -> str:
    if isinstance(value, Filters):
        return f"{{down: {value.down}, up: {value.up}}}"
    return value if isinstance(value, str) else in_yaml(value)


def _summary(module: Any) -> str:
    """The first sentence of a module's docstring."""
    return " ".join((module.__doc__ or "").split("\n\n")[0].split()).rstrip(".")


KINDS: Mapping[str, Callable[[], Rows]] = {
    "detectors": _detectors,
    "presets": _presets,
    "steps": _steps,
    "runtimes": _runtimes,
    "trackers": _trackers,
    "layouts": _layouts,
    "crops": _crops,
    "finders": _finders,
}
