"""Chains of steps that tests write down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.errors import UserError
from bench.records import FrameSet, Split
from bench.variants.chain import frame_problems, order_problems
from bench.variants.steps import Use


def check(chain: Sequence[Use], frames: Mapping[Split, FrameSet] | None = None) -> None:
    """Raise `UserError` with all that is wrong with a chain's order and, where they are given, its frames."""
    problems = [*order_problems(chain), *(frame_problems(chain, frames) if frames is not None else ())]
    if problems:
        raise UserError(*(problem for _, problem in problems))
