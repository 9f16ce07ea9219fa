"""Whether this machine and this installation can run experiments; each check apart, so that none stops the rest."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.commands.doctor import libraries, machine
from bench.commands.doctor.findings import Finding
from bench.errors import counted

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
    findings: list[Finding] = []
    for title, check in CHECKS:
        on_check(title)
        try:
            findings += check(folder)
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            findings.append(Finding("problem", title, text, "mend what is said here, then run `bench doctor` again"))
    return findings


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether `bench run` can work; notes are no hindrance."""
    return not any(finding.level == "problem" for finding in findings)


def describe(findings: Sequence[Finding]) -> str:
    """One line a finding, below it what to do; at most 100 columns, without a final newline."""
    width = max(len(finding.what) for finding in findings)
    indent = " " * (width + 11)
    lines = []
    for finding in findings:
        level = finding.level.upper() if finding.level == "problem" else finding.level
        head = f"{level:7}  {finding.what:{width}}"
        lines += textwrap.wrap(finding.observed, WIDTH, initial_indent=f"{head}  ", subsequent_indent=indent)
        if finding.mend:
            lines += textwrap.wrap(f"> {finding.mend}", WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")
    return "\n".join([*lines, "", _verdict(findings)])


def _verdict(findings: Sequence[Finding]) -> str:
    problems, notes = (sum(finding.level == level for finding in findings) for level in ("problem", "note"))
    if problems:
        return f"{counted(problems, 'problem')}: `bench run` cannot work here until they are mended"
    return f"`bench run` works here; {counted(notes, 'note')} above" if notes else "all well"
