"""The tables of the report of several detectors: a row a detector, and a row a variant of each."""

from __future__ import annotations

from collections.abc import Mapping

from bench.records import Alone, Evaluation, SideBySide, VariantEvaluation, VariantResult
from bench.reports.content.cells import EMPTY, NOT_PRINTED, Cell, Column, Table, cell, several, table, variant_cell
from bench.reports.content.inputs import networks_and_inputs
from bench.reports.content.recommendation import recommend
from bench.reports.content.spans import link, sentence, strong, with_code
from bench.reports.content.text import MIB, chance, moved, number, rough
from bench.reports.content.variants import area_cell, difference_cell, ratio_cell, verdict


def detectors(together: SideBySide, page: str, below: Mapping[str, str]) -> Table:
    """A row for each detector: what it is, how good as it is, and which of its own variants it would ship."""
    rows, networks = [], networks_and_inputs({name: alone.run for name, alone in together.detectors.items()})
    for name, alone in together.detectors.items():
        baseline = alone.run.baseline
        judged = alone.judged.variants.get(baseline.name)
        comparison = together.baselines.get(name)
        latency = alone.judged.speeds[baseline.name].latency_ms
        rows.append(
            [
                Cell(sentence(link(name, f"{below[name]}/{page}")), variant=name),
                cell(networks[name]),
                area_cell(judged.auc if judged else None),
                difference_cell(comparison.delta) if comparison else cell(_why_best(together, judged)),
                cell(chance(comparison.p_holm)) if comparison else EMPTY,
                size_cell(baseline),
                EMPTY if latency is None else cell(rough(latency), value=latency),
                _ships(alone),
            ]
        )
    return table(
        [
            Column("Detector", "left"),
            Column("Network and input", "left", key=NOT_PRINTED),
            Column("AUC as it is"),
            Column(f"ΔAUC to {together.best}"),
            Column("p (Holm)"),
            Column("Size (MiB)"),
            Column("Latency (ms)"),
            Column("Of its own, ship", "left", key=NOT_PRINTED),
        ],
        rows,
    )


def _why_best(together: SideBySide, judged: VariantEvaluation | None) -> str:
    """What is said of the detector that others are compared with: on one of several frame sets it may not be first."""
    if judged is None or judged.auc is None:
        return "failed" if judged is None else "no AUC"
    others = [alone.judged.variants.get(alone.baseline) for alone in together.detectors.values()]
    highest = max(other.auc.value for other in others if other and other.auc)
    return "most accurate" if judged.auc.value >= highest else "most accurate over all frame sets"


def _ships(alone: Alone) -> Cell:
    """What its own report recommends."""
    recommended = recommend(alone.judged.choice, alone.baseline)
    if recommended.chosen is None:
        return cell("none qualifies") if recommended.kind == "unmet" else EMPTY
    comparison = alone.judged.variants[recommended.chosen].comparison
    footprint = next(variant for variant in alone.run.variants if variant.name == recommended.chosen).footprint
    facts = [f"{number(footprint.size_bytes / MIB, 2)} MiB"] if footprint else []
    facts += [f"ΔAUC {moved(comparison.delta.value)} to its baseline"] if comparison else []
    return cell(strong(recommended.chosen), f" ({', '.join(facts)})" if facts else "")


def variants(together: SideBySide) -> Table:
    """A row for each variant of each detector."""
    results = {variant.name: variant for variant in together.run.variants}
    rows = []
    for title, (detector, name) in together.titles.items():
        variant, alone = results[title], together.detectors[detector]
        if variant.status != "ok":
            failed = cell("failed: ", with_code(variant.reason or "no reason was recorded"))
            rows.append([variant_cell(title), *[EMPTY] * 7, failed])
            continue
        judged, of_own = together.evaluation.variants[title], alone.judged.variants[name]
        speed = together.evaluation.speeds[title]
        delta = difference_cell(judged.comparison.delta) if judged.comparison else cell("reference")
        rows.append(
            [
                variant_cell(title),
                area_cell(judged.auc),
                delta if judged.auc else EMPTY,
                size_cell(variant),
                EMPTY if speed.latency_ms is None else cell(rough(speed.latency_ms), value=speed.latency_ms),
                EMPTY if title == together.reference else ratio_cell(speed.speedup),
                cell(verdict(name == alone.baseline, of_own) or ""),
                # Its interval stands in the detector's own report, and the verdict is made of it.
                cell(moved(of_own.comparison.delta.value)) if of_own.comparison else EMPTY,
                _standing(title, together.evaluation),
            ]
        )
    frames = f"{together.run.test.count:,}"
    return table(
        [
            Column("Detector/variant", "left"),
            Column(f"AUC (n = {frames})", stacked=True),
            Column("ΔAUC (95 %)", stacked=True),
            Column("Size (MiB)"),
            Column("Latency (ms)"),
            Column("Speed-up", key=NOT_PRINTED, stacked=True),
            Column("To its own: verdict", "left"),
            Column("To its own: ΔAUC", key=NOT_PRINTED),
            Column("What to know", "left", key=NOT_PRINTED),
        ],
        rows,
    )


def size_cell(variant: VariantResult) -> Cell:
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
