"""What a report is made of, besides the run itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bench.records import Score

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Evidence:
    """One evaluated variant.

    `score`, `auc_standard_error` and `roc` (false- and true-positive rates [k], None with one class)
    are those of the test frames. `predictions` has the columns of predictions.parquet, test and
    validation rows in the order of the frame set; `cam` [rows, h, w] is the signed class-activation
    map of each row, in logits, or None where the family has none. It may be a memory map.
    """

    score: Score
    auc_standard_error: float | None
    roc: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    predictions: pd.DataFrame
    cam: NDArray[np.float32] | None


Evidences: TypeAlias = Mapping[str, Evidence]
"""By variant name; every variant with status "ok" has one."""
