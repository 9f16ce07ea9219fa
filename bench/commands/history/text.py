"""The history of checks as a person reads it on a terminal: variant by variant, in ASCII of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bench.commands.history import names, other_frames
from bench.records.history import Check, VariantThen
from bench.reports.content.text import NONE, enough, number, signed
from bench.reports.terminal.plain import ascii_, wrapped

_OUTCOMES = {"passed": "passed", "not proven": "passed, not proven", "fell": "FELL", "failed": "FAILED"}


def describe(checks: Sequence[Check], last: int) -> str:
    """The last checks, how each ended, and below each variant what it was then."""
    shown = checks[-last:]
    lines = wrapped([f"{len(checks):,} checks, the last {len(shown):,}:" if len(shown) < len(checks) else "checks:"])
    others = set(other_frames(checks))
    for index, check in enumerate(checks[-last:], len(checks) - len(shown)):
        lines += wrapped(["other test frames from here on: what changes may be theirs"] if index in others else [])
        lines += wrapped([_line(check, _OUTCOMES[check.outcome])])
    for name in names(shown):
        lines += wrapped([f"{name}: dAUC against the baseline (95 %), AUC, MiB, verdict"])
        lines += wrapped([_line(check, _then(check.variants[name])) for check in shown if name in check.variants])
    return "\n".join(lines)


def _line(check: Check, text: str) -> str:
    """Date, the commit's first digits, and what is said of it."""
    date = datetime.fromisoformat(check.date).strftime("%Y-%m-%d %H:%M")
    return ascii_(f"{date} {(check.commit or NONE)[:8]:8} {text}")


def _then(variant: VariantThen) -> str:
    """What a variant was; of the baseline no change is said."""
    change = NONE
    if variant.auc_delta is not None and variant.auc_delta_ci is not None:
        digits = enough((variant.auc_delta, *variant.auc_delta_ci), 4, 6)
        low, high = (signed(end, digits) for end in variant.auc_delta_ci)
        change = f"{signed(variant.auc_delta, digits)} ({low}, {high})"
    fell = f" FELL: {', '.join(variant.fell)}" if variant.fell else ""
    verdict = variant.verdict or NONE
    return f"{change} {number(variant.auc, 4)} {number(variant.size_mib, 2)} {verdict}{fell}"
