"""What scores.json says of the parts of the face that heatmaps lie on."""

from __future__ import annotations

from bench.records import (
    Evaluation,
    Mean,
    OutcomeRegions,
    PartShare,
    Regions,
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
    return ScoredFaces(counts.finder, counts.frames, counts.faces, regions.frames, dict(regions.areas))


def scored_regions(evaluation: Evaluation, variant: str) -> ScoredRegions | None:
    """Which parts a variant looks at; None where nobody asked, or the variant failed."""
    regions = evaluation.regions
    if regions is None or variant not in evaluation.predictions:
        return None
    of_variant = regions.variants.get(variant)
    if of_variant is None:
        return ScoredRegions(regions.reasons.get(variant), None, None, {})
    outcomes = {outcome: _outcome(each) for outcome, each in of_variant.outcomes.items()}
    return ScoredRegions(None, of_variant.compared, len(of_variant.changed), outcomes)


def _outcome(of_outcome: OutcomeRegions) -> ScoredOutcomeRegions:
    parts = {name: _part(part) for name, part in of_outcome.parts.items()}
    return ScoredOutcomeRegions(of_outcome.frames, of_outcome.compared, parts)


def _part(part: PartShare) -> ScoredPart:
    delta = part.delta
    if delta is None:
        return ScoredPart(part.share.value, _ends(part.share), None, None)
    return ScoredPart(part.share.value, _ends(part.share), delta.value, _ends(delta))


def _ends(mean: Mean) -> tuple[float, float]:
    return mean.interval.low, mean.interval.high
