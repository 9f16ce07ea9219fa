"""What an experiment can be made of, told by the modules themselves, so that a new file appears by itself."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from bench import detectors, runtimes
from bench.datasets.layouts import layouts
from bench.detectors.presets import PRESETS
from bench.errors import UserError, nearest
from bench.variants import steps

WIDTH = 100

Rows = list[tuple[str, str]]
"""Names as `experiments.yaml` spells them, each with one line."""


def describe(kind: str | None = None) -> str:
    """All kinds, or one; a `UserError` names the choices. At most 100 columns, without a final newline."""
    if kind is not None and kind not in KINDS:
        raise UserError(f"list: there is no kind {kind!r}{nearest(kind, KINDS)}; kinds are: {', '.join(KINDS)}")
    return "\n\n".join(f"{name}\n{_lines(KINDS[name]())}" for name in KINDS if kind in (None, name))


def _lines(rows: Rows) -> str:
    width = max(len(name) for name, _ in rows) + 4
    return "\n".join(
        textwrap.fill(text, WIDTH, initial_indent=f"  {name}".ljust(width), subsequent_indent=" " * width)
        for name, text in rows
    )


def _detectors() -> Rows:
    modules: list[Any] = list(detectors.families())
    return [(_name(one), f"{_said(one)}; architectures: {', '.join(one.ARCHITECTURES)}") for one in modules]


def _presets() -> Rows:
    """What a preset sets otherwise than the defaults do."""
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
    """The step with its main setting, and all settings with what they are unless set."""
    settings = [
        field if info.is_required() else f"{field}: {info.default}"
        for field, info in step.Settings.model_fields.items()
    ]
    told = f"; settings: {{{', '.join(settings)}}}" if settings else ""
    return (f"{name}: {step.MAIN}" if step.MAIN else name), _said(step) + told


def _runtimes() -> Rows:
    return [(name, _said(runtimes.find(name))) for name in runtimes.names()]


def _layouts() -> Rows:
    modules: list[Any] = list(layouts())
    return [(_name(one), _said(one)) for one in modules]


def _name(module: Any) -> str:
    return str(module.__name__.rpartition(".")[2])


def _spelled(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _said(module: Any) -> str:
    """The first sentence of a module's docstring."""
    return " ".join((module.__doc__ or "").split("\n\n")[0].split()).rstrip(".")


KINDS: Mapping[str, Callable[[], Rows]] = {
    "detectors": _detectors,
    "presets": _presets,
    "steps": _steps,
    "runtimes": _runtimes,
    "layouts": _layouts,
}
