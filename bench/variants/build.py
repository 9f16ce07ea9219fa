"""Fold a chain of steps over a detector, keeping every link on disk under its id."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import detectors, locks, phases, stored
from bench.artifacts import footprint, imports, safetensors
from bench.detectors import families
from bench.errors import UserError
from bench.files import make_folder, remove, rename, stops_all
from bench.provenance import file_digest, versions, write_json
from bench.records import Built, Event
from bench.system import allocator, idle_cores
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
    lineage: list[str] = []
    for length in range(len(chain) + 1):
        lineage.append(_link_id(name, source, chain[:length], lineage, context, waits=waits))
    return cache.read(context.folder, lineage[-1])


def title_of(name: str, chain: Sequence[Use]) -> str:
    """What events call the building of the last link of a chain, for the variant of this name."""
    return f"building {name}: {chain[-1].text if chain else 'reading the weights'}"


def _link_id(
    name: str, source: Source, chain: Sequence[Use], before: Sequence[str], context: BuildContext, *, waits: bool
) -> str:
    """The id of the last link of a chain, after those `before` it; the link is built where it is not there yet."""
    variant = ids.last_of(before, source, chain, context)
    if cache.is_built(context.folder, variant):
        return variant
    of_experiment = f" of {context.experiment}" if context.experiment else ""
    # Another run may be building the same link: after the wait it is there, perhaps under the id of its content.
    with locks.held(
        cache.lock_file(context.folder, variant),
        f"building {variant} ({name}{of_experiment})",
        context.on_event,
        folder=context.folder.parent,
        why=cache.WHY_WAIT,
        waits=waits,
    ):
        variant = ids.last_of(before, source, chain, context)
        if cache.is_built(context.folder, variant):
            return variant
        return _build(_Link(name, source, chain, (*before, variant), context))


@dataclass(frozen=True)
class _Link:
    """The last link of a chain, to be built. `lineage` has the ids of all links, the last as it was asked for."""

    name: str
    source: Source
    chain: Sequence[Use]
    lineage: Sequence[str]
    context: BuildContext

    @property
    def title(self) -> str:
        return title_of(self.name, self.chain)

    @property
    def id(self) -> str:
        return self.lineage[-1]

    @property
    def of_graph(self) -> bool:
        """Whether of the detector there is an ONNX file alone."""
        return families.kind(self.source.architecture) == "onnx"

    @property
    def imported(self) -> bool:
        """Whether the link is a graph from elsewhere, as it is."""
        return self.chain[-1].step.ACCEPTS is None if self.chain else self.of_graph

    @property
    def parent(self) -> Built:
        return cache.read(self.context.folder, self.lineage[-2])

    @property
    def scratch(self) -> Path:
        """Outlives a killed run, which the next one goes on from."""
        return self.context.folder / cache.SCRATCH / self.id

    @property
    def temporary(self) -> Path:
        return self.context.folder / f".tmp-{self.id}-{os.getpid()}"


def _build(link: _Link) -> str:
    """Build a link from its parent; the id that it got."""
    began, cpu_began = time.monotonic(), time.process_time()
    on_event = link.context.on_event
    on_event(Event(link.title, 0, 1, "step", "loading"))
    _make_folders(link)
    try:
        with phases.of(link.title, on_event):
            model = _model(link)
            phases.begin("writing and measuring the file")
            file = safetensors.save(model, link.temporary)
            description = {
                **_origin(link, file),
                **_measures(link, model, file),
                "seconds": round(time.monotonic() - began, 1),
                "cpu_seconds": round(time.process_time() - cpu_began, 1),
            }
        write_json(link.temporary / DESCRIPTION, description)
        _move(link, description["id"])
        shutil.rmtree(link.scratch, ignore_errors=True)
    except Exception as error:
        # What a step has saved may be the reason why it failed; on a full disk it is what the next run goes on from.
        if not stops_all(error):
            shutil.rmtree(link.scratch, ignore_errors=True)
        on_event(Event(link.title, 1, 1, "step", Event.FAILED))
        raise
    finally:
        shutil.rmtree(link.temporary, ignore_errors=True)
    on_event(Event(link.title, 1, 1, "step"))
    return str(description["id"])


def _make_folders(link: _Link) -> None:
    """Make the temporary and the scratch folder, and remove what a killed run left: the lock is held by this one."""
    folder = link.context.folder
    for leftover in (*folder.glob(f".tmp-{link.id}-*"), folder / link.id):
        remove(leftover)
    for path in (link.scratch.parent, link.scratch):
        if path.is_symlink() or not path.is_dir():
            remove(path)
    make_folder(link.temporary)
    make_folder(link.scratch)


def _model(link: _Link) -> Any:
    """What the last step makes of the link's parent; the detector itself where there is no step."""
    if not link.chain:
        source = link.source
        if link.of_graph:
            phases.begin("trying the graph")
        given = source.weights, source.preprocessing, source.conventions
        model: Any = imports.read(*given)[0] if link.of_graph else detectors.load(source.architecture, *given)
        if source.changed():  # its artifact would lie under the id of what it was before
            raise UserError(f"{source.weights}: has changed since this run began; run the same command again")
        return model
    last = link.chain[-1]
    step: Any = last.step
    with allocator.large_blocks_stay(), idle_cores.torch_threads(link.context.threads) as threads:
        work = _step_context(link, threads)
        model = None if step.ACCEPTS is None else safetensors.load(_checked(link.parent).file)
        phases.begin("preparing")
        if last.file and step.content(last.file.path) != last.file.digest:
            raise UserError(f"{last.file.path}: has changed since this run began; run the same command again")
        return _apply(step, link, model)(model, last.settings, work)


def _checked(built: Built) -> Built:
    """The same; `UserError` where its file is no longer what was built, or what is made of it would seem sound."""
    cache.check(built)
    return built


def _apply(step: Any, link: _Link, model: Any) -> Any:
    """What a step does to its parent: a detector, the graph of a detector file, or one that an earlier step made."""
    if model is None or safetensors.kind(model) == "torch":
        return step.apply
    return step.apply_onnx if link.of_graph else step.apply_quantised


def _step_context(link: _Link, threads: idle_cores.Threads) -> StepContext:
    """What the last step of a link may use."""
    context, chain = link.context, link.chain
    taught = next((length for length, use in enumerate(chain) if getattr(use.step, "PARENT_TEACHES", False)), 0)

    def teacher() -> Detector:
        return safetensors.load_torch(_checked(cache.read(context.folder, link.lineage[taught])).file)

    def detector() -> Detector:
        made = (cache.read(context.folder, variant) for variant in reversed(link.lineage[:-1]))
        return safetensors.load_torch(_checked(next(built for built in made if built.kind == "torch")).file)

    return StepContext(
        title=link.title,
        spec=link.source.preprocessing.input_spec,
        frames=context.frames,
        read=threads.before_batches(context.read),
        teacher=teacher,
        device=context.device,
        threads=context.threads,
        seed=context.seed,
        scratch=link.scratch,
        on_event=threads.at_events(context.on_event),
        earlier=chain[:-1],
        file=chain[-1].file.path if chain[-1].file else None,
        preprocessing=link.source.preprocessing,
        detector=detector,
    )


def _move(link: _Link, variant: str) -> None:
    """Move a finished artifact to the folder of its id. Another run may look at that of an id made of content."""
    folder = link.context.folder
    with contextlib.ExitStack() as stack:
        if variant != link.id:
            lock = cache.lock_file(folder, variant)
            stack.enter_context(locks.held(lock, f"placing {variant}", link.context.on_event, folder=folder.parent))
        remove(folder / variant)
        rename(link.temporary, folder / variant)


# ------------------------------------------------------------------------------------ variant.json
def _origin(link: _Link, file: Path) -> dict[str, Any]:
    """Where an artifact comes from: its ids, steps, weights and libraries, and what its last step recorded."""
    content, record = file_digest(file), _record(link)
    variant = ids.of_content(link.id, content) if record.get("cut_short") else link.id
    steps = ["weights", *(use.text for use in link.chain)]
    lineage = list(zip([*link.lineage[:-1], variant], steps, strict=True))
    if link.chain and link.imported:
        lineage = lineage[-1:]  # it descends from no weights
    return {
        "schema": SCHEMA,
        "id": variant,
        **({"asked_for": link.id} if variant != link.id else {}),
        "name": link.name,
        "lineage": [{"id": i, "step": step} for i, step in lineage],
        "architecture": link.source.architecture,
        "weights": link.source.digest,
        "file": file.name,
        "size_bytes": file.stat().st_size,
        "sha256": content,
        **({link.chain[-1].name: record} if record else {}),
        "libraries": versions(_libraries(link)),
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _libraries(link: _Link) -> set[str]:
    """The distributions that did the work."""
    if link.of_graph:
        of_graphs = (lib for use in link.chain for lib in getattr(use.step, "ONNX_LIBRARIES", use.step.LIBRARIES))
        return {*imports.LIBRARIES, *of_graphs}
    return {*detectors.LIBRARIES, *(lib for use in link.chain for lib in use.step.LIBRARIES)}


def _record(link: _Link) -> dict[str, Any]:
    """What the last step recorded of its work, where it did."""
    name = getattr(link.chain[-1].step, "RECORD", None) if link.chain else None
    if name is None or not (link.scratch / name).exists():
        return {}
    record: dict[str, Any] = stored.read_json(link.scratch / name, stored.MIB)
    return record


def _measures(link: _Link, model: Any, file: Path) -> dict[str, Any]:
    """Kind, stored type, parameters, MACs, margin bias and zeros; an ONNX model's parameters are its parent's."""
    kind = safetensors.kind(model)
    if link.imported:
        (parameters, macs), margin_bias = imports.facts(model), None
    elif kind == "onnx":
        parent = link.parent
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
        **({"imported": True} if link.imported else {}),
    }
