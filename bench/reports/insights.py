"""What the numbers say, in sentences, with how far to trust them."""

from __future__ import annotations

from bench.records import Run, Score, VariantResult
from bench.reports.evidence import Evidences
from bench.reports.scores import auc_delta
from bench.reports.speed import DISTURBED, disturbances, speed
from bench.reports.text import MIB, change, counted, listed, number, rough, signed, times

AUC_MARGIN = 0.01


def insights(run: Run, evidences: Evidences) -> list[str]:
    """One sentence or two for each bullet, in Markdown."""
    aucs = {name: evidence.score.auc for name, evidence in evidences.items()}
    known = {name: auc for name, auc in aucs.items() if auc is not None}
    found = []
    if known:
        found.append(_highest(known, run))
    if run.variants[0].name in known:
        found += [_smallest(run, known), _largest_drop(run, known)]
    return [*found, _fastest(run), *_noise(run, evidences)]


def warnings(run: Run, baseline: Score | None, standard_error: float | None) -> list[str]:
    """What must be read before any number, in Markdown; `run.warnings` are data and follow separately.

    `baseline` is the baseline's score, None where it failed, `standard_error` that of its AUC.
    """
    return [*_unfit_baseline(run, baseline, standard_error), *_disturbed(run)]


def _unfit_baseline(run: Run, baseline: Score | None, standard_error: float | None) -> list[str]:
    if baseline is None:
        return [f"The baseline {listed([run.variants[0].name])} failed: nothing here can be compared with it."]
    auc, noise = baseline.auc, 1.96 * (standard_error or 0)
    if auc is None or auc - noise > 0.5:
        return []
    if auc + noise >= 0.5:
        return [
            f"**The baseline's AUC is {auc:.4f}, which {run.frames['test'].count:,} frames cannot tell from chance.** "
            "Check preprocessing, class order (0 real, 1 fake), labels and weights before you compare its variants."
        ]
    return [
        f"**The baseline's AUC is {auc:.4f}, below 0.5.** It ranks real frames above fake ones: labels or classes "
        "are probably swapped (1 must mean fake, and class 1 of the detector too). Read nothing else here before "
        "that is settled."
    ]


def _disturbed(run: Run) -> list[str]:
    found = []
    for one in disturbances(run):
        others = [f"{100 * (one.others_cpu or 0):.0f} % of the processor"] if (one.others_cpu or 0) > DISTURBED else []
        others += [f"the GPU ({len(one.gpu_processes)})"] if one.gpu_processes else []
        found.append(
            f"While times were taken ({one.began}), other processes used {' and '.join(others)}: the speeds "
            "are those of a busy machine. Time again on a quiet one before you decide by them."
        )
    return found


def _highest(aucs: dict[str, float], run: Run) -> str:
    best = max(aucs.values())
    names = [name for name, auc in aucs.items() if auc == best]
    tie = "a tie, " if len(names) > 1 else ""
    frames = run.frames["test"]
    counts = f"n = {frames.count:,}: {frames.fake:,} fake, {frames.real:,} real"
    return f"Highest AUC: {listed(names)} at {best:.4f} ({tie}{counts})."


def _smallest(run: Run, aucs: dict[str, float]) -> str:
    baseline = run.variants[0]
    sizes = {one.name: one.footprint.size_bytes for one in run.variants if one.name in aucs and one.footprint}
    close = {name: size for name, size in sizes.items() if aucs[name] >= aucs[baseline.name] - AUC_MARGIN}
    rule = f"Smallest within {AUC_MARGIN} AUC of the baseline"
    if baseline.name not in close or min(close.values()) == close[baseline.name]:
        return f"{rule}: none is smaller than the baseline itself."
    least = min(close.values())
    names = [name for name, size in close.items() if size == least]
    tie = "a tie, " if len(names) > 1 else ""
    smaller = f"{number(100 * (1 - least / close[baseline.name]), 1)} % smaller"
    deltas = ", ".join(signed(aucs[name] - aucs[baseline.name], 4) for name in names)
    return f"{rule}: {listed(names)} ({tie}{number(least / MIB, 2)} MiB, {smaller}, AUC {deltas})."


def _largest_drop(run: Run, aucs: dict[str, float]) -> str:
    baseline = run.variants[0].name
    lowest = min(aucs.values())
    if lowest >= aucs[baseline]:
        return "Largest AUC drop: none, no variant is below the baseline."
    names = [name for name, auc in aucs.items() if auc == lowest]
    tie = ", a tie" if len(names) > 1 else ""
    return f"Largest AUC drop: {listed(names)} ({signed(lowest - aucs[baseline], 4)}{tie})."


def _fastest(run: Run) -> str:
    found = {one.name: speed(one) for one in run.variants[1:]}
    timed = {name: one.speedup for name, one in found.items() if one.speedup is not None}
    if not timed:
        return "Fastest: no variant could be compared with the baseline in the same runtime."
    name = max(timed, key=lambda name: timed[name].value)
    # Whose interval overlaps with that of the fastest may be as fast.
    names = [name, *(other for other in timed if other != name and timed[other].high >= timed[name].low)]
    single, reference = found[name].single, found[name].reference
    assert single is not None
    assert reference is not None
    said = (
        f"{times(timed[name])} the baseline at batch 1 in the same runtime ({single.runtime}, {single.device}; "
        f"median {rough(single.p50_ms)} ms, n = {counted(single.calls, 'call')}, "
        f"against {rough(reference.p50_ms)} ms, n = {counted(reference.calls, 'call')})"
    )
    if timed[name].low <= 1:
        return f"Fastest: none is faster than the baseline beyond the noise; {listed([name])} comes closest: {said}."
    tie = "" if len(names) == 1 else " (whose intervals do not tell them apart); the first is"
    return f"Fastest: {listed(names)}{tie or ','} {said}."


def _noise(run: Run, evidences: Evidences) -> list[str]:
    evidence = evidences.get(run.variants[0].name) or next(iter(evidences.values()), None)
    if evidence is None or evidence.auc_standard_error is None:
        return []
    return [
        f"Caution: {counted(evidence.score.count, 'frame')} carry about "
        f"±{1.96 * evidence.auc_standard_error:.3f} of noise on an AUC (1.96 standard errors after Hanley & McNeil, "
        "frames taken as independent). Variants see the same frames, so their differences are less noisy "
        "than that, but a difference much smaller than it is no evidence of a better or worse variant."
    ]


def delta(run: Run, variant: VariantResult, evidences: Evidences) -> float | None:
    """`auc_delta` of a variant of this run."""
    own, baseline = evidences.get(variant.name), evidences.get(run.variants[0].name)
    return auc_delta(own.score if own else None, baseline.score if baseline else None)


def reduction(run: Run, variant: VariantResult) -> str | None:
    """The file's change in size from the baseline's, in percent; None where either is unknown."""
    baseline = run.variants[0].footprint
    if variant.footprint is None or baseline is None:
        return None
    return change(variant.footprint.size_bytes, baseline.size_bytes)
