"""What scores.json says of masks, and of heatmaps beside them."""

from __future__ import annotations

from typing import Any, Literal

from bench.records import Evaluation, Localisation, Localised, Mean, ScoredLocalisation, ScoredMasks

_KEYS = {"pointing_game": "pointing", "evidence_inside": "inside", "mask_auc": "auc"}
"""The numbers by their keys in the file, and what they are called in a `Localised`."""


def scored_masks(localisation: Localisation | None) -> ScoredMasks | None:
    """What became of the masks, and what a guess comes to; None where there are none."""
    if localisation is None:
        return None
    counts, chance = localisation.counts, localisation.chance
    names = ("fakes", "used", "missing", "unreadable", "misshapen", "black", "outside", "whole", "marked_real")
    of_guesses = (f"{guess}_{name}" for guess in ("centre", "mean") for name in ("pointing", "inside", "auc"))
    numbers: dict[str, Any] = {name: getattr(counts, name) for name in names}
    numbers |= {name: getattr(chance, name, None) for name in ("area", *of_guesses)}
    return ScoredMasks(compared=localisation.frames, **numbers)


def scored_localisation(evaluation: Evaluation, variant: str) -> ScoredLocalisation | None:
    """What a variant's heatmaps come to; None where there are no masks, or the variant failed."""
    localisation = evaluation.localisation
    if localisation is None or variant not in evaluation.predictions:
        return None
    located = localisation.variants.get(variant)
    numbers: dict[str, Any] = {}
    for key, name in _KEYS.items():
        numbers |= _mean(key, getattr(located, name, None))
        numbers |= _mean(f"{key}_delta", getattr(located, f"{name}_delta", None))
    return ScoredLocalisation(
        reason=localisation.reasons.get(variant),
        frames=located.frames if located else None,
        blank=located.blank if located else None,
        pointing_game_not_blank=located.pointing_not_blank if located else None,
        interval=_leading(located) if located else None,
        **numbers,
    )


def _mean(key: str, mean: Mean | None) -> dict[str, Any]:
    return {key: mean and mean.value, f"{key}_ci": (mean.interval.low, mean.interval.high) if mean else None}


def _leading(located: Localised) -> Literal["sources", "frames"]:
    """What the intervals take for independent; where that differs, the intervals of the evidence inside."""
    return "sources" if located.inside.clustered else "frames"
