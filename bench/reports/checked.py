"""What `bench check` found, for a terminal, for a pull request, and for a CI system."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from bench.errors import UserError
from bench.files import write_text
from bench.records import Checked, GateOutcome
from bench.reports.text import NONE, escape, number, plain, signed, table

WIDTH = 80
_COLUMNS = (21, 26, 8, 8, 10)
_TITLES: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("variant", "left"),
    ("gate", "left"),
    ("value (95 % interval)", "right"),
    ("limit", "right"),
    ("margin", "right"),
    ("outcome", "left"),
    ("note", "left"),
)
_ASCII = str.maketrans({"−": "-", "×": "x", "–": "-", "→": ">", "…": "~"})
_NOT_XML = re.compile(r"[\ufffe\uffff]")

_FORMATS: dict[str, Callable[[float], str]] = {
    "size_mib": lambda value: number(value, 2),
    "latency_ratio": lambda value: number(value, 2),
    "flips": lambda value: number(value, 0),
    "size_change": lambda value: f"{signed(100 * value, 1)} %",
    "auc_change": lambda value: signed(value, 4),
}


def write(checked: Checked, to_junit: Path, to_summary: Path) -> None:
    """Write both files whole or not at all; GitHub's page of the job, where there is one, gets the summary too."""
    write_text(to_junit, junit(checked))
    write_text(to_summary, markdown(checked))
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(page).open("a", encoding="utf-8") as file:
                file.write(markdown(checked))
        except OSError as error:
            raise UserError(f"GITHUB_STEP_SUMMARY: {page} cannot be written to ({error.strerror})") from error


def headline(checked: Checked) -> str:
    """How it went in one line: "2 of 7 gates fell, 1 variant failed"."""
    count, fell = len(checked.outcomes), len(checked.fell)
    gates = f"{count} gate{'' if count == 1 else 's'}"
    told = f"{fell} of {gates} fell" if fell else f"{gates} passed" if count else "no gate to judge"
    unproven = sum(not one.fell and not one.proven for one in checked.outcomes)
    told += f", {unproven} of them not proven" if unproven and not fell else ""
    failed = len(checked.failed)
    return told + (f", {failed} variant{'' if failed == 1 else 's'} failed" if failed else "")


def terminal(checked: Checked) -> str:
    """The gates variant by variant in plain ASCII, at most 80 columns. Without a final newline."""
    lines = _wrapped((f"WARNING: {one}" for one in checked.warnings), "  ")
    lines.append("  " + _line(("gate", "value (95 % interval)", "limit", "margin", "outcome")))
    for name, outcomes in groupby(checked.outcomes, lambda one: one.variant):
        lines.append(_ascii(name))
        for one in outcomes:
            lines.append("  " + _line((one.gate, _value(one), *_limit_and_room(one), outcome(one))))
            lines += _wrapped([one.note], "      ", "    ") if one.note else []
    lines += _wrapped((f"{name} failed: {reason}" for name, reason in checked.failed.items()), "  ")
    lines += _wrapped((f"note: {one}" for one in checked.remarks), "  ")
    return "\n".join([*lines, headline(checked)])


def markdown(checked: Checked) -> str:
    """A summary for a pull request. With a final newline."""
    bad = checked.fell or checked.failed
    parts = [f"### {'❌' if bad else '✅'} bench check: {escape(checked.experiment)}", f"**{headline(checked)}**"]
    parts += [f"> ⚠️ **{escape(one)}**" for one in checked.warnings]
    parts += [f"- **{escape(name)}** failed: {escape(reason)}" for name, reason in checked.failed.items()]
    rows = [
        (escape(one.variant), f"`{one.gate}`", _value(one), *_limit_and_room(one), _marked(one), escape(one.note))
        for one in sorted(checked.outcomes, key=lambda one: not one.fell)
    ]
    parts += [table(_TITLES, rows)] if rows else []
    parts += [escape(one) for one in checked.remarks]
    parts.append(
        "A gate falls where the whole interval lies beyond its limit (with `strict`, where the estimate does); "
        "*not proven* means that the interval holds the limit: more frames would tell."
    )
    return "\n\n".join(parts) + "\n"


def junit(checked: Checked) -> str:
    """JUnit XML: a test case for every gate, and one that is an error for every variant that failed."""
    counts = {
        "tests": str(len(checked.outcomes) + len(checked.failed)),
        "failures": str(len(checked.fell)),
        "errors": str(len(checked.failed)),
        "skipped": "0",
    }
    suites = ElementTree.Element("testsuites", {"name": "bench check", **counts})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _xml(checked.experiment), **counts})
    for one in checked.outcomes:
        case = _case(suite, checked.experiment, one.variant, one.gate)
        if one.fell:
            message = sentence(one)
            ElementTree.SubElement(case, "failure", {"message": _xml(message), "type": "gate"}).text = _xml(message)
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(sentence(one))
    for name, reason in checked.failed.items():
        case = _case(suite, checked.experiment, name, "status")
        ElementTree.SubElement(case, "error", {"message": _xml(reason), "type": "variant"}).text = _xml(reason)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def outcome(one: GateOutcome) -> str:
    return "FELL" if one.fell else "ok" if one.proven else "not proven"


def sentence(one: GateOutcome) -> str:
    """A gate in one line: "auc_drop 0.0321 [0.0123, 0.0519], limit 0.0100, FELL: …"."""
    limit, room = _limit_and_room(one)
    note = f" ({plain(one.note)})" if one.note else ""
    return f"{one.gate} {_value(one)}, limit {limit}, margin {room}: {outcome(one)}{note}".translate(_ASCII)


def _case(suite: ElementTree.Element, experiment: str, variant: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", {"classname": _xml(f"{experiment}.{variant}"), "name": name})


def _xml(text: str) -> str:
    """What XML can hold: no control characters, no halves of characters."""
    return _NOT_XML.sub("\ufffd", plain(text))


def _value(one: GateOutcome) -> str:
    if one.value is None:
        return NONE
    written = _FORMATS.get(one.gate, _four)
    if one.interval is None:
        return written(one.value)
    return f"{written(one.value)} [{written(one.interval.low)}, {written(one.interval.high)}]"


def _limit_and_room(one: GateOutcome) -> tuple[str, str]:
    written = _FORMATS.get(one.gate, _four)
    return written(one.limit), NONE if one.room is None else written(one.room)


def _four(value: float) -> str:
    return number(value, 4)


def _marked(one: GateOutcome) -> str:
    return "❌ **fell**" if one.fell else "✅" if one.proven else "✅ *not proven*"


def _line(cells: tuple[str, ...]) -> str:
    first, *numbers, last = (_ascii(cell) for cell in cells)
    widths = _COLUMNS[1:-1]
    middle = " ".join(cell.rjust(width) for cell, width in zip(numbers, widths, strict=True))
    return f"{first.ljust(_COLUMNS[0])}{middle} {last}"


def _ascii(text: str) -> str:
    return plain(text).translate(_ASCII)


def _wrapped(texts: Iterable[str], indent: str, first: str = "") -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(_ascii(text), WIDTH, initial_indent=first, subsequent_indent=indent)
    ]
