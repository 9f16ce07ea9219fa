"""scores.json made up: variants without numbers, to which a test gives those that it needs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from bench.records import (
    SCORES_SCHEMA,
    THRESHOLD_KINDS,
    ScoredConfusion,
    ScoredLatency,
    ScoredVariant,
    ScoresFile,
)


def scored_variant(**numbers: Any) -> ScoredVariant:
    """A variant of which nothing is known but `numbers`."""
    unknown: dict[str, Any] = dict.fromkeys(field.name for field in fields(ScoredVariant))
    unknown |= {"status": "ok", "id": "0", "steps": (), "recovered": (), "slices": (), "measurements": ()}
    unknown |= {"robustness": ()}
    unknown |= {"confusion": ScoredConfusion(None, None, None, None), "latency_ms": scored_latency(None)}
    unknown |= {"thresholds": dict.fromkeys(THRESHOLD_KINDS)}
    return ScoredVariant(**(unknown | numbers))


def scored_latency(p50: float | None) -> ScoredLatency:
    return ScoredLatency(None, p50, None, None, None, None, None)


def scores_file(baseline: str, variants: dict[str, ScoredVariant]) -> ScoresFile:
    """A whole file of these variants."""
    return ScoresFile(SCORES_SCHEMA, "made-up", "none", "none", {}, None, baseline, 0.5, 0.01, variants, None, (), ())
