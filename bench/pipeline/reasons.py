"""Why something is due again: what differs from what the last run was made from, which it leaves in `inputs.json`.

What is compared are the very values that ids and keys are digests of, so that none can be forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from bench import stored
from bench.errors import shown
from bench.pipeline.build import build_context
from bench.pipeline.jobs import Job, Jobs, inputs, is_timed
from bench.pipeline.prepared import Setup
from bench.provenance import write_json
from bench.records import FrameSet, silent
from bench.results import predict
from bench.variants import cache, ids

if TYPE_CHECKING:
    from bench.pipeline.forecast import Row

RECORD = "inputs.json"
NEW = "not made before"
_GONE = "what was made is gone, damaged or not whole"
_ASKED = "`--time-again` was given"
_UNKNOWN = "made by an earlier bench, which left no record of what it used"
_SCHEMA, _MOST_BYTES, _LONGEST = 1, 16 * stored.MIB, 80

What: TypeAlias = Literal["build", "evaluate", "time"]
Inputs: TypeAlias = dict[str, str]
"""What something is made from: the value as text by its dotted name, such as "libraries.onnx"."""

# Whether these differ follows from what differs further up.
_INHERITED = ("parent", "variant")
_VERSIONED = {
    "version": "bench does it otherwise",
    "decoded by.version": "bench decodes frames otherwise",
    "export": "bench exports otherwise",
    "versions.export": "bench exports otherwise",
}
_NAMED = {"gpu": "GPU", "seconds": "timing seconds", "machine.python": "Python"}
_SENTENCES = {
    "weights": "other weights",
    "content": "the artifact was built again, to other bits",
    "arithmetic": "other kernels are chosen on this processor",
}
_PREFIXES = {"settings": "setting ", "preprocessing": "preprocessing ", "spec": "preprocessing ", "libraries": "",
             "decoded by": ""}  # fmt: skip


@dataclass(frozen=True)
class _Variant:
    """What a variant was made from: each link of its chain, its predictions, and its times if it was timed."""

    links: tuple[Inputs, ...]
    predictions: Inputs
    times: Inputs | None = None


@dataclass(frozen=True)
class _Record:
    variants: dict[str, _Variant]
    schema: int = _SCHEMA


@dataclass(frozen=True)
class Due:
    """What is to be done for which variants, and why: all of them for the same reasons."""

    variants: tuple[str, ...]
    work: tuple[What, ...]
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{', '.join(self.variants)} ({', '.join(self.work)}): {'; '.join(self.reasons)}"


def due(rows: Sequence[Row]) -> tuple[Due, ...]:
    """For all that rows leave to be done: what differs from the last run, variants with the same reasons together."""
    records = {folder: _read(folder) for folder in {row.setup.results for row in rows}}
    by_reasons: dict[tuple[str, ...], dict[What, list[str]]] = {}
    for row in rows:
        for work, reasons in _of_row(row, records[row.setup.results]):
            by_reasons.setdefault(reasons, {}).setdefault(work, []).append(row.result_title)
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[What]] = {}
    for reasons, works in by_reasons.items():
        for work, names in works.items():
            groups.setdefault((tuple(names), reasons), []).append(work)
    return tuple(Due(names, tuple(works), reasons) for (names, reasons), works in groups.items())


def again(due: Iterable[Due]) -> list[Due]:
    """What was made before and is due again."""
    return [group for group in due if group.reasons != (NEW,)]


def write(setup: Setup, jobs: Jobs) -> None:
    """Store what the results were made from beside them; a record that says the same is left as it is."""
    before = _read(setup.results)
    earlier = {} if before is None else before.variants
    remaining = {name: made_from for name, made_from in earlier.items() if name in setup.named}
    made = {job.variant: _made_from(job) for job in jobs.unfailed.values() if job.setup == setup}
    record = _Record(remaining | made)
    if record != before:
        write_json(setup.results / RECORD, asdict(record))


def _made_from(job: Job) -> _Variant:
    """What a variant's artifact, predictions and times were made from."""
    setup = job.setup
    chain, context = setup.chains[job.variant], build_context(setup, silent)
    lineage = ids.of_chain(setup.source, chain, context)
    _, predictions, times = inputs(
        setup, job.built.id, job.built.kind, job.built, imported=job.variant in setup.imported
    )
    return _Variant(
        tuple(_flat(values, setup.built_with) for values in ids.inputs(setup.source, chain, lineage, context)),
        _flat(predictions, setup.frames) if predict.is_done(job.folder, job.predictions_key) else {},
        _flat(times, setup.frames) if is_timed(job.times_folder, job.timing_key) else None,
    )


def _read(folder: Path) -> _Record | None:
    """What the last run left; None where there is none, or it is damaged or another version's."""
    try:
        record: _Record = stored.typed(_Record, stored.read_json(folder / RECORD, _MOST_BYTES, links=False))
    except (OSError, ValueError):
        return None
    return record if record.schema == _SCHEMA else None


def _flat(value: Mapping[str, Any], frames: Mapping[Any, FrameSet]) -> Inputs:
    """Nested values as text, by dotted names; of frames their count too, which no digest tells."""
    flat = dict(flattened(value, ""))
    for split in value.get("frames", {}):
        flat[f"frames.{split}.count"] = str(len(frames[split].frames))
    return flat


def flattened(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from flattened(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner if isinstance(inner, str) else json.dumps(inner)


# ------------------------------------------------------------------------------------------- what differs
def _of_row(row: Row, record: _Record | None) -> Iterator[tuple[What, tuple[str, ...]]]:
    """The reasons for each kind of work that a variant is due for."""
    setup = row.setup
    before = record.variants.get(row.name) if record else None
    if before is None:
        was_made = record is None and (setup.results / row.name / predict.MARK).exists()
        reason = _UNKNOWN if was_made else NEW
        yield from ((work, (reason,)) for work, is_due in _work(row) if is_due)
        return
    chain, context = row.chain, build_context(setup, silent)
    links = [
        _flat(values, setup.built_with)
        for values in ids.inputs(setup.source, chain, [link.id for link in row.links], context)
    ]
    of_build, of_chain = _chain_reasons(row, links, before.links)
    artifact = cache.read(context.folder, row.id) if row.links[-1].built else None
    _, predictions, times = inputs(
        setup, row.id, setup.kind_of(row.name), artifact, imported=row.name in setup.imported
    )
    if of_build:
        yield "build", of_build
    if row.frames:
        yield "evaluate", _reasons(before.predictions, _flat(predictions, setup.frames), of_chain)
    if not row.timed:
        reasons = _reasons(before.times, _flat(times, setup.frames), of_chain)
        yield "time", (_ASKED,) if reasons == (_GONE,) and setup.timing == "again" else reasons


def _chain_reasons(
    row: Row, links: Sequence[Inputs], before: Sequence[Inputs]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Why links of a chain are built, and all differences of the chain, from what the last run made it from.

    A link is built again for its own differences and for those of the links before it.
    """
    changes: list[str] = []
    of_build: list[str] = []
    for index, (link, values) in enumerate(zip(row.links, links, strict=True)):
        if index < len(before):
            changes += differences(before[index], values)
        else:
            changes.append(f"{shown(link.step)} is new here")
        if not link.built and link.of is None:
            of_build += changes or [_GONE]
    if len(before) > len(row.links):
        changes.append(f"step {shown(before[len(row.links)].get('step', ''))} is left out")
    return tuple(dict.fromkeys(of_build)), tuple(changes)


def _work(row: Row) -> Iterator[tuple[What, bool]]:
    yield "build", any(not link.built and link.of is None for link in row.links)
    yield "evaluate", bool(row.frames)
    yield "time", not row.timed


def _reasons(before: Inputs | None, now: Inputs, of_chain: Sequence[str]) -> tuple[str, ...]:
    """Why results are due: the differences of their variant's chain, then their own."""
    if not before:
        return (NEW,)
    same_artifact = before.get("variant") == now["variant"]
    return tuple(dict.fromkeys([*(() if same_artifact else of_chain), *differences(before, now)])) or (_GONE,)


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs, in words."""
    if before.get("step") != now.get("step"):
        return [changed("step", before.get("step"), now.get("step"))]
    names = [name for name in dict.fromkeys([*now, *before]) if before.get(name) != now.get(name)]
    reasons = [text for name in names if (text := _difference(name, before, now))]
    machine = [text for name, text in ((n, _of_machine(n, before, now)) for n in names) if text]
    return [*dict.fromkeys(reasons), *([f"another machine: {', '.join(machine)}"] if machine else [])]


def _difference(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The difference of one value in words; empty where another value's difference says it."""
    head, _, rest = name.partition(".")
    change = partial(changed, before=before.get(name), now=now.get(name))
    if name in _INHERITED or name.endswith(".count") or (head == "machine" and rest != "python"):
        return ""
    if head == "frames":
        return _frames(rest, before, now)
    if head in _SENTENCES:
        # Another artifact has other content, and one that is not built yet has none to compare.
        comparable = name in before and name in now and before.get("variant") == now.get("variant")
        return _SENTENCES[head] if comparable else ""
    if name in _VERSIONED or head == "versions":
        return f"{_VERSIONED.get(name, f'bench has another {shown(rest, _LONGEST)}')} ({change('version')})"
    return change(f"{_PREFIXES[head]}{rest}" if rest and head in _PREFIXES else _NAMED.get(name, name))


def _of_machine(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    head, _, fact = name.partition(".")
    if head != "machine" or fact == "python":
        return ""
    return changed("processor" if fact == "cpu" else fact, before.get(name), now.get(name))


def _frames(split: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    counts = [given.get(f"frames.{split}.count") for given in (before, now)]
    old, new = (shown(count, 20) if count else None for count in counts)
    split = shown(split, _LONGEST)
    if old is None or new is None:
        return f"{new or 'no'} {split} frames, {'none' if old is None else old} before"
    if old != new:
        return f"{new} {split} frames instead of {old}"
    return f"other {split} frames (as many as before: {new})"


def changed(name: str, before: str | None, now: str | None) -> str:
    """A change in words; the record may have been written by anyone, so values are escaped and cut."""
    if before is None or now is None:
        return f"{shown(name, _LONGEST)} {shown(now, _LONGEST)}, new" if now else f"{shown(name, _LONGEST)} no longer"
    return f"{shown(name, _LONGEST)} {shown(before, _LONGEST)} → {shown(now, _LONGEST)}"
