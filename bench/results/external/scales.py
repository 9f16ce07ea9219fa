"""What the numbers in a column of scores are: probabilities, percentages or logits, of fake or of real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from bench.errors import UserError, listed, quoted
from bench.records import ClassName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Scale: TypeAlias = Literal["probability", "percent", "logit"]

_ROUNDING = 1e-6
_NAMES: dict[Scale, frozenset[str]] = {
    "logit": frozenset({"logit", "logits", "logit_diff", "logit_difference"}),
    "percent": frozenset({"percent", "percentage", "pct", "p_fake_percent", "p_fake_pct", "p_fake_%", "%"}),
}
"""Names of columns, in lower case, that say what their numbers are."""


@dataclass(frozen=True)
class Meaning:
    """What the numbers of a file are, and which class the higher ones speak for; without `scale`, they must tell."""

    scale: Scale | None = None
    positive: ClassName = "fake"


UNSAID = Meaning()


@dataclass(frozen=True, eq=False)
class Scaled:
    """P(fake) of frames [n], and `logit_fake - logit_real` [n] where that is known."""

    p_fake: NDArray[np.float64]
    logit_diff: NDArray[np.float64] | None = None


def meaning_by_file(
    scales: Sequence[str], positives: Sequence[str], names: Sequence[str]
) -> tuple[Meaning, dict[str, Meaning]]:
    """What the numbers of all files are, and of single files, from options such as `percent` and `int8=logit`.

    Before the sign stands one of `names`. Raises `UserError` for another word, and for an option given twice.
    """
    by_file: dict[str, dict[str, Any]] = {}
    for option, field, choices, values in (
        ("--scale", "scale", get_args(Scale), scales),
        ("--positive", "positive", get_args(ClassName), positives),
    ):
        for value in values:
            file, sign, word = value.rpartition("=")
            if sign and file not in names:
                raise UserError(f"{option} {value}: no variant {quoted(file)}; found: {listed(names)}")
            _refuse_other(option, word, choices)
            if by_file.setdefault(file, {}).setdefault(field, word) != word:
                raise UserError(f"{option}: {quoted(word)} is the second one{f' for {file}' if file else ''}")
    common = by_file.pop("", {})
    return Meaning(**common), {file: Meaning(**{**common, **words}) for file, words in by_file.items()}


def guessed(column: str, numbers: NDArray[np.float64]) -> Scale | None:
    """What finite `numbers` [n] of a column of this name are, where that is beyond doubt; else None.

    Percentages below 1 could be probabilities among percentages, and what is never above 50 could be anything.
    """
    import numpy as np

    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    name = column.strip().casefold()
    if name in _NAMES["logit"]:
        return "logit"
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return "probability"
    if low < 0 or high > 100:
        return None
    has_fractions = bool(((numbers > 0) & (numbers < 1)).any())
    return "percent" if name in _NAMES["percent"] or (high > 50 and not has_fractions) else None


def remark(file: object, column: str, scale: Scale) -> str:
    """What was taken for granted of a file, and the option that says it."""
    taken = {
        "percent": "was read as percentages, and divided by 100",
        "logit": "was read as logits, by its name: P(fake) is 1 / (1 + exp(-z)), and frames are ranked by z",
    }[scale]
    return f"{file}: {quoted(column)} {taken} (--scale {scale} says so, --scale probability the contrary)."


def outside(numbers: NDArray[np.float64], scale: Scale) -> NDArray[np.bool_]:
    """Which numbers [n] cannot be of this scale."""
    import numpy as np

    if scale == "logit":
        return np.isinf(numbers)
    most = 100.0 if scale == "percent" else 1.0
    wrong: NDArray[np.bool_] = (numbers < -_ROUNDING * most) | (numbers > most + _ROUNDING * most)
    return wrong


def scaled(numbers: NDArray[np.float64], meaning: Meaning) -> Scaled:
    """P(fake) and, of logits, the logit difference, from `numbers` [n] that are of the scale.

    What lies beyond 0 or 1 by as little as float32 rounds a softmax is 0 or 1.
    """
    import numpy as np

    from bench.results.score.points import p_fake

    if meaning.scale == "logit":
        logit_diff = numbers if meaning.positive == "fake" else -numbers
        return Scaled(p_fake(np.zeros_like(logit_diff), logit_diff), logit_diff)
    shares = np.clip(numbers / 100 if meaning.scale == "percent" else numbers, 0, 1)
    if meaning.positive == "fake":
        return Scaled(shares)
    p_fakes = 1 - shares
    is_lossy = len(np.unique(p_fakes)) < len(np.unique(shares))
    if not is_lossy or not ((shares > 0) & (shares < 1)).all():
        return Scaled(p_fakes)
    # Near 1 there are fewer numbers than near 0: P(real) of confident fakes tells them apart, 1 - P(real) does not.
    return Scaled(p_fakes, np.log1p(-shares) - np.log(shares))


def by_logits(
    shares: NDArray[np.float64] | None, real: NDArray[np.float64], fake: NDArray[np.float64]
) -> Scaled | None:
    """P(fake) `shares` [n] with the difference of two logits [n] each; P(fake) of these where it is not known.

    None where logits are not finite, or P(fake) is not theirs.
    """
    import numpy as np

    from bench.results.score.points import p_fake

    if not (np.isfinite(real).all() and np.isfinite(fake).all()):
        return None
    of_logits = p_fake(real, fake)
    if shares is None:
        return Scaled(of_logits, fake - real)
    return Scaled(shares, fake - real) if np.allclose(shares, of_logits, rtol=0, atol=_ROUNDING) else None


def narrow(file: object, column: str, scaled_numbers: Scaled) -> tuple[str, ...]:
    """A remark where all logits of a column lie in [-1, 1]: few detectors are that unsure of every frame."""
    logits = scaled_numbers.logit_diff
    if logits is None or not len(logits) or abs(logits).max() > 1:
        return ()
    return (
        f"{file}: all of {quoted(column)} lie between -1 and 1, and so P(fake) of these logits between 0.27 and 0.73. "
        "Where these are cosines or other scores, read AUC and verdicts alone: thresholds, calibration and the Brier "
        "score then mean nothing.",
    )


def option_of_arrays(scales: Any, positives: Any, variants: Sequence[str]) -> dict[str, Meaning]:
    """The meaning of each variant's numbers, from one word for all or a mapping by variant.

    Raises `UserError` for another word, and for a variant that there is not.
    """
    meanings: dict[str, dict[str, Any]] = {name: {} for name in variants}
    for field, choices, given in (
        ("scale", get_args(Scale), scales),
        ("positive", get_args(ClassName), positives),
    ):
        if given is None:
            continue
        by_variant = given if isinstance(given, Mapping) else dict.fromkeys(variants, given)
        for name, word in by_variant.items():
            if name not in meanings:
                raise UserError(f"{field}: no variant {quoted(name)}; found: {listed(variants)}")
            _refuse_other(field, word, choices)
            meanings[name][field] = word
    return {name: Meaning(**words) for name, words in meanings.items()}


def _refuse_other(option: str, word: object, choices: Sequence[str]) -> None:
    """Raise `UserError` for what is none of the choices."""
    if word not in choices:
        raise UserError(f"{option}: expected {', '.join(choices[:-1])} or {choices[-1]}, found {quoted(word)}")
