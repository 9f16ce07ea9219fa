"""What came of a prediction, as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.commands.predict import Predicted
from bench.errors import counted


def describe(predicted: Predicted) -> str:
    """Counts, and where labels are known, metrics with their sample sizes and intervals."""
    return "\n".join(_lines(predicted))


def _lines(predicted: Predicted) -> Iterator[str]:
    """How many pictures were judged, by what, and what came of it."""
    counts = predicted.numbers["counts"]
    if not predicted.judged_now:
        yield "all of it was predicted before; nothing is done again"
    settings = predicted.numbers["settings"]
    yield (
        f"{counted(counts['pictures'], 'picture')} of {counted(counts['files'], 'file')}: {counts['fake']:,} called "
        f"fake, {counts['real']:,} real, by {settings['variant']} at {settings['threshold']:g}"
    )
    if counts["failed"]:
        yield f"{counted(counts['failed'], 'row')} with an error in place of a score"
    for noun, metrics in (("picture", predicted.numbers["metrics"]), ("video", predicted.numbers["by_video"])):
        if metrics:
            yield _metrics(metrics, noun)


def _metrics(metrics: Mapping[str, Any], noun: str) -> str:
    """A line such as "of 32 labelled pictures: AUC 0.9510 (0.880–0.981), accuracy 0.875 …"."""
    shown = (("auc", "AUC", 4), ("accuracy", "accuracy", 3), ("recall", "recall of fakes", 3),
             ("precision", "precision", 3), ("specificity", "specificity", 3))  # fmt: skip
    parts = [
        f"{title} {metrics[key]:.{digits}f}{_range(metrics[f'{key}_ci'])}"
        for key, title, digits in shown
        if metrics[key] is not None
    ]
    labelled = f"labelled {noun}"
    return f"of {counted(metrics['count'], labelled)} ({metrics['fake']:,} fake): {', '.join(parts)}"


def _range(ends: tuple[float, float] | None) -> str:
    return f" ({ends[0]:.3f}–{ends[1]:.3f})" if ends else ""
