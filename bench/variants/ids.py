"""A variant's id: the digest of all that the artifact depends on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import artifacts, detectors
from bench.provenance import digest, versions
from bench.records import FrameSet
from bench.variants import cache, description
from bench.variants.context import BuildContext, Source
from bench.variants.description import DESCRIPTION
from bench.variants.steps import Use

if TYPE_CHECKING:
    from pydantic import BaseModel


def of_weights(source: Source) -> str:
    """The id of the detector itself."""
    return digest(_weights_inputs(source))


def _weights_inputs(source: Source) -> dict[str, Any]:
    return {
        "architecture": source.architecture,
        "weights": source.digest,
        "preprocessing": asdict(source.preprocessing),
        "version": detectors.VERSION,
        "libraries": versions(detectors.LIBRARIES),
    }


def of_chain(source: Source, chain: Sequence[Use], context: BuildContext) -> list[str]:
    """The of_chain along a chain: of the detector itself, then after each step.

    What follows on a step that may be cut short has the of_chain that belong to what was built of that; for as long as
    there is nothing, those of an uncut one.
    """
    found: list[str] = []
    for length in range(len(chain) + 1):
        found.append(last_of(found, source, chain[:length], context))
    return found


def inputs(source: Source, chain: Sequence[Use], lineage: Sequence[str], context: BuildContext) -> list[dict[str, Any]]:
    """What each id of a lineage is the digest of, as JSON values: of the detector itself, then of each step."""
    steps = (_inputs(parent, use, context) for parent, use in zip(lineage, chain, strict=False))
    return [_weights_inputs(source), *steps]


def last_of(before: Sequence[str], source: Source, chain: Sequence[Use], context: BuildContext) -> str:
    """The id at the end of a chain, `before` those on the way there."""
    if not chain:
        return of_weights(source)
    asked = digest(_inputs(before[-1], chain[-1], context))
    return (_cut_short(context.folder, asked) or asked) if _may_be_cut(chain[-1]) else asked


def _inputs(parent: str, use: Use, context: BuildContext) -> dict[str, Any]:
    """All that what a step makes of its parent hangs on; its digest is the id, where nothing cuts the step short."""
    made_of = {
        "parent": parent,
        "step": use.name,
        "settings": use.settings.model_dump(mode="json"),
        "version": use.step.VERSION,
        "libraries": versions(use.step.LIBRARIES),
        "frames": {split: _seen(context.frames[split], use) for split in use.frames},
        "decoded by": context.decoder if use.frames else None,
        "seed": context.seed if use.step.SEEDED else None,
    }
    # What is quantised is the exported graph.
    if use.step.PRODUCES == "onnx":
        made_of["export"] = artifacts.EXPORT_VERSION
    # What was built on a CPU has the id that it had before there were other devices.
    if context.device != "cpu" and getattr(use.step, "ON_DEVICE", False):
        made_of["device"] = context.device
    return made_of


def _may_be_cut(use: Use) -> bool:
    asked: Callable[[BaseModel], bool] | None = getattr(use.step, "may_be_cut", None)
    return asked is not None and asked(use.settings)


def _cut_short(folder: Path, asked: str) -> str | None:
    """The id of what was built for this one and cut short; None where nothing was.

    How far such a step comes hangs on the machine and the moment: its id is that of its content, so that nothing
    that was made of another one is taken for what belongs to this one.
    """
    for file in sorted(folder.glob(f"*/{DESCRIPTION}")):
        told = description.find(folder, file.parent.name)
        if told and told.asked_for == asked and cache.is_built(folder, told.id):
            return told.id
    return None


def _seen(frames: FrameSet, use: Use) -> str:
    """What of the frames an artifact depends on: their content, and for some steps whose they are."""
    return frames.digest if getattr(use.step, "SEES_SOURCES", False) else frames.content
