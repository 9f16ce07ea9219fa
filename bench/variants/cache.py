"""Built artifacts on disk, by their ids: whether one is there, whether its file is whole, who may write it."""

from __future__ import annotations

from pathlib import Path

from bench import stored
from bench.errors import UserError
from bench.files import remove
from bench.provenance import file_digest
from bench.records import Built
from bench.variants import description
from bench.variants.description import DESCRIPTION

LOCKS, SCRATCH = ".locks", ".scratch"
WHY_WAIT = "what it makes is used here too, once it is there; Ctrl-C ends the wait, and loses nothing"


def lock_file(folder: Path, variant: str) -> Path:
    """The lock of a variant's files: the process that holds it is the only one to write them."""
    return folder / LOCKS / f"{variant}.lock"


def is_built(folder: Path, variant: str) -> bool:
    """Whether an artifact is there whole. One that was cut or lost since counts as absent, and is built again."""
    try:
        built = read(folder, variant)
        return stored.is_file(built.file) and built.file.stat().st_size == built.size_bytes
    except (OSError, ValueError):
        return False


def read(folder: Path, variant: str) -> Built:
    """A built artifact, by its `variant.json`. OSError or `DamagedError` where that can't be read."""
    described = description.read(folder, variant)
    return Built(
        id=variant,
        file=folder / variant / described.file,
        kind=described.kind,
        stored=described.stored,
        size_bytes=described.size_bytes,
        parameters=described.parameters,
        macs=described.macs,
        margin_bias=described.margin_bias,
        seconds=described.seconds,
        digest=described.sha256,
        zeros=described.zeros,
        zstd_bytes=described.zstd_bytes,
        imported=described.imported,
    )


def check(built: Built) -> None:
    """Raise `UserError` where the file is no longer what was built. The next run then builds it again."""
    if wrong := fault(built):
        remove(built.file.parent / DESCRIPTION)
        raise UserError(f"{built.file}: {wrong}; the same `bench run` builds it again")


def fault(built: Built) -> str:
    """What is wrong with the file of an artifact; empty where it is what was built."""
    if not stored.is_file(built.file) or file_digest(built.file) != built.digest:
        return "has changed since it was built"
    if built.kind == "onnx" and _has_further_files(built.file):
        return "refers to further files for its weights, which bench never does"
    return ""


def _has_further_files(file: Path) -> bool:
    """Whether weights lie outside an ONNX file, where its digest does not cover them."""
    import onnx
    from onnx import external_data_helper as external

    model = onnx.load(file, load_external_data=False)
    return any(external.uses_external_data(tensor) for tensor in external._get_all_tensors(model))
