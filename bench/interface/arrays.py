"""`bench.score`: imported scores, as arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import UserError, listed, nearest, quoted
from bench.interface import arguments
from bench.interface.call import call
from bench.interface.columns import Column, scores_by_variant
from bench.interface.results import Results, results

if TYPE_CHECKING:
    import pandas as pd

    from bench.records import Evaluation
    from bench.results.external.read import ImportedScores


def score(  # noqa: PLR0913 - the options of the command
    labels: Any,
    scores: Mapping[str, Any],
    *,
    sources: Any = None,
    frames: Any = None,
    splits: Any = None,
    videos: Any = None,
    frame_indices: Any = None,
    copy_of: Any = None,
    attributes: Mapping[str, Any] | None = None,
    scale: str | Mapping[str, str] = "probability",
    positive: str | Mapping[str, str] = "fake",
    baseline: str = "baseline",
    threshold: float | Mapping[str, Any] = 0.5,
    margin: float = 0.01,
    judge: Literal["frame", "video"] | None = None,
    video_score: Literal["mean", "max", "top"] = "mean",
    video_top: int | None = None,
    groups: str | Sequence[str] = (),
    to: str | os.PathLike[str] | None = None,
) -> Results:
    """Judge P(fake) of the same frames by several variants: the numbers and verdicts of the command `bench score`.

    Arrays may be NumPy arrays, lists, pandas Series or PyTorch tensors, and are all in the same order.

    Parameters
    ----------
    labels : array-like of shape (n,)
        1 for fake, 0 for real.
    scores : mapping of str to array-like of shape (n,)
        P(fake) in [0, 1] of every frame, or what `scale` says, by the name of the variant.
    sources : array-like of shape (n,), optional
        The video or person that each frame comes from; missing where unknown. Intervals then are by source too.
    frames : array-like of shape (n,), optional
        Names of the frames, each once in a split; their positions if left out.
    splits : array-like of shape (n,), optional
        "test" or "validation", or their other names in `bench score`, such as "val". Validation frames only set
        thresholds. All are test frames if left out.
    videos : array-like of shape (n,), optional
        The video that each frame was taken from. Where every test frame names its, videos are judged.
    frame_indices : array-like of shape (n,), optional
        The number of each frame in its video; the faces of a frame have one number, and count by their maximum.
    copy_of : array-like of shape (n,), optional
        The name of the frame that each is an identical copy of, missing where it is none: copies count once. Left out,
        frames with the same label and the same scores everywhere, to the last digit, are taken for copies.
    attributes : mapping of str to array-like of shape (n,), optional
        Attributes of the frames, such as the method of a fake: AUC is also computed by slice.
    scale : {"probability", "percent", "logit"} or mapping of str to these, default="probability"
        What the scores are, or those of single variants: P(fake), 100 times that, or log-odds of fake. With "logit",
        frames are ranked by any score that is higher for fakes.
    positive : {"fake", "real"} or mapping of str to these, default="fake"
        The class that higher scores speak for.
    baseline : str, default="baseline"
        The variant that the others are compared with.
    threshold : float or mapping, default=0.5
        A frame counts as fake from this score on. `{"fpr": 0.01}`, `{"fnr": 0.05}` or `{"best": "f1"}` find it on the
        baseline's validation frames.
    margin : float, default=0.01
        A smaller loss of AUC does not matter.
    judge : {"frame", "video"}, optional
        What verdicts go by; "video" by default where every test frame names its.
    video_score : {"mean", "max", "top"}, default="mean"
        A video's score: the mean of its frames' P(fake), the highest, or the mean of the highest few.
    video_top : int, optional
        How many frames of a video are averaged with "top"; 5 if left out.
    groups : str or sequence of str, optional
        Names of attributes: the gap of error rates between their values, and how each variant changes it.
    to : path, optional
        Also write the report to this folder, which is new, empty, or holds such a report.

    Returns
    -------
    Results

    Raises
    ------
    UserError
        Where lengths differ, a label is not 0 or 1, a score is missing or outside [0, 1], a class has no frame, the
        baseline is not among the variants, or arrays are pandas Series with other indexes.

    Examples
    --------
    >>> results = bench.score([0, 0, 1, 1], {"baseline": [0.1, 0.4, 0.7, 0.9], "q8": [0.2, 0.3, 0.6, 0.9]})
    >>> results.verdicts
    """
    ordered, by_attribute = _variants(scores, baseline), _attributes(attributes)
    fixed = arguments.threshold("threshold", threshold)
    margin = arguments.share("margin", margin, from_0=True)
    folder = None if to is None else arguments.path("to", to)
    of_frames = {"labels": labels, "sources": sources, "frames": frames, "splits": splits}
    of_frames |= {"videos": videos, "frame_indices": frame_indices, "copy_of": copy_of}
    columns = {
        name: Column(name, values) for name, values in of_frames.items() if name == "labels" or values is not None
    }
    columns |= {f"scores[{name!r}]": Column(f"scores[{name!r}]", values) for name, values in ordered.items()}
    columns |= {
        f"attributes[{name!r}]": Column(f"attributes[{name!r}]", values) for name, values in by_attribute.items()
    }
    spelled = fixed if isinstance(fixed, float) else fixed.as_mapping
    code = f"bench.score(labels, {{{', '.join(map(repr, ordered))}}}, threshold={spelled!r}, margin={margin!r})"
    with call(code):
        from bench.commands.score import Request, score_imported
        from bench.reports import plain_warnings
        from bench.reports.scores_json import scores as numbers_of
        from bench.results.external.judging import judging
        from bench.results.external.read import Columns
        from bench.results.external.scales import option_of_arrays
        from bench.results.groups import group_columns

        meanings = option_of_arrays(scale, positive, list(ordered))
        imported = scores_by_variant(columns, meanings, list(by_attribute))
        names = {"judge": "judge", "score": "video_score", "top": "video_top"}
        judged = judging(judge, {"score": video_score, "top": video_top}, names)
        request = Request(
            _name(folder),
            (),
            Columns(),
            threshold=fixed,
            margin=margin,
            to=folder,
            judging=judged,
            groups=group_columns(groups, "groups"),
        )
        run, evaluation = score_imported(request, imported)
        numbers = numbers_of(run, evaluation)
    warnings = (*plain_warnings(run, numbers), *run.warnings)
    return results(numbers, warnings, folder.absolute() if folder else None, _InMemory(evaluation, imported))


def _attributes(attributes: Any) -> dict[str, Any]:
    """The attributes of the frames, by name."""
    if attributes is None:
        return {}
    return arguments.mapping("attributes", attributes, '{"method": m}')


def _variants(scores: Any, baseline: str) -> dict[str, Any]:
    """The variants' scores, the baseline first; `UserError` with all that is wrong with their names."""
    from bench.folder_names import checked_name

    given = arguments.mapping("scores", scores, '{"baseline": p, "q8": q}')
    if not isinstance(baseline, str) or baseline not in given:
        others = [str(name) for name in given]
        raise UserError(
            f"scores: no baseline {quoted(baseline)}{nearest(str(baseline), others)}; found: "
            f"{listed(others) or 'none'}. "
            'Name the variant that the others are compared with: baseline="…"'
        )
    problems: list[str] = []
    seen: dict[str, str] = {}
    for name in given:
        try:
            checked_name(name)
        except ValueError as error:
            problems.append(f"scores: {error}")
            continue
        if (other := seen.setdefault(name.casefold(), name)) != name:
            problems.append(f"scores: {quoted(other)} and {quoted(name)} differ only in case; rename one")
    if problems:
        raise UserError(*problems)
    return {baseline: given.pop(baseline), **given}


def _name(folder: Path | None) -> str:
    """The report's name: its folder's, where that is a valid name."""
    from bench.folder_names import checked_name

    try:
        return checked_name(folder.absolute().name) if folder else "scores"
    except ValueError:
        return "scores"


class _InMemory:
    """Predictions from memory, in the order of the arrays, test frames first."""

    def __init__(self, evaluation: Evaluation, imported: Mapping[str, ImportedScores]) -> None:
        self._evaluation, self._imported = evaluation, imported

    def __call__(self, variant: str) -> pd.DataFrame:
        """A row a frame, as `Results.predictions` describes it."""
        import numpy as np
        import pandas as pd

        evaluation, predictions = self._evaluation, self._evaluation.predictions[variant]
        parts: Sequence[Any] = [("test", evaluation.test, predictions.test)]
        if evaluation.validation is not None:
            parts = [*parts, ("validation", evaluation.validation, predictions.validation)]
        tables = [
            pd.DataFrame(
                {
                    "frame": rows.frames.astype("str"),
                    "split": split,
                    "label": rows.labels.astype(np.int8),
                    "source": rows.sources.astype("string"),
                    "p_fake": p_fake,
                }
            )
            for split, rows, p_fake in parts
        ]
        return pd.concat(tables, ignore_index=True)
