"""What the report of several detectors says: which of them, in which variant, is the one to ship."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.records import Alone, Choice, Evaluation, SideBySide, VariantResult
from bench.reports.content import recommendation
from bench.reports.content.cells import EMPTY, Cell, Column, Table, cell, several, table, variant_cell
from bench.reports.content.plots import Plots, Trade, trade
from bench.reports.content.report import input_of
from bench.reports.content.spans import Sentence, joined, link, listed, paragraph, sentence, strong
from bench.reports.content.text import MIB, chance, counted, difference, moved, number, rough
from bench.reports.content.variants import area_cell, difference_cell, ratio_cell, verdict


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
        warnings=[*_warnings(warnings), *_sessions(first)],
        sections=[
            _section(together, name if len(compared) > 1 else "", page, below) for name, together in compared.items()
        ],
    )


def _section(together: SideBySide, frame_set: str, page: str, below: Mapping[str, str]) -> Section:
    """What is said of all on one frame set; the reports of each are the files `page` in the folders `below`."""
    answer = recommendation.sentences(together.run, together.evaluation, of_several=True)
    looks = {title: list(together.detectors).index(detector) for title, (detector, _) in together.titles.items()}
    return Section(
        frame_set=frame_set,
        reference=together.reference,
        opening=_opening(together),
        answer=[*answer, _compared_with(together)],
        fronts=list(_fronts(together.evaluation.choice)),
        detectors=_detectors(together, page, below),
        baselines=_baselines(together),
        variants=_variants(together),
        note=_note(together),
        plots=Plots(tuple(_trades(together, looks, frame_set)), None, None, ()),
        looks=looks | {name: index for index, name in enumerate(together.detectors)},
    )


# --------------------------------------------------------------------------------------------- sentences
def _opening(together: SideBySide) -> Sentence:
    """Which detectors, on which frames, and where."""
    test = together.run.frames["test"]
    sources = f" from {counted(test.sources, 'source')}" if test.sources else ""
    frames = f"{counted(test.count, 'test frame')} ({test.fake:,} fake, {test.real:,} real){sources}"
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


def _compared_with(together: SideBySide) -> Sentence:
    """What the AUC of all is compared with, and why with that."""
    detector, variant = together.titles[together.reference]
    is_best = detector == together.best and variant == together.detectors[detector].baseline
    why = "the most accurate baseline" if is_best else "the most accurate of those within the limits"
    return sentence("ΔAUC is the difference to ", strong(together.reference), f", {why}.")


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


def _warnings(warnings: Mapping[str, Sequence[str]]) -> Iterable[Sentence]:
    """Each warning once: of all detectors as it is, of some with their names."""
    by_text: dict[str, list[str]] = {}
    for detector, texts in warnings.items():
        for text in texts:
            by_text.setdefault(text, []).append(detector)
    for text, detectors in by_text.items():
        yield sentence(text) if len(detectors) == len(warnings) else sentence(listed(detectors), f": {text}")


def _sessions(together: SideBySide) -> list[Sentence]:
    """That times of different sessions compare badly, where there are several."""
    if together.sessions < 2:
        return []
    again = f"`bench run {together.run.experiment} --time-again` times all of them side by side."
    return [
        sentence(
            f"Times were taken in {together.sessions} sessions, in which the machine may have been differently fast: "
            f"{again}"
        )
    ]


# ------------------------------------------------------------------------------------------------ tables
def _detectors(together: SideBySide, page: str, below: Mapping[str, str]) -> Table:
    """A row for each detector: what it is, how good as it is, and which of its own variants it would ship."""
    rows = []
    for name, alone in together.detectors.items():
        baseline = alone.run.baseline
        judged = alone.evaluation.variants.get(baseline.name)
        comparison = together.baselines.get(name)
        latency = alone.evaluation.speeds[baseline.name].latency_ms
        rows.append(
            [
                Cell(sentence(link(name, f"{below[name]}/{page}")), variant=name),
                cell(f"{alone.run.architecture}, {input_of(alone.run)}"),
                area_cell(judged.auc if judged else None),
                difference_cell(comparison.delta) if comparison else cell("most accurate" if judged else "failed"),
                cell(chance(comparison.p_holm)) if comparison else EMPTY,
                _size(baseline),
                EMPTY if latency is None else cell(rough(latency), value=latency),
                _ships(alone),
            ]
        )
    return table(
        [
            Column("Detector", "left"),
            Column("Network and input", "left"),
            Column("AUC as it is"),
            Column(f"ΔAUC to {together.best}"),
            Column("p (Holm)"),
            Column("Size (MiB)"),
            Column("Latency (ms)"),
            Column("Of its own, ship", "left"),
        ],
        rows,
    )


def _ships(alone: Alone) -> Cell:
    """What its own report recommends."""
    recommended = recommendation.recommend(alone.evaluation.choice, alone.baseline)
    if recommended.chosen is None:
        return cell("none qualifies") if recommended.kind == "unmet" else EMPTY
    comparison = alone.evaluation.variants[recommended.chosen].comparison
    footprint = next(variant for variant in alone.run.variants if variant.name == recommended.chosen).footprint
    facts = [f"{number(footprint.size_bytes / MIB, 2)} MiB"] if footprint else []
    facts += [f"ΔAUC {moved(comparison.delta.value)} to its baseline"] if comparison else []
    return cell(strong(recommended.chosen), f" ({', '.join(facts)})" if facts else "")


def _variants(together: SideBySide) -> Table:
    """A row for each variant of each detector."""
    results = {variant.name: variant for variant in together.run.variants}
    rows = []
    for title, (detector, name) in together.titles.items():
        variant, alone = results[title], together.detectors[detector]
        if variant.status != "ok":
            failed = cell("failed: ", variant.reason or "no reason was recorded")
            rows.append([variant_cell(title), *[EMPTY] * 7, failed])
            continue
        judged, of_own = together.evaluation.variants[title], alone.evaluation.variants[name]
        speed = together.evaluation.speeds[title]
        delta = difference_cell(judged.comparison.delta) if judged.comparison else cell("reference")
        rows.append(
            [
                variant_cell(title),
                area_cell(judged.auc),
                delta if judged.auc else EMPTY,
                _size(variant),
                EMPTY if speed.latency_ms is None else cell(rough(speed.latency_ms), value=speed.latency_ms),
                EMPTY if title == together.reference else ratio_cell(speed.speedup),
                cell(verdict(name == alone.baseline, of_own) or ""),
                difference_cell(of_own.comparison.delta) if of_own.comparison else EMPTY,
                _standing(title, together.evaluation),
            ]
        )
    frames = f"{together.run.frames['test'].count:,}"
    return table(
        [
            Column("Detector/variant", "left"),
            Column(f"AUC (n = {frames})", stacked=True),
            Column("ΔAUC (95 %)", stacked=True),
            Column("Size (MiB)"),
            Column("Latency (ms)"),
            Column("Speed-up", stacked=True),
            Column("To its own: verdict", "left"),
            Column("To its own: ΔAUC", stacked=True),
            Column("What to know", "left"),
        ],
        rows,
    )


def _size(variant: VariantResult) -> Cell:
    if variant.footprint is None:
        return EMPTY
    size_mib = variant.footprint.size_bytes / MIB
    return cell(number(size_mib, 2), value=size_mib)


def _standing(title: str, evaluation: Evaluation) -> Cell:
    """Whether it is the one to ship, on a Pareto front, or out, and why."""
    choice = evaluation.choice
    if choice is None:
        return EMPTY
    fronts = {"size": choice.front_by_size, "latency": choice.front_by_latency}
    measures = [measure for measure, members in fronts.items() if title in members]
    candidate = next(candidate for candidate in choice.candidates if candidate.name == title)
    missed = [requirement.constraint for requirement in candidate.requirements if not requirement.met]
    return several(
        [
            *([strong("ship")] if title == choice.chosen else []),
            *(["runner-up"] if title == choice.runner_up else []),
            *([f"Pareto: {', '.join(measures)}"] if measures else []),
            *([f"misses {', '.join(missed)}"] if missed else []),
        ]
    )


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
