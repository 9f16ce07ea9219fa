"""What `bench check` found, for a terminal, for a pull request, and for a CI system."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from bench.errors import UserError
from bench.files import write_text
from bench.records import Checked, GateOutcome
from bench.reports.content.text import NONE, enough, escape, number, plain, signed, table
from bench.reports.terminal.plain import ascii_, wrapped

_COLUMNS = (21, 26, 8, 8, 10)
_TITLES: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("variant", "left"),
    ("gate", "left"),
    ("value (95 % interval)", "right"),
    ("limit", "right"),
    ("headroom", "right"),
    ("outcome", "left"),
    ("note", "left"),
)
_NOT_XML = re.compile(r"[\ufffe\uffff]")
_DIGITS = {"size_mib": 2, "latency_ratio": 2, "flips": 0, "size_change": 1}
"""The least after the point; four for all others."""

_CHANGES = ("auc_change", "size_change")
_JUNIT_BEGINS = '<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="bench check"'
_SUMMARY_BEGINS = ("### ✅ bench check: ", "### 🟡 bench check: ", "### ❌ bench check: ")
_FOOTNOTE = (
    "A gate falls where the whole interval lies beyond its limit (with `strict`, where the estimate does); "
    "🟡 *not proven* passes, and means that the interval holds the limit: more frames would tell. "
    "Headroom is the distance of the estimate to the limit, negative beyond it."
)
_FOOTNOTE_AGAINST = (
    "`auc_change` falls where a loss is proven and its estimate is beyond the limit (with `strict`, where the estimate "
    "alone is), and where the AUC improved without a reason: with the same weights, or with `strict`."
)


def refuse_unwritable(to_junit: Path, to_summary: Path) -> None:
    """Raises `UserError` where `write` could not write, or would write over what it did not write itself."""
    if to_junit.resolve() == to_summary.resolve():
        raise UserError(
            f"--junit and --summary: both are {to_junit}, and one would replace the other; expected two files"
        )
    for option, path, begins in (("--junit", to_junit, (_JUNIT_BEGINS,)), ("--summary", to_summary, _SUMMARY_BEGINS)):
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise UserError(
                f"{option}: {path} cannot be written, since {above} is no folder that takes files; name another"
            )
        if path.exists() and not path.is_file():
            raise UserError(f"{option}: {path} is a folder or a device; expected a file to write")
        if path.exists() and not _is_own(path, begins):
            raise UserError(
                f"{option}: {path} was not written by `bench check`, and would be lost; name another file, or delete it"
            )


def _is_own(path: Path, begins: tuple[str, ...]) -> bool:
    """Whether a file begins as those that are written here do; nothing is lost with an empty one."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            beginning = file.read(max(map(len, begins)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name another file") from error
    return not beginning or beginning.startswith(begins)


def write(checked: Checked, to_junit: Path, to_summary: Path) -> None:
    """Write each file whole or not at all."""
    write_text(to_junit, junit(checked))
    write_text(to_summary, markdown(checked))


def append_to_page(checked: Checked) -> str | None:
    """Give GitHub's page of the job, where there is one, the summary too; what is told where that fails."""
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if not page:
        return None
    try:
        if Path(page).exists() and not Path(page).is_file():
            return f"GITHUB_STEP_SUMMARY: {page} is no file, and is left alone"
        with Path(page).open("a", encoding="utf-8") as file:
            file.write(markdown(checked))
    except OSError as error:
        return f"GITHUB_STEP_SUMMARY: {page} cannot be written to ({error.strerror})"
    return None


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
    lines = wrapped(f"WARNING: {one}" for one in checked.warnings)
    lines += _line(("gate", "value (95 % interval)", "limit", "headroom", "outcome"))
    for name, outcomes in groupby(checked.outcomes, lambda one: one.variant):
        lines += wrapped([name])
        for one in outcomes:
            lines += _line((one.gate, *_numbers(one), outcome(one)))
            lines += wrapped([one.note], "      ", "    ") if one.note else []
    lines += wrapped(f"{name} failed: {reason}" for name, reason in checked.failed.items())
    lines += wrapped(f"note: {one}" for one in checked.remarks)
    return "\n".join([*lines, headline(checked)])


def markdown(checked: Checked) -> str:
    """A summary for a pull request. With a final newline."""
    bad = checked.fell or checked.failed
    unproven = any(not one.proven for one in checked.outcomes) or not checked.outcomes
    parts = [_SUMMARY_BEGINS[2 if bad else int(unproven)] + escape(checked.experiment)]
    parts += [f"> ⚠️ **{escape(one)}**" for one in checked.warnings]
    parts.append(f"**{headline(checked)}**")
    parts += [f"- **{escape(name)}** failed: {escape(reason)}" for name, reason in checked.failed.items()]
    rows = [
        (escape(one.variant), f"`{one.gate}`", *_numbers(one), _marked(one), escape(one.note))
        for one in sorted(checked.outcomes, key=lambda one: not one.fell)
    ]
    parts += [str(table(_TITLES, rows))] if rows else []
    parts += [escape(one) for one in checked.remarks]
    parts.append(_FOOTNOTE)
    parts += [_FOOTNOTE_AGAINST] if any(one.gate in _CHANGES for one in checked.outcomes) else []
    return "\n\n".join(parts) + "\n"


def junit(checked: Checked) -> str:
    """JUnit XML: a test case for every gate, one that is an error for every variant that failed; warnings as output."""
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
    if checked.warnings:
        ElementTree.SubElement(suite, "system-out").text = _xml_lines(f"WARNING: {one}" for one in checked.warnings)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def outcome(one: GateOutcome) -> str:
    return "FELL" if one.fell else "ok" if one.proven else "not proven"


def sentence(one: GateOutcome) -> str:
    """A gate in one line: "auc_drop 0.0321 [0.0123, 0.0519], limit 0.0100, FELL: …"."""
    value, limit, room = _numbers(one)
    note = f" ({one.note})" if one.note else ""
    return ascii_(f"{one.gate} {value}, limit {limit}, headroom {room}: {outcome(one)}{note}")


def _case(suite: ElementTree.Element, experiment: str, variant: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", {"classname": _xml(f"{experiment}.{variant}"), "name": name})


def _xml(text: str) -> str:
    """What XML can hold: no control characters, no halves of characters."""
    return _NOT_XML.sub("\ufffd", plain(text))


def _xml_lines(texts: Iterable[str]) -> str:
    return "\n".join(_xml(text) for text in texts)


def _numbers(one: GateOutcome) -> tuple[str, str, str]:
    """Value with interval, limit as it was set, and headroom; with digits enough to tell what differs apart."""
    percent = one.gate == "size_change"
    scale, unit = (100, " %") if percent else (1, "")
    # As a person writes it: no more digits than it has, and no exponent.
    limit = f"{Decimal(f'{scale * one.limit:.12g}'):{'+' if one.gate in _CHANGES else ''}f}{unit}".replace("-", "−")
    if one.value is None:
        return NONE, limit, NONE
    ends = (one.interval.low, one.interval.high) if one.interval else ()
    digits = enough([scale * value for value in (one.value, *ends, one.limit)], _DIGITS.get(one.gate, 4))

    def written(value: float) -> str:
        return (signed if one.gate in _CHANGES else number)(scale * value, digits) + unit

    within = f" [{', '.join(map(written, ends))}]" if ends else ""
    return written(one.value) + within, limit, NONE if one.headroom is None else written(one.headroom)


def _marked(one: GateOutcome) -> str:
    return "❌ **fell**" if one.fell else "✅" if one.proven else "🟡 *not proven*"


def _line(cells: tuple[str, ...]) -> list[str]:
    """In columns; one after the other where one is too wide for its column."""
    first, *numbers, last = map(ascii_, cells)
    columns = zip((first, *numbers), _COLUMNS[:-1], strict=True)
    if any(len(cell) > width for cell, width in columns):
        return wrapped([f"{first} {', '.join(numbers)} {last}"], "    ", "  ")
    middle = " ".join(cell.rjust(width) for cell, width in zip(numbers, _COLUMNS[1:-1], strict=True))
    return [f"  {first.ljust(_COLUMNS[0])}{middle} {last}"]
