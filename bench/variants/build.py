"""Fold a chain of steps over a detector, keeping every link on disk under its id."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import detectors, locks, phases, stored
from bench.artifacts import footprint
from bench.files import make_folder, remove, rename, stops_all
from bench.provenance import digest, file_digest, versions, write_json
from bench.records import Built, Event
from bench.system import idle_cores
from bench.variants import cache, ids
from bench.variants.context import BuildContext, Source
from bench.variants.description import DESCRIPTION
from bench.variants.steps import StepContext, Use

if TYPE_CHECKING:
    from bench.detectors.detector import Detector

SCHEMA = 1


def build(name: str, source: Source, chain: Sequence[Use], context: BuildContext, *, waits: bool = True) -> Built:
    """The artifact at the end of a chain, building whichever links are not there yet.

    Raises what the failing step raises; links before it stay. Without `waits`, `locks.TakenError` where another
    process is building the next link.
    """
    doing = f" of {context.experiment}" if context.experiment else ""
    lineage: list[str] = []
    for length in range(len(chain) + 1):
        part = chain[:length]
        variant = ids.last_of(lineage, source, part, context)
        if not cache.is_built(context.folder, variant):
            # Another run may be building the same link: wait for it, then find it done, perhaps under an id of its own.
            with locks.held(
                cache.lock_file(context.folder, variant),
                f"building {variant} ({name}{doing})",
                context.on_event,
                folder=context.folder.parent,
                why=cache.WHY_WAIT,
                waits=waits,
            ):
                variant = ids.last_of(lineage, source, part, context)
                if not cache.is_built(context.folder, variant):
                    variant = _build_link(name, source, part, [*lineage, variant], context)
        lineage.append(variant)
    return cache.read(context.folder, lineage[-1])


def _build_link(name: str, source: Source, chain: Sequence[Use], lineage: list[str], context: BuildContext) -> str:
    """Build the last of a lineage from the one before; the id that it got."""
    import time

    from bench.artifacts import safetensors

    began, cpu_began = time.monotonic(), time.process_time()
    title = title_of(name, chain)
    context.on_event(Event(title, 0, 1, "step", "loading"))
    temporary = context.folder / f".tmp-{lineage[-1]}-{os.getpid()}"
    scratch = context.folder / cache.SCRATCH / lineage[-1]
    # Left by a run that was killed; the lock says that nobody else is at it.
    for leftover in (*context.folder.glob(f".tmp-{lineage[-1]}-*"), context.folder / lineage[-1]):
        remove(leftover)
    for place in (scratch.parent, scratch):
        if place.is_symlink() or not place.is_dir():
            remove(place)
    make_folder(temporary)
    make_folder(scratch)
    try:
        with phases.of(title, context.on_event):
            model = _model(title, source, chain, lineage, context, scratch)
            phases.begin("writing and measuring the file")
            file = safetensors.save(model, temporary)
            told = {
                **_told(name, source, chain, lineage, file, _recorded(chain, scratch)),
                **_description(model, file, context.folder, lineage),
                "seconds": round(time.monotonic() - began, 1),
                "cpu_seconds": round(time.process_time() - cpu_began, 1),
            }
        write_json(temporary / DESCRIPTION, told)
        _put(temporary, told["id"], lineage[-1], context)
        shutil.rmtree(scratch, ignore_errors=True)
    except Exception as error:
        # What a step kept to go on from may be what it failed of; on a full disk it is what it goes on from.
        if not stops_all(error):
            shutil.rmtree(scratch, ignore_errors=True)
        context.on_event(Event(title, 1, 1, "step", Event.FAILED))
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    context.on_event(Event(title, 1, 1, "step"))
    return str(told["id"])


def title_of(name: str, chain: Sequence[Use]) -> str:
    """What events call the building of the last link of a chain, for the variant that wants it."""
    return f"building {name}: {chain[-1].text if chain else 'reading the weights'}"


def _model(
    title: str, source: Source, chain: Sequence[Use], lineage: list[str], context: BuildContext, scratch: Path
) -> Any:
    """What the last step of a chain makes of what is built of the others."""
    from bench.artifacts import safetensors

    if not chain:
        return detectors.load(source.architecture, source.weights, source.preprocessing)
    parent = cache.read(context.folder, lineage[-2])
    with idle_cores.torch_threads(context.threads) as threads:
        work = _work(title, source, chain, lineage, context, scratch, threads)
        model = safetensors.load_torch(parent.file)
        phases.begin("preparing")
        return chain[-1].step.apply(model, chain[-1].settings, work)


def _put(temporary: Path, own: str, asked: str, context: BuildContext) -> None:
    """Move an artifact to its place; what lies there under an id of its own, another run may be looking at."""
    with contextlib.ExitStack() as stack:
        if own != asked:
            lock, folder = cache.lock_file(context.folder, own), context.folder.parent
            stack.enter_context(locks.held(lock, f"placing {own}", context.on_event, folder=folder))
        remove(context.folder / own)
        rename(temporary, context.folder / own)


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
    title: str, source: Source, chain: Sequence[Use], lineage: list[str], context: BuildContext, scratch: Path,
    threads: idle_cores.Threads,
) -> StepContext:  # fmt: skip
    taught = next((length for length, use in enumerate(chain) if getattr(use.step, "PARENT_TEACHES", False)), 0)

    def teacher() -> Detector:
        from bench.artifacts import safetensors

        return safetensors.load_torch(cache.read(context.folder, lineage[taught]).file)

    return StepContext(
        title=title,
        spec=source.preprocessing.input_spec,
        frames=context.frames,
        read=threads.before_batches(context.read),
        teacher=teacher,
        device=context.device,
        threads=context.threads,
        seed=context.seed,
        scratch=scratch,
        on_event=threads.at_events(context.on_event),
        earlier=chain[:-1],
    )


def _description(model: Any, file: Path, folder: Path, lineage: list[str]) -> dict[str, Any]:
    """Kind, stored type, parameters, MACs, margin bias and zeros; an ONNX model's parameters are its parent's."""
    from bench.artifacts import safetensors

    kind = safetensors.kind(model)
    if kind == "onnx":
        parent = cache.read(folder, lineage[-2])
        parameters, macs, margin_bias = parent.parameters, parent.macs, parent.margin_bias
    else:
        (parameters, macs), margin_bias = footprint.footprint_of(model), model.margin_bias
    return {
        "kind": kind,
        "stored": safetensors.stored_dtype(model),
        "parameters": parameters,
        "macs": macs,
        "margin_bias": margin_bias,
        "zeros": footprint.zeros(model),
        "zstd_bytes": footprint.zstd_bytes(file),
    }
