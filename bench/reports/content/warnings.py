"""What must be read before any number."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.records import Conditions, RunRecord, ScoresFile
from bench.reports.content import found_threshold
from bench.reports.content.coarse import coarse
from bench.reports.content.measured import DISTURBED, clipped, disturbances
from bench.reports.content.recommendation import baseline_called
from bench.reports.content.spans import Part, Sentence, backticked, code, joined, listed, paragraph, sentence, strong
from bench.reports.content.text import number, plain


@dataclass(frozen=True)
class _Warning:
    """A fact, what to do about it where the experiment was run, and what where a variant was handed over to."""

    fact: Sentence
    advice: Sentence = field(default_factory=Sentence)
    for_receivers: Sentence = field(default_factory=Sentence)


_ASK = sentence("Ask whoever made it before you rely on it.")
_TIME_IT = sentence("Time it where you will run it before you decide by them.")


def warnings(run: RunRecord, numbers: ScoresFile) -> list[Sentence]:
    """Each warning; `run.warnings` are data and follow separately. `numbers` is what scores.json holds."""
    return [paragraph(filter(None, (warning.fact, warning.advice))) for warning in _warnings(run, numbers)]


def warnings_for_receivers(run: RunRecord, numbers: ScoresFile) -> list[Sentence]:
    """The same for who gets a variant, and can neither run the experiment again nor change it."""
    return [paragraph(filter(None, (warning.fact, warning.for_receivers))) for warning in _warnings(run, numbers)]


def plain_warnings(run: RunRecord, numbers: ScoresFile) -> list[str]:
    """The warnings as plain text, for a terminal: code stands between backticks."""
    return [plain(backticked(warning)) for warning in warnings(run, numbers)]


def _warnings(run: RunRecord, numbers: ScoresFile) -> list[_Warning]:
    """What speaks against all numbers first, then against scores, thresholds and times."""
    of_threshold = [_Warning(*fact_and_advice) for fact_and_advice in found_threshold.facts(run, numbers)]
    coarse_scores = [_Warning(fact, advice, _ASK) for fact, advice in coarse(run, numbers)]
    return [
        *_unfit_baseline(run, numbers),
        *coarse_scores,
        *of_threshold,
        *_inexact(run),
        *_shifted(run),
        *_disturbed(run),
        *_unsettled(run),
    ]


def _unfit_baseline(run: RunRecord, numbers: ScoresFile) -> list[_Warning]:
    """A baseline that failed, or that is no better than chance."""
    baseline = numbers.judged[run.baseline.name]
    if baseline.status != "ok":
        called = baseline_called(run.baseline.name)
        return [_Warning(sentence("The ", called, " failed: nothing here can be compared with it."))]
    auc, interval = baseline.auc, baseline.auc_ci
    if auc is None or interval is None or interval[0] > 0.5:
        return []
    if interval[1] >= 0.5:
        matrix = baseline.confusion
        videos = sum(count or 0 for count in (matrix.tp, matrix.tn, matrix.fp, matrix.fn))
        frames = f"{videos:,} videos" if numbers.judge == "video" else f"{run.test.count:,} frames"
        fact = strong(f"The baseline's AUC is {auc:.4f}, which {frames} cannot distinguish from chance.")
        check = "Check preprocessing, class order (0 real, 1 fake), labels and weights before you compare its variants."
        return [_Warning(sentence(fact), sentence(check), _ASK)]
    swapped = sentence(
        strong(f"The baseline's AUC is {auc:.4f}, below 0.5."),
        f" It ranks real {numbers.judge}s above fake ones: labels or classes are probably swapped. Labels must be 1 "
        "for fake; ",
        *_of_real(run),
        ".",
    )
    return [_Warning(swapped, sentence("Read nothing else here before that is settled."), _ASK)]


def _of_real(run: RunRecord) -> tuple[Part, ...]:
    """What says that scores are of real."""
    if run.preprocessing is None:
        return ("scores that are higher for real ones need ", code("--positive real"))
    return (
        "a detector whose class 0 is fake needs ",
        code("classes: [fake, real]"),
        ", one whose single logit speaks for real ",
        code("positive: real"),
    )


def _inexact(run: RunRecord) -> list[_Warning]:
    """Variants whose runtime computes something else than their artifact says."""
    by_runtime: dict[str, list[str]] = {}
    for variant in run.variants:
        if variant.status == "ok" and variant.executed and variant.fidelity and variant.fidelity.exact is False:
            by_runtime.setdefault(variant.executed.runtime, []).append(variant.name)
    return [
        _Warning(
            sentence(
                listed(names),
                f" {'is' if len(names) == 1 else 'are'} ",
                strong("inexact on this processor"),
                f": {runtime} answers otherwise than the artifact's own graph, so scores from other processors and "
                "runtimes will not be these.",
            ),
            sentence("Choose another ", code("runtime:"), ", or judge it where it will run."),
            sentence("Judge it where you will run it."),
        )
        for runtime, names in by_runtime.items()
    ]


def _shifted(run: RunRecord) -> list[_Warning]:
    """Quantised variants whose calibration did not see such frames as these."""
    warned = []
    for variant in run.variants:
        shift = variant.calibration_shift
        if variant.status != "ok" or shift is None or not shift.warned:
            continue
        fact = sentence(
            strong(variant.name),
            " has a ",
            strong("calibration shift"),
            ": the test frames lie outside of what its calibration saw. ",
            clipped(shift),
        )
        advice = sentence("Calibrate it with frames like these before you trust int8 on them.")
        warned.append(_Warning(fact, advice, sentence("Judge it on frames like yours before you rely on it.")))
    return warned


def _disturbed(run: RunRecord) -> list[_Warning]:
    """Sessions of timing on a machine that was busy, or whose clock was held back."""
    warned = []
    for session in disturbances(run):
        busy = (session.others_cpu or 0) > DISTURBED
        others = [f"{100 * (session.others_cpu or 0):.0f} % of the processor"] if busy else []
        others += [f"the GPU ({len(session.gpu_processes)})"] if session.gpu_processes else []
        if others:
            used = f"{_meanwhile(session)} other processes used {' and '.join(others)}: "
            again = sentence("Time again on a quiet one", _again(run), " before you decide by them.")
            warned.append(_Warning(sentence(f"{used}the speeds are those of a busy machine."), again, _TIME_IT))
        if session.is_throttled:
            warned.append(_stopped_by_quota(run, session))
        if session.gpu_throttling:
            warned.append(_slowed_down(run, session))
    return warned


def _meanwhile(session: Conditions) -> str:
    return f"While times were taken ({session.began}),"


def _slowed_down(run: RunRecord, session: Conditions) -> _Warning:
    """A GPU that lowered its clock while times were taken."""
    fact = (
        f"{_meanwhile(session)} the GPU slowed its clock down ({', '.join(session.gpu_throttling)}): the speeds are "
        "those of a GPU that is held back."
    )
    advice = sentence(
        "See its cooling and its power limit (",
        code("nvidia-smi -q -d PERFORMANCE,POWER,TEMPERATURE"),
        "), and time again",
        _again(run),
        " before you decide by them.",
    )
    return _Warning(sentence(fact), advice, _TIME_IT)


def _stopped_by_quota(run: RunRecord, session: Conditions) -> _Warning:
    """A container's CPU quota that stopped processes while times were taken."""
    fact = sentence(
        f"{_meanwhile(session)} ",
        strong("the CPU quota stopped them"),
        f" in {number(100 * (session.throttled_share or 0), 0)} % of its periods, for "
        f"{number(session.throttled_seconds or 0, 1)} s in all: which variant it met is chance, so no speed-up is "
        "reported and no speed is judged.",
    )
    advice = sentence(
        "Give the container or job a whole core for every thread, or set fewer threads (",
        code("threads: 1"),
        "), and time again",
        _again(run),
        ".",
    )
    return _Warning(fact, advice, _TIME_IT)


def _again(run: RunRecord) -> Sentence:
    """The command that times anew."""
    return sentence(" (", code(f"bench run {run.experiment} --time-again"), ")")


def _unsettled(run: RunRecord) -> list[_Warning]:
    """Times that were taken before calls took equally long."""
    timed = [
        (variant.name, timing) for variant in run.variants if variant.status == "ok" for timing in variant.measurements
    ]
    beside = [(run.baseline.name, timing) for variant in run.variants for timing in variant.baseline]
    unsettled = dict.fromkeys(
        (name, timing.runtime, timing.batch_size) for name, timing in [*timed, *beside] if timing.settled is False
    )
    if not unsettled:
        return []
    which = [sentence(strong(name), f" ({runtime}, batch {size})") for name, runtime, size in unsettled]
    fact = sentence(
        "Times had not settled when the warm-up ended: ",
        joined(which, ", "),
        ". The calls that were timed then may still have been getting faster or slower.",
    )
    advice = sentence(
        "See the variation of these times, and time again on a quiet machine",
        _again(run),
        ", or longer (",
        code("timing: {seconds: …}"),
        "), before you decide by them.",
    )
    return [_Warning(fact, advice, _TIME_IT)]
