"""What scores can tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Coarseness: TypeAlias = Literal["decisions", "rounded", "saturated", "levels"]


@dataclass(frozen=True)
class Resolution:
    """Scores that say less than they seem: why, and how many frames they cannot tell apart.

    "decisions" are two different scores, "rounded" ones have `decimals`; of "saturated" ones, the share `at_ends` of
    the frames shares a P(fake) of 0 or 1 to the last digit; "levels" are few for another reason. `distinct` counts
    different scores, and `tied` is the share of pairs of a fake and a real frame with the same one.
    """

    kind: Coarseness
    distinct: int
    tied: float
    decimals: int | None
    at_ends: float
