"""Gates: what a variant must keep, judged from the numbers that `scores.json` holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.records import GateOutcome, Interval
from bench.results.limits import AGAINST_BASELINE, GateSettings

EVERY, ABOVE_CHANCE = "all", "above_chance"
AT_LEAST = ("auc", "recall")
"""The gates whose limit is the least that will do; that of all others is the most."""

CHANCE = 0.5
"""The AUC of a detector that guesses."""

_SLACK = 1e-9  # limits are decimals, which binary fractions miss by less than this


@dataclass(frozen=True)
class Quantity:
    """What a gate looks at; `interval` is None where the value is exact. Without a value the note says why.

    `part` is the part of it that goes furthest beyond any limit for certain, which a fall is then told of.
    """

    value: float | None
    interval: Interval | None = None
    note: str = ""
    part: Quantity | None = None


def check_gates(told: Mapping[str, Any], gates: Mapping[str, GateSettings]) -> tuple[GateOutcome, ...]:
    """Every gate of every variant, in the order of `told["variants"]` and of the gates' names.

    `told` is `scores.json` as read, `gates` those of the experiment: `all` holds for every variant, key by key
    overridden by the variant's own. What compares with the baseline is not asked of the baseline.
    A gate falls where the quantity could not be had.
    """
    variants = told["variants"]
    names = (*variants, *(name for name in gates if name != EVERY and name not in variants))
    return tuple(
        _outcome(name, gate, limit, strict, _measured(gate, variants.get(name)))
        for name in names
        for gate, (limit, strict) in _limits(name, gates, name == told["baseline"]).items()
    )


def above_chance(told: Mapping[str, Any], gates: Mapping[str, GateSettings]) -> GateOutcome | None:
    """The gate that fell because nothing that is compared with the baseline says anything; None where none did.

    It falls where the baseline's AUC is not proven to be better than chance. An `auc` gate under the baseline's
    own name is judged in its place. A baseline that failed has other gates to fall at.
    """
    name = told["baseline"]
    baseline = told["variants"].get(name)
    if baseline is None or baseline["status"] != "ok":
        return None
    if name in gates and "auc" in gates[name].limits:
        limit, strict = _limits(name, gates, is_baseline=True)["auc"]
        decided = _outcome(name, "auc", limit, strict, _auc(baseline))
        return decided if decided.fell else None
    measured = _auc(baseline)
    value, interval = measured.value, measured.interval
    if value is not None and interval is not None and interval.low > CHANCE:
        return None
    room = None if value is None else value - CHANCE
    why = measured.note or "not proven to be better than chance, so what is compared with it says nothing"
    return GateOutcome(name, ABOVE_CHANCE, value, interval, CHANCE, room, fell=True, proven=False, note=why)


def asked(names: Iterable[str], baseline: str, gates: Mapping[str, GateSettings]) -> bool:
    """Whether any gate would be judged of these variants."""
    return any(_limits(name, gates, name == baseline) for name in names)


def is_strict(name: str, gates: Mapping[str, GateSettings]) -> bool:
    """Whether the gates of a variant ask for the estimate too: its own word comes before that of `all`."""
    told = [gates[key].strict for key in (name, EVERY) if key in gates and "strict" in gates[key].model_fields_set]
    return told[0] if told else False


def _limits(name: str, gates: Mapping[str, GateSettings], is_baseline: bool) -> dict[str, tuple[float, bool]]:
    """Limit and strictness of each gate that holds for a variant."""
    common, own = gates.get(EVERY), gates.get(name)
    limits = {**(common.limits if common else {}), **(own.limits if own else {})}
    strict = is_strict(name, gates)
    skipped = AGAINST_BASELINE if is_baseline else ()
    return {
        gate: (limits[gate], strict)
        for gate in GateSettings.limits_there_are()
        if gate in limits and gate not in skipped
    }


def _outcome(variant: str, gate: str, limit: float, strict: bool, found: Quantity) -> GateOutcome:
    if found.value is None:
        return GateOutcome(variant, gate, None, None, limit, None, fell=True, proven=False, note=found.note)
    fell, proven = beyond(found.value, found.interval, limit, at_least=gate in AT_LEAST, strict=strict)
    if found.part and _falls(gate, found.part, limit):
        return _outcome(variant, gate, limit, strict, found.part)
    room = found.value - limit if gate in AT_LEAST else limit - found.value
    return GateOutcome(variant, gate, found.value, found.interval, limit, room, fell, proven, found.note)


def _falls(gate: str, found: Quantity, limit: float) -> bool:
    return found.value is not None and beyond(found.value, found.interval, limit, at_least=gate in AT_LEAST)[0]


def beyond(
    value: float, interval: Interval | None, limit: float, *, at_least: bool, strict: bool = False
) -> tuple[bool, bool]:
    """Whether the gate fell, and whether it is proven to be met: the whole interval beyond the limit, or within."""
    sign = -1.0 if at_least else 1.0
    over = [sign * (one - limit) for one in ((interval.low, interval.high) if interval else (value, value))]
    fell = min(over) > _SLACK or (strict and sign * (value - limit) > _SLACK)
    return fell, not fell and max(over) <= _SLACK


def _measured(gate: str, found: Mapping[str, Any] | None) -> Quantity:
    if found is None:
        return Quantity(None, note="it has no results")
    if found["status"] != "ok":
        return Quantity(None, note=f"it failed: {found['reason'] or 'no reason was recorded'}")
    return _QUANTITIES[gate](found)


def _auc(found: Mapping[str, Any]) -> Quantity:
    return _plain(found, "auc", "there is none on frames of one class")


def _recall(found: Mapping[str, Any]) -> Quantity:
    return _plain(found, "recall", "there is no fake test frame")


def _plain(found: Mapping[str, Any], key: str, why: str) -> Quantity:
    if found[key] is None:
        return Quantity(None, note=why)
    return _noisy(found[key], _interval(found[f"{key}_ci"]))


def _auc_drop(found: Mapping[str, Any]) -> Quantity:
    if found["auc_delta"] is None:
        return Quantity(None, note="there is no AUC of both, it and the baseline")
    return _noisy(-found["auc_delta"], _mirrored(found["auc_delta_ci"]))


def _fpr(found: Mapping[str, Any]) -> Quantity:
    fp, tn = found["confusion"]["fp"], found["confusion"]["tn"]
    if not fp + tn:
        return Quantity(None, note="there is no real test frame")
    return _noisy(fp / (fp + tn), _mirrored(found["specificity_ci"], 1.0))


def _size_mib(found: Mapping[str, Any]) -> Quantity:
    return Quantity(found["size_mib"], note="" if found["size_mib"] is not None else "its size is not known")


def _latency_ratio(found: Mapping[str, Any]) -> Quantity:
    if found["speedup"] is None:
        why = "it was not timed beside the baseline, or a CPU quota stopped it: the report says which"
        if found["latency_ms"]["p50"] is None:
            why = "it was not timed: run once without --no-timing"
        elif found.get("int8") == "simulated":
            why = "int8 is simulated here, so its time says nothing"
        return Quantity(None, note=why)
    low, high = found["speedup_interval"]
    return Quantity(1 / found["speedup"], Interval(1 / high, 1 / low))


def _flips(found: Mapping[str, Any]) -> Quantity:
    if found["flips"] is None:
        return Quantity(None, note="it was not compared with the baseline")
    return Quantity(found["flips"]["worse"])


def _worst_slice_auc_drop(found: Mapping[str, Any]) -> Quantity:
    """The largest drop of all slices. Where all intervals hold at once, it lies between their largest ends."""
    if found["auc_delta"] is None:
        return _auc_drop(found)
    if not found["slices"]:
        return Quantity(None, note="no column divides the frames: add one to their manifest, such as `method`")
    drops = [_slice_drop(one) for one in found["slices"] if one["auc_delta"] is not None]
    if not drops:
        return Quantity(None, note="every slice has too few frames or sources to be judged")
    largest = max(drops, key=lambda drop: drop[0])
    surest = max(drops, key=lambda drop: drop[1].low)
    interval = Interval(surest[1].low, max(drop.high for _, drop, _ in drops))
    return _noisy(largest[0], interval, largest[2], part=Quantity(*surest))


def _slice_drop(one: Mapping[str, Any]) -> tuple[float, Interval, str]:
    """The drop in a slice, its interval that holds for all slices at once, and which slice that is."""
    low, high = one["simultaneous"]
    return -one["auc_delta"], Interval(-high, -low), f"{one['column']} = {one['value']}"


def _noisy(value: float, interval: Interval | None, note: str = "", part: Quantity | None = None) -> Quantity:
    without = "no interval could be had: judged by the estimate alone"
    # -0.0 is nobody's drop.
    return Quantity(value or 0.0, interval, note if interval else without, part)


def _interval(ends: tuple[float, float] | None) -> Interval | None:
    return Interval(*ends) if ends else None


def _mirrored(ends: tuple[float, float] | None, whole: float = 0.0) -> Interval | None:
    """The interval of `whole` minus the quantity."""
    return Interval(whole - ends[1], whole - ends[0]) if ends else None


_QUANTITIES: dict[str, Callable[[Mapping[str, Any]], Quantity]] = {
    "auc": _auc,
    "auc_drop": _auc_drop,
    "recall": _recall,
    "fpr": _fpr,
    "size_mib": _size_mib,
    "latency_ratio": _latency_ratio,
    "flips": _flips,
    "worst_slice_auc_drop": _worst_slice_auc_drop,
}
