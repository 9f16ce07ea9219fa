"""What a check finds, and how it asks in another process what might crash this one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal

from bench.safe_path import SAME_BENCH, protected

PATIENCE_SECONDS = 180.0
"""A first import of PyTorch with its CUDA libraries from a cold disk takes a minute."""


@dataclass(frozen=True)
class Finding:
    """What was checked, what was observed, and how to mend it. With a problem, `bench run` cannot work."""

    level: Literal["ok", "note", "problem"]
    what: str
    observed: str
    mend: str = ""


class AnswerError(Exception):
    """A question was not answered; the message says why."""


def ask(question: str, *arguments: str) -> Any:
    """The answer of a function in `questions`, asked in a Python of its own, which may crash or hang."""
    # -P: the script's folder, which is that of `bench` itself, holds no modules for others.
    command = [sys.executable, "-P", str(SAME_BENCH), "bench.commands.doctor.questions", question, *arguments]
    try:
        with protected():
            done = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE_SECONDS, check=False
            )
    except subprocess.TimeoutExpired as error:
        raise AnswerError(f"no answer within {PATIENCE_SECONDS:.0f} s") from error
    if done.returncode:
        crashed = f"crashed (signal {-done.returncode})" if done.returncode < 0 else ""
        last_line = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise AnswerError(crashed or last_line[0][:300])
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise AnswerError("ended without an answer") from error
