"""The outcome of `bench check`, for a terminal, for a pull request, and for a CI system."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from bench.errors import UserError, counted
from bench.files import unwritable_above, write_text
from bench.records import Checked, GateOutcome
from bench.reports.content.cells import Cell, Column, cell, table, with_interval
from bench.reports.content.spans import code, emphasis, strong
from bench.reports.content.text import NONE, enough, number, plain, signed
from bench.reports.markdown import write as as_markdown
from bench.reports.markdown.write import escape
from bench.reports.terminal.plain import ascii_, wrapped

_WIDTHS = (21, 26, 8, 8, 10)
_COLUMNS = (
    Column("variant", "left"),
    Column("gate", "left"),
    Column("value (95 % interval)"),
    Column("limit"),
    Column("headroom"),
    Column("outcome", "left"),
    Column("note", "left"),
)
_NOT_XML = re.compile(r"[\ufffe\uffff]")
_DIGITS = {"size_mib": 2, "latency_ratio": 2, "flips": 0, "size_change": 1}
"""The least after the point; four for all others."""

_CHANGES = ("auc_change", "size_change")
_JUNIT_BEGINS = '<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="bench check"'
_SUMMARY_BEGINS = ("### ✅ bench check: ", "### 🟡 bench check: ", "### ❌ bench check: ")
_ID = "<!-- bench: "
"""How the first line of a summary begins: by that line, a comment of an earlier run is found again."""
_FOOTNOTE = (
    "A gate falls where the whole interval lies beyond its limit (with `strict`, where the estimate does); "
    "🟡 *not proven* passes, and means that the interval holds the limit: more frames would decide. "
    "Headroom is the distance of the estimate to the limit, negative beyond it."
)
_FOOTNOTE_AGAINST = (
    "`auc_change` falls where a loss is significant and its estimate is beyond the limit (with `strict`, where the "
    "estimate alone is), and where the AUC improved without a reason: with the same weights, or with `strict`."
)


def refuse_unwritable(to_junit: Path, to_summary: Path) -> None:
    """Raises `UserError` where `write` could not write, or would write over what it did not write itself."""
    if to_junit.resolve() == to_summary.resolve():
        raise UserError(
            f"--junit and --summary: both are {to_junit}, and one would replace the other; expected two files"
        )
    ours = (("--junit", to_junit, (_JUNIT_BEGINS,)), ("--summary", to_summary, (_ID, *_SUMMARY_BEGINS)))
    for option, path, begins in ours:
        if above := unwritable_above(path):
            raise UserError(
                f"{option}: {path} cannot be written, since {above} is no folder that takes files; name another"
            )
        if path.exists() and not path.is_file():
            raise UserError(f"{option}: {path} is a folder or a device; expected a file to write")
        if path.exists() and not _is_ours(path, begins):
            raise UserError(
                f"{option}: {path} was not written by `bench check`, and would be lost; name another file, or delete it"
            )


def _is_ours(path: Path, begins: tuple[str, ...]) -> bool:
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
    """Append the summary to GitHub's page of the job, where there is one; the reason where that fails."""
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
    if checked.stopped:
        return "could not be judged"
    count, fell = len(checked.outcomes), len(checked.fell)
    gates = counted(count, "gate")
    line = f"{fell} of {gates} fell" if fell else f"{gates} passed" if count else "no gate to judge"
    unproven = sum(not gate.fell and not gate.proven for gate in checked.outcomes)
    line += f", {unproven} of them not proven" if unproven and not fell else ""
    return line + (f", {counted(len(checked.failed), 'variant')} failed" if checked.failed else "")


def terminal(checked: Checked) -> str:
    """The gates variant by variant in plain ASCII, at most 80 columns. Without a final newline."""
    lines = wrapped(f"WARNING: {warning}" for warning in checked.warnings)
    lines += _line(("gate", "value (95 % interval)", "limit", "headroom", "outcome"))
    for name, gates in groupby(checked.outcomes, lambda gate: gate.variant):
        lines += wrapped([name])
        for gate in gates:
            value, interval, limit, headroom = _numbers(gate)
            lines += _line((gate.gate, _bracketed(value, interval), limit, headroom, outcome(gate)))
            lines += wrapped([gate.note], "      ", "    ") if gate.note else []
    lines += wrapped(f"{name} failed: {reason}" for name, reason in checked.failed.items())
    lines += wrapped(f"note: {remark}" for remark in checked.remarks)
    return "\n".join([*lines, headline(checked)])


def markdown(checked: Checked) -> str:
    """A summary for a pull request. With a final newline."""
    bad = checked.fell or checked.failed or checked.stopped
    unproven = any(not gate.proven for gate in checked.outcomes) or not checked.outcomes
    sign = _SUMMARY_BEGINS[2 if bad else int(unproven)]
    parts = [f"{comment_id(checked.experiment)}\n{sign}{escape(checked.experiment)}"]
    parts += [f"> ⚠️ **{escape(warning)}**" for warning in checked.warnings]
    parts.append(f"**{headline(checked)}**{escape(f' ({checked.of})') if checked.of else ''}")
    parts += [f"- {escape(line)}" for line in checked.stopped.splitlines()]
    parts += [f"- **{escape(name)}** failed: {escape(reason)}" for name, reason in checked.failed.items()]
    rows = [_row(gate) for gate in sorted(checked.outcomes, key=lambda gate: not gate.fell)]
    parts += [as_markdown.table(table(_COLUMNS, rows))] if rows else []
    parts += map(escape, checked.remarks)
    parts += [_FOOTNOTE] if not checked.stopped else []
    parts += [_FOOTNOTE_AGAINST] if any(gate.gate in _CHANGES for gate in checked.outcomes) else []
    # Of `@torch.jit` in a reason GitHub would make a mention, and write to whoever is called so.
    return "\n\n".join(parts).replace("@", "@\u200b") + "\n"


def comment_id(experiment: str) -> str:
    """A comment of HTML that nobody sees; the same for each summary of an experiment, and of no other one."""
    # Two dashes would end it.
    return f"{_ID}{quote(experiment, safe='').replace('-', '%2D')} -->"


def _row(gate: GateOutcome) -> list[Cell]:
    """A gate as a row of `_COLUMNS`."""
    value, interval, limit, headroom = _numbers(gate)
    result = cell("✅")
    if gate.fell:
        result = cell("❌ ", strong("fell"))
    elif not gate.proven:
        result = cell("🟡 ", emphasis("not proven"))
    head = [cell(gate.variant), cell(code(gate.gate)), with_interval(value, interval)]
    return [*head, cell(limit), cell(headroom), result, cell(gate.note)]


def junit(checked: Checked) -> str:
    """JUnit XML: a test case for every gate, one that is an error for every variant that failed; warnings as output.

    Where nothing was judged, a single one, which is an error.
    """
    failed = {**checked.failed, **({"check": checked.stopped} if checked.stopped else {})}
    counts = {
        "tests": str(len(checked.outcomes) + len(failed)),
        "failures": str(len(checked.fell)),
        "errors": str(len(failed)),
        "skipped": "0",
    }
    suites = ElementTree.Element("testsuites", {"name": "bench check", **counts})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _xml(checked.experiment), **counts})
    for gate in checked.outcomes:
        case = _case(suite, checked.experiment, gate.variant, gate.gate)
        if gate.fell:
            message = in_one_line(gate)
            ElementTree.SubElement(case, "failure", {"message": _xml(message), "type": "gate"}).text = _xml(message)
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(in_one_line(gate))
    for name, reason in failed.items():
        case = _case(suite, checked.experiment, name, "status")
        ElementTree.SubElement(case, "error", {"message": _xml(reason), "type": "variant"}).text = _xml(reason)
    if checked.warnings:
        warnings = (f"WARNING: {warning}" for warning in checked.warnings)
        ElementTree.SubElement(suite, "system-out").text = _xml_lines(warnings)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def outcome(gate: GateOutcome) -> str:
    return "FELL" if gate.fell else "ok" if gate.proven else "not proven"


def in_one_line(gate: GateOutcome) -> str:
    """A gate in one line: "auc_drop 0.0321 [0.0123, 0.0519], limit 0.0100, FELL: …"."""
    value, interval, limit, headroom = _numbers(gate)
    note = f" ({gate.note})" if gate.note else ""
    numbers = f"{_bracketed(value, interval)}, limit {limit}, headroom {headroom}"
    return ascii_(f"{gate.gate} {numbers}: {outcome(gate)}{note}")


def _bracketed(value: str, interval: str) -> str:
    return f"{value} [{interval}]" if interval else value


def _case(suite: ElementTree.Element, experiment: str, variant: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", {"classname": _xml(f"{experiment}.{variant}"), "name": name})


def _xml(text: str) -> str:
    """What XML can hold: no control characters, no halves of characters."""
    return _NOT_XML.sub("\ufffd", plain(text))


def _xml_lines(texts: Iterable[str]) -> str:
    return "\n".join(_xml(text) for text in texts)


def _numbers(gate: GateOutcome) -> tuple[str, str, str, str]:
    """Value, interval, limit as it was set, and headroom; with digits enough to tell apart what differs."""
    percent = gate.gate == "size_change"
    scale, unit = (100, " %") if percent else (1, "")
    # As a person writes it: no more digits than it has, and no exponent.
    limit = f"{Decimal(f'{scale * gate.limit:.12g}'):{'+' if gate.gate in _CHANGES else ''}f}{unit}".replace("-", "−")
    if gate.value is None:
        return NONE, "", limit, NONE
    ends = (gate.interval.low, gate.interval.high) if gate.interval else ()
    digits = enough([scale * value for value in (gate.value, *ends, gate.limit)], _DIGITS.get(gate.gate, 4))

    def written(value: float) -> str:
        return (signed if gate.gate in _CHANGES else number)(scale * value, digits) + unit

    headroom = NONE if gate.headroom is None else written(gate.headroom)
    return written(gate.value), ", ".join(map(written, ends)), limit, headroom


def _line(cells: tuple[str, ...]) -> list[str]:
    """In columns; one after the other where one is too wide for its column."""
    first, *numbers, last = map(ascii_, cells)
    columns = zip((first, *numbers), _WIDTHS[:-1], strict=True)
    if any(len(text) > width for text, width in columns):
        return wrapped([f"{first} {', '.join(numbers)} {last}"], "    ", "  ")
    middle = " ".join(text.rjust(width) for text, width in zip(numbers, _WIDTHS[1:-1], strict=True))
    return [f"  {first.ljust(_WIDTHS[0])}{middle} {last}"]
