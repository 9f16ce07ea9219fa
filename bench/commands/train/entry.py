"""What to write under `detectors:` so that `bench run` takes what a training made."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from bench.detectors import families
from bench.detectors.presets import PRESETS
from bench.records import Filters, Preprocessing


def entry(name: str, architecture: str, flavour: str, preprocessing: Preprocessing, weights: Path, base: Path) -> str:
    """An entry of an experiment file beside which the weights lie, as YAML."""
    settings: dict[str, Any] = {
        "architecture": architecture, "weights": Path(os.path.relpath(weights, base)).as_posix(),
    }  # fmt: skip
    if families.flavours(families.find(architecture), architecture):
        settings["flavour"] = flavour
    settings["preprocessing"] = _preprocessing(preprocessing)
    return yaml.safe_dump(
        {"detectors": {name: settings}}, sort_keys=False, default_flow_style=None, width=1000
    ).rstrip()


def _preprocessing(given: Preprocessing) -> object:
    """A preset's name, or the preset that is nearest with what differs."""
    names = [field.name for field in fields(Preprocessing)]
    differing = {
        preset: [name for name in names if getattr(values, name) != getattr(given, name)]
        for preset, values in PRESETS.items()
    }
    nearest = min(differing, key=lambda preset: len(differing[preset]))
    if not differing[nearest]:
        return nearest
    return {"preset": nearest, **{name: _plain(getattr(given, name)) for name in differing[nearest]}}


def _plain(value: Any) -> Any:
    if isinstance(value, Filters):
        return {"down": value.down, "up": value.up}
    return list(value) if isinstance(value, tuple) else value
