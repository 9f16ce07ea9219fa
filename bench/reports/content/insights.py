"""What the numbers say, in sentences, with how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass
from html import unescape

from bench.records import Conditions, Evaluation, RunRecord, ScoresFile
from bench.reports.content.measured import DISTURBED, disturbances
from bench.reports.content.tables import reduction
from bench.reports.content.text import (
    MIB,
    baseline_called,
    chance,
    counted,
    difference,
    escape,
    listed,
    number,
    plain,
    rough,
    times,
    within,
)

NEARLY_ALL = 0.95
"""From this share of frames on, one verdict for them is worth a sentence."""

KEPT = ("baseline", "stable", "improved")


@dataclass(frozen=True)
class _Warning:
    """A fact in Markdown, what to do about it where it was run, and what where a variant was handed over to."""

    fact: str
    advice: str = ""
    for_receivers: str = ""


_ASK = "Ask whoever made it before you rely on it."
_TIME_IT = "Time it where you will run it before you decide by them."


def insights(run: RunRecord, evaluation: Evaluation) -> list[str]:
    """One sentence or two for each bullet, in Markdown."""
    return [
        *_level(run, evaluation),
        *_smallest(run, evaluation),
        *_drops(evaluation),
        *_fastest(run, evaluation),
        *_flipped(run, evaluation),
        *_one_sided(run, evaluation),
        *_other_reason(evaluation),
    ]


def warnings(run: RunRecord, numbers: ScoresFile) -> list[str]:
    """What must be read before any number, in Markdown; `run.warnings` are data and follow separately.

    `numbers` is what scores.json holds.
    """
    return [f"{warning.fact} {warning.advice}".rstrip() for warning in _warnings(run, numbers)]


def warnings_for_receivers(run: RunRecord, numbers: ScoresFile) -> list[str]:
    """The same for who gets a variant, and can neither run the experiment again nor change it."""
    return [f"{warning.fact} {warning.for_receivers}".rstrip() for warning in _warnings(run, numbers)]


def plain_warnings(run: RunRecord, numbers: ScoresFile) -> list[str]:
    """The same for a terminal, without markup."""
    return [plain(unescape(warning.replace("**", "").replace("\\", ""))) for warning in warnings(run, numbers)]


def _warnings(run: RunRecord, numbers: ScoresFile) -> list[_Warning]:
    return [*_unfit_baseline(run, numbers), *_inexact(run), *_disturbed(run), *_unsettled(run)]


def _unfit_baseline(run: RunRecord, numbers: ScoresFile) -> list[_Warning]:
    baseline = numbers.variants[run.baseline.name]
    if baseline.status != "ok":
        return [_Warning(f"The {baseline_called(run.baseline.name)} failed: nothing here can be compared with it.")]
    auc, interval = baseline.auc, baseline.auc_ci
    if auc is None or interval is None or interval[0] > 0.5:
        return []
    if interval[1] >= 0.5:
        fact = (
            f"**The baseline's AUC is {auc:.4f}, which {run.frames['test'].count:,} frames cannot tell from chance.**"
        )
        check = "Check preprocessing, class order (0 real, 1 fake), labels and weights before you compare its variants."
        return [_Warning(fact, check, _ASK)]
    fact = (
        f"**The baseline's AUC is {auc:.4f}, below 0.5.** It ranks real frames above fake ones: labels or classes "
        "are probably swapped (1 must mean fake, and class 1 of the detector too)."
    )
    return [_Warning(fact, "Read nothing else here before that is settled.", _ASK)]


def _inexact(run: RunRecord) -> list[_Warning]:
    """Variants whose runtime computes something else than their artifact says."""
    by_runtime: dict[str, list[str]] = {}
    for variant in run.variants:
        if variant.status == "ok" and variant.executed and variant.fidelity and variant.fidelity.exact is False:
            by_runtime.setdefault(variant.executed.runtime, []).append(variant.name)
    return [
        _Warning(
            f"{listed(names)} {'is' if len(names) == 1 else 'are'} **inexact on this processor**: {runtime} answers "
            "otherwise than the artifact's own graph, so scores from other processors and runtimes will not be these.",
            "Choose another `runtime:`, or judge it where it will run.",
            "Judge it where you will run it.",
        )
        for runtime, names in by_runtime.items()
    ]


def _disturbed(run: RunRecord) -> list[_Warning]:
    warned = []
    for one in disturbances(run):
        began = f"While times were taken ({one.began}),"
        others = [f"{100 * (one.others_cpu or 0):.0f} % of the processor"] if (one.others_cpu or 0) > DISTURBED else []
        others += [f"the GPU ({len(one.gpu_processes)})"] if one.gpu_processes else []
        if others:
            fact = f"{began} other processes used {' and '.join(others)}: the speeds are those of a busy machine."
            again = f"Time again on a quiet one{_again(run)} before you decide by them."
            warned.append(_Warning(fact, again, _TIME_IT))
        if one.is_throttled:
            warned.append(_stopped_by_quota(run, one))
        if one.gpu_throttling:
            fact = (
                f"{began} the GPU slowed its clock down ({', '.join(one.gpu_throttling)}): the speeds are those of a "
                "GPU that is held back."
            )
            see = (
                "See its cooling and its power limit (`nvidia-smi -q -d PERFORMANCE,POWER,TEMPERATURE`), and time "
                f"again{_again(run)} before you decide by them."
            )
            warned.append(_Warning(fact, see, _TIME_IT))
    return warned


def _stopped_by_quota(run: RunRecord, one: Conditions) -> _Warning:
    return _Warning(
        f"While times were taken ({one.began}), **the CPU quota stopped them** in "
        f"{number(100 * (one.throttled_share or 0), 0)} % of its periods, for "
        f"{number(one.throttled_seconds or 0, 1)} s in all: which variant it met is chance, so no speed-up is told "
        "and no speed is judged.",
        "Give the container or job a whole core for every thread, or set fewer threads (`threads: 1`), and time "
        f"again{_again(run)}.",
        _TIME_IT,
    )


def _again(run: RunRecord) -> str:
    """The command that times anew."""
    return f" (`bench run {run.experiment} --time-again`)"


def _unsettled(run: RunRecord) -> list[_Warning]:
    """Which times were taken before calls took equally long."""
    timed = [(one.name, measured) for one in run.variants if one.status == "ok" for measured in one.measurements]
    beside = [(run.baseline.name, measured) for one in run.variants for measured in one.baseline]
    found = dict.fromkeys(
        f"{listed([name])} ({escape(one.runtime)}, batch {one.batch_size})"
        for name, one in [*timed, *beside]
        if one.settled is False
    )
    if not found:
        return []
    return [
        _Warning(
            f"Times had not settled when the warm-up ended: {', '.join(found)}. The calls that were timed then may "
            "still have been getting faster or slower.",
            "See the spread of these times, and time again on a quiet machine"
            f"{_again(run)}, or longer (`timing: {{seconds: …}}`), before you decide by them.",
            _TIME_IT,
        )
    ]


def _level(run: RunRecord, evaluation: Evaluation) -> list[str]:
    baseline = evaluation.variants.get(run.baseline.name)
    if baseline is None or baseline.auc is None:
        return []
    frames = run.frames["test"]
    counts = f"n = {frames.count:,}: {frames.fake:,} fake, {frames.real:,} real"
    found = f"{number(baseline.auc.value, 4)} (95 % {within(baseline.auc.interval, 3)}; {counts})"
    return [f"The baseline's AUC is {found}."]


def _smallest(run: RunRecord, evaluation: Evaluation) -> list[str]:
    """Of those whose AUC is proven to be kept."""
    baseline = run.baseline
    sizes = {one.name: one.footprint.size_bytes for one in run.variants[1:] if one.footprint and one.status == "ok"}
    compared = {name: one.comparison for name, one in evaluation.variants.items() if one.comparison}
    if baseline.footprint is None or not (sizes.keys() & compared.keys()):
        return []
    rule = f"Smallest that is proven to lose less than {run.margin:g} AUC"
    kept = {
        name: size
        for name, size in sizes.items()
        if name in compared and compared[name].verdict in KEPT and size < baseline.footprint.size_bytes
    }
    if not kept:
        smaller = [name for name, size in sizes.items() if size < baseline.footprint.size_bytes]
        open_ = [name for name in smaller if name in compared]
        return (
            [f"{rule}: none. Smaller than the baseline, but not proven to: {listed(open_)}."]
            if open_
            else [f"{rule}: none is smaller than the baseline itself."]
        )
    least = min(kept.values())
    names = [name for name, size in kept.items() if size == least]
    variant = next(one for one in run.variants if one.name == names[0])
    deltas = ", ".join(difference(compared[name].delta) for name in names)
    tie = "a tie, " if len(names) > 1 else ""
    return [f"{rule}: {listed(names)} ({tie}{number(least / MIB, 2)} MiB, {reduction(run, variant)}; ΔAUC {deltas})."]


def _drops(evaluation: Evaluation) -> list[str]:
    """Who has lost AUC beyond doubt, the greatest loss first."""
    lost = {
        name: one.comparison.delta
        for name, one in evaluation.variants.items()
        if one.comparison and one.comparison.delta.interval.high < 0
    }
    if not lost:
        compared = any(one.comparison for one in evaluation.variants.values())
        return ["No variant is proven to have lost AUC."] if compared else []
    ordered = sorted(lost, key=lambda name: lost[name].value)
    said = "; ".join(f"{listed([name])} {difference(lost[name])}" for name in ordered)
    return [f"Proven to have lost AUC, each by its own interval: {said}.{_only_alone(evaluation, ordered)}"]


def _only_alone(evaluation: Evaluation, names: list[str]) -> str:
    """Of whom p, corrected for all comparisons, says less than the interval."""
    compared = {name: one.comparison for name, one in evaluation.variants.items() if one.comparison}
    alone = [name for name in names if compared[name].only_alone]
    if not alone:
        return ""
    said = ", ".join(f"{chance(compared[name].p_holm)} for {listed([name])}" for name in alone)
    corrected = f"Corrected for {counted(len(compared), 'comparison')}, p (Holm) is {said}"
    return f" {corrected}: one of so many may look so by chance."


def _fastest(run: RunRecord, evaluation: Evaluation) -> list[str]:
    found = {one.name: evaluation.speeds[one.name] for one in run.variants[1:]}
    timed = {name: one.speedup for name, one in found.items() if one.speedup is not None}
    if not timed:
        measured = any(one.single for one in evaluation.speeds.values())
        return ["Fastest: no variant could be compared with the baseline in the same runtime."] if measured else []
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
        return [f"Fastest: none is faster than the baseline beyond the noise; {listed([name])} comes closest: {said}."]
    tie = "" if len(names) == 1 else " (whose intervals do not tell them apart); the first is"
    return [f"Fastest: {listed(names)}{tie or ','} {said}."]


def _flipped(run: RunRecord, evaluation: Evaluation) -> list[str]:
    """Who spoils most of the baseline's right answers."""
    found = {name: one.flips.worse for name, one in evaluation.variants.items() if one.flips}
    if not found:
        return []
    most = max(found.values())
    if not most:
        return [f"At {run.threshold:g}, no variant gets a frame wrong that the baseline gets right."]
    names = [name for name, worse in found.items() if worse == most]
    point = evaluation.variants[run.baseline.name].fixed
    right = point.tp + point.tn
    answers = f"{most:,} of the baseline's {counted(right, 'right answer')}{' each' if names[1:] else ''}"
    share = number(100 * most / right, 1)
    return [f"Most frames flipped to wrong at {run.threshold:g}: {listed(names)}, {answers} ({share} %)."]


def _one_sided(run: RunRecord, evaluation: Evaluation) -> list[str]:
    """Who calls nearly all frames the same at the fixed threshold, though the frames are of both classes."""
    found: dict[str, list[str]] = {}
    for name, one in evaluation.variants.items():
        point = one.fixed
        fakes, reals = point.tp + point.fn, point.fp + point.tn
        called = {"fake": point.tp + point.fp, "real": point.fn + point.tn}
        verdict, most = max(called.items(), key=lambda pair: pair[1])
        right = {"fake": fakes, "real": reals}[verdict]
        # As many of one verdict as there are frames of it is what a good detector says.
        if min(fakes, reals) and most >= NEARLY_ALL * (fakes + reals) and most > right:
            found.setdefault(verdict, []).append(name)
    count = run.frames["test"].count
    return [
        f"At {run.threshold:g}, {listed(names)} {'calls' if len(names) == 1 else 'each call'} nearly all "
        f"{count:,} frames {verdict} ({100 * NEARLY_ALL:g} % or more): the threshold does not suit these scores, "
        "whatever the AUC; see the thresholds that were judged, and check preprocessing."
        for verdict, names in found.items()
    ]


def _other_reason(evaluation: Evaluation) -> list[str]:
    found = {name: one.drift for name, one in evaluation.variants.items() if one.drift and len(one.drift.other_reason)}
    said = [f"{listed([name])} {len(one.other_reason):,} of {one.both_right:,}" for name, one in found.items()]
    return [f"Right as the baseline is, but for another reason: {', '.join(said)} frames."] if said else []
