"""`variant.json`: what a built artifact is and where it comes from, typed, since a stranger may have written it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bench import stored
from bench.variants import steps

DESCRIPTION = "variant.json"
_MOST_BYTES = 4 * stored.MIB

Id = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=4000)]
Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Link:
    """A link of a chain: the id of what was built, and of the step that built it how it is spelled."""

    id: Id
    step: Text


@dataclass(frozen=True)
class Description:
    """What of `variant.json` is used. `file` is one of the two names that `bench` writes, and no path.

    `record` is what the last step recorded, of the step's own type `Record`; None where it recorded nothing.
    """

    id: Id
    name: Text
    architecture: Text
    lineage: Annotated[tuple[Link, ...], Field(min_length=1, max_length=100)]
    file: Literal["model.safetensors", "model.onnx"]
    sha256: Digest
    kind: Literal["torch", "onnx"]
    stored: Annotated[str, Field(pattern="^[a-z0-9 ]{1,20}$")]
    size_bytes: Annotated[int, Field(ge=1)]
    parameters: Count | None
    macs: Count | None
    margin_bias: Finite | None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    cpu_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    zeros: Annotated[float, Field(ge=0, le=1)] | None = None
    zstd_bytes: Count | None = None
    asked_for: Id | None = None
    imported: bool = False
    record: Any = None


def read(folder: Path, variant: str) -> Description:
    """That of a variant below `folder`. OSError where there is none, `DamagedError` where it is none."""
    if (folder / variant).is_symlink():
        raise stored.DamagedError("its folder is a link")
    return _typed(stored.read_json(folder / variant / DESCRIPTION, _MOST_BYTES), variant)


def parsed(text: str, variant: str) -> Description:
    """The same of the text of a `variant.json`."""
    return _typed(stored.parsed(text), variant)


def _typed(fields: Any, variant: str) -> Description:
    description: Description = stored.typed(Description, fields)
    if description.id != variant or (description.kind == "onnx") != (description.file == "model.onnx"):
        raise stored.DamagedError("it is of another variant")
    return replace(description, record=_record(description.lineage[-1].step, fields))


def _record(text: str, fields: Mapping[str, Any]) -> Any:
    """What the last step, spelled `text`, has recorded. `DamagedError` where it is of another type than the step's."""
    name = text.partition(":")[0]
    if name not in fields or name not in steps.names():
        return None
    kind = getattr(steps.find(name), "Record", None)
    return stored.typed(kind, fields[name]) if kind else None


def find(folder: Path, variant: str) -> Description | None:
    """The same; None where there is none, or it is damaged."""
    try:
        return read(folder, variant)
    except (OSError, ValueError):
        return None
