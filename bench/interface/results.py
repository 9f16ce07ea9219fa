"""What an experiment or arrays of scores came to, for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError, nearest, quoted
from bench.interface import tables
from bench.interface.variant_scores import COUNTS, VariantScores, variant_scores
from bench.records import ScoresOnSets, SideBySideScores, SideBySideScoresOnSets

if TYPE_CHECKING:
    import pandas as pd

    from bench.records import ScoresFile


@dataclass(frozen=True, repr=False, eq=False)
class Results:
    """The results of an experiment, or of arrays of scores. `bench.run`, `bench.read` and `bench.score` give it.

    Of several detectors, every variant is called "detector/variant": `results.variants["b5/q8"]`. Its numbers against a
    baseline are those against its own detector's; those across detectors are in `scores["compared"]`.

    Attributes
    ----------
    scores : dict
        All that scores.json holds (reports/README.md lists its keys), slices, thresholds and measurements among it.
    warnings : tuple of str
        What must be read before any number.
    folder : pathlib.Path or None
        That of the report (report.html, report.md, scores.json); None where there is none.
    experiment : str
        Its name.
    baseline : str
        The variant that the others are compared with; of several detectors, the first one's.
    variants : dict of str to VariantScores
        The numbers of every variant, by name, the baseline first: `results.variants["q8"].auc`. Where videos are
        judged, they are those of videos; those of frames are in `scores`.
    verdicts : dict of str to str or None
        Of every variant: "baseline", "improved", "stable", "degraded" or "inconclusive"; None where it failed.
    recommendation : str or None
        The variant to ship under `choose:`, or the smallest under the margin; None where none qualifies, and where
        neither sizes nor times are known.
    qualified : tuple of str
        All variants that could be shipped.
    failed : dict of str to str
        The variants that could not be built or measured, and why.
    sets : dict of str to Results
        Of several frame sets, the results on each: `results.sets["celeb"].variants["q8"]`. All else is on the first,
        but `recommendation` and `qualified`, which hold on each. Empty where there is one.
    overall : dict of str to str or None
        Of several frame sets, the verdict on each variant but the baseline over all of them. Empty where there is one.
    """

    scores: dict[str, Any]
    warnings: tuple[str, ...]
    folder: Path | None
    _numbers: ScoresFile
    _predictions: Callable[[str], pd.DataFrame]
    sets: dict[str, Results] = field(default_factory=dict)

    @property
    def overall(self) -> dict[str, str | None]:
        numbers = self._numbers
        if isinstance(numbers, SideBySideScoresOnSets):
            detectors = numbers.detectors.items()
            return {f"{name}/{each}": over.verdict for name, of in detectors for each, over in of.overall.items()}
        return {n: over.verdict for n, over in numbers.overall.items()} if isinstance(numbers, ScoresOnSets) else {}

    @property
    def experiment(self) -> str:
        return self._numbers.experiment

    @property
    def baseline(self) -> str:
        return self._titled(self._numbers.detector, self._numbers.baseline)

    def _titled(self, detector: str, variant: str) -> str:
        return f"{detector}/{variant}" if isinstance(self._numbers, SideBySideScores) else variant

    @cached_property
    def variants(self) -> dict[str, VariantScores]:
        numbers = self._numbers
        detectors = numbers.detectors if isinstance(numbers, SideBySideScores) else {numbers.detector: numbers}
        return {
            title: variant_scores(title, variant)
            for detector, of_detector in detectors.items()
            for name, of_frames in of_detector.variants.items()
            for variant in [of_frames.by_video if numbers.judge == "video" else of_frames]
            for title in [self._titled(detector, name)]
        }

    @property
    def verdicts(self) -> dict[str, str | None]:
        return {name: scores.verdict for name, scores in self.variants.items()}

    @property
    def recommendation(self) -> str | None:
        choice = self._numbers.choice
        return choice.chosen if choice and choice.decides and choice.chosen in self.variants else None

    @property
    def qualified(self) -> tuple[str, ...]:
        choice = self._numbers.choice
        return tuple(candidate.name for candidate in choice.candidates if candidate.qualifies) if choice else ()

    @property
    def failed(self) -> dict[str, str]:
        return {
            name: scores.reason or "no reason was recorded"
            for name, scores in self.variants.items()
            if scores.status == "failed"
        }

    def frame(self) -> pd.DataFrame:
        """The numbers of all variants as a table.

        Returns
        -------
        pandas.DataFrame
            A row a variant, the baseline first, and a column for each field of `VariantScores`: `variant`, `verdict`,
            `auc`, `auc_low`, `auc_high`, … What could not be had is missing (NaN or <NA>).

        Examples
        --------
        >>> results.frame()[["variant", "verdict", "auc_delta", "auc_delta_low", "auc_delta_high"]]
        """
        import pandas as pd

        table = pd.DataFrame([asdict(scores) | {"steps": ", ".join(scores.steps)} for scores in self.variants.values()])
        kinds = {name: "Int64" if name in COUNTS else "float64" for name in tables.NUMBERS}
        return table.astype(kinds)

    def predictions(self, variant: str) -> pd.DataFrame:
        """What a variant says of every frame.

        Parameters
        ----------
        variant : str
            Its name.

        Returns
        -------
        pandas.DataFrame
            A row a frame, test frames first: `frame` (its name), `split` ("test" or "validation"), `label` (1 fake,
            0 real), `source`, `p_fake` in [0, 1]; of an experiment also `logit_real` and `logit_fake`.

        Raises
        ------
        UserError
            Where there is no such variant, it failed, or its predictions are gone or belong to another run.
        """
        variants = self.variants
        if not isinstance(variant, str) or variant not in variants:
            hint = nearest(str(variant), variants)
            raise UserError(f"no variant {quoted(variant)}{hint}; there are: {', '.join(variants)}")
        if variant in self.failed:
            raise UserError(f"variant {quoted(variant)} failed, it has no predictions: {self.failed[variant]}")
        return self._predictions(variant)

    @property
    def _summary(self) -> tables.Summary:
        return tables.Summary(self.experiment, self.variants, self._advice, self.warnings, self.folder)

    @property
    def _advice(self) -> str:
        if self.recommendation:
            return f"Ship: {self.recommendation}"
        if not self.qualified:
            return "No variant can be recommended"
        others = [name for name in self.qualified if name != self.baseline]
        return f"Can be shipped: {', '.join(others) or 'none but the baseline'}"

    def __repr__(self) -> str:
        return tables.text(self._summary)

    def _repr_html_(self) -> str:
        return tables.page(self._summary)


def results(
    numbers: ScoresFile,
    warnings: tuple[str, ...],
    folder: Path | None,
    predictions: Callable[[str], pd.DataFrame],
    sets: Mapping[str, Results] | None = None,
) -> Results:
    """`Results` of what scores.json holds."""
    from bench.reports.scores_json import as_json

    return Results(as_json(numbers), warnings, folder, numbers, predictions, dict(sets or {}))
