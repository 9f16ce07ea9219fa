"""Fold a chain of steps over a detector, keeping every link on disk under its id."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import detectors, idle_cores, locks, phases, stored
from bench.errors import UserError
from bench.files import make_folder, remove, rename, stops_all
from bench.provenance import digest, file_digest, versions, write_json
from bench.records import BatchReader, Built, Event, FrameSet, OnEvent, Preprocessing, Split
from bench.variants import description, sparsity
from bench.variants.description import DESCRIPTION
from bench.variants.steps import Use, Work

if TYPE_CHECKING:
    from pydantic import BaseModel

    from bench.detectors.detector import Detector

SCHEMA = 1
LOCKS, SCRATCH = ".locks", ".scratch"
WHY_WAIT = "what it makes is used here too, once it is there; Ctrl-C ends the wait, and loses nothing"


@dataclass(frozen=True)
class Source:
    """What a chain starts from. `digest` is the SHA-256 of the weights file."""

    architecture: str
    weights: Path
    digest: str
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Workshop:
    """Where and with what variants are built.

    `decoder` tells which versions of what turn files into pixels, `experiment` for which one is built.
    """

    folder: Path
    frames: Mapping[Split, FrameSet]
    read: BatchReader
    decoder: Mapping[str, str]
    device: str
    threads: int
    seed: int
    on_event: OnEvent
    experiment: str = ""


def weights_id(source: Source) -> str:
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


def ids(source: Source, chain: Sequence[Use], shop: Workshop) -> list[str]:
    """The ids along a chain: of the detector itself, then after each step.

    What follows on a step that may be cut short has the ids that belong to what was built of that; for as long as
    there is nothing, those of an uncut one.
    """
    found: list[str] = []
    for length in range(len(chain) + 1):
        found.append(_id(found, source, chain[:length], shop))
    return found


def inputs(source: Source, chain: Sequence[Use], lineage: Sequence[str], shop: Workshop) -> list[dict[str, Any]]:
    """What each id of a lineage is the digest of, as JSON values: of the detector itself, then of each step."""
    steps = (_inputs(parent, use, shop) for parent, use in zip(lineage, chain, strict=False))
    return [_weights_inputs(source), *steps]


def _id(before: Sequence[str], source: Source, chain: Sequence[Use], shop: Workshop) -> str:
    """The id at the end of a chain, `before` those on the way there."""
    if not chain:
        return weights_id(source)
    asked = digest(_inputs(before[-1], chain[-1], shop))
    return (_cut_short(shop.folder, asked) or asked) if _may_be_cut(chain[-1]) else asked


def _inputs(parent: str, use: Use, shop: Workshop) -> dict[str, Any]:
    """All that what a step makes of its parent hangs on; its digest is the id, where nothing cuts the step short."""
    made_of = {
        "parent": parent,
        "step": use.name,
        "settings": use.settings.model_dump(mode="json"),
        "version": use.step.VERSION,
        "libraries": versions(use.step.LIBRARIES),
        "frames": {split: _seen(shop.frames[split], use) for split in use.frames},
        "decoded by": shop.decoder if use.frames else None,
        "seed": shop.seed if use.step.SEEDED else None,
    }
    # What is quantised is the exported graph.
    if use.step.PRODUCES == "onnx":
        made_of["export"] = detectors.EXPORT_VERSION
    # What was built on a CPU has the id that it had before there were other devices.
    if shop.device != "cpu" and getattr(use.step, "ON_DEVICE", False):
        made_of["device"] = shop.device
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
        if told and told.asked_for == asked and is_built(folder, told.id):
            return told.id
    return None


def _seen(frames: FrameSet, use: Use) -> str:
    """What of the frames an artifact depends on: their content, and for some steps whose they are."""
    return frames.digest if getattr(use.step, "SEES_SOURCES", False) else frames.content


def build(name: str, source: Source, chain: Sequence[Use], shop: Workshop, *, waits: bool = True) -> Built:
    """The artifact at the end of a chain, building whichever links are not there yet.

    Raises what the failing step raises; links before it stay. Without `waits`, `locks.TakenError` where another
    process is building the next link.
    """
    doing = f" of {shop.experiment}" if shop.experiment else ""
    lineage: list[str] = []
    for length in range(len(chain) + 1):
        part = chain[:length]
        variant = _id(lineage, source, part, shop)
        if not is_built(shop.folder, variant):
            # Another run may be building the same link: wait for it, then find it done, perhaps under an id of its own.
            with locks.held(
                lock_file(shop.folder, variant),
                f"building {variant} ({name}{doing})",
                shop.on_event,
                folder=shop.folder.parent,
                why=WHY_WAIT,
                waits=waits,
            ):
                variant = _id(lineage, source, part, shop)
                if not is_built(shop.folder, variant):
                    variant = _build_link(name, source, part, [*lineage, variant], shop)
        lineage.append(variant)
    return read(shop.folder, lineage[-1])


def lock_file(folder: Path, variant: str) -> Path:
    """Whoever holds it is the only one who writes this variant's files."""
    return folder / LOCKS / f"{variant}.lock"


def is_built(folder: Path, variant: str) -> bool:
    """Folders are renamed into place whole; what was cut or lost since is as good as absent, and built again."""
    try:
        built = read(folder, variant)
        return stored.is_file(built.file) and built.file.stat().st_size == built.size_bytes
    except (OSError, ValueError):
        return False


def check(built: Built) -> None:
    """Raise `UserError` where the file is no longer what was built, after seeing to it that it is built again."""
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


def read(folder: Path, variant: str) -> Built:
    """What `variant.json` says of a built artifact. OSError or `DamagedError` where it does not."""
    told = description.read(folder, variant)
    return Built(
        id=variant,
        file=folder / variant / told.file,
        kind=told.kind,
        stored=told.stored,
        size_bytes=told.size_bytes,
        parameters=told.parameters,
        macs=told.macs,
        margin_bias=told.margin_bias,
        seconds=told.seconds,
        digest=told.sha256,
        zeros=told.zeros,
        zstd_bytes=told.zstd_bytes,
    )


def _build_link(name: str, source: Source, chain: Sequence[Use], lineage: list[str], shop: Workshop) -> str:
    """Build the last of a lineage from the one before; the id that it got."""
    import time

    from bench.detectors import artifact

    began, cpu_began = time.monotonic(), time.process_time()
    title = title_of(name, chain)
    shop.on_event(Event(title, 0, 1, "step", "loading"))
    temporary = shop.folder / f".tmp-{lineage[-1]}-{os.getpid()}"
    scratch = shop.folder / SCRATCH / lineage[-1]
    # Left by a run that was killed; the lock says that nobody else is at it.
    for leftover in (*shop.folder.glob(f".tmp-{lineage[-1]}-*"), shop.folder / lineage[-1]):
        remove(leftover)
    for place in (scratch.parent, scratch):
        if place.is_symlink() or not place.is_dir():
            remove(place)
    make_folder(temporary)
    make_folder(scratch)
    try:
        with phases.of(title, shop.on_event):
            model = _model(title, source, chain, lineage, shop, scratch)
            phases.begin("writing and measuring the file")
            file = artifact.save(model, temporary)
            told = {
                **_told(name, source, chain, lineage, file, _recorded(chain, scratch)),
                **_description(model, file, shop.folder, lineage),
                "seconds": round(time.monotonic() - began, 1),
                "cpu_seconds": round(time.process_time() - cpu_began, 1),
            }
        write_json(temporary / DESCRIPTION, told)
        _put(temporary, told["id"], lineage[-1], shop)
        shutil.rmtree(scratch, ignore_errors=True)
    except Exception as error:
        # What a step kept to go on from may be what it failed of; on a full disk it is what it goes on from.
        if not stops_all(error):
            shutil.rmtree(scratch, ignore_errors=True)
        shop.on_event(Event(title, 1, 1, "step", Event.FAILED))
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shop.on_event(Event(title, 1, 1, "step"))
    return str(told["id"])


def title_of(name: str, chain: Sequence[Use]) -> str:
    """What events call the building of the last link of a chain, for the variant that wants it."""
    return f"building {name}: {chain[-1].text if chain else 'reading the weights'}"


def _model(title: str, source: Source, chain: Sequence[Use], lineage: list[str], shop: Workshop, scratch: Path) -> Any:
    """What the last step of a chain makes of what is built of the others."""
    from bench.detectors import artifact

    if not chain:
        return detectors.load(source.architecture, source.weights, source.preprocessing)
    parent = read(shop.folder, lineage[-2])
    with idle_cores.torch_threads(shop.threads) as threads:
        work = _work(title, source, chain, lineage, shop, scratch, threads)
        model = artifact.load_torch(parent.file)
        phases.begin("preparing")
        return chain[-1].step.apply(model, chain[-1].settings, work)


def _put(temporary: Path, own: str, asked: str, shop: Workshop) -> None:
    """Move an artifact to its place; what lies there under an id of its own, another run may be looking at."""
    with contextlib.ExitStack() as stack:
        if own != asked:
            stack.enter_context(
                locks.held(lock_file(shop.folder, own), f"placing {own}", shop.on_event, folder=shop.folder.parent)
            )
        remove(shop.folder / own)
        rename(temporary, shop.folder / own)


def _told(
    name: str, source: Source, chain: Sequence[Use], lineage: list[str], file: Path, recorded: Mapping[str, Any]
) -> dict[str, Any]:
    """What `variant.json` says of where an artifact comes from."""
    content, asked = file_digest(file), lineage[-1]
    own = digest({"asked for": asked, "content": content}) if recorded.get("cut_short") else asked
    steps = ["weights", *(use.text for use in chain)]
    return {
        "schema": SCHEMA,
        "id": own,
        **({"asked_for": asked} if own != asked else {}),
        "name": name,
        "lineage": [{"id": i, "step": step} for i, step in zip([*lineage[:-1], own], steps, strict=True)],
        "architecture": source.architecture,
        "weights": source.digest,
        "file": file.name,
        "size_bytes": file.stat().st_size,
        "sha256": content,
        **({chain[-1].name: recorded} if recorded else {}),
        "libraries": versions({*detectors.LIBRARIES, *(lib for use in chain for lib in use.step.LIBRARIES)}),
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _recorded(chain: Sequence[Use], scratch: Path) -> dict[str, Any]:
    """What the last step says of its own doings, where it says anything."""
    name = getattr(chain[-1].step, "RECORD", None) if chain else None
    if name is None or not (scratch / name).exists():
        return {}
    found: dict[str, Any] = stored.read_json(scratch / name, stored.MIB)
    return found


def _work(
    title: str, source: Source, chain: Sequence[Use], lineage: list[str], shop: Workshop, scratch: Path,
    threads: idle_cores.Threads,
) -> Work:  # fmt: skip
    first_prune = next((i for i, use in enumerate(chain) if use.name == "prune"), 0)

    def teacher() -> Detector:
        from bench.detectors import artifact

        return artifact.load_torch(read(shop.folder, lineage[first_prune]).file)

    return Work(
        title=title,
        spec=source.preprocessing.input_spec,
        frames=shop.frames,
        read=threads.before_batches(shop.read),
        teacher=teacher,
        device=shop.device,
        threads=shop.threads,
        seed=shop.seed,
        scratch=scratch,
        on_event=threads.at_events(shop.on_event),
        earlier=chain[:-1],
    )


def _description(model: Any, file: Path, folder: Path, lineage: list[str]) -> dict[str, Any]:
    """Kind, stored type, parameters, MACs, margin bias and zeros; an ONNX model's parameters are its parent's."""
    from bench.detectors import artifact

    kind = artifact.kind(model)
    if kind == "onnx":
        parent = read(folder, lineage[-2])
        parameters, macs, margin_bias = parent.parameters, parent.macs, parent.margin_bias
    else:
        (parameters, macs), margin_bias = artifact.footprint_of(model), model.margin_bias
    return {
        "kind": kind,
        "stored": artifact.stored_dtype(model),
        "parameters": parameters,
        "macs": macs,
        "margin_bias": margin_bias,
        "zeros": sparsity.zeros(model),
        "zstd_bytes": sparsity.zstd_bytes(file),
    }
