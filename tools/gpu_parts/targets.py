"""The targets, as met or not met by the rows that there are; torch is not needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

LEAST_TIMES_TIMM, MOST_MS, LEAST_TIMES_WHOLE, LEAST_TIMES_INT8 = 1.3, 3.0, 1.5, 1.2
_FPS, _MS = "frames/s, device", "batch 1, device ms"

SHIPPED = tuple(f"{what}, {how}" for what in ("fp16", "half of it in fp16") for how in ("CUDA graphs", "eager"))

Rows: TypeAlias = Mapping[str, Mapping[str, Any]]


def verdicts(part: str, rows: Rows) -> list[str]:
    """One sentence a target of this part, by the device's own clock; none where rows are missing for it."""
    judge = {"large": _large, "compiled": _compiled, "int8": _int8, "demo": _demo}.get(part)
    return list(judge(rows)) if judge else []


def _large(rows: Rows) -> Iterator[str]:
    """The targets for the large network: against timm, in ms, and the half against the whole."""
    # What is measured with other settings than bench's rows_as_shipped decides nothing.
    rows_as_shipped = {name: row for name, row in rows.items() if name.startswith("timm, ") or name in SHIPPED}
    whole, half, timm = (_fastest(rows_as_shipped, begin) for begin in ("fp16, ", "half of it in fp16, ", "timm, "))
    yield from _ratio(
        "one frame's network against timm's, eager, at the best batch of each", whole, timm, LEAST_TIMES_TIMM
    )
    quickest = [(row[_MS], name) for name, row in rows_as_shipped.items() if name.startswith("fp16, ") and row.get(_MS)]
    if quickest:
        took, name = min(quickest)
        yield f"Target, one frame in fp16 within {MOST_MS:g} ms: {name}: {took:.2f} ms, {_met(took <= MOST_MS)}."
    yield from _ratio("the half against the whole", half, whole, LEAST_TIMES_WHOLE)


def _compiled(rows: Rows) -> Iterator[str]:
    ours = max(
        (_fastest(rows, begin) for begin in ("inductor, fp16", "inductor, bf16", "pytorch, fp16")),
        key=lambda best: best or (0.0, ""),
    )
    yield from _ratio(
        "bench's fastest against timm's fastest, compiled or eager", ours, _fastest(rows, "timm"), LEAST_TIMES_TIMM
    )


def _int8(rows: Rows) -> Iterator[str]:
    for name, row in rows.items():
        if bound := row.get("whole network, times faster at most"):
            worth = "worth a runtime" if bound >= LEAST_TIMES_INT8 else "not worth a runtime"
            least = f">= {LEAST_TIMES_INT8:g} times: worth a runtime"
            yield f"int8, {name}: at most {bound:.2f} times fp16 end to end ({least}): {worth}."


def _demo(rows: Rows) -> Iterator[str]:
    judged = {name: row["outcome"] for name, row in rows.items() if row.get("outcome") in {"pass", "FAIL"}}
    beyond = [name for name, outcome in judged.items() if outcome == "FAIL"]
    if judged:
        yield f"P(fake) against the CPU: {len(judged) - len(beyond)} of {len(judged)} within their bounds" + (
            f"; NOT: {', '.join(beyond)}." if beyond else "."
        )


def _fastest(rows: Rows, begin: str) -> tuple[float, str] | None:
    """Frames a second, and the row's name."""
    rates = [(row[_FPS], name) for name, row in rows.items() if name.startswith(begin) and row.get(_FPS)]
    return max(rates, default=None)


def _ratio(what: str, ours: tuple[float, str] | None, others: tuple[float, str] | None, least: float) -> Iterator[str]:
    if ours and others:
        times = ours[0] / others[0]
        yield (
            f"Target, {what}, at least {least:g} times: {ours[1]} ({ours[0]:.0f} frames/s) / {others[1]} "
            f"({others[0]:.0f}) = {times:.2f}, {_met(times >= least)}."
        )


def _met(met: bool) -> str:
    return "met" if met else "NOT met"
