"""Which frames an epoch learns from, in which order: by seed and epoch alone, so that it can be begun anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from bench.records import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Unit: TypeAlias = tuple[int, ...]
"""Indices of frames that stand in a batch together and are changed alike."""
Key: TypeAlias = tuple[int, int, Unit]
"""Epoch, place in it, and the frames."""

_ORDER = 1
"""Stands in the seeds of orders, and in those of nothing else."""


@dataclass(frozen=True)
class Plan:
    """The units of a training, each with its class, None where it holds both; and how epochs are made of them.

    `frames_a_unit` is how many frames a unit puts into a batch.
    """

    units: tuple[Unit, ...]
    classes: tuple[int | None, ...]
    batch_size: int
    epoch_steps: int | None
    balance: Literal["sampling", "loss", "none"]
    seed: int
    frames_a_unit: int = 1

    @property
    def units_a_batch(self) -> int:
        return max(1, self.batch_size // self.frames_a_unit)

    @property
    def steps(self) -> int:
        """Batches in an epoch: whole ones, at least one."""
        return self.epoch_steps or max(1, len(self.units) // self.units_a_batch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[list[Key]]:
        """The batches of an epoch from the one numbered `first` on."""
        order, count = self._order(epoch), self.units_a_batch
        for step in range(first, self.steps):
            positions = range(step * count, min((step + 1) * count, len(order)))
            yield [(epoch, position, self.units[order[position]]) for position in positions]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """The units of an epoch, from 1: where the one before ended, so that all come before any comes again."""
        import numpy as np

        needed = self.steps * self.units_a_batch
        if self.balance != "sampling" or None in self.classes:
            return self._stream(np.arange(len(self.units)), 0, (epoch - 1) * needed, needed)
        labels, rng = np.array(self.classes), np.random.default_rng([self.seed, _ORDER, epoch])
        drawn = []
        for label in (0, 1):
            # Which class has the odd one over changes from epoch to epoch.
            counts = [(needed + (label + each) % 2) // 2 for each in (0, 1)]
            before = (epoch - 1) // 2 * needed + (counts[1] if epoch % 2 == 0 else 0)
            drawn.append(self._stream(np.flatnonzero(labels == label), label + 1, before, counts[epoch % 2]))
        return rng.permutation(np.concatenate(drawn))

    def _stream(self, indices: NDArray[np.int64], of: int, first: int, count: int) -> NDArray[np.int64]:
        """So many indices from the place `first` on of all in a random order, then all in another one, and so on."""
        import numpy as np

        size = len(indices)
        rounds = range(first // size, (first + count - 1) // size + 1)
        orders = [np.random.default_rng([self.seed, _ORDER, of, each]).permutation(indices) for each in rounds]
        start = first - rounds.start * size
        return np.concatenate(orders)[start : start + count]

    @cached_property
    def class_weights(self) -> tuple[float, float]:
        """What the losses of real and fake frames are multiplied with: 1, or as `balance: loss` asks."""
        if self.balance != "loss" or None in self.classes:
            return 1.0, 1.0
        counts = [sum(label == each for label in self.classes) for each in (0, 1)]
        return len(self.classes) / (2 * counts[0]), len(self.classes) / (2 * counts[1])


def singles(frames: Sequence[Frame]) -> tuple[tuple[Unit, ...], tuple[int | None, ...]]:
    """Every frame by itself."""
    return tuple((index,) for index in range(len(frames))), tuple(frame.label for frame in frames)


def pairs(frames: Sequence[Frame], seed: int) -> tuple[Unit, ...]:
    """Every fake with a real frame of its source, drawn by the seed; fakes without one are left out."""
    import numpy as np

    rng = np.random.default_rng([seed, _ORDER])
    real: dict[str, list[int]] = {}
    for index, frame in enumerate(frames):
        for source in frame.sources if frame.label == 0 else ():
            real.setdefault(source, []).append(index)
    units: list[Unit] = []
    for index, frame in enumerate(frames):
        choices = [other for source in frame.sources for other in real.get(source, ())] if frame.label == 1 else []
        if choices:
            units.append((choices[int(rng.integers(len(choices)))], index))
    return tuple(units)


def hold_out(frames: Sequence[Frame], groups: Iterable[list[Frame]], share: float, seed: int) -> list[Frame]:
    """About `share` of frames that are learned from, to choose the best epoch by instead, whole groups of sources.

    Groups are drawn by the seed, those of each mix of classes by themselves.
    """
    import numpy as np

    rng = np.random.default_rng([seed, _ORDER, _ORDER])
    chosen: set[Path] = set()
    strata: dict[frozenset[int | None], list[list[Frame]]] = {}
    for group in groups:
        strata.setdefault(frozenset(frame.label for frame in group), []).append(group)
    for alike in (strata[key] for key in sorted(strata, key=str)):
        count_left = max(1.0, share * sum(map(len, alike)))
        for index in rng.permutation(len(alike)):
            if len(alike) > 1 and count_left >= len(alike[index]) / 2:
                count_left -= len(alike[index])
                chosen.update(frame.file for frame in alike[index])
    return [frame for frame in frames if frame.file in chosen]
