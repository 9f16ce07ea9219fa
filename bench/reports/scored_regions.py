"""What scores.json says of the parts of the face that heatmaps lie on."""

from __future__ import annotations

from bench.records import (
    Evaluation,
    Mean,
    Outcome,
    OutcomeRegions,
    PartShare,
    Regions,
    ScoredArea,
    ScoredFaces,
    ScoredOutcomeRegions,
    ScoredPart,
    ScoredRegions,
)


def scored_faces(regions: Regions | None) -> ScoredFaces | None:
    """In how many frames there is a face; None where nobody asked."""
    if regions is None:
        return None
    counts = regions.counts
    areas = tuple(ScoredArea(part, area) for part, area in regions.areas.items())
    return ScoredFaces(counts.finder, counts.frames, counts.faces, regions.frames, areas)


def scored_regions(evaluation: Evaluation, variant: str) -> ScoredRegions | None:
    """Which parts a variant looks at; None where nobody asked, or the variant failed."""
    regions = evaluation.regions
    if regions is None or variant not in evaluation.predictions:
        return None
    of_variant = regions.variants.get(variant)
    if of_variant is None:
        return ScoredRegions(regions.reasons.get(variant), None, None, ())
    outcomes = tuple(_outcome(outcome, each) for outcome, each in of_variant.outcomes.items())
    return ScoredRegions(None, of_variant.compared, len(of_variant.changed), outcomes)


def _outcome(outcome: Outcome, regions: OutcomeRegions) -> ScoredOutcomeRegions:
    parts = tuple(_part(name, part) for name, part in regions.parts.items())
    return ScoredOutcomeRegions(outcome, regions.frames, regions.compared, parts)


def _part(name: str, part: PartShare) -> ScoredPart:
    delta = part.delta
    if delta is None:
        return ScoredPart(name, part.share.value, _ends(part.share), None, None)
    return ScoredPart(name, part.share.value, _ends(part.share), delta.value, _ends(delta))


def _ends(mean: Mean) -> tuple[float, float]:
    return mean.interval.low, mean.interval.high
