"""The report's tables, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.records import Measurement, Outcome, Run, Score, VariantResult
from bench.reports.evidence import Evidences
from bench.reports.gallery import Verdicts, overlay_path
from bench.reports.insights import delta, reduction
from bench.reports.speed import Timing, sessions, speed, timing
from bench.reports.text import (
    MIB,
    NONE,
    dtypes,
    escape,
    link,
    number,
    ran_as,
    rough,
    shortened,
    signed,
    table,
    times,
)


def performance(run: Run, evidences: Evidences) -> str:
    """Section 1: one row a variant, failed ones included."""
    return table(
        [
            ("Model", "left"),
            ("Size (MiB)", "right"),
            ("Reduction", "right"),
            ("Params (M)", "right"),
            ("MACs (G)", "right"),
            (f"AUC (n = {run.frames['test'].count:,})", "right"),
            ("Diff", "right"),
            ("Latency (ms)", "right"),
            ("Speed-up", "right"),
            ("Frames/s", "right"),
            ("Gain", "right"),
            ("Ran as", "left"),
        ],
        [_performance_row(run, variant, evidences) for variant in run.variants],
    )


def _performance_row(run: Run, variant: VariantResult, evidences: Evidences) -> list[str]:
    name = f"**{escape(variant.name)}**"
    if variant.status != "ok":
        return [name, *[NONE] * 10, "failed"]
    footprint, evidence = variant.footprint, evidences.get(variant.name)
    found = speed(variant)
    is_baseline = variant is run.variants[0]
    return [
        name,
        number(footprint.size_bytes / MIB, 2) if footprint else NONE,
        NONE if is_baseline else reduction(run, variant) or NONE,
        _in(1e6, footprint.parameters if footprint else None),
        _in(1e9, footprint.macs if footprint else None),
        _auc(evidence.score.auc, evidence.auc_standard_error) if evidence else NONE,
        NONE if is_baseline else signed(delta(run, variant, evidences), 4),
        _latency(found.single),
        NONE if is_baseline else times(found.speedup),
        _throughput(found.best),
        NONE if is_baseline else times(found.gain),
        escape(ran_as(variant.executed)),
    ]


def _in(unit: float, count: int | None) -> str:
    return number(None if count is None else count / unit, 2)


def _auc(auc: float | None, standard_error: float | None) -> str:
    interval = "" if standard_error is None else f" ±{1.96 * standard_error:.3f}"
    return number(auc, 4) + interval


def _latency(single: Timing | None) -> str:
    if single is None:
        return NONE
    return f"{rough(single.p50_ms)} ({rough(single.p25_ms)}–{rough(single.p75_ms)})"


def _throughput(best: Timing | None) -> str:
    if best is None:
        return NONE
    return f"{number(best.frames_per_second, 1)} (batch {best.batch_size})"


def classification(evidences: Evidences) -> str:
    """Section 3: the confusion at the threshold, and what follows from it."""
    counts = ("Samples", "TP", "TN", "FP", "FN")
    rates = ("Precision", "Recall", "Specificity", "F1", "Accuracy", "Bal. acc.", "MCC", "AP", "EER", "Brier")
    return table(
        [("Model", "left"), *((title, "right") for title in (*counts, *rates))],
        [[f"**{escape(name)}**", *_classification_row(evidence.score)] for name, evidence in evidences.items()],
    )


def _classification_row(score: Score) -> list[str]:
    counts = (score.count, score.tp, score.tn, score.fp, score.fn)
    rates = (
        score.precision,
        score.recall,
        score.specificity,
        score.f1,
        score.accuracy,
        score.balanced_accuracy,
        score.mcc,
        score.average_precision,
        score.eer,
        score.brier,
    )
    return [*(f"{count:,}" for count in counts), *(number(rate, 3) for rate in rates)]


def gallery(run: Run, ranked: Verdicts, outcome: Outcome, results: Path, report: Path) -> str:
    """Section 5: the top frames of every variant for one outcome."""
    ranks = range(1, run.gallery_top + 1)
    rows = []
    for name, outcomes in ranked.items():
        shown = outcomes[outcome]
        cells = []
        for one in shown[: run.gallery_top]:
            picture = link(overlay_path(results, name, one), report)
            said = f"![{escape(one.frame)}]({picture})<br>`{one.p_fake:.4f}`<br>_{escape(shortened(one.frame))}_"
            cells.append(said)
        cells += ["N/A"] * (run.gallery_top - len(cells))
        rows.append([f"**{escape(name)}**", f"{len(shown):,}", *cells])
    return table([("Model", "left"), ("Frames", "right"), *((f"Rank {rank}", "center") for rank in ranks)], rows)


def execution(run: Run) -> str:
    """Section 6: what really executed where."""
    variants = [variant for variant in run.variants if variant.status == "ok"]
    titles = ["Model", "Steps", "Runtime", "Device", "Providers", "Format", "int8 operators", "Threads", "Id"]
    rows = [_execution_row(variant) for variant in variants]
    return table([(title, "left") for title in titles], rows)


def _execution_row(variant: VariantResult) -> list[str]:
    head = [f"**{escape(variant.name)}**", escape(", ".join(variant.steps)) or NONE]
    tail = [f"`{escape(variant.id[:8])}`"]
    executed = variant.executed
    if executed is None:
        return [*head, *[NONE] * 6, *tail]
    int8 = NONE
    if executed.int8:
        int8 = f"{executed.int8}: {executed.int8_operators} of {executed.heavy_operators}"
    return [
        *head,
        escape(executed.runtime),
        escape(f"{executed.device} ({executed.device_name})"),
        escape(", ".join(executed.providers)) or NONE,
        escape(dtypes(executed)),
        int8,
        NONE if executed.threads is None else str(executed.threads),
        *tail,
    ]


def timings(run: Run) -> str:
    """Section 6: every measurement, the baseline's in other runtimes included."""
    taken = [(name, timing(raw)) for name, raw in _measurements(run) if raw.rounds_ms]
    on_cuda = any(one.device_p50_ms is not None or one.peak_cuda_reserved_mib is not None for _, one in taken)
    titles = ["Model", "Runtime", "Device", "Batch", "Calls", "p25 (ms)", "p50 (ms)", "p75 (ms)", "p90 (ms)"]
    titles += ["p99 (ms)", *(["Device p50 (ms)"] if on_cuda else []), "Frames/s", "Peak RSS (MiB)"]
    titles += ["CUDA allocated (MiB)", "CUDA reserved (MiB)"] if on_cuda else []
    rows = []
    for name, one in taken:
        cells = [f"**{escape(name)}**", escape(one.runtime), escape(one.device)]
        cells += [f"{one.batch_size:,}", f"{one.calls:,}"]
        cells += [rough(value) for value in (one.p25_ms, one.p50_ms, one.p75_ms, one.p90_ms, one.p99_ms)]
        cells += [rough(one.device_p50_ms)] if on_cuda else []
        cells += [number(one.frames_per_second, 1), number(one.peak_rss_mib, 0)]
        cells += [number(one.peak_cuda_allocated_mib, 0), number(one.peak_cuda_reserved_mib, 0)] if on_cuda else []
        rows.append(cells)
    return table([(title, "left" if title in titles[:3] else "right") for title in titles], rows)


def conditions(run: Run) -> str:
    """Section 6: what the machine did while the times were taken, one row a session."""
    found = sessions(run)
    on_gpu = any(one.gpu for one in found)
    titles = ["Began", "Lasted (s)", "Processes", "CPU used by others", "CPU clock (MHz)"]
    titles += ["GPU", "GPU clock (MHz)", "Others on the GPU"] if on_gpu else []
    rows = []
    for one in found:
        others = NONE if one.others_cpu is None else f"{number(100 * one.others_cpu, 1)} %"
        cells = [escape(one.began), number(one.seconds, 0), str(one.variants), others, _from_to(one.cpu_mhz)]
        if on_gpu:
            facts = ", ".join(f"{key}: {value}" for key, value in (one.gpu or {}).items())
            cells += [escape(facts) or NONE, _from_to(one.gpu_mhz), escape("; ".join(one.gpu_processes)) or "none"]
        rows.append(cells)
    return table([(title, "left") for title in titles], rows) if rows else ""


def _from_to(clocks: tuple[float, float] | None) -> str:
    return NONE if clocks is None else f"{number(clocks[0], 0)} → {number(clocks[1], 0)}"


def _measurements(run: Run) -> Iterator[tuple[str, Measurement]]:
    baseline = run.variants[0].name
    elsewhere: dict[Measurement, None] = {}
    for variant in run.variants:
        if variant.status == "ok":
            yield from ((variant.name, one) for one in variant.measurements)
            elsewhere |= dict.fromkeys(variant.baseline)
    own = set(run.variants[0].measurements)
    yield from ((baseline, one) for one in elsewhere if one not in own)


def provenance(run: Run) -> str:
    """Section 6: where everything came from, key by key."""
    rows = [[escape(key), escape(value) or NONE] for key, value in run.provenance.items()]
    for split, frames in run.frames.items():
        labelled = f"{frames.fake:,} fake, {frames.real:,} real" if frames.fake or frames.real else "labels not used"
        rows.append(
            [
                f"frames, {split}",
                f"{escape(frames.root)}: {frames.count:,} frames ({labelled}), digest `{escape(frames.digest)}`",
            ]
        )
    return table([("What", "left"), ("Value", "left")], rows)
