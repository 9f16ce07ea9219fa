"""Does it still look at the forgery? Heatmaps beside masks of what was forged, as a table and in sentences."""

from __future__ import annotations

import math

from bench.errors import counted
from bench.records import Chance, Evaluation, Localisation, Localised, Mean, RunRecord
from bench.reports.content.cells import Cell, Column, Table, cell, table, variant_cell, with_interval
from bench.reports.content.spans import Sentence, docs, joined, listed, paragraph, sentence, strong
from bench.reports.content.text import number, signed, span, within

_NOTHING = cell("")
_NUMBERS = ("pointing", "inside", "auc")
_TITLES = (
    "Points at it", "Δ", "Evidence inside", "Δ evidence", "AUC against the mask", "Δ AUC", "Blank maps",
    "Points at it, not blank",
)  # fmt: skip


def localised(evaluation: Evaluation) -> Table | None:
    """Where each variant's heatmaps lie, and what a guess comes to; None where no map stands beside a mask."""
    located = evaluation.localisation
    if located is None or not located.variants or located.chance is None:
        return None
    rows = [[variant_cell(name), *_cells(of_variant)] for name, of_variant in located.variants.items()]
    chance = located.chance
    rows += [[cell("pointing anywhere"), *_guess(chance.area, chance.area, 0.5)]]
    rows += [[cell("pointing at the centre"), *_guess(chance.centre_pointing, chance.centre_inside, chance.centre_auc)]]
    if chance.mean_inside is not None:
        mean = _guess(chance.mean_pointing, chance.mean_inside, chance.mean_auc)
        rows += [[cell("the baseline's mean map"), *mean]]
    stacked = [Column(title, stacked=True) for title in _TITLES]
    return table([Column("Model", "left"), *stacked], rows)


def _cells(located: Localised) -> list[Cell]:
    """The numbers of a variant, each with its difference to the baseline's beside it."""
    cells = []
    for name in _NUMBERS:
        mean, delta = getattr(located, name), getattr(located, f"{name}_delta")
        cells += [_mean(mean), _delta(delta)]
    if not located.blank:
        return [*cells, _NOTHING, _NOTHING]
    return [*cells, cell(f"{located.blank:,}"), cell(number(located.pointing_not_blank, 3))]


def _mean(mean: Mean) -> Cell:
    return with_interval(number(mean.value, 3), within(mean.interval, 3), mean.value)


def _delta(mean: Mean | None) -> Cell:
    """A difference with its interval; a loss that this excludes to be none is stressed."""
    if mean is None:
        return _NOTHING
    stressed = mean.interval.high < 0
    return Cell(sentence(signed(mean.value, 3)), span(mean.interval, 3), mean.value, stressed=stressed)


def _guess(*numbers: float | None) -> list[Cell]:
    """What a map comes to that knows nothing of the frame."""
    return [
        *(part for value in numbers for part in (cell(number(value, 3)), _NOTHING)),
        _NOTHING,
        _NOTHING,
    ]


def finding(run: RunRecord, evaluation: Evaluation) -> list[Sentence]:
    """Whether the baseline looks at the forgery, and which variants look less there; nothing without masks and maps."""
    located = evaluation.localisation
    if located is None or located.chance is None:
        return []
    if not located.variants:
        return [sentence("There are masks of what was forged, and no class-activation maps to hold beside them.")]
    name = run.baseline.name
    baseline = located.variants.get(name)
    start = [_of_baseline(name, baseline, located)] if baseline else []
    if baseline is not None and not _beats_chance(baseline, located.chance):
        return [paragraph(start)]
    return [paragraph([*start, *_losses(located)])]


def _of_baseline(name: str, baseline: Localised, located: Localisation) -> Sentence:
    """Where the baseline's maps lie, and whether that is more than chance."""
    chance = located.chance
    assert chance is not None
    guess, of_guess, inside = "a map that is hottest in the centre", chance.centre_pointing, chance.centre_inside
    if chance.mean_pointing is not None and chance.mean_inside is not None:
        guess, of_guess, inside = "its mean map, the same for all fakes,", chance.mean_pointing, chance.mean_inside
    compared = "no more often than" if baseline.pointing.value <= of_guess else "more often than"
    where = (
        f" has {_percent(baseline.inside.value)} of its evidence for fake inside of the masks, which cover "
        f"{_percent(chance.area)} of the area ({guess} has {_percent(inside)}), "
        f"and its hottest place is forged in {_percent(baseline.pointing.value)} of "
        f"{counted(baseline.frames, 'fake')}{_without_blank(baseline)}, {compared} that map's ({_percent(of_guess)})"
    )
    if _beats_chance(baseline, chance):
        habit = ". Its maps lie no better than their mean does, so they need not follow the frame"
        doubt = "" if _beats_mean(baseline, chance) else habit
        return sentence("Does it still look at the forgery? ", strong(name), f"{where}{doubt}.")
    doubt = ", no more than chance would have it there: it decides by something else than what the masks show."
    return sentence("Does it look at the forgery? ", strong(name), where, doubt)


def _without_blank(of: Localised) -> str:
    """The pointing game without the maps that point nowhere, as a clause; empty where there are none, or no others."""
    share = of.pointing_not_blank
    if not of.blank or share is None:
        return ""
    return f", {_percent(share)} without the {of.blank:,} in which nothing speaks for fake"


def _beats_chance(baseline: Localised, chance: Chance) -> bool:
    """Whether more evidence lies inside than the mask's share of the area, by the interval."""
    return baseline.inside.interval.low > chance.area


def _beats_mean(baseline: Localised, chance: Chance) -> bool:
    """Whether its maps lie better than their mean does, by an interval of either number; yes without a mean."""
    pairs = ((baseline.inside, chance.mean_inside), (baseline.pointing, chance.mean_pointing))
    return any(of_mean is None or mean.interval.low > of_mean for mean, of_mean in pairs)


def _losses(located: Localisation) -> list[Sentence]:
    """The variants with significantly less evidence inside, the greatest loss first; or that there are none."""
    deltas = {name: each.inside_delta for name, each in located.variants.items() if each.inside_delta}
    if not deltas:
        return []
    less = sorted((name for name in deltas if deltas[name].interval.high < 0), key=lambda name: deltas[name].value)
    if not less:
        lowest = min(delta.interval.low for delta in deltas.values())
        return [
            sentence(
                "No variant has significantly less of its evidence there; a loss of more than "
                f"{number(math.ceil(-1000 * lowest) / 10, 1)} percentage points is excluded for each by its own "
                "interval."
            )
            if lowest < 0
            else sentence("No variant has less of its evidence there.")
        ]
    losses = joined((sentence(strong(name), f" {_difference(deltas[name])}") for name in less), "; ")
    unlost = [name for name in deltas if name not in less]
    others = sentence(" Of ", listed(unlost), " no loss is shown.") if unlost else sentence("")
    return [sentence("Less of their evidence lies there, each by its own interval: ", losses, ".", others)]


def _difference(mean: Mean) -> str:
    return f"{signed(mean.value, 3)} ({span(mean.interval, 3)})"


def _percent(share: float) -> str:
    return f"{number(100 * share, 1)} %"


def note(evaluation: Evaluation) -> Sentence:
    """How maps stand beside masks, on how many fakes, and which variants have no numbers."""
    located = evaluation.localisation
    if located is None:
        return sentence("")
    of = f"the {located.counts.used:,} of {counted(located.counts.fakes, 'test fake')} that have one"
    if located.frames < located.counts.used:
        of = f"{located.frames:,} of {of}"
    without = ""
    if located.reasons:
        without = f"; {', '.join(located.reasons)}: {next(iter(located.reasons.values()))}"
    return sentence(
        f"Heatmaps beside masks of what was forged, over {of}: ",
        strong("points at it"),
        ", the pointing game, is the share of fakes whose hottest place is forged (a blank map, in which nothing "
        "speaks for fake, points nowhere), ",
        strong("evidence inside"),
        " the share of what speaks for fake that lies in the mask, 0 in a blank map, ",
        strong("AUC against the mask"),
        " how well the map ranks forged places above others. Intervals are of 95 %, by source where frames share some; "
        "Δ is the paired difference to the baseline on the same fakes, bold where less is significant",
        without,
        ". More: ",
        docs("verdicts.md#where-heatmaps-lie"),
        ".",
    )
