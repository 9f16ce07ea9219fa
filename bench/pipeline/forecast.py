"""What a run would do: build, evaluate, time, render, or find done already; how long, and how much disk."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import runtimes
from bench.experiment import Experiments
from bench.pipeline import estimates, present_speed, reasons
from bench.pipeline.estimates import Estimate, Known
from bench.pipeline.measure import is_time_due, keys, workshop
from bench.pipeline.plan import Plan, Timing, prepare
from bench.pipeline.present_speed import PresentSpeed
from bench.records import LABELLED_SPLITS, Event, OnEvent, silent
from bench.results import predict
from bench.variants import build

HEATMAP_BYTES, REPORT_BYTES, DRAWN_FRAME_BYTES = 20_000, 500_000, 8_000


@dataclass(frozen=True)
class Link:
    """One step of a chain. `of` is the variant further up that has the same one, None where this is the first."""

    step: str
    id: str
    built: bool
    of: str | None


@dataclass(frozen=True)
class Row:
    """What is there of a variant. `frames` are still to be evaluated, 0 where the results are there."""

    name: str
    links: tuple[Link, ...]
    runtime: str
    frames: int
    timed: bool

    @property
    def id(self) -> str:
        return self.links[-1].id


@dataclass(frozen=True)
class Stage:
    """A stage's work in words, empty where there is none, and how long it takes.

    `parts` are what its pieces take, by what events call them, where these can be foreseen one by one.
    """

    name: str
    work: str
    estimate: Estimate
    parts: tuple[tuple[str, Estimate], ...] = ()


@dataclass(frozen=True)
class Forecast:
    """Everything that `bench plan` says. `read_frames` were read to know them, in `read_s` seconds.

    `speed` is None where nothing is to be built or measured, so that nobody asked for it. `due` tells why each part
    of the work is to be done, `report_due` why the report is where nothing else is.

    `writes_bytes` is None where nobody knows the size of the network; TensorRT's engines, compiled networks
    and recover's checkpoint, which is gone in the end, are not in it.
    """

    plan: Plan
    rows: tuple[Row, ...]
    stages: tuple[Stage, ...]
    speed: PresentSpeed | None
    writes_bytes: int | None
    free_bytes: int
    read_frames: int
    read_s: float
    due: tuple[reasons.Due, ...] = ()
    report_due: tuple[str, ...] = ()


def forecast(
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    timing: Timing = "due",
    on_event: OnEvent = silent,
) -> Forecast:
    """What `run` would do with the same arguments. Nothing is written but the cache of the frames' digests."""
    read = 0

    def listen(event: Event) -> None:
        nonlocal read
        read = max(read, event.done)
        on_event(event)

    began = time.monotonic()
    plan = prepare(experiments, path, name, only=only, device=device, on_event=listen)
    plan = replace(plan, timing=timing)
    read_s = time.monotonic() - began
    known = estimates.recall(plan.base)
    rows = rows_of(plan)
    speed = _speed(plan, rows, on_event)
    stages = _stages(plan, rows, known, speed)
    writes = _writes_bytes(plan, rows, _exports(plan, rows), known)
    free = shutil.disk_usage(plan.base).free
    due = reasons.due(plan, rows) if is_drawn(plan) else ()
    report_due = reasons.of_report(plan, rows) if _is_all_done(rows) else ()
    return Forecast(plan, rows, stages, speed, writes, free, read, read_s, due, report_due)


def stages(plan: Plan, rows: Sequence[Row], on_event: OnEvent) -> tuple[Stage, ...]:
    """What a run of this plan has to do, and how long that takes at the machine's present speed."""
    return _stages(plan, rows, estimates.recall(plan.base), _speed(plan, rows, on_event))


def _speed(plan: Plan, rows: Sequence[Row], on_event: OnEvent) -> PresentSpeed | None:
    """The machine's present speed; None where all is there, or all but the report."""
    if is_drawn(plan) and _is_all_done(rows):
        return None
    on_event(Event("measuring this machine's present speed", 0, 0))
    return present_speed.measure(plan.threads)


def _stages(plan: Plan, rows: Sequence[Row], known: Known, speed: PresentSpeed | None) -> tuple[Stage, ...]:
    now = speed or estimates.quiet(plan.threads)
    return (
        _draw(plan, now),
        _build(plan, rows, known, now),
        _load(plan, rows, now),
        _evaluate(plan, rows, known, now),
        _time(plan, rows, known, now),
        _report(plan, rows, now),
    )


def is_drawn(plan: Plan) -> bool:
    """Whether the frames are there: those of the demo may be yet to be drawn."""
    return bool(plan.frames["test"].digest)


# ------------------------------------------------------------------------------------------- what is there
def rows_of(plan: Plan) -> tuple[Row, ...]:
    """A row for each variant that is wanted."""
    shop = workshop(plan, silent)
    first: dict[str, str] = {}
    rows = []
    for name, chain in plan.chains.items():
        if name not in plan.wanted:
            continue
        lineage = build.ids(plan.source, chain, shop)
        links = tuple(
            Link(text, one, build.is_built(shop.folder, one), first.get(one))
            for one, text in zip(lineage, ["the weights", *(use.text for use in chain)], strict=True)
        )
        for one in lineage:
            first.setdefault(one, name)
        kind = chain[-1].step.PRODUCES if chain else "torch"
        built = build.read(shop.folder, lineage[-1]) if links[-1].built else None
        runtime, predictions_key, timing_key = keys(plan, lineage[-1], kind, built)
        folder = plan.results / name
        frames = _frames_left(plan, folder, predictions_key)
        rows.append(Row(name, links, runtime, frames, not is_time_due(plan, folder, timing_key)))
    return tuple(rows)


def _frames_left(plan: Plan, folder: Path, key: str) -> int:
    """Labelled frames without results; what an interrupted run has finished counts as done."""
    if predict.is_done(folder, key):
        return 0
    count = sum(len(plan.frames[split].frames) for split in LABELLED_SPLITS if split in plan.frames)
    shards = len(list((folder / predict.SHARDS / key).glob("?????????.npz")))
    return max(1, count - shards * predict.SHARD_FRAMES)


def _executables(rows: Sequence[Row]) -> set[tuple[Row, str]]:
    """What is loaded: whatever lacks results, and beside each that is timed the baseline in the same runtime."""
    untimed = [row for row in rows if not row.timed]
    return {(row, row.runtime) for row in rows if row.frames or not row.timed} | {
        (rows[0], row.runtime) for row in untimed
    }


def _exports(plan: Plan, rows: Sequence[Row]) -> list[Row]:
    """Variants that a runtime must export first, which it does once."""
    torch = {row.name for row in rows if not (chain := plan.chains[row.name]) or chain[-1].step.PRODUCES == "torch"}
    wanted = {
        row.id: row for row, name in _executables(rows) if row.name in torch and "onnx" in runtimes.find(name).ACCEPTS
    }
    variants = plan.base / "variants"
    return [row for one, row in wanted.items() if not any((variants / one).glob("*.exported-*.onnx"))]


def _compile_s(plan: Plan, rows: Sequence[Row]) -> list[float]:
    """Seconds for each artifact that a runtime must compile first, which it does once on a machine."""
    seconds = {(row.id, name): getattr(runtimes.find(name), "COMPILE_SECONDS", 0.0) for row, name in _executables(rows)}
    variants = plan.base / "variants"
    return [s for (one, name), s in seconds.items() if s and not any((variants / one).glob(f"*.{name}-*.pt2"))]


# ---------------------------------------------------------------------------------------------- the stages
def _draw(plan: Plan, now: PresentSpeed) -> Stage:
    if is_drawn(plan):
        return Stage("draw", "", Estimate())
    count = sum(len(frames.frames) for frames in plan.frames.values())
    takes = estimates.by_rate(count * estimates.DRAWN_FRAME_SECONDS, estimates.PARALLEL, now)
    return Stage("draw", f"{count:,} frames of the demo set", takes)


def _build(plan: Plan, rows: Sequence[Row], known: Known, now: PresentSpeed) -> Stage:
    due = []
    for row in rows:
        chain = plan.chains[row.name]
        for length, link in enumerate(row.links):
            if not link.built and link.of is None:
                part = chain[:length]
                due.append((build.title_of(row.name, part), estimates.step(plan, part, known, now)))
    whole = estimates.total(estimate for _, estimate in due)
    return Stage("build", _counted(len(due), "artifact"), whole, tuple(due))


def _load(plan: Plan, rows: Sequence[Row], now: PresentSpeed) -> Stage:
    exports, compile_s = _exports(plan, rows), _compile_s(plan, rows)
    loaded = len(_executables(rows))
    work = f"{_counted(loaded, 'variant')}, {len(exports)} exported first" if loaded else ""
    if compile_s:
        work += f", {len(compile_s)} compiled first"
    seconds = loaded * estimates.LOAD_SECONDS + len(exports) * estimates.EXPORT_SECONDS + sum(compile_s)
    seconds += len(_structures(plan, exports) - _traced(plan, rows)) * estimates.TRACE_SECONDS
    seconds += sum(_is_onnx(plan, row) for row in rows if row.frames) * estimates.SETTLE_SECONDS
    return Stage("load", work, estimates.by_rate(seconds, estimates.SERIAL, now) if loaded else Estimate())


def _is_onnx(plan: Plan, row: Row) -> bool:
    chain = plan.chains[row.name]
    return bool(chain) and chain[-1].step.PRODUCES == "onnx"


def _structures(plan: Plan, rows: Sequence[Row]) -> set[tuple[str, ...]]:
    """What networks there are, numbers aside: each is traced once in a run, whoever exports it."""
    return {tuple(use.text for use in plan.chains[row.name] if use.name == "prune") for row in rows}


def _traced(plan: Plan, rows: Sequence[Row]) -> set[tuple[str, ...]]:
    """Those that building traces already."""
    return _structures(plan, [row for row in rows if _is_onnx(plan, row) and not row.links[-1].built])


def _evaluate(plan: Plan, rows: Sequence[Row], known: Known, now: PresentSpeed) -> Stage:
    due = [row for row in rows if row.frames]
    if not due:
        return Stage("evaluate", "", Estimate())
    frames = max(row.frames for row in due)
    work = f"{_counted(len(due), 'variant')} on {frames:,} frames"
    passes = estimates.total(_frame(plan, row, row.runtime, known, now) * row.frames for row in due)
    decoded = estimates.by_rate(frames * estimates.DECODED_FRAME_SECONDS, estimates.PARALLEL, now)
    return Stage("evaluate", work, passes + decoded)


def _time(plan: Plan, rows: Sequence[Row], known: Known, now: PresentSpeed) -> Stage:
    untimed = [row for row in rows if not row.timed]
    wanted = {(row.id, row.runtime): row for row in untimed}
    wanted |= {(rows[0].id, row.runtime): rows[0] for row in untimed}
    beside = len(wanted) - len({(row.id, row.runtime) for row in untimed})
    work = _counted(len(untimed), "variant") + (", the baseline beside them" if untimed and beside else "")
    due = (estimates.timed(plan, _frame(plan, row, runtime, known, now), now) for (_, runtime), row in wanted.items())
    return Stage("time", work, estimates.total(due))


def _report(plan: Plan, rows: Sequence[Row], now: PresentSpeed) -> Stage:
    if _is_all_done(rows) and not reasons.of_report(plan, rows):
        return Stage("report", "", Estimate())
    seconds = estimates.REPORT_SECONDS + _heatmaps(plan) * estimates.HEATMAP_SECONDS
    return Stage("report", "due", estimates.by_rate(seconds, estimates.SERIAL, now))


def _is_all_done(rows: Sequence[Row]) -> bool:
    """Whether every row is, so that at most the report is due."""
    return all(row.timed and not row.frames for row in rows)


def _frame(plan: Plan, row: Row, runtime: str, known: Known, now: PresentSpeed) -> Estimate:
    return estimates.frame(plan, plan.chains[row.name], runtime, known, now)


def _heatmaps(plan: Plan) -> int:
    """How many heatmaps the report draws at most."""
    gallery, count = plan.settings.gallery, len(plan.frames["test"].frames)
    each = count if gallery.heatmaps == "all" else min(count, 4 * gallery.top)
    return each * len(plan.wanted)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}" if count else ""


# -------------------------------------------------------------------------------------------------- disk
def _writes_bytes(plan: Plan, rows: Sequence[Row], exports: Sequence[Row], known: Known) -> int | None:
    artifacts = _artifact_bytes(plan, rows, exports, known)
    if artifacts is None:
        return None
    # A score's row, and the map of 32 pixels to a cell; twice, since shards are merged before they go.
    predicted = sum(row.frames for row in rows) * 2 * (100 + 4 * math.ceil(plan.spec.size / 32) ** 2)
    drawn = 0 if is_drawn(plan) else sum(len(frames.frames) for frames in plan.frames.values()) * DRAWN_FRAME_BYTES
    rendered = (
        _heatmaps(plan) * HEATMAP_BYTES + REPORT_BYTES if _report(plan, rows, estimates.quiet(plan.threads)).work else 0
    )
    return artifacts + predicted + drawn + rendered


def _artifact_bytes(plan: Plan, rows: Sequence[Row], exports: Sequence[Row], known: Known) -> int | None:
    detector = estimates.weights_bytes(plan, known)
    if detector is None:
        due = exports or any(not link.built for row in rows for link in row.links)
        return None if due else 0
    written = 0.0
    for row in rows:
        stored = numbers = float(detector)
        for use, link in zip((None, *plan.chains[row.name]), row.links, strict=True):
            if use:
                stored, numbers = estimates.bytes_left(use, stored, numbers)
            written += stored if not link.built and link.of is None else 0
        # What is exported is in fp32, however it was stored.
        written += numbers if row in exports else 0
    return round(written)
