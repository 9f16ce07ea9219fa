"""The small print around the tables: two sentences at most, and where the documentation says more."""

from __future__ import annotations

from bench.errors import counted
from bench.records import Evaluation, RunRecord
from bench.reports.content.spans import Part, Sentence, code, docs, emphasis, listed, sentence, strong
from bench.reports.content.text import enough, number


def _note(section: str, *parts: Part) -> Sentence:
    return sentence(*parts, " More: ", docs(section), ".")


def method(run: RunRecord, evaluation: Evaluation) -> Sentence:
    """How verdicts are made, and from what; empty where none is."""
    compared = {name: judged.comparison.delta for name, judged in evaluation.variants.items() if judged.comparison}
    if not compared:
        return Sentence()
    margin, test = f"{run.margin:g}", run.test
    sources = f" from {counted(test.sources, 'source')}" if test.sources else ""
    by_source = [name for name, delta in compared.items() if delta.clustered]
    return _note(
        "verdicts.md#the-verdict",
        "A verdict compares the AUC with the baseline's on the same "
        f"{counted(test.count, 'frame')}{sources}, by the 95 % interval of the difference and the margin of {margin}: ",
        strong("improved"),
        f" where the interval lies above 0 and ΔAUC itself above {margin}, ",
        strong("stable"),
        f" where it lies above −{margin}, ",
        strong("degraded"),
        f" below 0 with ΔAUC itself below −{margin}, else ",
        strong("inconclusive"),
        ". The interval is ",
        _leading(by_source, len(compared), evaluation),
        f"; {_rare(evaluation)}.",
    )


def _leading(by_source: list[str], compared: int, evaluation: Evaluation) -> Sentence:
    """Which of the two intervals leads, by source or by frame, and for which variants."""
    how = _by_source(evaluation)
    if by_source:
        whom = sentence() if len(by_source) == compared else sentence(" for ", listed(by_source))
        return sentence("by source", whom, f" ({how}), wider than that by frame (DeLong)")
    if evaluation.independence.unit == "source":
        return sentence(f"by frame (DeLong), here no narrower than that by source ({how})")
    return sentence("by frame (DeLong), since no two frames are known to share a source")


def _by_source(evaluation: Evaluation) -> str:
    """How the interval by source is made: other where frames are of several sources."""
    independence = evaluation.independence
    if independence.clusters == "components":
        return f"Obuchowski; sources that share a fake count as one, which leaves {independence.groups:,}"
    if independence.clusters == "overlapping":
        return "Aronow, Samii & Assenova; too many sources hang together by fakes of two to count as one"
    return "Obuchowski"


def _rare(evaluation: Evaluation) -> str:
    """What these frames may not show: by the rule of three, what strikes fewer than 3 in N is missing from N by luck.

    Hanley & Lippman-Hand 1983, "If nothing goes wrong, is everything all right?", JAMA 249: 1743-1745.
    """
    count, unit = evaluation.independence.count, evaluation.independence.unit
    if count <= 3:
        return f"with {counted(count, unit)} of a class, any kind of loss can be absent from these frames"
    share = number(300 / count, enough((300 / count,), 1))
    rare = f"fewer than about 3 in {count:,} {unit}s of a class ({share} %)"
    return f"losses that strike {rare} can be absent from these frames"


def performance(run: RunRecord) -> Sentence:
    """What the columns of size, AUC and speed are."""
    baseline, count = strong(run.baseline.name), f"{run.test.count:,}"
    interval = f"AUC is that of the {count} test frames with its 95 % interval"
    if run.preprocessing is None:
        return _note("numbers.md#ranking", f"{interval}; the difference is to ", baseline, ".")
    return _note(
        "reading-the-report.md#1-performance-summary",
        "Reduction, difference and speed-up compare with ",
        baseline,
        f". {interval}, latency the median call with one frame and its quartiles; the speed-up is measured in the same "
        "runtime and session, and need not be the ratio of two latencies.",
    )


def execution() -> Sentence:
    """What fidelity and the noise of clipping are."""
    return _note(
        "runtimes.md#fidelity",
        strong("Fidelity"),
        " is the distance of the runtime's ",
        code("logit_fake − logit_real"),
        " from that of the artifact's own graph, on average and at most, in standard deviations: up to 0.04 and 0.2 is "
        "explained by values on the border between two integers. ",
        strong("Clipping noise"),
        " is what values outside of calibrated ranges add to it on the test frames, as a share of its variance.",
    )


def classification(run: RunRecord, *, intervals: bool = False) -> Sentence:
    """What the decisions of the table are; with `intervals`, what stands in parentheses too."""
    within = ", and in parentheses are 95 % intervals (Wilson)" if intervals else ""
    return sentence(
        f"At the experiment's threshold a frame counts as fake where P(fake) ≥ {run.threshold}{within}. "
        "“–” is undefined, as precision is where nothing was called fake."
    )


def thresholds(run: RunRecord, evaluation: Evaluation) -> Sentence:
    """What the three thresholds are."""
    has_baseline = run.baseline.name in evaluation.variants
    carried: tuple[Part, ...] = (
        ", ",
        strong("carried"),
        " has the baseline's false-positive rate on the validation frames, ",
        strong("own"),
        " is the variant's best there (Youden).",
    )
    alone: tuple[Part, ...] = (
        ", ",
        strong("own"),
        " the variant's best on the validation frames (Youden); there is none to carry over from the baseline, which "
        "failed.",
    )
    return _note(
        "verdicts.md#three-thresholds",
        "Compression shifts scores, so the baseline's threshold may not suit a variant. ",
        strong("Fixed"),
        f" is {run.threshold}",
        *(carried if has_baseline else alone),
    )


def at_thresholds(run: RunRecord, evaluation: Evaluation) -> Sentence:
    """What the marks of shifted scores mean."""
    gained = "“Own − fixed” is by how much a variant's own threshold changes its balanced accuracy."
    is_shifted = any(judged.shift and judged.shift.verdict for judged in evaluation.variants.values())
    if run.baseline.name not in evaluation.variants or not is_shifted:
        return _note("verdicts.md#three-thresholds", gained)
    return _note(
        "verdicts.md#three-thresholds",
        f"{gained} A significant gain, also beyond the baseline's, is marked ",
        emphasis("shifted, not lost"),
        " where it is at least half of the loss at the fixed threshold and no loss stays, ",
        emphasis("shifted, and some lost"),
        " where one stays, ",
        emphasis("shifted"),
        " where that is open.",
    )


def only_fixed() -> Sentence:
    """Why there is but one threshold."""
    return _note(
        "verdicts.md#three-thresholds",
        "Only the fixed threshold is evaluated, since there are no labelled validation frames. Thresholds that are set "
        "on test frames would look better than they are.",
    )


def ranking() -> Sentence:
    """What each column of ranking and calibration is."""
    return _note(
        "numbers.md#ranking",
        "None of these depends on the threshold: AP is the average precision, EER the equal error rate, TPR at FPR x % "
        "the share of fakes found where at most x % of the real frames are called fake. Brier is the mean squared "
        "error of P(fake), ECE its expected calibration error.",
    )


def flips(run: RunRecord) -> Sentence:
    """What a flip is."""
    return _note(
        "verdicts.md#flips",
        f"Test frames whose outcome at the experiment's threshold, {run.threshold}, differs from the baseline's. p is "
        "McNemar's exact test of whether as many got better as got worse.",
    )


def drift(run: RunRecord) -> Sentence:
    """What the columns on heatmaps are."""
    return _note(
        "verdicts.md#cam-drift",
        f"How far each variant's {run.map_kind}s moved from the baseline's on the same frames: the median rank "
        "correlation (Spearman), and the share of the hottest tenth of the area that both have in common. ",
        emphasis("Right for another reason"),
        " are frames that both get right with nothing of the hottest tenth in common and a rank correlation below 0.5.",
    )


def faithful() -> Sentence:
    """How heatmaps were judged."""
    return _note(
        "verdicts.md#faithful-heatmaps",
        "A heatmap ",
        strong("points at what matters"),
        " where blurring the square with most heat lowers the probability of the called class more than blurring any "
        "of three others, by chance in a quarter of the frames; where blur itself looks fake to a detector, “called "
        "fake” says little. Given are such frames of those in the galleries, and in parentheses the mean change of "
        "that probability, of the square with most heat and of another one.",
    )


def robustness(run: RunRecord) -> Sentence:
    """How to read the table of re-compressed frames."""
    per_video = ", and scored per video" if run.judge == "video" else ""
    return _note(
        "verdicts.md#under-re-compression",
        f"Every variant judged again on re-compressed test frames{per_video}: ",
        emphasis("extra ΔAUC"),
        " is its ΔAUC there minus its ΔAUC on the frames as they are, what it loses beyond the baseline, with the "
        f"paired 95 % interval and the verdict by the margin of {run.margin:g}. Bold is degraded, ∗ a significant "
        "loss after Holm's correction over all variants and levels; levels are a JPEG quality, a factor down and back, "
        "a blur's sigma in pixels, the CRF of an intra frame.",
    )


def slices() -> Sentence:
    """How to read the tables of slices."""
    return _note(
        "verdicts.md#slices",
        "The baseline's AUC in each slice and each variant's difference to it there, with 95 % intervals; bold is a "
        "variant's worst slice, significant or not; ∗ is significant after Holm's correction over the slices. “(all)” "
        "is where a slice has one class only and is compared with all frames of the other, “–” where it has too few "
        "frames or sources.",
    )


def confirmed() -> Sentence:
    """How slices were found and confirmed."""
    return _note(
        "verdicts.md#slices-that-were-searched-for",
        strong("Confirmed"),
        " are slices in which a variant loses more than elsewhere: those in which its scores move most, down or up, by "
        "all frames; and those in which it lost most on one half of the frames, by the other half alone. Numbers are "
        "of the frames that confirm, and intervals hold for all that were tried on them; of a variant that loses "
        "nowhere in particular, something is confirmed in at most 5 %.",
    )


def groups(run: RunRecord) -> Sentence:
    """What the gap between groups is."""
    return _note(
        "verdicts.md#gap-between-groups",
        f"FPR is the share of a group's real frames called fake at the threshold of {run.threshold:g}, FNR that of its "
        "fakes called real; the gap is the highest less the lowest of the groups. The 95 % interval is that of the "
        "change of the gap on the same frames; bold is a gap that has grown.",
    )


def ablation() -> Sentence:
    """What a variant is compared with step by step."""
    return _note(
        "verdicts.md#ablation",
        "Each variant against its nearest ancestor in this experiment, by the steps between them.",
    )


def galleries(run: RunRecord, evaluation: Evaluation) -> Sentence:
    """What the pictures show; variants without any map are named where others have one."""
    blurred_maps = {name for name, occlusion in evaluation.occlusions.items() if occlusion.maps}
    bare = [n for n, answered in evaluation.predictions.items() if answered.cam is None and n not in blurred_maps]
    have = "has no map: its" if len(bare) == 1 else "have no map: their"
    return _note(
        "reading-the-report.md#6-visual-analysis",
        "For every outcome the frames that each variant is surest about, with its ",
        _maps(run, evaluation),
        " for the ",
        emphasis("predicted"),
        " class: ",
        strong("warm colours for fake, cool colours for real"),
        ", the lighter the stronger; a line, dashed for real, goes around what is at least half as strong as the "
        "strongest place. All variants share one scale within a frame, so that pictures of one frame "
        "compare; those of different frames do not",
        "; a white line goes around what was forged." if evaluation.masks and evaluation.masks.counts.used else ".",
        sentence(" ", listed(bare), f" {have} pictures are frames alone.") if bare else "",
        _of_members(run) if evaluation.member_maps else "",
    )


def _of_members(run: RunRecord) -> Sentence:
    """What the small pictures below an ensemble's are."""
    if run.ensemble is None:
        return sentence("")
    rule = run.ensemble.rule
    of_all = "that of the member with the highest P(fake)" if rule.combine == "max" else "its members' by their weights"
    return sentence(
        f" Each map is {of_all}; below it are those of each, on a scale of their own, in the order of ",
        listed(rule.members),
        ", as far as they take part.",
    )


def _maps(run: RunRecord, evaluation: Evaluation) -> Sentence:
    """What kind of map the pictures show; occlusion maps in place of the detector's own are named as such."""
    occluded = [name for name, occlusion in evaluation.occlusions.items() if occlusion.maps]
    what = sentence(strong("occlusion map"), " (how many logits are lost where a square around each spot is blurred)")
    if not occluded:
        return sentence(run.map_kind)
    if all(answered.cam is None for answered in evaluation.predictions.values()):
        return sentence(what, ", since this detector has no class-activation map,")
    return sentence(run.map_kind, ", or, of ", listed(occluded), ", which have none, an ", what)


def blurred() -> Sentence:
    """What the numbers are that judge a picture's heatmap."""
    return _note(
        "verdicts.md#faithful-heatmaps",
        "“Blurred” is P(fake) without the square that the map points at, “elsewhere” without another one, on average.",
    )


def no_maps() -> Sentence:
    """What the pictures show where a detector has no class-activation map."""
    return _note(
        "reading-the-report.md#6-visual-analysis",
        "For every outcome the frames that each variant is surest about. This detector has no class-activation map, so "
        "they are shown without heatmaps; nothing is wrong.",
    )


def timings(evaluation: Evaluation) -> Sentence:
    """How times were taken."""
    given = any(timing.p99_ms is not None for timings in evaluation.timings.values() for timing in timings)
    return _note(
        "timing.md",
        "Wall-clock time of a call, from host array to host array: each variant ran in a warmed-up process of its own, "
        "in turns with the others and the baseline. Peak memory is that of the process up to the end of its calls with "
        "one frame.",
        " p99 is given from 662 calls on." if given else "",
    )
