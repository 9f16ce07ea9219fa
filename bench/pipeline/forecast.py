"""What a run would build, evaluate, time and render, what it would reuse, and how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import runtimes
from bench.pipeline import estimates, present_speed, report_reasons
from bench.pipeline.build import build_context
from bench.pipeline.estimates import Estimate
from bench.pipeline.history import History, recall
from bench.pipeline.jobs import is_time_due, keys
from bench.pipeline.prepare import Prepared
from bench.pipeline.present_speed import PresentSpeed
from bench.records import LABELLED_SPLITS, Event, OnEvent, silent
from bench.results import predict
from bench.variants import build, cache, ids


@dataclass(frozen=True)
class Link:
    """A step of a chain. `of` is the variant of an earlier row that shares its artifact, None in the first such row."""

    step: str
    id: str
    built: bool
    of: str | None


@dataclass(frozen=True)
class Row:
    """What exists of a variant; `frames` are still to be evaluated, 0 where the results exist."""

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

    `parts` are the estimates of its pieces, each with the `work` of its events, where they are estimated one by one.
    """

    name: str
    work: str
    estimate: Estimate
    parts: tuple[tuple[str, Estimate], ...] = ()


def stages(prepared: Prepared, rows: Sequence[Row], on_event: OnEvent) -> tuple[Stage, ...]:
    """What a run has to do, and how long that takes at the machine's present speed."""
    return stages_at(prepared, rows, recall(prepared.base), present(prepared, rows, on_event))


def present(prepared: Prepared, rows: Sequence[Row], on_event: OnEvent) -> PresentSpeed | None:
    """The machine's present speed; None where nothing is due but the report."""
    if is_drawn(prepared) and is_all_done(rows):
        return None
    on_event(Event("measuring this machine's present speed", 0, 0))
    return present_speed.measure(prepared.threads)


def stages_at(
    prepared: Prepared, rows: Sequence[Row], history: History, speed: PresentSpeed | None
) -> tuple[Stage, ...]:
    """What a run has to do, and how long that takes at `speed`, or on an idle machine without it."""
    now = speed or estimates.quiet(prepared.threads)
    return (
        _draw(prepared, now),
        _build(prepared, rows, history, now),
        _load(prepared, rows, now),
        _evaluate(prepared, rows, history, now),
        _time(prepared, rows, history, now),
        _report(prepared, rows, now),
    )


def is_drawn(prepared: Prepared) -> bool:
    """Whether the frames exist; those of the demo are drawn by the first run."""
    return bool(prepared.frames["test"].digest)


# ------------------------------------------------------------------------------------------- what exists
def rows_of(prepared: Prepared) -> tuple[Row, ...]:
    """A row for each selected variant."""
    context = build_context(prepared, silent)
    first: dict[str, str] = {}
    rows = []
    for name, chain in prepared.chains.items():
        if name not in prepared.selected:
            continue
        lineage = ids.of_chain(prepared.source, chain, context)
        links = tuple(
            Link(text, variant, cache.is_built(context.folder, variant), first.get(variant))
            for variant, text in zip(lineage, ["the weights", *(use.text for use in chain)], strict=True)
        )
        for variant in lineage:
            first.setdefault(variant, name)
        kind = chain[-1].step.PRODUCES if chain else "torch"
        built = cache.read(context.folder, lineage[-1]) if links[-1].built else None
        runtime, predictions_key, timing_key = keys(prepared, lineage[-1], kind, built)
        folder = prepared.results / name
        frames = _frames_left(prepared, folder, predictions_key)
        rows.append(Row(name, links, runtime, frames, not is_time_due(prepared, folder, timing_key)))
    return tuple(rows)


def _frames_left(prepared: Prepared, folder: Path, key: str) -> int:
    """How many labelled frames have no results; the shards of an interrupted run count as done."""
    if predict.is_done(folder, key):
        return 0
    count = sum(len(prepared.frames[split].frames) for split in LABELLED_SPLITS if split in prepared.frames)
    shards = len(list((folder / predict.SHARDS / key).glob("?????????.npz")))
    return max(1, count - shards * predict.SHARD_FRAMES)


def _executables(rows: Sequence[Row]) -> set[tuple[Row, str]]:
    """What is loaded: the rows that lack results, and for each that is timed the baseline in the same runtime."""
    untimed = [row for row in rows if not row.timed]
    return {(row, row.runtime) for row in rows if row.frames or not row.timed} | {
        (rows[0], row.runtime) for row in untimed
    }


def exports(prepared: Prepared, rows: Sequence[Row]) -> list[Row]:
    """Variants that a runtime must export first, which it does once."""
    torch = {row.name for row in rows if not (chain := prepared.chains[row.name]) or chain[-1].step.PRODUCES == "torch"}
    needed = {
        row.id: row for row, name in _executables(rows) if row.name in torch and "onnx" in runtimes.find(name).ACCEPTS
    }
    variants = prepared.variants
    return [row for variant, row in needed.items() if not any((variants / variant).glob("*.exported-*.onnx"))]


def _compile_s(prepared: Prepared, rows: Sequence[Row]) -> list[float]:
    """Seconds for each artifact that a runtime must compile first, which it does once on a machine."""
    seconds = {(row.id, name): getattr(runtimes.find(name), "COMPILE_SECONDS", 0.0) for row, name in _executables(rows)}
    variants = prepared.variants
    return [
        compile_s
        for (variant, runtime), compile_s in seconds.items()
        if compile_s and not any((variants / variant).glob(f"*.{runtime}-*.pt2"))
    ]


# ---------------------------------------------------------------------------------------------- the stages
def _draw(prepared: Prepared, now: PresentSpeed) -> Stage:
    if is_drawn(prepared):
        return Stage("draw", "", Estimate())
    count = sum(len(frames.frames) for frames in prepared.frames.values())
    takes = estimates.by_rate(count * estimates.DRAWN_FRAME_SECONDS, estimates.PARALLEL, now)
    return Stage("draw", f"{count:,} frames of the demo set", takes)


def _build(prepared: Prepared, rows: Sequence[Row], history: History, now: PresentSpeed) -> Stage:
    due = []
    for row in rows:
        chain = prepared.chains[row.name]
        for length, link in enumerate(row.links):
            if not link.built and link.of is None:
                part = chain[:length]
                due.append((build.title_of(row.name, part), estimates.step(prepared, part, history, now)))
    whole = estimates.total(estimate for _, estimate in due)
    return Stage("build", _counted(len(due), "artifact"), whole, tuple(due))


def _load(prepared: Prepared, rows: Sequence[Row], now: PresentSpeed) -> Stage:
    exported, compile_s = exports(prepared, rows), _compile_s(prepared, rows)
    loaded = len(_executables(rows))
    work = f"{_counted(loaded, 'variant')}, {len(exported)} exported first" if loaded else ""
    if compile_s:
        work += f", {len(compile_s)} compiled first"
    seconds = loaded * estimates.LOAD_SECONDS + len(exported) * estimates.EXPORT_SECONDS + sum(compile_s)
    seconds += len(_structures(prepared, exported) - _traced(prepared, rows)) * estimates.TRACE_SECONDS
    seconds += sum(_is_onnx(prepared, row) for row in rows if row.frames) * estimates.SETTLE_SECONDS
    return Stage("load", work, estimates.by_rate(seconds, estimates.SERIAL, now) if loaded else Estimate())


def _is_onnx(prepared: Prepared, row: Row) -> bool:
    chain = prepared.chains[row.name]
    return bool(chain) and chain[-1].step.PRODUCES == "onnx"


def _structures(prepared: Prepared, rows: Sequence[Row]) -> set[tuple[str, ...]]:
    """The distinct network structures of rows: a run traces each of them once."""
    return {tuple(use.text for use in prepared.chains[row.name] if use.leaves.operations < 1) for row in rows}


def _traced(prepared: Prepared, rows: Sequence[Row]) -> set[tuple[str, ...]]:
    """The structures that are traced while variants are built."""
    return _structures(prepared, [row for row in rows if _is_onnx(prepared, row) and not row.links[-1].built])


def _evaluate(prepared: Prepared, rows: Sequence[Row], history: History, now: PresentSpeed) -> Stage:
    due = [row for row in rows if row.frames]
    if not due:
        return Stage("evaluate", "", Estimate())
    frames = max(row.frames for row in due)
    work = f"{_counted(len(due), 'variant')} on {frames:,} frames"
    passes = estimates.total(_frame(prepared, row, row.runtime, history, now) * row.frames for row in due)
    decoded = estimates.by_rate(frames * estimates.DECODED_FRAME_SECONDS, estimates.PARALLEL, now)
    return Stage("evaluate", work, passes + decoded)


def _time(prepared: Prepared, rows: Sequence[Row], history: History, now: PresentSpeed) -> Stage:
    untimed = [row for row in rows if not row.timed]
    executables = {(row.id, row.runtime): row for row in untimed}
    executables |= {(rows[0].id, row.runtime): rows[0] for row in untimed}
    beside = len(executables) - len({(row.id, row.runtime) for row in untimed})
    work = _counted(len(untimed), "variant") + (", the baseline beside them" if untimed and beside else "")
    due = (
        estimates.timed(prepared, _frame(prepared, row, runtime, history, now), now)
        for (_, runtime), row in executables.items()
    )
    return Stage("time", work, estimates.total(due))


def _report(prepared: Prepared, rows: Sequence[Row], now: PresentSpeed) -> Stage:
    if is_all_done(rows) and not report_reasons.of_report(prepared, rows):
        return Stage("report", "", Estimate())
    seconds = estimates.REPORT_SECONDS + heatmaps(prepared) * estimates.HEATMAP_SECONDS
    return Stage("report", "due", estimates.by_rate(seconds, estimates.SERIAL, now))


def is_all_done(rows: Sequence[Row]) -> bool:
    """Whether every row is done, so that at most the report is due."""
    return all(row.timed and not row.frames for row in rows)


def _frame(prepared: Prepared, row: Row, runtime: str, history: History, now: PresentSpeed) -> Estimate:
    return estimates.frame(prepared, prepared.chains[row.name], runtime, history, now)


def heatmaps(prepared: Prepared) -> int:
    """How many heatmaps the report draws at most."""
    gallery, count = prepared.settings.gallery, len(prepared.frames["test"].frames)
    each = count if gallery.heatmaps == "all" else min(count, 4 * gallery.top)
    return each * len(prepared.selected)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}" if count else ""
