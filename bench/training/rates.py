"""The learning rate over a training: a warm-up, then a cosine, plateaus, or as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.training.settings import ScheduleSettings


@dataclass
class Plateau:
    """How far the rate has come down: `share` of it is left, and `worse` epochs in a row were not above `best`."""

    share: float = 1.0
    worse: int = 0
    best: float = -math.inf

    def see(self, score: float, settings: ScheduleSettings) -> None:
        """Take an epoch's score; the rate comes down after more than `patience` epochs without a better one."""
        if settings.name != "plateau":
            return
        if score > self.best:
            self.best, self.worse = score, 0
            return
        self.worse += 1
        if self.worse > settings.patience:
            self.share, self.worse = max(settings.least, self.share * settings.factor), 0


def share_of_rate(step: int, steps_an_epoch: int, epochs: int, settings: ScheduleSettings, plateau: Plateau) -> float:
    """The rate of a step, as a share of the highest: up in a straight line, then as the schedule says."""
    rise = round(settings.warmup * steps_an_epoch)
    if step < rise:
        return (step + 1) / rise
    if settings.name == "cosine":
        left = max(1, steps_an_epoch * epochs - rise)
        return max(settings.least, 0.5 * (1 + math.cos(math.pi * (step - rise) / left)))
    return plateau.share if settings.name == "plateau" else 1.0
