"""Frames that most variants lose: where compressed models agree against the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Exemplars:
    """Test frames that the baseline has right and most variants have wrong, at the fixed threshold.

    `variants` are those that count, each of other decisions than those before it; `same` has the others, by the one
    that decides as they do, and `as_baseline` are those that decide every frame as the baseline. `needed` of `variants`
    have such a frame wrong, more than half. `rows` [m] are the frames, those that most variants lose first, and
    `lost_by` [m, variants] says by which. `count` are all test frames, `right` those that the baseline has right.
    `expected` is how many of these `needed` variants would lose if each lost as many fakes and reals as it does,
    independently of the others.
    """

    variants: tuple[str, ...]
    same: dict[str, tuple[str, ...]]
    needed: int
    rows: NDArray[np.int64]
    lost_by: NDArray[np.bool_]
    count: int
    right: int
    expected: float
    as_baseline: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoredExemplars:
    """The same in scores.json: `lost` is how many such frames there are, shares are of all test frames."""

    variants: tuple[str, ...]
    same: dict[str, tuple[str, ...]]
    as_baseline: tuple[str, ...]
    needed: int
    count: int
    right: int
    lost: int
    share: float
    expected: float
    expected_share: float
