"""What a check finds, and how it asks what might not survive the question."""

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
    """`what` was looked at, what was `found`, and how to `mend` it. With a `problem`, `bench run` cannot work."""

    level: Literal["ok", "note", "problem"]
    what: str
    found: str
    mend: str = ""


class AnswerError(Exception):
    """A question was not answered; says why."""


def ask(question: str, *arguments: str) -> Any:
    """The answer of a function in `bench.doctor.questions`, asked in a Python of its own, which may crash or hang."""
    # -P: the script's folder, which is that of `bench` itself, holds no modules for others.
    command = [sys.executable, "-P", str(SAME_BENCH), "bench.doctor.questions", question, *arguments]
    try:
        with protected():
            done = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE_SECONDS, check=False
            )
    except subprocess.TimeoutExpired as error:
        raise AnswerError(f"no answer within {PATIENCE_SECONDS:.0f} s") from error
    if done.returncode:
        crashed = f"crashed (signal {-done.returncode})" if done.returncode < 0 else ""
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise AnswerError(crashed or said[0][:300])
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise AnswerError("ended without an answer") from error
