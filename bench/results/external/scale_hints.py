"""What numbers outside [0, 1] probably are, and what to write: hints in messages, never a reading of the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FEW = 0.05
"""The share of numbers outside [0, 1] up to which the other numbers are believed."""


def looks_like(numbers: NDArray[np.float64], option: str = "--scale {}") -> str:
    """A hint on what numbers outside [0, 1] probably are; `option` is how a caller says what they are."""
    import numpy as np

    finite = numbers[np.isfinite(numbers)]
    beyond = finite[(finite < 0) | (finite > 1)]
    if not len(beyond):
        return ""
    if len(np.unique(finite)) == 2:
        hint = "these look like classes: write the score of each frame, or 0 for real and 1 for fake"
    elif len(beyond) <= _FEW * len(finite):
        hint = _few(beyond, option)
    else:
        hint = _negative(finite, option) if finite.min() < 0 else _positive(finite, option)
    return f" ({hint})"


def _few(beyond: NDArray[np.float64], option: str) -> str:
    """Of the few that are `beyond` [0, 1]."""
    if (beyond == beyond[0]).all() and len(beyond) > 1:
        return (
            f"all others lie within: where {beyond[0]:g} stands for a frame without a score, leave that frame out of "
            "every file"
        )
    scale = "logit" if beyond.min() < 0 or beyond.max() > 100 else "percent"
    return f"all others lie within: are these damaged? {option.format(scale)} only where all are of that scale"


def _negative(finite: NDArray[np.float64], option: str) -> str:
    """Of numbers of which some are below 0."""
    low, high, logit = finite.min(), finite.max(), option.format("logit")
    if low < -1 and high <= 0:
        return (
            f"none is above 0. Of logarithms of P(fake), write the exponentials; {logit} takes them as logits, and "
            "ranks by them"
        )
    if low < -1 or high > 1:
        return (
            f"these look like logits: {logit} takes 1 / (1 + exp(-z)) for the probability of fake, and ranks by any "
            "score that is higher for fakes"
        )
    if high <= 0:
        return "these look like probabilities with a minus sign: write P(fake) without it"
    return (
        "these look like cosines or other scores from -1 to 1: write (x + 1) / 2, where 1 is surely fake and -1 surely "
        f"real; {logit} ranks by them too, but thresholds then mean nothing"
    )


def _positive(finite: NDArray[np.float64], option: str) -> str:
    """Of numbers from 0 of which some are above 1."""
    import numpy as np

    high, logit, percent = float(finite.max()), option.format("logit"), option.format("percent")
    if 100 < high <= 255 and (finite == np.floor(finite)).all():
        return f"these look like bytes, from 0 to 255: divide them by 255, or take {logit}, which ranks by them"
    if high > 100:
        return f"expected probabilities of fake; {logit} ranks by any score that is higher for fakes"
    below = int(((finite > 0) & (finite < 1)).sum())
    mixed = f"; {below:,} of {len(finite):,} lie between 0 and 1: are these shares among percentages?" if below else ""
    if high > 10:
        return f"these look like percentages: {percent} divides them by 100{mixed}"
    return (
        f"the highest is {high:g}. Of points out of a number, write the share of it; {percent} divides percentages by "
        f"100, {logit} ranks by any score that is higher for fakes"
    )
