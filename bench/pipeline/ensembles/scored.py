"""What the members of an ensemble are worth to it, from their stored predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.records import Evaluation, RunRecord
from bench.records.ensembles import EnsembleRun
from bench.results import store
from bench.results.score import members
from bench.results.score.speed import speeds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def with_members(run: RunRecord, evaluation: Evaluation, results: Path) -> Evaluation:
    """The scores of an ensemble with those of its members and of sets of these; of a network as they are.

    `UserError` where a member's results are gone.
    """
    if run.ensemble is None or not evaluation.variants:
        return evaluation
    answers: dict[members.Part, members.Answers] = {}
    for name, way in run.ensemble.folders.items():
        folder = (results / way).resolve()
        of_member = store.read_run(folder)
        timed = speeds(of_member)
        taking_part = {parts[name] for parts in run.ensemble.parts.values() if name in parts}
        for row in of_member.variants:
            if row.name in taking_part and row.status == "ok":
                predicted = store.read_predictions(folder / row.name, len(evaluation.test.labels))
                size_mib = row.footprint.size_bytes / 2**20 if row.footprint else None
                answers[name, row.name] = members.Answers(predicted, size_mib, timed[row.name].latency_ms)
    scored = members.score(run, evaluation, answers)
    return replace(evaluation, ensemble=scored, member_maps=_maps(run.ensemble, evaluation, answers))


def _maps(
    ensemble: EnsembleRun, evaluation: Evaluation, answers: Mapping[members.Part, members.Answers]
) -> dict[str, dict[str, NDArray[np.floating]]]:
    """The maps of each member, of the variants whose maps were joined."""
    return {
        name: {
            member: cam
            for member, part in ensemble.parts[name].items()
            if (member, part) in answers and (cam := answers[member, part].predicted.cam) is not None
        }
        for name, predicted in evaluation.predictions.items()
        if predicted.cam is not None
    }
