"""Whether this machine and this installation can run experiments; each check apart, so that none stops the rest."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.commands.doctor import libraries, machine
from bench.commands.doctor.findings import Finding

WIDTH = 100

Check = Callable[[Path], Sequence[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("python", libraries.python),
    ("packages", libraries.packages),
    ("torch", libraries.torch),
    ("timm", libraries.timm),
    ("onnxruntime", libraries.onnxruntime),
    ("providers", libraries.providers),
    ("int8", libraries.int8),
    ("openvino", libraries.openvino),
    ("inductor", libraries.inductor),
    ("processor", machine.processor),
    ("gpu", machine.gpu),
    ("memory", machine.memory),
    ("disk", machine.disk),
    ("folders", machine.folders),
)


def examine(folder: Path, on_check: Callable[[str], None] = lambda title: None) -> list[Finding]:
    """The findings of every check, for experiments in `folder`; a check that crashes is a finding itself."""
    found: list[Finding] = []
    for title, check in CHECKS:
        on_check(title)
        try:
            found += check(folder)
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            found.append(Finding("problem", title, said, "mend what is said here, then run `bench doctor` again"))
    return found


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether `bench run` can work; notes are no hindrance."""
    return not any(one.level == "problem" for one in findings)


def describe(findings: Sequence[Finding]) -> str:
    """One line a finding, below it what to do; at most 100 columns, without a final newline."""
    width = max(len(one.what) for one in findings)
    margin = " " * (width + 11)
    lines = []
    for one in findings:
        head = f"{one.level.upper() if one.level == 'problem' else one.level:7}  {one.what:{width}}"
        lines += textwrap.wrap(one.found, WIDTH, initial_indent=f"{head}  ", subsequent_indent=margin)
        if one.mend:
            lines += textwrap.wrap(f"> {one.mend}", WIDTH, initial_indent=margin, subsequent_indent=f"{margin}  ")
    return "\n".join([*lines, "", _verdict(findings)])


def _verdict(findings: Sequence[Finding]) -> str:
    problems, notes = (sum(one.level == level for one in findings) for level in ("problem", "note"))
    if problems:
        return f"{problems} problem{'s' if problems > 1 else ''}: `bench run` cannot work here until they are mended"
    return f"`bench run` works here; {notes} note{'s' if notes > 1 else ''} above" if notes else "all well"
