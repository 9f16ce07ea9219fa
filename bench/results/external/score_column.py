"""The scores in a file: one column of numbers on some scale, or two of logits, as P(fake) and logit difference."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from bench.errors import quoted
from bench.records import label_word
from bench.results.external.formats import EXAMPLES, ScoreFile
from bench.results.external.scale_hints import looks_like
from bench.results.external.scales import (
    Meaning,
    Scaled,
    by_logits,
    guessed,
    narrow,
    outside,
    remark,
    scaled,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Report: TypeAlias = Callable[[str, NDArray[np.bool_], str | None], None]

LOGITS = ("logit_real", "logit_fake")
"""What the two columns of logits are called in `predictions.parquet`."""
_DECIMAL_COMMA = re.compile(r"'\s*\d*,\d+\s*%?\s*'")


def logit_columns(table: ScoreFile) -> tuple[str, str] | None:
    """The names of the two columns of logits; None where the file lacks one."""
    real, fake = (table.find(name) for name in LOGITS)
    return (real, fake) if real and fake else None


def read(
    table: ScoreFile, column: str | None, meaning: Meaning, labels: Mapping[str, int], report: Report
) -> tuple[Scaled | None, tuple[str, ...]]:
    """The scores in `column`, ranked by logits where the file has these too, and what was taken for granted.

    Without `column`, the scores are those of the logits, whatever else numbers mean: their names say it. `report` takes
    what is wrong: its kind, the rows, the column. `labels` are words for classes. None where something is wrong.
    """
    is_p_fake = meaning.scale in (None, "probability") and meaning.positive == "fake"
    logits = logit_columns(table) if column is None or is_p_fake else None
    if column is None:
        return _of_logits_alone(table, logits, report), ()
    single = _column(table, column, meaning, labels, report)
    if single is None:
        return None, ()
    scores, remarks = single
    if logits is None or remarks or scores.logit_diff is not None:
        return single
    with_logits = by_logits(scores.p_fake, *(table.numbers(name) for name in logits))
    if with_logits is None:
        real, fake = map(quoted, logits)
        text = f"{table.path}: {real} and {fake} do not give {quoted(column)}, by which frames are ranked instead."
        return scores, (text,)
    return with_logits, ()


def _of_logits_alone(table: ScoreFile, logits: tuple[str, str] | None, report: Report) -> Scaled | None:
    import numpy as np

    assert logits is not None
    real, fake = (table.numbers(name) for name in logits)
    for name, numbers in zip(logits, (real, fake), strict=True):
        report(f"{name} is not a finite number", ~np.isfinite(numbers), name)
    return by_logits(None, real, fake)


def _column(
    table: ScoreFile, column: str, meaning: Meaning, labels: Mapping[str, int], report: Report
) -> tuple[Scaled, tuple[str, ...]] | None:
    """The scores of a single column; None where a cell is no number, or not one of the scale."""
    import numpy as np

    numbers, signed = table.percent_signs(column)
    missing, mixed = np.isnan(numbers), signed.any() and not (signed | np.isnan(numbers)).all()
    if missing.any():
        what = f"{column} is not a number" if table.kind != "json" else "not a number"
        report(what + _advice(table, column, missing, labels), missing, column)
    if mixed:
        report(f"{column} has a percent sign in other rows, and none", ~signed & ~missing, column)
    infinite = np.isinf(numbers)
    report(f"{column} is infinite", infinite, column)
    unusable = missing | infinite
    if unusable.all() or mixed:
        return None
    numbers = np.where(infinite, np.nan, numbers)
    scale = meaning.scale or ("percent" if signed.any() else guessed(column, numbers))
    wrong = outside(numbers, scale or "probability")
    if wrong.any():
        limits = "lies outside [0, 100]" if scale == "percent" else "lies outside [0, 1]"
        report(f"{column} {limits}{looks_like(numbers) if scale in (None, 'probability') else ''}", wrong, column)
    if wrong.any() or unusable.any() or scale is None:
        return None
    is_guess = scale != "probability" and meaning.scale is None and not signed.any()
    remarks = (remark(table.path, column, scale),) if is_guess else ()
    scores = scaled(numbers, Meaning(scale, meaning.positive))
    return scores, (*remarks, *narrow(table.path, column, scores))


def _advice(table: ScoreFile, column: str, missing: NDArray[np.bool_], labels: Mapping[str, int]) -> str:
    """What cells that are no numbers probably are."""
    import numpy as np

    cells = table.cells(column, np.flatnonzero(missing)[:EXAMPLES].tolist())
    if any(map(_DECIMAL_COMMA.fullmatch, cells)):
        return " (write decimal points, not commas)"
    if any(label_word(cell.strip("'")) in labels for cell in cells):
        return " (these are classes; a score says how sure the detector is: write P(fake) of each frame)"
    return ""
