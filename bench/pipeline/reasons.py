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

from bench import reports, stored
from bench.errors import UserError, listed, shown
from bench.pipeline import render
from bench.pipeline.measure import inputs, is_timed, workshop
from bench.provenance import version, write_json
from bench.records import FrameSet, Run, silent
from bench.results import predict, store
from bench.variants import build

if TYPE_CHECKING:
    from bench.pipeline.forecast import Row
    from bench.pipeline.measure import Job
    from bench.pipeline.plan import Plan

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
# What only the report hangs on, by its field in `Run`.
_RENDERED_BY = {
    "threshold": "threshold",
    "margin": "margin",
    "gallery_top": "gallery top",
    "gallery_heatmaps": "gallery heatmaps",
    "choose": "choose",
}
_NO_RECORD = f"{store.RUN} is gone or damaged"
_NOT_RENDERED = "not rendered yet, or a file of it is gone"
_RENDERED_OTHERWISE = "its results or its files are not those it was rendered with"
_PREFIXES = {"settings": "setting ", "preprocessing": "preprocessing ", "spec": "preprocessing ", "libraries": "",
             "decoded by": ""}  # fmt: skip


@dataclass(frozen=True)
class _Variant:
    """What a variant was made from: each link of its chain, its predictions, and its times where it was timed."""

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


def due(plan: Plan, rows: Sequence[Row]) -> tuple[Due, ...]:
    """For all that rows leave to be done: what differs from the last run, variants with the same reasons together."""
    record = _read(plan.results)
    by_reasons: dict[tuple[str, ...], dict[What, list[str]]] = {}
    for row in rows:
        for work, reasons in _of_row(plan, row, record):
            by_reasons.setdefault(reasons, {}).setdefault(work, []).append(row.name)
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[What]] = {}
    for reasons, works in by_reasons.items():
        for work, names in works.items():
            groups.setdefault((tuple(names), reasons), []).append(work)
    return tuple(Due(names, tuple(works), reasons) for (names, reasons), works in groups.items())


def again(found: Iterable[Due]) -> list[Due]:
    """What was made before and is due again."""
    return [one for one in found if one.reasons != (NEW,)]


def write(plan: Plan, jobs: Mapping[str, Job], failed: Mapping[str, str]) -> None:
    """Leave what the results that are there were made from, beside them; nothing is written where it is the same."""
    before = _read(plan.results)
    left = {} if before is None else {n: one for n, one in before.variants.items() if n in plan.settings.variants}
    made = {name: _made_from(plan, name, job) for name, job in jobs.items() if name not in failed}
    record = _Record(left | made)
    if record != before:
        write_json(plan.results / RECORD, asdict(record))


def _made_from(plan: Plan, name: str, job: Job) -> _Variant:
    chain, shop = plan.chains[name], workshop(plan, silent)
    lineage = build.ids(plan.source, chain, shop)
    _, predictions, times = inputs(plan, job.built.id, job.built.kind, job.built)
    return _Variant(
        tuple(_flat(one, plan.frames) for one in build.inputs(plan.source, chain, lineage, shop)),
        _flat(predictions, plan.frames) if predict.is_done(job.folder, job.predictions_key) else {},
        _flat(times, plan.frames) if is_timed(job.folder, job.timing_key) else None,
    )


def _read(folder: Path) -> _Record | None:
    """What the last run left; None where there is none, or it is damaged or another version's."""
    try:
        record: _Record = stored.typed(_Record, stored.read_json(folder / RECORD, _MOST_BYTES, links=False))
    except (OSError, ValueError):
        return None
    return record if record.schema == _SCHEMA else None


def _flat(value: Mapping[str, Any], frames: Mapping[Any, FrameSet]) -> Inputs:
    """Nested values by dotted names, as text; of frames their count too, which no digest tells."""
    flat = dict(_items(value, ""))
    for split in value.get("frames", {}):
        flat[f"frames.{split}.count"] = str(len(frames[split].frames))
    return flat


def _items(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _items(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner if isinstance(inner, str) else json.dumps(inner)


# --------------------------------------------------------------------------------------------- the report
def of_report(plan: Plan, rows: Sequence[Row]) -> tuple[str, ...]:
    """Why the report is due where every row is done; empty where it is rendered from these results already."""
    try:
        run = store.read_run(plan.results)
    except UserError:
        return (_NO_RECORD,)
    if differences := [*_set_otherwise(run, render.as_set(run, plan.settings)), *_of_others(run, plan, rows)]:
        return tuple(differences)
    folder = plan.base / "reports" / plan.name
    if not reports.is_whole(folder):
        return (_NOT_RENDERED,)
    if render.is_rendered(folder, render.mark_of(plan.results)):
        return ()
    earlier, now = run.provenance.get("bench", ""), version("bench")
    if earlier != now and render.is_rendered(folder, render.mark_of(plan.results, earlier)):
        return (_changed("bench", earlier, now),)
    return (_RENDERED_OTHERWISE,)


def _set_otherwise(run: Run, wanted: Run) -> list[str]:
    before, now = _rendered_by(run), _rendered_by(wanted)
    names = [name for name in dict.fromkeys([*now, *before]) if before.get(name) != now.get(name)]
    return [_changed(name, before.get(name), now.get(name)) for name in names]


def _rendered_by(run: Run) -> Inputs:
    """What only the report hangs on, as text, by the name that it has in the experiment file."""
    set_here = {title: getattr(run, field) for field, title in _RENDERED_BY.items()}
    set_here["choose"] = asdict(run.choose) if run.choose else None
    return {name.replace(".", " "): text for name, text in _items(set_here, "") if text != "null"}


def _of_others(run: Run, plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Which variants the report lacks, shows in another form, or shows though they are no longer asked for."""
    ids = {variant.name: variant.id for variant in run.variants}
    missing = [row.name for row in rows if row.name not in ids]
    rebuilt = [row.name for row in rows if ids.get(row.name, row.id) != row.id]
    removed = [name for name in ids if name not in plan.chains]
    groups = (("lacks", missing), ("shows another", rebuilt), ("shows the removed", removed))
    return [f"it {what} {listed(names)}" for what, names in groups if names]


# ------------------------------------------------------------------------------------------- what differs
def _of_row(plan: Plan, row: Row, record: _Record | None) -> Iterator[tuple[What, tuple[str, ...]]]:
    before = record.variants.get(row.name) if record else None
    if before is None:
        old = record is None and (plan.results / row.name / predict.MARK).exists()
        why = (_UNKNOWN if old else NEW,)
        yield from ((work, why) for work, is_due in _work(row) if is_due)
        return
    chain, shop = plan.chains[row.name], workshop(plan, silent)
    made_of = build.inputs(plan.source, chain, [link.id for link in row.links], shop)
    further_up: list[str] = []
    built_for: list[str] = []
    for place, (link, one) in enumerate(zip(row.links, made_of, strict=True)):
        earlier = before.links[place] if place < len(before.links) else None
        further_up += _differences(earlier, _flat(one, plan.frames)) if earlier else [f"{shown(link.step)} is new here"]
        if not link.built and link.of is None:
            built_for += further_up or [_GONE]
    if len(before.links) > len(row.links):
        further_up.append(f"step {shown(before.links[len(row.links)].get('step', ''))} is left out")
    kind = chain[-1].step.PRODUCES if chain else "torch"
    artifact = build.read(shop.folder, row.id) if row.links[-1].built else None
    _, predictions, times = inputs(plan, row.id, kind, artifact)
    if built_for:
        yield "build", tuple(dict.fromkeys(built_for))
    if row.frames:
        yield "evaluate", _reasons(before.predictions, _flat(predictions, plan.frames), further_up)
    if not row.timed:
        reasons = _reasons(before.times, _flat(times, plan.frames), further_up)
        yield "time", (_ASKED,) if reasons == (_GONE,) and plan.timing == "again" else reasons


def _work(row: Row) -> Iterator[tuple[What, bool]]:
    yield "build", any(not link.built and link.of is None for link in row.links)
    yield "evaluate", bool(row.frames)
    yield "time", not row.timed


def _reasons(before: Inputs | None, now: Inputs, further_up: Sequence[str]) -> tuple[str, ...]:
    """Why results are due: what made their artifact another one, and what they themselves hang on."""
    if not before:
        return (NEW,)
    same_artifact = before.get("variant") == now["variant"]
    return tuple(dict.fromkeys([*(() if same_artifact else further_up), *_differences(before, now)])) or (_GONE,)


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs, in words."""
    if before.get("step") != now.get("step"):
        return [_changed("step", before.get("step"), now.get("step"))]
    names = [name for name in dict.fromkeys([*now, *before]) if before.get(name) != now.get(name)]
    reasons = [text for name in names if (text := _difference(name, before, now))]
    machine = [text for name, text in ((n, _of_machine(n, before, now)) for n in names) if text]
    return [*dict.fromkeys(reasons), *([f"another machine: {', '.join(machine)}"] if machine else [])]


def _difference(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What is said of one name; empty where another one says it."""
    head, _, rest = name.partition(".")
    change = partial(_changed, before=before.get(name), now=now.get(name))
    if name in _INHERITED or name.endswith(".count") or (head == "machine" and rest != "python"):
        return ""
    if head == "frames":
        return _frames(rest, before, now)
    if head in _SENTENCES:
        # Of another artifact it follows; of what is not there yet nobody knows what will be in it.
        comparable = name in before and name in now and before.get("variant") == now.get("variant")
        return _SENTENCES[head] if comparable else ""
    if name in _VERSIONED or head == "versions":
        return f"{_VERSIONED.get(name, f'bench has another {shown(rest, _LONGEST)}')} ({change('version')})"
    return change(f"{_PREFIXES[head]}{rest}" if rest and head in _PREFIXES else _NAMED.get(name, name))


def _of_machine(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    head, _, fact = name.partition(".")
    if head != "machine" or fact == "python":
        return ""
    return _changed("processor" if fact == "cpu" else fact, before.get(name), now.get(name))


def _frames(split: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    counts = [given.get(f"frames.{split}.count") for given in (before, now)]
    old, new = (shown(count, 20) if count else None for count in counts)
    split = shown(split, _LONGEST)
    if old is None or new is None:
        return f"{new or 'no'} {split} frames, {'none' if old is None else old} before"
    if old != new:
        return f"{new} {split} frames instead of {old}"
    return f"other {split} frames (as many as before: {new})"


def _changed(name: str, before: str | None, now: str | None) -> str:
    """A change in words; values may be a stranger's."""
    if before is None or now is None:
        return f"{shown(name, _LONGEST)} {shown(now, _LONGEST)}, new" if now else f"{shown(name, _LONGEST)} no longer"
    return f"{shown(name, _LONGEST)} {shown(before, _LONGEST)} → {shown(now, _LONGEST)}"
