"""Gates: limits on the numbers of scores.json that a variant must keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from bench.errors import listed
from bench.records import (
    LEAST_GROUP,
    LEAST_GROUP_SOURCES,
    Ends,
    GateOutcome,
    Interval,
    ScoredDegradation,
    ScoredGroupGap,
    ScoredSlice,
    ScoredVariant,
    ScoresFile,
)
from bench.results.limits import AGAINST_BASELINE, GateSettings

EVERY, ABOVE_CHANCE = "all", "above_chance"
COVERAGE = "min_coverage"
AT_LEAST = ("auc", "recall", COVERAGE)
"""The gates whose limit is the least that will do; that of all others is the most."""

OF_NO_FRAMES = ("size_mib", "latency_ratio")
"""The gates whose quantity is the same on every frame set."""

CHANCE = 0.5
"""The AUC of a detector that guesses."""

_SLACK = 1e-9  # limits are decimals, which binary fractions miss by less than this


@dataclass(frozen=True)
class Quantity:
    """The value that a gate holds against its limit; `interval` is None where the value is exact.

    Where `value` is None, `note` says why. `part` is the part of the quantity whose interval goes furthest beyond any
    limit: the outcome of a gate that fell names it. `unjudged` are parts of which nothing is known, so that no limit is
    met for certain.
    """

    value: float | None
    interval: Interval | None = None
    note: str = ""
    part: Quantity | None = None
    unjudged: tuple[str, ...] = ()


def check_gates(scores: ScoresFile, gates: Mapping[str, GateSettings]) -> tuple[GateOutcome, ...]:
    """Check every gate of every variant, in the order of `scores.variants` and of the gates' names.

    `gates` are those of the experiment by variant. `all` holds for every variant; a variant's own gates override it,
    key by key. Gates that compare with the baseline skip the baseline. A gate falls where its quantity is unavailable.
    Coverage is that of the test videos, so each limit of it is checked once, with the first variant that has it.
    """
    variants = scores.judged
    names = (*variants, *(name for name in gates if name != EVERY and name not in variants))
    asked_of = [
        (name, gate, *limit) for name in names for gate, limit in _limits(name, gates, name == scores.baseline).items()
    ]
    first_with = {each[2:]: each for each in reversed(asked_of) if each[1] == COVERAGE}
    return tuple(
        _outcome(
            name, gate, limit, strict, _coverage(scores) if gate == COVERAGE else _quantity(gate, variants.get(name))
        )
        for name, gate, limit, strict in asked_of
        if gate != COVERAGE or first_with[limit, strict] == (name, gate, limit, strict)
    )


def above_chance(scores: ScoresFile, gates: Mapping[str, GateSettings]) -> GateOutcome | None:
    """The gate that fell because the baseline is not significantly better than chance; None where none fell.

    A comparison with such a baseline says nothing. An `auc` gate under the baseline's own name is checked instead.
    A baseline that failed falls at other gates.
    """
    name = scores.baseline
    baseline = scores.judged.get(name)
    if baseline is None or baseline.status != "ok":
        return None
    if name in gates and "auc" in gates[name].limits:
        limit, strict = _limits(name, gates, is_baseline=True)["auc"]
        outcome = _outcome(name, "auc", limit, strict, _auc(baseline))
        return outcome if outcome.fell else None
    auc = _auc(baseline)
    if auc.value is not None and auc.interval is not None and auc.interval.low > CHANCE:
        return None
    headroom = None if auc.value is None else auc.value - CHANCE
    why = auc.note or "not proven to be better than chance, so what is compared with it says nothing"
    return GateOutcome(name, ABOVE_CHANCE, auc.value, auc.interval, CHANCE, headroom, fell=True, proven=False, note=why)


def asked(names: Iterable[str], baseline: str, gates: Mapping[str, GateSettings]) -> bool:
    """Whether any gate holds for any of these variants."""
    return any(_limits(name, gates, name == baseline) for name in names)


def is_strict(name: str, gates: Mapping[str, GateSettings]) -> bool:
    """Whether a variant's estimates must meet its limits too; its own `strict` comes before that of `all`."""
    stated = [gates[key].strict for key in (name, EVERY) if key in gates and "strict" in gates[key].model_fields_set]
    return stated[0] if stated else False


def _limits(name: str, gates: Mapping[str, GateSettings], is_baseline: bool) -> dict[str, tuple[float, bool]]:
    """Limit and strictness of each gate that holds for a variant, by gate."""
    common, specific = gates.get(EVERY), gates.get(name)
    limits = {**(common.limits if common else {}), **(specific.limits if specific else {})}
    strict = is_strict(name, gates)
    skipped = AGAINST_BASELINE if is_baseline else ()
    return {
        gate: (limits[gate], strict) for gate in GateSettings.gate_names() if gate in limits and gate not in skipped
    }


def _outcome(variant: str, gate: str, limit: float, strict: bool, quantity: Quantity) -> GateOutcome:
    """Hold a quantity against a limit; where its worst part falls for certain, the outcome is that part's."""
    value, interval = quantity.value, quantity.interval
    if value is None:
        return GateOutcome(variant, gate, None, None, limit, None, fell=True, proven=False, note=quantity.note)
    fell, proven = beyond(value, interval, limit, at_least=gate in AT_LEAST, strict=strict)
    if quantity.part and _falls(gate, quantity.part, limit):
        return _outcome(variant, gate, limit, strict, quantity.part)
    headroom = value - limit if gate in AT_LEAST else limit - value
    note = quantity.note
    if quantity.unjudged:
        proven = False
        note += f"; too little to be judged: {listed(quantity.unjudged, 3)}"
    return GateOutcome(variant, gate, value, interval, limit, headroom, fell, proven, note)


def _falls(gate: str, quantity: Quantity, limit: float) -> bool:
    value = quantity.value
    return value is not None and beyond(value, quantity.interval, limit, at_least=gate in AT_LEAST)[0]


def beyond(
    value: float, interval: Interval | None, limit: float, *, at_least: bool, strict: bool = False
) -> tuple[bool, bool]:
    """Whether a gate fell, and whether it is met for certain.

    It falls where the whole interval is on the wrong side of the limit, with `strict` also where the estimate is. It
    is met for certain where the whole interval is on the right side. `at_least`: the limit is a minimum.
    """
    sign = -1.0 if at_least else 1.0
    excesses = [sign * (end - limit) for end in ((interval.low, interval.high) if interval else (value, value))]
    fell = min(excesses) > _SLACK or (strict and sign * (value - limit) > _SLACK)
    return fell, not fell and max(excesses) <= _SLACK


def _quantity(gate: str, scored: ScoredVariant | None) -> Quantity:
    if scored is None:
        return Quantity(None, note="it has no results")
    if scored.status != "ok":
        return Quantity(None, note=f"it failed: {scored.reason or 'no reason was recorded'}")
    return _QUANTITIES[gate](scored)


def _coverage(scores: ScoresFile) -> Quantity:
    """The share of the test videos that have a frame."""
    videos = scores.videos.splits.get("test") if scores.videos else None
    if videos is None:
        return Quantity(None, note="no test frame names its video")
    return Quantity(videos.coverage, note=f"{videos.missing:,} of {videos.missing + videos.count:,} have no frame")


def _auc(scored: ScoredVariant) -> Quantity:
    if scored.auc is None:
        return Quantity(None, note="there is none on frames of one class")
    return _noisy(scored.auc, _interval(scored.auc_ci))


def _recall(scored: ScoredVariant) -> Quantity:
    if scored.recall is None:
        return Quantity(None, note="there is no fake test frame")
    return _noisy(scored.recall, _interval(scored.recall_ci))


def _auc_drop(scored: ScoredVariant) -> Quantity:
    if scored.auc_delta is None:
        return Quantity(None, note="there is no AUC of both, it and the baseline")
    return _noisy(-scored.auc_delta, _mirrored(scored.auc_delta_ci))


def _fpr(scored: ScoredVariant) -> Quantity:
    fp, tn = scored.confusion.fp or 0, scored.confusion.tn or 0
    if not fp + tn:
        return Quantity(None, note="there is no real test frame")
    return _noisy(fp / (fp + tn), _mirrored(scored.specificity_ci, 1.0))


def _size_mib(scored: ScoredVariant) -> Quantity:
    return Quantity(scored.size_mib, note="" if scored.size_mib is not None else "its size is not known")


def _latency_ratio(scored: ScoredVariant) -> Quantity:
    if scored.speedup is None or scored.speedup_interval is None:
        why = "it was not timed beside the baseline, or a CPU quota stopped it: the report says which"
        if scored.latency_ms.p50 is None:
            why = "it was not timed: run once without --no-timing"
        elif scored.int8 == "simulated":
            why = "int8 is simulated here, so its time says nothing"
        return Quantity(None, note=why)
    low, high = scored.speedup_interval
    return Quantity(1 / scored.speedup, Interval(1 / high, 1 / low))


def _flips(scored: ScoredVariant) -> Quantity:
    if scored.flips is None:
        return Quantity(None, note="it was not compared with the baseline")
    return Quantity(scored.flips.worse)


def _worst_slice_auc_drop(scored: ScoredVariant) -> Quantity:
    """The largest drop of all slices. The intervals hold for all slices at once."""
    if scored.auc_delta is None:
        return _auc_drop(scored)
    if not scored.slices:
        return Quantity(None, note="no column divides the frames: add one to their manifest, such as `method`")
    drops = {f"{part.column} = {part.value}": _slice_drop(part) for part in scored.slices}
    if not any(drops.values()):
        return Quantity(None, note="every slice has too few frames or sources to be judged")
    return _largest(drops)


def _slice_drop(part: ScoredSlice) -> tuple[float, Interval] | None:
    """The drop in a slice, and its interval that holds for all slices at once."""
    if part.auc_delta is None or part.simultaneous is None:
        return None
    low, high = part.simultaneous
    return -part.auc_delta, Interval(-high, -low)


def _robustness_drop(scored: ScoredVariant) -> Quantity:
    """The largest extra loss of all levels. The intervals hold for all levels at once, as those of slices."""
    if not scored.robustness:
        return Quantity(None, note="it was not judged under re-compression: add `robustness:` to the experiment")
    drops = {f"{score.kind} {score.level:g}": _level_drop(score) for score in scored.robustness}
    if missing := [level for level, drop in drops.items() if drop is None]:
        return Quantity(None, note=f"it or the baseline was not judged under {', '.join(missing)}: run again")
    return _largest(drops)


def _level_drop(score: ScoredDegradation) -> tuple[float, Interval] | None:
    """The extra loss at a level, and its interval that holds for all levels at once."""
    if score.extra is None or score.simultaneous is None:
        return None
    low, high = score.simultaneous
    return -score.extra, Interval(-high, -low)


def _group_gap(scored: ScoredVariant) -> Quantity:
    """The largest growth of all gaps. The intervals hold for all columns and both rates at once."""
    if not scored.group_gaps:
        return Quantity(None, note="no groups were judged: add `groups:`, the name of a manifest's column")
    grown = {f"{part.rate.upper()} of {part.column}": _growth(part) for part in scored.group_gaps}
    if not any(grown.values()):
        least = f"{LEAST_GROUP} frames of a class from {LEAST_GROUP_SOURCES} sources"
        return Quantity(None, note=f"no column has two groups with {least} or more, or the baseline failed")
    return _largest(grown)


def _growth(part: ScoredGroupGap) -> tuple[float, Interval] | None:
    """The growth of a gap, and its interval that holds for all gaps at once."""
    if part.change is None or part.simultaneous is None:
        return None
    return part.change, Interval(*part.simultaneous)


def _largest(parts: Mapping[str, tuple[float, Interval] | None]) -> Quantity:
    """The largest of drops whose intervals hold at once: it lies between their largest ends. None could not be had."""
    drops = [(name, *drop) for name, drop in parts.items() if drop is not None]
    largest = max(drops, key=lambda drop: drop[1])
    surest = max(drops, key=lambda drop: drop[2].low)
    widest = max((largest, *drops), key=lambda drop: drop[2].high)
    interval = Interval(surest[2].low, widest[2].high)
    note = largest[0] if widest is largest else f"{largest[0]}; the upper end is that of {widest[0]}"
    unjudged = tuple(name for name, drop in parts.items() if drop is None)
    part = Quantity(surest[1], surest[2], surest[0])
    return replace(_noisy(largest[1], interval, note, part=part), unjudged=unjudged)


def _noisy(value: float, interval: Interval | None, note: str = "", part: Quantity | None = None) -> Quantity:
    without = "no interval could be had: judged by the estimate alone"
    # A drop of -0.0 would be printed with its sign.
    return Quantity(value or 0.0, interval, note if interval else without, part)


def _interval(ends: Ends | None) -> Interval | None:
    return Interval(*ends) if ends else None


def _mirrored(ends: Ends | None, whole: float = 0.0) -> Interval | None:
    """The interval of `whole` minus the quantity."""
    return Interval(whole - ends[1], whole - ends[0]) if ends else None


_QUANTITIES: dict[str, Callable[[ScoredVariant], Quantity]] = {
    "auc": _auc,
    "auc_drop": _auc_drop,
    "recall": _recall,
    "fpr": _fpr,
    "size_mib": _size_mib,
    "latency_ratio": _latency_ratio,
    "flips": _flips,
    "worst_slice_auc_drop": _worst_slice_auc_drop,
    "robustness_drop": _robustness_drop,
    "group_gap": _group_gap,
}
