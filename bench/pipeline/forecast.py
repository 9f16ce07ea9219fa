"""What a run would build, evaluate, time and render, what it would reuse, and how long it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import datasets, runtimes
from bench.errors import counted
from bench.pipeline import (
    degrade,
    degraded,
    estimates,
    face_points,
    former,
    occlude,
    occlusions,
    present_speed,
    report_reasons,
)
from bench.pipeline.build import build_context
from bench.pipeline.estimates import Estimate
from bench.pipeline.evaluate import work_on
from bench.pipeline.footage import Pending
from bench.pipeline.history import History, recall
from bench.pipeline.jobs import Executable, is_time_due, keys
from bench.pipeline.prepared import Prepared, Setup
from bench.pipeline.present_speed import PresentSpeed
from bench.pipeline.search import outlook
from bench.records import LABELLED_SPLITS, Degradation, Event, OnEvent, silent
from bench.results import predict
from bench.variants import build, cache, ids
from bench.variants.steps import Use


@dataclass(frozen=True)
class Link:
    """A step of a chain. `of` is the variant of an earlier row that shares its artifact, None in the first such row."""

    step: str
    id: str
    built: bool
    of: str | None


@dataclass(frozen=True)
class Row:
    """What exists of a variant on a frame set; `frames` are still to be evaluated, 0 where the results exist.

    `timed` is whether nothing is to be timed: on all frame sets but the first, or where the times exist. `blurred` is
    whether no regions of the galleries' frames are to be blurred. `degraded` are the re-compressed frames that are
    still to be evaluated, by level. `moves` is whether its results lie where the experiment had them with other
    detectors or frame sets.
    """

    name: str
    links: tuple[Link, ...]
    runtime: str
    frames: int
    timed: bool
    blurred: bool
    setup: Setup = field(repr=False)
    degraded: Mapping[Degradation, int] = field(default_factory=dict)
    moves: bool = False

    @property
    def id(self) -> str:
        return self.links[-1].id

    @property
    def executable(self) -> Executable:
        return self.id, self.runtime

    @property
    def chain(self) -> tuple[Use, ...]:
        return self.setup.chains[self.name]

    @property
    def result_title(self) -> str:
        return self.setup.result_title(self.name)

    @property
    def is_onnx(self) -> bool:
        """Whether the artifact is an ONNX file already."""
        return self.setup.kind_of(self.name) == "onnx"


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
    return stages_at(prepared, rows, recall(prepared.first.base, prepared.folders), present(prepared, rows, on_event))


def present(prepared: Prepared, rows: Sequence[Row], on_event: OnEvent) -> PresentSpeed | None:
    """The machine's present speed; None where nothing is due but the report."""
    if are_frames_read(prepared) and is_all_done(rows) and is_blurred(rows) and not any(outlook.due(prepared)):
        return None
    on_event(Event("measuring this machine's present speed", 0, 0))
    return present_speed.measure(prepared.first.threads)


def stages_at(
    prepared: Prepared, rows: Sequence[Row], history: History, speed: PresentSpeed | None
) -> tuple[Stage, ...]:
    """What a run has to do, and how long that takes at `speed`, or on an idle machine without it."""
    now = speed or estimates.quiet(prepared.first.threads)
    return (
        _draw(prepared, now),
        *_search(prepared, history, now),
        _build(rows, history, now),
        _load(rows, now),
        _evaluate(prepared, rows, history, now),
        *([_degrade(prepared, rows, history, now)] if prepared.first.settings.robustness else []),
        _blur(rows, history, now),
        *([_faces(prepared, now)] if prepared.first.settings.regions else []),
        _time(rows, history, now),
        _report(prepared, rows, now),
    )


def is_drawn(prepared: Prepared) -> bool:
    """Whether the frames exist; those of the demo are drawn by the first run, those of videos extracted."""
    return not undrawn(prepared)


def are_frames_read(prepared: Prepared) -> bool:
    """Whether the content of every frame is known, on which ids and keys depend."""
    return is_drawn(prepared) and not prepared.unread


# ------------------------------------------------------------------------------------------- what exists
def rows_of(prepared: Prepared) -> tuple[Row, ...]:
    """A row for each selected variant on each frame set."""
    first: dict[str, str] = {}
    rows = []
    for setup in prepared.setups:
        context = build_context(setup, silent)
        of_baseline = ""
        for name, chain in setup.chains.items():
            if name not in setup.selected:
                continue
            lineage = ids.of_chain(setup.source, chain, context)
            links = tuple(
                Link(text, variant, cache.is_built(context.folder, variant), first.get(variant))
                for variant, text in zip(lineage, ["the weights", *(use.text for use in chain)], strict=True)
            )
            for variant in lineage:
                first.setdefault(variant, setup.title(name))
            row, predictions_key = _row(setup, name, links, of_baseline)
            of_baseline = of_baseline or predictions_key
            rows.append(row)
    return tuple(rows)


def _row(setup: Setup, name: str, links: tuple[Link, ...], of_baseline: str) -> tuple[Row, str]:
    """A row and the key of its predictions; `of_baseline` is that of the baseline's, empty for itself."""
    last = links[-1]
    built = cache.read(setup.variants, last.id) if last.built else None
    runtime, predictions_key, timing_key = keys(
        setup, last.id, setup.kind_of(name), built, imported=name in setup.imported
    )
    folder = former.folder_of(setup, name, predictions_key)
    frames = _frames_left(setup, folder, predictions_key)
    timed = not is_time_due(setup, folder if setup.is_first_set else setup.times_folder / name, timing_key)
    blurred = not occlusions.is_due(setup, folder, predictions_key, of_baseline or predictions_key)
    left = degraded.frames_left(setup, folder, predictions_key)
    moves = folder != setup.results / name
    return Row(name, links, runtime, frames, timed, blurred, setup, left, moves), predictions_key


def _frames_left(setup: Setup, folder: Path, key: str) -> int:
    """How many labelled frames have no results; the shards of an interrupted run count as done."""
    count = sum(len(setup.frames[split].frames) for split in LABELLED_SPLITS if split in setup.frames)
    return predict.rows_left(folder, key, count)


def _timed_together(rows: Sequence[Row]) -> dict[Executable, Row]:
    """What is timed, the row of each: variants without times, and their baselines in the same runtimes."""
    by_key = {row.setup.key(row.name): row for row in rows}
    untimed = [row for row in rows if not row.timed]
    beside = [(by_key[row.setup.key(row.setup.baseline)], row.runtime) for row in untimed]
    return {row.executable: row for row in untimed} | {(row.id, runtime): row for row, runtime in beside}


def _executables(rows: Sequence[Row]) -> dict[Executable, Row]:
    """What is loaded, the row of each: the rows that lack results, and what is timed beside them."""
    lacking = [row for row in rows if row.frames or row.degraded or not row.timed or not row.blurred]
    return {row.executable: row for row in lacking} | _timed_together(rows)


def exports(rows: Sequence[Row]) -> list[Row]:
    """Variants that a runtime must export first, which it does once."""
    needed = {
        row.id: row
        for (_, runtime), row in _executables(rows).items()
        if not row.is_onnx and "onnx" in runtimes.find(runtime).ACCEPTS
    }
    return [row for row in needed.values() if not any((row.setup.variants / row.id).glob("*.exported-*.onnx"))]


def _compile_s(rows: Sequence[Row]) -> list[float]:
    """Seconds for each artifact that a runtime must compile first, which it does once on a machine."""
    seconds = []
    for (variant, runtime), row in _executables(rows).items():
        compile_s = getattr(runtimes.find(runtime), "COMPILE_SECONDS", 0.0)
        if compile_s and not any((row.setup.variants / variant).glob(f"*.{runtime}-*.pt2")):
            seconds.append(compile_s)
    return seconds


# ---------------------------------------------------------------------------------------------- the stages
def _draw(prepared: Prepared, now: PresentSpeed) -> Stage:
    """Drawing the demo set, or extracting the frames of videos."""
    if due := pending(prepared):
        seconds = sum(estimates.extraction_s(each) for each in due.values())
        videos = _counted(sum(each.videos for each in due.values()), "video")
        work = f"frames of {videos}" if videos else "frames of an earlier run, linked"
        return Stage("extract", work, estimates.by_rate(seconds, estimates.PARALLEL, now))
    count = undrawn(prepared)
    if not count:
        return Stage("draw", "", Estimate())
    takes = estimates.by_rate(count * estimates.DRAWN_FRAME_SECONDS, estimates.PARALLEL, now)
    return Stage("draw", f"{counted(count, 'frame')} of the demo set", takes)


def pending(prepared: Prepared) -> dict[str, Pending]:
    """The videos that are still to be extracted, by frame set."""
    return prepared.pending


def undrawn(prepared: Prepared) -> int:
    """How many frames are still to be drawn, of the demo set, or extracted."""
    return sum(
        len(frames.frames)
        for of_set in prepared.frames_by_set.values()
        if not any(frames.unread for frames in of_set.values())
        for frames in of_set.values()
        if not frames.digest and not frames.unread
    )


def _search(prepared: Prepared, history: History, now: PresentSpeed) -> tuple[Stage, ...]:
    """Finding the chains of variants that are searches; no stage where all are found."""
    due = {search.title: search for search in outlook.due(prepared)}
    if not due:
        return ()
    takes = estimates.total(outlook.takes(search, history, now) for search in due.values())
    most = ", ".join(f"{title}: at most {counted(search.most, 'chain')} built" for title, search in due.items())
    return (Stage("search", most, takes),)


def _build(rows: Sequence[Row], history: History, now: PresentSpeed) -> Stage:
    due = []
    for row in rows:
        for length, link in enumerate(row.links):
            if not link.built and link.of is None:
                part = row.chain[:length]
                title = build.title_of(row.setup.title(row.name), part)
                due.append((title, estimates.step(row.setup, part, history, now)))
    whole = estimates.total(estimate for _, estimate in due)
    return Stage("build", _counted(len(due), "artifact"), whole, tuple(due))


def _load(rows: Sequence[Row], now: PresentSpeed) -> Stage:
    """Loading artifacts, with what is exported, compiled or measured of each once."""
    exported, compile_s = exports(rows), _compile_s(rows)
    loaded = len(_executables(rows))
    work = f"{_counted(loaded, 'variant')}, {len(exported)} exported first" if loaded else ""
    if compile_s:
        work += f", {len(compile_s)} compiled first"
    seconds = loaded * estimates.LOAD_SECONDS + len(exported) * estimates.EXPORT_SECONDS + sum(compile_s)
    seconds += len(_structures(exported) - _traced(rows)) * estimates.TRACE_SECONDS
    settled = {row.executable for row in rows if row.frames and row.is_onnx}
    seconds += len(settled) * estimates.SETTLE_SECONDS
    clipping = (estimates.clipping_s(row.setup, row.chain) for row in rows if row.frames and row.is_onnx)
    estimate = estimates.by_rate(seconds, estimates.SERIAL, now)
    estimate += estimates.by_rate(sum(clipping), estimates.PARALLEL, now)
    return Stage("load", work, estimate if loaded else Estimate())


def _structures(rows: Sequence[Row]) -> set[tuple[str, ...]]:
    """The distinct network structures of rows: a run traces each of them once."""
    return {(row.setup.source.digest, *(use.text for use in row.chain if use.leaves.operations < 1)) for row in rows}


def _traced(rows: Sequence[Row]) -> set[tuple[str, ...]]:
    """The structures that are traced while variants are built."""
    return _structures([row for row in rows if row.is_onnx and not row.links[-1].built])


def _evaluate(prepared: Prepared, rows: Sequence[Row], history: History, now: PresentSpeed) -> Stage:
    """A pass over each frame set with variants that lack results there."""
    passes, works = [], []
    for name, setups in prepared.by_frame_set.items():
        due = [row for row in rows if row.frames and row.setup.frame_set == name]
        if due:
            frames = max(row.frames for row in due)
            decoded = estimates.by_rate(frames * estimates.DECODED_FRAME_SECONDS, estimates.PARALLEL, now)
            computed = estimates.total(_frame(row, row.runtime, history, now) * row.frames for row in due)
            passes.append((work_on(setups[0]), computed + decoded))
            works.append(f"{_counted(len(due), 'variant')} on {frames:,} frames{prepared.of_frames(name)}")
    return Stage("evaluate", ", ".join(works), estimates.total(takes for _, takes in passes), tuple(passes))


def _degrade(prepared: Prepared, rows: Sequence[Row], history: History, now: PresentSpeed) -> Stage:
    """A pass over the test frames of each set, re-compressed, with the variants and levels that lack results."""
    passes, works = [], []
    for name, setups in prepared.by_frame_set.items():
        due = [row for row in rows if row.degraded and row.setup.frame_set == name]
        if due:
            most: dict[Degradation, int] = {}
            for row in due:
                most |= {level: max(left, most.get(level, 0)) for level, left in row.degraded.items()}
            pixels_s = sum(left * datasets.degradations.seconds(level.kind) for level, left in most.items())
            pixels_s += max(most.values()) * estimates.DECODED_FRAME_SECONDS
            changed = estimates.by_rate(pixels_s, estimates.PARALLEL, now)
            frames = [(row, sum(row.degraded.values())) for row in due]
            computed = estimates.total(_frame(row, row.runtime, history, now) * left for row, left in frames)
            passes.append((degrade.work_on(setups[0]), computed + changed))
            evaluations = _counted(sum(len(row.degraded) for row in due), "evaluation")
            works.append(f"{evaluations} of {max(most.values()):,} frames{prepared.of_frames(name)}")
    return Stage("re-compress", ", ".join(works), estimates.total(takes for _, takes in passes), tuple(passes))


def _blur(rows: Sequence[Row], history: History, now: PresentSpeed) -> Stage:
    """Blurring regions of the galleries' frames, of which some may be blurred already."""
    due = [row for row in rows if not row.blurred]
    passes: dict[str, Estimate] = {}
    for row in due:
        work, answers = occlude.work_on(row.setup), occlusions.answers(row.setup, row.name)
        passes[work] = passes.get(work, Estimate()) + _frame(row, row.runtime, history, now) * answers
    work = f"frames of the galleries of {_counted(len(due), 'variant')}" if due else ""
    return Stage("blur", work, estimates.total(passes.values()), tuple(passes.items()))


def _faces(prepared: Prepared, now: PresentSpeed) -> Stage:
    """Finding faces in the test frames that nobody has looked at, for every detector's input."""
    passes, count = [], 0
    for setup in prepared.setups:
        if left := face_points.frames_left(setup):
            seconds = left * (face_points.FRAME_SECONDS + estimates.DECODED_FRAME_SECONDS)
            passes.append((face_points.work_on(setup), estimates.by_rate(seconds, estimates.SERIAL, now)))
            count += left
    return Stage("faces", _counted(count, "frame"), estimates.total(takes for _, takes in passes), tuple(passes))


def _time(rows: Sequence[Row], history: History, now: PresentSpeed) -> Stage:
    untimed, timed = [row for row in rows if not row.timed], _timed_together(rows)
    has_others = len(timed) > len({row.executable for row in untimed})
    work = _counted(len(untimed), "variant") + (", the baseline beside them" if has_others else "")
    due = (estimates.timed(row.setup, _frame(row, runtime, history, now), now) for (_, runtime), row in timed.items())
    return Stage("time", work, estimates.total(due))


def _report(prepared: Prepared, rows: Sequence[Row], now: PresentSpeed) -> Stage:
    if is_all_done(rows) and is_blurred(rows) and not report_reasons.of_reports(prepared, rows):
        return Stage("report", "", Estimate())
    seconds = estimates.REPORT_SECONDS * len(prepared.setups) + heatmaps(prepared) * estimates.HEATMAP_SECONDS
    return Stage("report", "due", estimates.by_rate(seconds, estimates.SERIAL, now))


def is_all_done(rows: Sequence[Row]) -> bool:
    """Whether every row has its results, so that at most the report is due, and frames to be blurred for it."""
    return all(row.timed and not row.frames and not row.degraded for row in rows)


def is_blurred(rows: Sequence[Row]) -> bool:
    """Whether no frames of galleries are to be blurred."""
    return all(row.blurred for row in rows)


def _frame(row: Row, runtime: str, history: History, now: PresentSpeed) -> Estimate:
    return estimates.frame(row.setup, row.chain, runtime, history, now)


def heatmaps(prepared: Prepared) -> int:
    """How many heatmaps the reports draw at most."""
    drawn = 0
    for setup in prepared.setups:
        gallery, count = setup.settings.gallery, len(setup.frames["test"].frames)
        each = count if gallery.heatmaps == "all" else min(count, 4 * gallery.top)
        drawn += each * len(setup.selected)
    return drawn


def _counted(count: int, noun: str) -> str:
    """How many of what; empty where there is nothing."""
    return counted(count, noun) if count else ""
