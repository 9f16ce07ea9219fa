"""Numbers and names as a reader wants them, as plain text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from bench.errors import counted
from bench.records import Auc, Executed, Interval, Ratio, RunRecord, Unit

NONE = "–"

MIB = 2**20

_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
# Surrogates are no characters; marks of direction would reverse the text after them.
_UNSHOWN = re.compile(r"[\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SUFFIXES = re.compile(r"(?:\.[A-Za-z][A-Za-z0-9]{1,4})+$")


def plain(value: object) -> str:
    """On one line, without control characters; what cannot be shown, or hides, shows as U+FFFD that says so."""
    return _UNSHOWN.sub("\ufffd", _CONTROL.sub(" ", str(value))).strip()


def shortened(frame: str, most: int = 18) -> str:
    """A frame's file name without its endings, its middle left out where it is long: names differ at both ends.

    Before one that is a number stands its folder, which is called as a video is, unless that is real/ or fake/.
    """
    folder, name = (_without_endings(part) for part in f"/{frame}".rsplit("/", 2)[-2:])
    if not re.fullmatch(r"[\d-]+", name) or folder in {"", "real", "fake"}:
        return fitted(name, most)
    return f"{fitted(folder, max(most - len(name) - 1, 3))}/{name}"


def _without_endings(name: str) -> str:
    full = plain(name)
    return _SUFFIXES.sub("", full) or full


def fitted(name: str, most: int) -> str:
    """A name of at most so many characters, its middle left out where it is longer: names differ at both ends."""
    shown = plain(name)
    return shown if len(shown) <= most else f"{shown[: most // 2]}…{shown[-(most - most // 2 - 1) :]}"


def number(value: float | None, digits: int) -> str:
    return NONE if value is None else _unsigned_zero(f"{value:,.{digits}f}").replace("-", "−")


def cutoff(threshold: float) -> str:
    """A threshold in three digits, or in as many as tell it from 0 and from 1."""
    digits = next((digits for digits in range(3, 17) if 0 < round(threshold, digits) < 1), 3)
    return number(threshold, digits)


def small(share: float) -> str:
    """A share that may be tiny, in two digits: "0.12", "0.00034", "below 0.0001"."""
    digits = max(2, 1 - math.floor(math.log10(share))) if share > 0 else 0
    return "below 0.0001" if 0 < share < 1e-4 else number(share, digits)


def signed(value: float | None, digits: int) -> str:
    """With + or −, but no sign on what rounds to zero."""
    return NONE if value is None else _unsigned_zero(f"{value:+,.{digits}f}").replace("-", "−")


def change(value: float, reference: float) -> str:
    """The change from `reference` in percent: "−49.8 %", "+0.2 %", "0.0 %"."""
    return f"{signed(100 * (value / reference - 1), 1)} %"


def rough(milliseconds: float | None) -> str:
    """Three significant digits or so of a time."""
    if milliseconds is None:
        return NONE
    return number(milliseconds, 1 if milliseconds >= 10 else 2)


def times(ratio: Ratio | None) -> str:
    """How many times faster, with the interval; "≈ 1" where that holds 1."""
    return NONE if ratio is None else f"{factor(ratio)} ({factor_range(ratio)})"


def factor(ratio: Ratio) -> str:
    """How many times faster: "1.25×", or "≈ 1" where the interval holds 1."""
    return "≈ 1" if ratio.unclear else f"{number(ratio.value, 2)}×"


def factor_range(ratio: Ratio) -> str:
    """The interval of a ratio: "1.23–1.26"."""
    return f"{number(ratio.low, 2)}–{number(ratio.high, 2)}"


def enough(values: Sequence[float], least: int, most: int = 10) -> int:
    """So many digits, `least` or more, that values which differ look different, and only zero looks like zero.

    What `most` digits do not show is noise of the arithmetic.
    """
    shown = {round(value, most) for value in (*values, 0.0)}
    return next(
        (digits for digits in range(least, most) if len({round(value, digits) for value in shown}) == len(shown)), most
    )


def within(interval: Interval | None, least: int) -> str:
    """An interval of a share: "0.957–0.999"."""
    if interval is None:
        return NONE
    digits = enough((interval.low, interval.high), least)
    return f"{number(interval.low, digits)}–{number(interval.high, digits)}"


def span(interval: Interval, least: int = 4) -> str:
    """An interval of a difference: "−0.0004 to +0.0002"."""
    digits = enough((interval.low, interval.high), least)
    return f"{signed(interval.low, digits)} to {signed(interval.high, digits)}"


def area(auc: Auc | None) -> str:
    """An AUC with its interval: "0.9870 (0.957–0.996)"."""
    return NONE if auc is None else f"{number(auc.value, 4)} ({within(auc.interval, 3)})"


def difference(delta: Auc | None, least: int = 4) -> str:
    """A difference with its interval: "−0.0001 (−0.0004 to +0.0002)"."""
    return NONE if delta is None else "{} ({})".format(*estimate_and_range(delta, least))


def estimate_and_range(delta: Auc, least: int = 4) -> tuple[str, str]:
    """A difference and its interval, each with as many digits as both need: "−0.0001", "−0.0004 to +0.0002"."""
    digits = enough((delta.interval.low, delta.value, delta.interval.high), least)
    return signed(delta.value, digits), span(delta.interval, digits)


def moved(delta: float) -> str:
    """A difference of AUC alone: "−0.0001"; only none at all is "0.0000"."""
    return signed(delta, enough((delta,), 4))


def chance(p: float | None) -> str:
    """A p-value."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else number(p, 3)


def about(count: int) -> str:
    """An estimate of how many, rounded up to what it deserves: "15", "40", "4,000"."""
    # One digit; after a 1 that would be too coarse, and halves are taken.
    tenfold = 10 ** (len(str(count)) - 1)
    unit = max(tenfold // 2 if count <= 2 * tenfold else tenfold, 1)
    return f"{-(-count // unit) * unit:,}"


def further(frames: int, unit: Unit = "frame") -> str:
    """How many frames or videos are still missing, roughly: "about 3,300 further frames"."""
    if frames > 1_000_000:
        return f"more than a million further {unit}s"
    return f"about {about(frames)} further {unit if frames == 1 else f'{unit}s'}"


ALL_EQUAL = "all its scores are equal"
"""What is reported of a variant that gives every frame the same score."""


def test_frames(run: RunRecord) -> str:
    """How many frames of each class a run was evaluated on, and from how many sources."""
    test = run.test
    sources = f" from {counted(test.sources, 'source')}" if test.sources else ""
    more = {0: "", 1: "; 1 more is a copy of these"}.get(test.copies, f"; {test.copies:,} more are copies of these")
    return f"{counted(test.count, 'test frame')} ({test.fake:,} fake, {test.real:,} real{more}){sources}"


def dtypes(executed: Executed) -> str:
    """What was stored and what computed with."""
    if executed.stored == executed.computed:
        return executed.stored
    return f"stored {executed.stored}, computed {executed.computed}"


def ran_as(executed: Executed | None) -> str:
    """Where and how a variant really ran, in a few words."""
    if executed is None:
        return NONE
    how = f"int8 {executed.int8}" if executed.int8 else dtypes(executed).replace("stored ", "")
    return f"{how}, {executed.runtime} {executed.device}"


def _unsigned_zero(formatted: str) -> str:
    return formatted if formatted.strip("+-0.,") else formatted.lstrip("+-")
