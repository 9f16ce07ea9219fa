"""Graphs that are made from an artifact once and kept beside it: its ONNX file, and others for one runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench import phases, seals
from bench.artifacts import EXPORT_VERSION, safetensors
from bench.artifacts.onnx_export import to_onnx
from bench.files import remove, sweep, write_atomically, write_text
from bench.provenance import digest, file_digest, versions
from bench.records import Built

if TYPE_CHECKING:
    import onnx

LIBRARIES = ("onnxruntime-gpu", "onnxruntime", "onnx", "onnxscript")
"""Whose versions change what an exported graph is, or what executes it."""


def onnx_file(built: Built) -> Path:
    """The artifact's ONNX file; that of a safetensors artifact is exported once and kept beside it."""

    def exported() -> onnx.ModelProto:
        phases.begin("exporting to ONNX")
        return to_onnx(safetensors.load_torch(built.file))

    if built.kind == "onnx":
        return built.file
    return beside(built, "exported", {"version": EXPORT_VERSION, "libraries": versions(LIBRARIES)}, exported)


def beside(built: Built, what: str, made_by: object, make: Callable[[], onnx.ModelProto]) -> Path:
    """A graph that is made from an artifact once by these versions, and kept beside it under this user's seal.

    It is what is executed, and folders come from strangers: one that is damaged, or that this user did not make of
    this very artifact, is made again. Equal artifacts give equal bytes, so no result hangs on who made it.
    """
    derived = built.file.with_name(f"{built.file.stem}.{what}-{digest(made_by)[:8]}.onnx")
    sealed = derived.with_suffix(".seal")
    key = f"{what} {digest(made_by)} of {built.digest or file_digest(built.file)}"
    if not seals.is_sealed(derived, key, sealed):
        for old in (derived, sealed):
            remove(old)
        graph = make().SerializeToString(deterministic=True)
        write_atomically(derived, lambda target: target.write(graph))
        write_text(sealed, seals.seal_of(graph, seals.lasting_secret(), key) + "\n")
        sweep(derived.parent)
    return derived
