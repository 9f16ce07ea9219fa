"""What `bench.load` opens: a variant's folder, or one that `bench export` wrote; neither is trusted."""

from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench import runtimes, stored
from bench.errors import UserError, quoted, shown
from bench.provenance import cpu_cores, file_digest
from bench.records import (
    HANDED_OVER,
    LEAST_CROP_PCT,
    LOWERED,
    ONNX,
    SAFETENSORS,
    Built,
    Executed,
    HandedOver,
    InputSpec,
    Preprocessing,
    Session,
)
from bench.variants import cache
from bench.variants.description import DESCRIPTION

if TYPE_CHECKING:
    from bench.runtimes import Device

_LARGEST_SIDE = 2**14
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
# The files of an export that may hold its network, and the kind of artifact that each is.
_KINDS = {ONNX: "onnx", LOWERED: "onnx", SAFETENSORS: "torch"}


@dataclass(frozen=True)
class Opened:
    """A folder's network, ready to predict. `name` is that of its variant."""

    name: str
    spec: InputSpec
    session: Session


def open_folder(folder: Path, device: str) -> Opened:
    """Load what lies in a folder; `device` is "auto", "cuda" or "cpu". Raises `UserError`."""
    if stored.is_file(folder / DESCRIPTION):
        return _open_variant(folder, device)
    if stored.is_file(folder / HANDED_OVER):
        return _open_export(folder, device)
    raise UserError(f"{folder}: {_missing(folder)}")


def _missing(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder; expected variants/<id>, or one that `bench export` wrote"
    expected = f"holds neither {DESCRIPTION} nor {HANDED_OVER}; expected variants/<id>, or what `bench export` wrote"
    if any((folder / name).exists() for name in _KINDS):
        return f"{expected}. Where an earlier version exported this one: export it again"
    return expected


def _open_variant(folder: Path, device: str) -> Opened:
    """Open a built variant; files that a runtime makes of it are written beside it, as in an evaluation."""
    from bench import locks
    from bench.variants import description

    try:
        built, name = cache.read(folder.parent, folder.name), description.read(folder.parent, folder.name).name
    except (OSError, ValueError) as error:
        raise stored.damaged(folder / DESCRIPTION, error, "`bench run` builds it again") from error
    if fault := cache.fault(built):
        raise UserError(f"{built.file}: {fault}; delete {folder}, and `bench run` builds it again")
    spec, where = _spec(built), _device(device, built.kind)
    runtime = runtimes.find(runtimes.choose("auto", built.kind, where))
    try:
        # What a runtime exports beside an artifact, it exports once: a run may be at it.
        with locks.held(cache.lock_file(folder.parent, built.id), f"loading {built.id}"):
            return Opened(name, spec, runtime.load(built, where, cpu_cores()))
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
    with _aside(built) as copied:
        return Opened(name, spec, runtime.load(copied, where, cpu_cores()))


def _open_export(folder: Path, device: str) -> Opened:
    """Open an export, checked; nothing is written beside its files."""
    path = folder / HANDED_OVER
    try:
        record: HandedOver = stored.typed(HandedOver, stored.read_json(path, links=False))
        kind = _KINDS[record.model]
        artifact = next((name for name in record.files if name in _KINDS and name != LOWERED), "")
    except (OSError, ValueError, KeyError) as error:
        raise stored.damaged(path, error, "export the variant again") from error
    where = _device(device, kind)
    name = record.model if where == "cpu" or record.model != LOWERED else artifact
    if name not in record.files:
        raise UserError(f"{path}: damaged (its files do not hold {quoted(name)}); export the variant again")
    file = record.files[name]
    built = Built(
        record.id, folder / name, "torch" if kind == "torch" else "onnx", file.stored, file.size_bytes, None, None,
        record.margin_bias, 0.0, digest=file.sha256,
    )  # fmt: skip
    with _loading(built.file), _aside(built) as copied:
        spec = _spec(copied)
        if spec != record.input:
            raise UserError(f"{path}: says another input than {name} itself; export the variant again")
        if name == LOWERED:
            return Opened(record.variant, spec, _lowered(copied))
        runtime = runtimes.find(runtimes.choose("auto", copied.kind, where))
        return Opened(record.variant, spec, runtime.load(copied, where, cpu_cores()))


@contextmanager
def _loading(file: Path) -> Iterator[None]:
    """Inside, any error of a library that loads the file is a `UserError`: these errors have no common type."""
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        first = shown((str(error).splitlines() or [""])[0])
        raise UserError(
            f"{file}: cannot be loaded ({type(error).__name__}: {first}); export the variant again"
        ) from error


def _device(requested: str, kind: str) -> Device:
    from bench.pipeline.device import choose_device

    return choose_device(requested, "auto", [kind])[0]


def _lowered(built: Built) -> Session:
    """A session of a file that onnxruntime's CPU kernels run as it stands."""
    from bench.provenance import cpu_name
    from bench.runtimes import onnxruntime

    threads, provider = cpu_cores(), "CPUExecutionProvider"
    session = onnxruntime.open_session(built.file, threads, [provider], floats=True)
    executed = Executed("onnxruntime", "cpu", cpu_name(), (provider,), built.stored, "int8", threads=threads)
    return onnxruntime.Session(session, executed)


@contextmanager
def _aside(built: Built) -> Iterator[Built]:
    """The artifact in a temporary folder, which goes as the block ends. Raises `UserError` where it is damaged."""
    with ExitStack() as stack:
        # Windows removes no file that a library still holds.
        scratch = tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
        copy = Path(stack.enter_context(scratch)) / ("model.onnx" if built.kind == "onnx" else "model.safetensors")
        try:
            _copy(built.file, copy)
        except stored.DamagedError as error:
            raise stored.damaged(built.file, error, "export the variant again") from error
        except FileNotFoundError as error:
            raise UserError(f"{built.file}: is gone; export the variant again") from error
        copied = replace(built, file=copy, digest=built.digest or file_digest(copy))
        if fault := cache.fault(copied):
            raise UserError(f"{built.file}: {fault}; export the variant again")
        yield copied


def _copy(source: Path, target: Path) -> None:
    import shutil

    with stored.open_file(source, links=False) as file, target.open("wb") as copy:
        shutil.copyfileobj(file, copy)


def _spec(built: Built) -> InputSpec:
    """How frames are fitted, as the artifact itself says in its metadata."""
    from bench.artifacts import safetensors

    try:
        preprocessing: Preprocessing = stored.typed(
            Preprocessing, json.loads(safetensors.metadata(built.file)["preprocessing"])
        )
    except (KeyError, ValueError, RecursionError) as error:
        raise stored.damaged(built.file, error, "it does not say what frames it takes") from error
    if not 1 <= preprocessing.size <= _LARGEST_SIDE or not LEAST_CROP_PCT <= preprocessing.crop_pct <= 1:
        raise UserError(
            f"{built.file}: damaged (frames of {preprocessing.size} pixels, crop_pct {preprocessing.crop_pct:g}); "
            "build or export it again"
        )
    return preprocessing.input_spec
