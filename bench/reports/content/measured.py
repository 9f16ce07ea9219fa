"""How it was measured, in tables: what executed where, times, the machine meanwhile, where all came from."""

from __future__ import annotations

from bench.records import Conditions, Evaluation, Fidelity, PredictionPass, Recovery, RunRecord, Timing, VariantResult
from bench.reports.content.text import NONE, Table, columns, counted, dtypes, escape, number, rough, table

DISTURBED = 0.1
"""A larger share of all cores than this, used by others, is worth a warning."""

STARVED = 0.1
"""Where a larger share of an evaluation than this was spent waiting for decoded frames, decoding was its limit."""


def sessions(run: RunRecord) -> list[Conditions]:
    """The sessions that the run's times were taken in."""
    found: list[Conditions] = []
    for variant in run.variants:
        if variant.status == "ok" and variant.conditions and variant.conditions not in found:
            found.append(variant.conditions)
    return found


def disturbances(run: RunRecord) -> list[Conditions]:
    """The sessions of timing that others' work, or a GPU that was slowed down, may have disturbed."""
    return [
        one
        for one in sessions(run)
        if (one.others_cpu or 0) > DISTURBED or one.gpu_processes or one.gpu_throttling or one.is_throttled
    ]


def execution(run: RunRecord) -> Table | None:
    """What really executed where; None where nothing did."""
    variants = [variant for variant in run.variants if variant.status == "ok"]
    if not any(variant.executed for variant in variants):
        return None
    several_modes = any(variant.executed and variant.executed.mode for variant in variants)
    titles = ["Model", "Steps", "Runtime", "Device", "int8 operators", "Fidelity", "Format", "Providers"]
    titles += [*(["Mode"] if several_modes else []), "Threads", "Id"]
    rows = [_execution_row(variant, with_mode=several_modes) for variant in variants]
    return table(columns(titles, "left"), rows)


def _execution_row(variant: VariantResult, *, with_mode: bool) -> list[str]:
    head = [f"**{escape(variant.name)}**", escape(", ".join(variant.steps)) or NONE]
    tail = [f"`{escape(variant.id[:8])}`"]
    executed = variant.executed
    if executed is None:
        return [*head, *[NONE] * (8 if with_mode else 7), *tail]
    int8 = NONE
    if executed.int8:
        int8 = f"{executed.int8}: {executed.int8_operators} of {executed.heavy_operators}"
    return [
        *head,
        escape(executed.runtime),
        escape(f"{executed.device} ({executed.device_name})"),
        int8,
        fidelity(variant.fidelity),
        escape(dtypes(executed)),
        escape(", ".join(executed.providers)) or NONE,
        *([escape(executed.mode) or NONE] if with_mode else []),
        NONE if executed.threads is None else str(executed.threads),
        *tail,
    ]


def fidelity(measured: Fidelity | None) -> str:
    """How far the runtime is from the artifact's own graph, in standard deviations of the logit difference."""
    if measured is None:
        return NONE
    if measured.mean is None or measured.largest is None:
        return "cannot be told: all answers are alike" if measured.exact is None else "**inexact**"
    mark = "" if measured.exact else "**inexact**: "
    return f"{mark}{number(measured.mean, 3)} (at most {number(measured.largest, 3)})"


def evaluations(run: RunRecord) -> list[str]:
    """How long each pass took in which variants were evaluated together, and where decoding was its limit."""
    passes = dict.fromkeys(variant.evaluation for variant in run.variants if variant.status == "ok")
    return [_evaluation(evaluation) for evaluation in passes if evaluation and evaluation.frames and evaluation.seconds]


def _evaluation(passed: PredictionPass) -> str:
    speed = f"{number(passed.frames / passed.seconds, 1)} frames/s"
    what = f"{counted(passed.frames, 'frame')} with {counted(passed.variants, 'variant')}"
    sentence = f"Evaluating {what} took {number(passed.seconds, 1)} s ({speed})."
    waited = passed.waited_seconds / passed.seconds
    if waited <= STARVED:
        return sentence
    return (
        f"{sentence} Decoding was the limit: it gave {speed}, and for {number(100 * waited, 0)} % of that time no "
        "decoded frame was ready; frames stored at the network's size, or more cores, help."
    )


def noted(run: RunRecord) -> list[tuple[str, tuple[str, ...]]]:
    """By variant what there is to say of it: what its training did, and the run's own notes."""
    return [
        (one.name, (*(f"{recovery(done)}; {_error(done)}" for done in one.recovered), *one.notes))
        for one in run.variants
        if one.recovered or one.notes
    ]


def recovery(one: Recovery) -> str:
    """What a `recover` did, in a few words: "recover took 14 of 160 steps (no more fitted into 0.2 minutes)"."""
    if not one.steps:
        return f"recover trained nothing (0 of {counted(one.steps_wanted, 'step')}: {one.ended})"
    said = [one.ended] if one.steps < one.steps_wanted else []
    said += ["the limit of time had cut it short"] if one.cut_short and "fitted" not in one.ended else []
    if one.best_step < one.steps:
        said.append(f"kept are the weights after step {one.best_step:,}" if one.best_step else "none brought it closer")
    why = f" ({'; '.join(said)})" if said else ""
    return f"recover took {one.steps:,} of {counted(one.steps_wanted, 'step')}{why}"


def _error(one: Recovery) -> str:
    came = "" if not one.steps else f" before, {one.error_after:.3g} after"
    return f"error against the unpruned detector on {one.judged_on}: {one.error_before:.3g}{came}"


def timings(run: RunRecord, evaluation: Evaluation) -> Table | None:
    """Every measurement, the baseline's in other runtimes included; None where nothing was timed."""
    taken = [(name, one) for name, found in evaluation.timings.items() for one in found]
    taken += [(run.baseline.name, one) for one in evaluation.elsewhere]
    if not taken:
        return None
    titles = ["Model", "Runtime", "Device", "Batch", "Calls", "p25 (ms)", "p50 (ms)", "p75 (ms)", "p90 (ms)"]
    titles += ["p99 (ms)", "Device p50 (ms)", "Frames/s", "Peak RSS (MiB)"]
    titles += ["CUDA allocated (MiB)", "CUDA reserved (MiB)"]
    rows = [_timing_row(name, one) for name, one in taken]
    return table([*columns(titles[:3], "left"), *columns(titles[3:])], rows)


def _timing_row(name: str, one: Timing) -> list[str]:
    times = (one.p25_ms, one.p50_ms, one.p75_ms, one.p90_ms, one.p99_ms, one.device_p50_ms)
    peaks = (one.peak_rss_mib, one.peak_cuda_allocated_mib, one.peak_cuda_reserved_mib)
    return [
        f"**{escape(name)}**",
        escape(one.runtime),
        escape(one.device),
        f"{one.batch_size:,}",
        f"{one.calls:,}",
        *(rough(value) for value in times),
        number(one.frames_per_second, 1),
        *(number(value, 0) for value in peaks),
    ]


def conditions(run: RunRecord) -> Table | None:
    """What the machine did while the times were taken, one row a session; None where none were taken."""
    found = sessions(run)
    on_gpu = any(one.gpu for one in found)
    titles = ["Began", "Lasted (s)", "Processes", "CPU used by others", "CPU clock (MHz)"]
    with_quota = any(one.throttled_seconds is not None for one in found)
    titles += ["Stopped by the CPU quota"] if with_quota else []
    titles += ["GPU", "GPU clock (MHz)", "GPU slowed down by", "Others on the GPU"] if on_gpu else []
    rows = []
    for one in found:
        others = NONE if one.others_cpu is None else f"{number(100 * one.others_cpu, 1)} %"
        cells = [escape(one.began), number(one.seconds, 0), str(one.variants), others, _from_to(one.cpu_mhz)]
        cells += [_stopped(one)] if with_quota else []
        if on_gpu:
            cells += _gpu_cells(one)
        rows.append(cells)
    return table(columns(titles, "left"), rows) if rows else None


def _stopped(one: Conditions) -> str:
    if one.throttled_seconds is None:
        return NONE
    share = "" if one.throttled_share is None else f", in {number(100 * one.throttled_share, 0)} % of its periods"
    return f"{number(one.throttled_seconds, 1)} s{share}"


def _gpu_cells(one: Conditions) -> list[str]:
    facts = ", ".join(f"{key}: {value}" for key, value in (one.gpu or {}).items())
    clocks = _from_to(one.gpu_mhz)
    if one.gpu_mhz_range:
        clocks += " ({} to {})".format(*(number(mhz, 0) for mhz in one.gpu_mhz_range))
    slowdowns = ", ".join(one.gpu_throttling) or "nothing seen"
    return [escape(facts) or NONE, clocks, escape(slowdowns), escape("; ".join(one.gpu_processes)) or "none"]


def _from_to(clocks: tuple[float, float] | None) -> str:
    return NONE if clocks is None else f"{number(clocks[0], 0)} → {number(clocks[1], 0)}"


def provenance(run: RunRecord) -> Table:
    """Where everything came from, key by key."""
    rows = [[escape(key), escape(value) or NONE] for key, value in run.provenance.items()]
    for split, frames in run.frames.items():
        labelled = f"{frames.fake:,} fake, {frames.real:,} real" if frames.fake or frames.real else "labels not used"
        place = f"{escape(frames.root)}: " if frames.root else ""
        said = f"{place}{frames.count:,} frames ({labelled}), digest `{escape(frames.digest)}`"
        rows.append([f"frames, {split}", said])
    return table([("What", "left"), ("Value", "left")], rows)
