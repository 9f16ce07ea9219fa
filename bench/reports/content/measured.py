"""How it was measured, in tables: what executed where, times, the machine meanwhile, where all came from."""

from __future__ import annotations

from bench.errors import counted
from bench.records import (
    CalibrationShift,
    Conditions,
    Evaluation,
    Fidelity,
    PredictionPass,
    Recovery,
    RunRecord,
    SplitSummary,
    Timing,
    VariantResult,
)
from bench.reports.content.cells import EMPTY, Cell, Column, Table, cell, columns, table, variant_cell
from bench.reports.content.spans import Sentence, code, listed, sentence, strong, with_code
from bench.reports.content.text import NONE, dtypes, fitted, number, rough, small

DISTURBED = 0.1
"""A larger share of all cores than this, used by others, is worth a warning."""

STARVED = 0.1
"""Where a larger share of an evaluation than this was spent waiting for decoded frames, decoding was its limit."""


def sessions(run: RunRecord) -> list[Conditions]:
    """The sessions that the run's times were taken in."""
    distinct: list[Conditions] = []
    for variant in run.variants:
        if variant.status == "ok" and variant.conditions and variant.conditions not in distinct:
            distinct.append(variant.conditions)
    return distinct


def disturbances(run: RunRecord) -> list[Conditions]:
    """The sessions of timing that others' work, or a GPU that was slowed down, may have disturbed."""
    return [
        session
        for session in sessions(run)
        if (session.others_cpu or 0) > DISTURBED
        or session.gpu_processes
        or session.gpu_throttling
        or session.is_throttled
    ]


def execution(run: RunRecord) -> Table | None:
    """What really executed where; None where nothing did."""
    variants = [variant for variant in run.variants if variant.status == "ok"]
    if not any(variant.executed for variant in variants):
        return None
    titles = ["Model", "Steps", "Runtime", "Device", "int8 operators", "Fidelity"]
    titles += ["Clipping noise", "Format", "Providers", "Mode", "Threads", "Id"]
    return table(columns(titles, "left"), map(_executed, variants))


def _executed(variant: VariantResult) -> list[Cell]:
    """The row of a variant in the table of what executed where."""
    head = [variant_cell(variant.name), _of(", ".join(variant.steps))]
    identity = cell(code(variant.id[:8]))
    executed = variant.executed
    if executed is None:
        return [*head, *[EMPTY] * 9, identity]
    int8 = f"{executed.int8}: {executed.int8_operators} of {executed.heavy_operators}" if executed.int8 else ""
    return [
        *head,
        cell(executed.runtime),
        cell(f"{executed.device} ({executed.device_name})"),
        _of(int8),
        fidelity(variant.fidelity),
        _clipping(variant.calibration_shift),
        cell(dtypes(executed)),
        _of(", ".join(executed.providers)),
        _of(executed.mode or ""),
        _of("" if executed.threads is None else str(executed.threads)),
        identity,
    ]


def _of(text: str) -> Cell:
    return cell(text) if text else EMPTY


def fidelity(measured: Fidelity | None) -> Cell:
    """How far the runtime is from the artifact's own graph, in standard deviations of the logit difference."""
    if measured is None:
        return EMPTY
    if measured.mean is None or measured.largest is None:
        unknown = "unknown: all answers are alike"
        return cell(unknown) if measured.exact is None else cell(strong("inexact"))
    distance = f"{number(measured.mean, 3)} (at most {number(measured.largest, 3)})"
    return cell(distance) if measured.exact else cell(strong("inexact"), f": {distance}")


def _clipping(shift: CalibrationShift | None) -> Cell:
    """The noise of what a variant's ranges clip of the test frames, beside that of calibration frames."""
    if shift is None:
        return EMPTY
    if shift.noise is None:
        return cell("unknown: all answers are alike")
    beside = "" if shift.calibration_noise is None else f" (calibration {small(shift.calibration_noise)})"
    noise = f"{small(shift.noise)}{beside}"
    return cell(strong("calibration shift"), f": {noise}") if shift.warned else cell(noise)


def clipped(shift: CalibrationShift) -> Sentence:
    """What is clipped of the test frames, and what that does to answers."""
    before = "" if shift.calibration_noise is None else f" ({small(shift.calibration_noise)} on calibration frames)"
    return sentence(
        f"Clipping their activations, up to {number(100 * shift.layer_clipped, 1)} % of a layer (",
        code(fitted(shift.layer, 60)),
        f"), adds noise of {small(shift.noise or 0.0)} of the variance of the logit difference{before}.",
    )


def evaluations(run: RunRecord) -> list[str]:
    """How long each pass took in which variants were evaluated together, and where decoding was its limit."""
    passes = dict.fromkeys(variant.evaluation for variant in run.variants if variant.status == "ok")
    return [_pass(prediction) for prediction in passes if prediction and prediction.frames and prediction.seconds]


def _pass(prediction: PredictionPass) -> str:
    """How long a pass took, and whether decoding was its limit."""
    speed = f"{number(prediction.frames / prediction.seconds, 1)} frames/s"
    what = f"{counted(prediction.frames, 'frame')} with {counted(prediction.variants, 'variant')}"
    of_all = " through all of them, which is no variant's own speed" if prediction.variants > 1 else ""
    took = f"Evaluating {what}, decoding included, took {number(prediction.seconds, 1)} s ({speed}{of_all})."
    waited = prediction.waited_seconds / prediction.seconds
    if waited <= STARVED:
        return took
    return (
        f"{took} Decoding was the limit: it gave {speed}, and for {number(100 * waited, 0)} % of that time no "
        "decoded frame was ready; frames stored at the network's size, or more cores, help."
    )


def noted(run: RunRecord) -> list[Sentence]:
    """What the training of each variant did, and the run's own notes; what holds for several variants once."""
    by_note: dict[str, list[str]] = {}
    for variant in run.variants:
        trained = (f"{recovery(trained)}; {_error(trained)}" for trained in variant.recovered)
        for note in dict.fromkeys((*trained, *variant.notes)):
            by_note.setdefault(note, []).append(variant.name)
    return [sentence(listed(names), ": ", with_code(note)) for note, names in by_note.items()]


def recovery(trained: Recovery) -> str:
    """What a `recover` did, in a few words: "recover took 14 of 160 steps (no more fitted into 0.2 minutes)"."""
    if not trained.steps:
        measured = "" if trained.error_after == trained.error_before else "measured batch norms again and "
        return f"recover {measured}took none of {counted(trained.steps_wanted, 'step')} ({trained.ended})"
    reasons = [] if trained.ended == Recovery.ALL_STEPS else [trained.ended]
    if trained.cut_short and "fitted" not in trained.ended:
        reasons.append("the limit of time had cut it short")
    if trained.best_step < trained.steps:
        reasons.append(_chosen(trained))
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return f"recover took {trained.steps:,} of {counted(trained.steps_wanted, 'step')}{why}"


def _chosen(trained: Recovery) -> str:
    """Which weights the result has, where they are not the last."""
    if trained.best_step:
        return f"kept are the weights after step {trained.best_step:,}"
    unchanged = trained.error_after == trained.error_before
    return f"no step brought it closer: {'weights unchanged' if unchanged else 'batch norms alone were measured again'}"


def _error(trained: Recovery) -> str:
    is_same = not trained.steps and trained.error_after == trained.error_before
    after = "" if is_same else f" before, {trained.error_after:.3g} after"
    return f"error against the uncompressed detector on {trained.judged_on}: {trained.error_before:.3g}{after}"


def timings(run: RunRecord, evaluation: Evaluation) -> Table | None:
    """Every measurement, the baseline's in other runtimes included; None where nothing was timed."""
    taken = [(name, timing) for name, of_variant in evaluation.timings.items() for timing in of_variant]
    taken += [(run.baseline.name, timing) for timing in evaluation.elsewhere]
    if not taken:
        return None
    titles = ["Model", "Runtime", "Device", "Batch", "Calls", "p25 (ms)", "p50 (ms)", "p75 (ms)", "p90 (ms)"]
    titles += ["p99 (ms)", "Device p50 (ms)", "Frames/s", "Peak RSS (MiB)"]
    titles += ["CUDA allocated (MiB)", "CUDA reserved (MiB)"]
    rows = [_timing(name, timing) for name, timing in taken]
    return table([*columns(titles[:3], "left"), *columns(titles[3:])], rows)


def _timing(name: str, timing: Timing) -> list[Cell]:
    """One measurement: percentiles in milliseconds, memory in MiB."""
    times = (timing.p25_ms, timing.p50_ms, timing.p75_ms, timing.p90_ms, timing.p99_ms, timing.device_p50_ms)
    peaks = (timing.peak_rss_mib, timing.peak_cuda_allocated_mib, timing.peak_cuda_reserved_mib)
    return [
        variant_cell(name),
        cell(timing.runtime),
        cell(timing.device),
        cell(f"{timing.batch_size:,}"),
        cell(f"{timing.calls:,}"),
        *(cell(rough(milliseconds)) for milliseconds in times),
        cell(number(timing.frames_per_second, 1)),
        *(cell(number(mib, 0)) for mib in peaks),
    ]


def conditions(run: RunRecord) -> Table | None:
    """What the machine did while the times were taken, one row a session; None where none were taken."""
    titles = ["Began", "Lasted (s)", "Processes", "CPU used by others", "CPU clock (MHz)", "Stopped by the CPU quota"]
    titles += ["GPU", "GPU clock (MHz)", "GPU slowed down by", "Others on the GPU"]
    taken = sessions(run)
    on_gpu = any(session.gpu for session in taken)
    rows = [[*_conditions(session), *(_of_gpu(session) if on_gpu else [EMPTY] * 4)] for session in taken]
    return table(columns(titles, "left"), rows) if rows else None


def _conditions(session: Conditions) -> list[Cell]:
    others = "" if session.others_cpu is None else f"{number(100 * session.others_cpu, 1)} %"
    cells = [cell(session.began), cell(number(session.seconds, 0)), cell(str(session.variants)), _of(others)]
    return [*cells, cell(_from_to(session.cpu_mhz)), cell(_stopped(session))]


def _stopped(session: Conditions) -> str:
    if session.throttled_seconds is None:
        return NONE
    share = session.throttled_share
    periods = "" if share is None else f", in {number(100 * share, 0)} % of its periods"
    return f"{number(session.throttled_seconds, 1)} s{periods}"


def _of_gpu(session: Conditions) -> list[Cell]:
    facts = ", ".join(f"{key}: {value}" for key, value in (session.gpu or {}).items())
    clocks = _from_to(session.gpu_mhz)
    if session.gpu_mhz_range:
        clocks += " ({} to {})".format(*(number(mhz, 0) for mhz in session.gpu_mhz_range))
    slowdowns = ", ".join(session.gpu_throttling) or "nothing seen"
    return [_of(facts), cell(clocks), cell(slowdowns), cell("; ".join(session.gpu_processes) or "none")]


def _from_to(clocks: tuple[float, float] | None) -> str:
    return NONE if clocks is None else f"{number(clocks[0], 0)} → {number(clocks[1], 0)}"


def provenance(run: RunRecord) -> Table:
    """Where everything came from, key by key."""
    rows = [[cell(key), _of(value)] for key, value in run.provenance.items()]
    for split, frames in run.frames.items():
        labelled = f"{frames.fake:,} fake, {frames.real:,} real" if frames.fake or frames.real else "labels not used"
        root = f"{frames.root}: " if frames.root else ""
        counts = f"{root}{counted(frames.count, 'frame')} ({labelled}{_sources(frames)}), digest "
        rows.append([cell(f"frames, {split}"), cell(counts, code(frames.digest))])
    if run.files_left_out:
        rows.append([cell("files left out"), cell(run.files_left_out)])
    return table([Column("What", "left"), Column("Value", "left")], rows)


def _sources(frames: SplitSummary) -> str:
    """How many sources the frames have, and how many frames the largest; "" where that is not known."""
    if not frames.largest_source:
        return ""
    return f"; {counted(frames.sources, 'source')}, the largest with {counted(frames.largest_source, 'frame')}"
