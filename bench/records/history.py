"""What `bench check` notes of each check, so that `bench history` can draw it: a line of JSON each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

HISTORY = "history.jsonl"
"""The file's name, beside the results of the experiment where no other is given."""

Text = Annotated[str, Field(max_length=400)]
Number = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class VariantThen:
    """What a check found of a variant; None is what could not be had. `fell` are the gates that fell."""

    auc: Number | None = None
    auc_delta: Number | None = None
    auc_delta_ci: tuple[Number, Number] | None = None
    verdict: Text | None = None
    size_mib: Number | None = None
    latency_ms: Number | None = None
    fell: tuple[Text, ...] = ()


@dataclass(frozen=True)
class Check:
    """One check: when, of which commit where git says one, how it ended, and what it found of each variant.

    Variants are called as gates call them: "q8", of several detectors and frame sets "b5/q8 on celeb". `weights` are
    SHA-256 by detector, `frames` the digests of test frames by frame set, "" where there is a single one.
    """

    schema: Literal[1]
    experiment: Text
    date: Text
    commit: Annotated[str, Field(pattern="^([0-9a-f]{40}|[0-9a-f]{64})$")] | None
    outcome: Literal["passed", "not proven", "fell", "failed"]
    bench: Text = ""
    weights: dict[Text, Text] = field(default_factory=dict)
    frames: dict[Text, Text] = field(default_factory=dict)
    variants: dict[Text, VariantThen] = field(default_factory=dict)
