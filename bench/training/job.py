"""All that a training is made of, put together by whoever starts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.records import BatchReader, Frame
from bench.training.samples import Samples
from bench.training.sampling import Plan
from bench.training.settings import Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector

Judge: TypeAlias = "Callable[[NDArray[np.int64], NDArray[np.float64]], Mapping[str, float | None]]"
"""The metrics of labels [n], 1 is fake, and logit differences, fake less real, [n], by name."""


@dataclass(frozen=True)
class Job:
    """A training.

    `start` builds the detector before its first step, from torch's generator where it is random. `validation` are the
    frames to choose the best epoch by, `read` reads them, `judge` gives their metrics. `folder` is where all of it is
    written. `about` is what the JSON file beside every checkpoint says of it, beside the epoch and its metrics.
    """

    name: str
    recipe: Recipe
    start: Callable[[], Detector]
    samples: Samples
    plan: Plan
    validation: tuple[Frame, ...]
    read: BatchReader
    judge: Judge
    folder: Path
    device: str
    threads: int
    workers: int
    about: Mapping[str, Any]

    @property
    def steps(self) -> int:
        """Those of all epochs."""
        return self.plan.steps * self.recipe.epochs
