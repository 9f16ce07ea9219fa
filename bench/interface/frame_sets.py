"""What scores.json of several frame sets holds of each set, as a file of that set alone would."""

from __future__ import annotations

from dataclasses import fields

from bench.records import (
    ScoredDetector,
    ScoredSet,
    ScoresFile,
    ScoresOnSets,
    SideBySideScores,
    SideBySideScoresOnSets,
)

OnSetsScores = ScoresOnSets | SideBySideScoresOnSets


def on_set(numbers: OnSetsScores, frame_set: str) -> ScoresFile:
    """The numbers on one of the sets.

    Of several detectors, what compares them is kept for the first set alone: the file has no more.
    """
    of_file = SideBySideScores if isinstance(numbers, SideBySideScoresOnSets) else ScoresFile
    values = {field.name: getattr(numbers, field.name) for field in fields(of_file)} | _of(numbers.sets[frame_set])
    if not isinstance(numbers, SideBySideScoresOnSets):
        return ScoresFile(**values)
    detectors = {}
    for name, detector in numbers.detectors.items():
        of_first = {field.name: getattr(detector, field.name) for field in fields(ScoredDetector)}
        of_this = {key: value for key, value in _of(detector.sets[frame_set]).items() if key in of_first}
        detectors[name] = ScoredDetector(**of_first | of_this)
    is_first = frame_set == next(iter(numbers.sets))
    compared = numbers.compared if is_first else {}
    return SideBySideScores(**values | {"detectors": detectors, "compared": compared, "choice": None})


def _of(of_set: ScoredSet) -> dict[str, object]:
    return {field.name: getattr(of_set, field.name) for field in fields(ScoredSet)}
