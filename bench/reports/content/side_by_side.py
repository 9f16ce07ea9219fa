"""What the report of several detectors says: which of them, in which variant, is the one to ship."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.errors import counted
from bench.records import Choice, SideBySide
from bench.reports.content import recommendation, robustness, side_by_side_tables
from bench.reports.content.cells import Table
from bench.reports.content.heatmaps_of_several import Tables, heatmaps
from bench.reports.content.judged import judged
from bench.reports.content.plots import Plots, Trade, trade
from bench.reports.content.spans import Sentence, code, joined, listed, paragraph, sentence, strong, with_code
from bench.reports.content.text import MIB, difference, number, rough, test_frames


@dataclass(frozen=True)
class Section:
    """All detectors on one frame set, whose name is `frame_set` where there are several; tables and plots of both."""

    frame_set: str
    reference: str
    opening: Sentence
    answer: list[Sentence]
    fronts: list[Sentence]
    detectors: Table
    baselines: list[Sentence]
    variants: Table
    note: Sentence
    plots: Plots
    looks: Mapping[str, int]
    heatmaps: list[Tables]


@dataclass(frozen=True)
class Overall:
    """The whole report; `warnings` must be read before any number, each with the detectors that it is about."""

    experiment: str
    warnings: list[Sentence]
    sections: list[Section]


def overall(
    compared: Mapping[str, SideBySide], warnings: Mapping[str, Sequence[str]], page: str, below: Mapping[str, str]
) -> Overall:
    """What is said of several detectors, `compared` on each frame set.

    `warnings` are those of each detector's reports. `page` is the file name of these, in the folders `below`, by the
    name of the detector on the first set.
    """
    first = next(iter(compared.values()))
    return Overall(
        experiment=first.run.experiment,
        warnings=[*warnings_of(warnings), *sessions_of(first)],
        sections=[
            section_on(together, name if len(compared) > 1 else "", page, below) for name, together in compared.items()
        ],
    )


def section_on(together: SideBySide, frame_set: str, page: str, below: Mapping[str, str]) -> Section:
    """What is said of all on one frame set; the reports of each are the files `page` in the folders `below`."""
    of = judged(together.run, together.evaluation)
    together = replace(together, run=of.run)
    answer = of.sentences(recommendation.sentences(together.run, together.evaluation, of_several=True))
    looks = {title: list(together.detectors).index(detector) for title, (detector, _) in together.titles.items()}
    return Section(
        frame_set=frame_set,
        reference=together.reference,
        opening=of.sentence(_opening(together)),
        answer=[*answer, *_lost_under_re_compression(together), _compared_with(together, over_all=bool(frame_set))],
        fronts=list(_fronts(together.evaluation.choice)),
        detectors=side_by_side_tables.detectors(together, page, below),
        baselines=_baselines(together),
        variants=of.table(side_by_side_tables.variants(together)),
        note=_note(together),
        plots=Plots(tuple(map(of.trade, _trades(together, looks, frame_set))), None, None, ()),
        looks=looks | {name: index for index, name in enumerate(together.detectors)},
        heatmaps=heatmaps(together.detectors),
    )


# --------------------------------------------------------------------------------------------- sentences
def _opening(together: SideBySide) -> Sentence:
    """Which detectors, on which frames, and where."""
    test, frames = together.run.test, test_frames(together.run)
    devices = dict.fromkeys(
        f"{variant.executed.device} ({variant.executed.device_name})"
        for variant in together.run.variants
        if variant.executed
    )
    where = f" They ran on {' and '.join(devices)}." if devices else ""
    return sentence(
        f"{len(together.detectors)} detectors side by side: ",
        listed(list(together.detectors)),
        f", {counted(len(together.titles), 'variant')} in all, evaluated on the same {frames} in {test.root}.{where}",
    )


def _compared_with(together: SideBySide, *, over_all: bool) -> Sentence:
    """What the AUC of all is compared with, and why with that; `over_all` where several frame sets have the same."""
    detector, variant = together.titles[together.reference]
    is_best = detector == together.best and variant == together.detectors[detector].baseline
    why = "the most accurate baseline" if is_best else "the most accurate of those within the limits"
    of_all = " over all frame sets" if over_all else ""
    return sentence("ΔAUC is the difference to ", strong(together.reference), f", {why}{of_all}.")


def _lost_under_re_compression(together: SideBySide) -> list[Sentence]:
    """What the recommended variant loses there beyond its own detector's baseline."""
    chosen = recommendation.recommend(together.evaluation.choice, "").chosen
    if chosen is None:
        return []
    detector, variant = together.titles[chosen]
    alone = together.detectors[detector]
    return robustness.of_variant(alone.judged.degraded.get(variant, ()), f"{detector}/{alone.baseline}")


def _fronts(choice: Choice | None) -> Iterable[Sentence]:
    """By size and by latency, the variants than which no other that is as small, or as fast, is more accurate."""
    if choice is None:
        return
    by_name = {candidate.name: candidate for candidate in choice.candidates}
    for title, front, smaller in (
        ("By size", choice.front_by_size, "as small or smaller"),
        ("By latency", choice.front_by_latency, "as fast or faster"),
    ):
        facts = []
        for name in front:
            rival = by_name[name]
            size = f"{number(rival.size_mib, 2)} MiB" if title == "By size" else f"{rough(rival.latency_ms)} ms"
            facts.append(sentence(strong(name), f" ({size}, AUC {number(rival.auc, 4)})"))
        if facts:
            yield sentence(strong(title), f", nothing {smaller} is more accurate than ", joined(facts, "; "), ".")


def _baselines(together: SideBySide) -> list[Sentence]:
    """How the detectors differ as they are, before anything is compressed."""
    best = together.best
    worse = [name for name, compared in together.baselines.items() if compared.delta.interval.high < 0]
    alike = [name for name in together.baselines if name not in worse]
    texts = []
    if worse:
        losses = joined(
            (sentence(strong(name), f" {difference(together.baselines[name].delta)}") for name in worse), "; "
        )
        texts.append(sentence("As they are, less accurate than ", strong(best), ": ", losses, "."))
    if alike:
        are = "is" if len(alike) == 1 else "are"
        texts.append(sentence(listed(alike), f" {are} not shown to be less accurate than ", strong(best), "."))
    return texts


def _note(together: SideBySide) -> Sentence:
    """What the columns of the table of variants say, and who is missing in the plot of latencies."""
    latencies = together.evaluation.latencies
    timed = [name for name, speed in together.evaluation.speeds.items() if speed.latency_ms is not None]
    apart = [name for name in timed if latencies is None or name not in latencies.by_variant]
    texts = [
        sentence(
            "“To its own” compares a variant with its own detector's baseline, all else with ",
            strong(together.reference),
            ".",
        )
    ]
    if apart:
        why = "another runtime, device or session"
        texts.append(sentence("Latencies that do not compare with its own (", why, "): ", listed(apart), "."))
    return paragraph(texts)


def warnings_of(warnings: Mapping[str, Sequence[str]]) -> Iterable[Sentence]:
    """Each warning once: of all detectors or frame sets as it is, of some with their names."""
    by_text: dict[str, list[str]] = {}
    for name, texts in warnings.items():
        for text in texts:
            by_text.setdefault(text, []).append(name)
    for text, names in by_text.items():
        warning = with_code(text)
        yield warning if len(names) == len(warnings) else sentence(listed(names), ": ", warning)


def sessions_of(together: SideBySide) -> list[Sentence]:
    """That times of different sessions compare badly, where there are several."""
    if together.sessions < 2:
        return []
    return [
        sentence(
            f"Times were taken in {together.sessions} sessions, in which the machine may have been differently fast: ",
            code(f"bench run {together.run.experiment} --time-again"),
            " times all of them side by side.",
        )
    ]


# ------------------------------------------------------------------------------------------------- plots
def _trades(together: SideBySide, looks: Mapping[str, int], frame_set: str) -> Iterable[Trade]:
    """Size against AUC, and latency against AUC where at least two latencies compare; detectors differ in colour."""
    evaluation, run = together.evaluation, together.run
    scored = [
        (looks[title], title, evaluation.variants[title])
        for title in together.titles
        if title in evaluation.variants and evaluation.variants[title].auc is not None
    ]
    names = {name for _, name, _ in scored}
    sizes = {
        variant.name: variant.footprint.size_bytes / MIB
        for variant in run.variants
        if variant.footprint and variant.name in names
    }
    prefix, choice, latencies = f"{frame_set}-" if frame_set else "", evaluation.choice, evaluation.latencies
    minus = "the reference's"
    if sizes:
        titles = ("File size against AUC", f"{prefix}size_auc.png", "size of the shipped file (MiB)")
        yield trade(titles, sizes, scored, choice.front_by_size if choice else (), run.margin, minus)
    if latencies is not None and len(latencies.by_variant.keys() & names) > 1:
        below = f"median latency at batch 1 (ms, {latencies.runtime}, {latencies.device})"
        titles = ("Latency against AUC", f"{prefix}latency_auc.png", below)
        front = choice.front_by_latency if choice else ()
        yield trade(titles, latencies.by_variant, scored, front, run.margin, minus)
