"""A variant's id: the digest of all that the artifact depends on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import artifacts, detectors
from bench.artifacts import imports
from bench.detectors import families
from bench.provenance import digest, versions
from bench.records import FrameSet, as_inputs
from bench.variants import cache, description
from bench.variants.context import BuildContext, Source
from bench.variants.description import DESCRIPTION
from bench.variants.steps import Use

if TYPE_CHECKING:
    from pydantic import BaseModel


def of_chain(source: Source, chain: Sequence[Use], context: BuildContext) -> list[str]:
    """The ids along a chain: of the detector itself, then after each step.

    A step that may be cut short by the clock has the id of what was built, and so have the steps after it. As long as
    nothing is built, its id is that of an uncut one.
    """
    lineage: list[str] = []
    for length in range(len(chain) + 1):
        lineage.append(last_of(lineage, source, chain[:length], context))
    return lineage


def of_weights(source: Source) -> str:
    """The id of the detector itself."""
    return digest(_weights_inputs(source))


def of_content(requested: str, content: str) -> str:
    """The id of an artifact that was cut short, by the id that was asked for and the SHA-256 of its file."""
    return digest({"asked for": requested, "content": content})


def last_of(before: Sequence[str], source: Source, chain: Sequence[Use], context: BuildContext) -> str:
    """The id at the end of a chain, after the ids `before` it."""
    if not chain:
        return of_weights(source)
    requested = digest(_step_inputs(source, before[-1], chain[-1], context))
    return (_cut_short(context.folder, requested) or requested) if _may_be_cut(chain[-1]) else requested


def inputs(source: Source, chain: Sequence[Use], lineage: Sequence[str], context: BuildContext) -> list[dict[str, Any]]:
    """What each id of a lineage is the digest of, as JSON values: of the detector itself, then of each step."""
    steps = (_step_inputs(source, parent, use, context) for parent, use in zip(lineage, chain, strict=False))
    return [_weights_inputs(source), *steps]


def _weights_inputs(source: Source) -> dict[str, Any]:
    """All that a detector as it is read depends on; its digest is the id."""
    is_graph = families.kind(source.architecture) == "onnx"
    read_by: Any = imports if is_graph else detectors
    return {
        "architecture": source.architecture,
        "weights": source.digest,
        "preprocessing": as_inputs(source.preprocessing),
        "version": imports.VERSION if is_graph else detectors.version_for(source.architecture),
        "libraries": versions(read_by.LIBRARIES),
        # Only what is said: the ids of weights that nothing had to be said of are older than these.
        **{name: value for name, value in asdict(source.conventions).items() if value is not None},
    }


def _step_inputs(source: Source, parent: str, use: Use, context: BuildContext) -> dict[str, Any]:
    """All that the result of a step depends on; its digest is the id, where nothing cuts the step short."""
    frames = use.frames(families.kind(source.architecture))
    inputs_by_name: dict[str, Any] = {
        # What takes nothing of its parent depends on how frames are prepared, not on weights.
        "parent": as_inputs(source.preprocessing) if use.step.ACCEPTS is None else parent,
        "step": use.name,
        "settings": _settings(use),
        "version": _version(use, source.architecture),
        "libraries": versions(use.step.LIBRARIES),
        "frames": {split: _frames_digest(context.frames[split], use) for split in frames},
        "decoded by": context.decoder if frames else None,
        "seed": context.seed if use.step.SEEDED else None,
    }
    if use.file is not None:
        inputs_by_name["file"] = use.file.digest
    if use.step.ACCEPTS is not None:
        inputs_by_name |= _of_network(source.architecture, use)
    # What was built on a CPU has the id that it had before there were other devices.
    if context.device != "cpu" and getattr(use.step, "ON_DEVICE", False):
        inputs_by_name["device"] = context.device
    return inputs_by_name


def _of_network(architecture: str, use: Use) -> dict[str, Any]:
    """What the result of a step depends on that is of the network's kind."""
    step: Any = use.step
    if families.kind(architecture) == "onnx":
        return {"graph": [step.ONNX_VERSION, versions(step.ONNX_LIBRARIES)]}
    # What is quantised is the exported graph.
    return {"export": artifacts.EXPORT_VERSION} if step.PRODUCES == "onnx" else {}


def _version(use: Use, architecture: str) -> int:
    """A step's version, or the last one that gave networks of this architecture other artifacts."""
    version_for: Callable[[BaseModel, str], int] | None = getattr(use.step, "version_for", None)
    return version_for(use.settings, architecture) if version_for else use.step.VERSION


def _settings(use: Use) -> dict[str, Any]:
    """All settings but the name of a file, whose content counts."""
    return use.settings.model_dump(mode="json", exclude={getattr(use.step, "FILE", "")})


def _frames_digest(frames: FrameSet, use: Use) -> str:
    """What an artifact depends on of the frames: their content, and for some steps their sources too."""
    return frames.digest if getattr(use.step, "SEES_SOURCES", False) else frames.content


def _may_be_cut(use: Use) -> bool:
    may_be_cut: Callable[[BaseModel], bool] | None = getattr(use.step, "may_be_cut", None)
    return may_be_cut is not None and may_be_cut(use.settings)


def _cut_short(folder: Path, requested: str) -> str | None:
    """The id of what was built for this one and cut short; None where nothing was.

    How far such a step comes depends on the machine and the moment. Its id is made of its content, so that what was
    built from another result is never taken for what belongs to this one.
    """
    for file in sorted(folder.glob(f"*/{DESCRIPTION}")):
        described = description.find(folder, file.parent.name)
        if described and described.asked_for == requested and cache.is_built(folder, described.id):
            return described.id
    return None
