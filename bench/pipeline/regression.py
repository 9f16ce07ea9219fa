"""What became of every accepted variant: its answers on the same frames, and its size."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.experiment import ExperimentSettings
from bench.pipeline.accepted import Accepted, AcceptedVariant, margins, unpacked
from bench.pipeline.render import Finished
from bench.records import GateOutcome, VariantResult
from bench.results import store
from bench.results.score.against import Change, against
from bench.results.score.auc import clusters
from bench.results.score.gates import beyond, is_strict

GROWTH = 0.01
"""The share by which a file may grow: the same steps leave other weights a little larger or smaller."""

AUC, SIZE = "auc_change", "size_change"


@dataclass(frozen=True)
class Compared:
    """Two gates for every accepted variant, what must be read before them, and what was compared."""

    outcomes: tuple[GateOutcome, ...]
    warnings: tuple[str, ...]
    remarks: tuple[str, ...]


def compare(
    finished: Finished, settings: ExperimentSettings, kept: Accepted, results: Path, judged: Collection[str]
) -> Compared:
    """Compare the variants of a finished run that are among `judged` with the accepted ones of the same test frames."""
    run = finished.run
    fine = {variant.name: variant for variant in run.variants if variant.status == "ok"}
    test, _ = store.read_labelled(results, next(iter(fine)))
    codes = clusters(test.sources)
    same_weights = _digest(run.provenance.get("weights", "")) == _digest(kept.weights)
    outcomes, warnings = [], []
    for name, before in kept.variants.items():
        if name not in judged and name in settings.variants:
            continue
        if name not in fine:
            outcomes.append(_gone(name, run.variants, kept, settings.margin))
            continue
        change = against(
            test.labels,
            codes,
            unpacked(before, len(test.labels)),
            margins(results, run, fine[name]),
            settings.threshold,
            settings.margin,
        )
        strict = is_strict(name, settings.gates)
        remade = _other_steps(before, fine[name])
        outcomes.append(_auc(name, change, remade, settings.margin, unexplained=same_weights or strict))
        outcomes += _size(name, before, finished.told["variants"][name]["size_mib"])
        if change and change.verdict == "improved":
            warnings.append(_improved(name, change, same_weights))
    new = [name for name in fine if name in judged and name not in kept.variants]
    return Compared(tuple(outcomes), tuple(warnings), _remarks(kept, new, same_weights))


def _gone(name: str, variants: tuple[VariantResult, ...], kept: Accepted, margin: float) -> GateOutcome:
    failed = [variant.reason or "no reason was recorded" for variant in variants if variant.name == name]
    why = f"it failed: {failed[0]}" if failed else "it is gone from the experiment"
    note = f"accepted on {kept.accepted}, but {why}"
    return GateOutcome(name, AUC, None, None, -margin, None, fell=True, proven=False, note=note)


def _auc(name: str, change: Change | None, remade: str, margin: float, *, unexplained: bool) -> GateOutcome:
    """Improvement falls where it is `unexplained`."""
    if change is None:
        note = "there is no AUC on frames of one class"
        return GateOutcome(name, AUC, None, None, -margin, None, fell=True, proven=False, note=note)
    delta = change.delta
    fell = change.verdict == "degraded" or (change.verdict == "improved" and unexplained)
    _, proven = beyond(delta.value, delta.interval, -margin, at_least=True)
    found = "improved, unexplained" if change.verdict == "improved" else f"{change.verdict}{_further(change)}"
    note = f"{found}; {change.flips.worse:,} frames worse, {change.flips.better:,} better{remade}"
    return GateOutcome(
        name, AUC, delta.value, delta.interval, -margin, delta.value + margin, fell, proven and not fell, note
    )


def _other_steps(before: AcceptedVariant, now: VariantResult) -> str:
    """A name may have come to stand for other steps; that is compared all the same, and said."""
    if before.steps == now.steps:
        return ""
    was, is_now = (", ".join(steps) or "no steps" for steps in (before.steps, now.steps))
    return f"; accepted as {was}, now {is_now}"


def _further(change: Change) -> str:
    if change.further_frames is None:
        return ""
    return f": about {change.further_frames:,} further frames would settle it"


def _size(name: str, before: AcceptedVariant, size_mib: float | None) -> list[GateOutcome]:
    if before.size_mib is None or size_mib is None:
        return []
    growth = size_mib / before.size_mib - 1
    fell, proven = beyond(growth, None, GROWTH, at_least=False)
    note = f"{before.size_mib:.2f} MiB accepted, {size_mib:.2f} MiB now"
    return [GateOutcome(name, SIZE, growth, None, GROWTH, GROWTH - growth, fell, proven, note)]


def _improved(name: str, change: Change, same_weights: bool) -> str:
    low, high = change.delta.interval.low, change.delta.interval.high
    weights = " though the weights are the same" if same_weights else ""
    return (
        f"{name}: unexplained improvement{weights}, AUC {change.delta.value:+.4f} [{low:+.4f}, {high:+.4f}]: the usual "
        "sign of a leak or of a changed frame set; if you know why, `bench accept` takes it as the reference"
    )


def _remarks(kept: Accepted, new: Collection[str], same_weights: bool) -> tuple[str, ...]:
    weights = "the same weights" if same_weights else "other weights"
    what = (
        f"Compared on {kept.frames['test'].count:,} test frames with what was accepted on {kept.accepted} ({weights}): "
        "auc_change is new minus accepted AUC, size_change the growth of the file."
    )
    return (what, *(f"{name} is new: `bench accept` takes it into the reference." for name in new))


def _digest(weights: str) -> str:
    """The SHA-256 in "best_model.tar (SHA-256 3f2a…)": a file that was moved holds the same weights."""
    return weights.rpartition("(")[2]
