"""Frames that most variants lose, against what chance gives.

Hooker et al. (2020), "Characterising Bias in Compressed Models", arXiv 2010.03058: compressed models disagree with the
full one on few examples, and agree among each other on which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.records import Exemplars

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 3
"""Two variants that both lose a frame agree by chance too easily, and one cannot agree with any."""


def exemplars(
    labels: NDArray[np.integer], baseline: NDArray[np.floating], variants: Mapping[str, NDArray[np.floating]], at: float
) -> Exemplars | None:
    """The frames that the scores of the `baseline` [n] have right and those of most `variants` [n] have wrong.

    A frame is called fake from the threshold `at` on; `labels` [n] are 1 for fake. Variants that decide every frame
    alike count once, and those that decide every frame as the baseline do not count. None where fewer than three are
    left. `rows` are the most lost first; equally lost ones, those that variants moved furthest.
    """
    fake = labels == 1
    called = baseline >= at
    right = called == fake
    decisions = {name: scores >= at for name, scores in variants.items()}
    as_baseline = tuple(name for name, of_variant in decisions.items() if np.array_equal(of_variant, called))
    distinct, same = _distinct({name: decisions[name] for name in decisions if name not in as_baseline})
    if len(distinct) < FEWEST:
        return None
    lost = np.stack([right & ((variants[name] >= at) != fake) for name in distinct], axis=1)
    needed = len(distinct) // 2 + 1
    by_frame = lost.sum(axis=1)
    rows = np.flatnonzero(by_frame >= needed)
    moved = np.abs(np.mean([variants[name][rows] for name in distinct], axis=0) - baseline[rows])
    rows = rows[np.lexsort((rows, -moved, -by_frame[rows]))]
    of_classes = [(int((right & members).sum()), lost[members].sum(axis=0).tolist()) for members in (fake, ~fake)]
    return Exemplars(
        variants=tuple(distinct),
        same=same,
        needed=needed,
        rows=rows,
        lost_by=lost[rows],
        count=len(labels),
        right=int(right.sum()),
        expected=sum(expected(count, losses, needed) for count, losses in of_classes),
        as_baseline=as_baseline,
    )


def expected(right: int, losses: Sequence[int], needed: int) -> float:
    """How many of `right` frames at least `needed` variants lose, if each loses its number at random.

    A variant that loses l of m frames loses each with probability l / m; how many variants lose a frame is then the
    sum of independent draws of these probabilities (Poisson's binomial distribution), and the expectation m times the
    probability that it is at least `needed`. It is exact also where each variant's number of losses is held fixed.
    """
    if not right:
        return 0.0
    chances = np.ones(1)
    for loss in losses:
        chances = np.convolve(chances, (1 - loss / right, loss / right))
    return right * float(chances[needed:].sum())


def _distinct(decisions: Mapping[str, NDArray[np.bool_]]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """The first variant of each set of decisions [n], and the others of that set by its name."""
    firsts: dict[bytes, str] = {}
    same: dict[str, tuple[str, ...]] = {}
    for name, called in decisions.items():
        first = firsts.setdefault(np.packbits(called).tobytes(), name)
        if first != name:
            same[first] = (*same.get(first, ()), name)
    return list(firsts.values()), same
