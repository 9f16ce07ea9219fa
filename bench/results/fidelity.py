"""Whether a runtime computes what a quantised artifact says: its logits beside those of the artifact's own graph.

Some kernels saturate, runtimes fuse and reorder, and drivers change: nothing else shows that before users do.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bench import stored
from bench.files import remove, write_text
from bench.records import SPLITS, Fidelity, Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAMES = 16
MEAN_BOUND, LARGEST_BOUND = 0.04, 0.2
"""Further off than these, on average or at most, a runtime computes something else than the artifact says."""

# What sums in another order may do to a float32 logit, as a share of it.
_ROUNDING = 1e-4


def measure(session: Session, reference: Session, batches: Iterable[NDArray[np.uint8]], split: str) -> Fidelity:
    """Compare a session with the artifact's own graph, frame by frame, over all batches of uint8 RGB [n, 3, H, W]."""
    import numpy as np

    differences: list[list[float]] = [[], []]
    for batch in batches:
        for frame in batch:
            for logit_diffs, computing in zip(differences, (session, reference), strict=True):
                logits = computing.predict(frame[None]).logits
                logit_diffs.append(float(logits[0, 1]) - float(logits[0, 0]))
    computed, meant = np.array(differences)
    return compare(computed, meant, split)


def compare(computed: NDArray[np.float64], meant: NDArray[np.float64], split: str) -> Fidelity:
    """From `logit_fake - logit_real` [frames], as a runtime computed it and as the artifact's graph means it."""
    import numpy as np

    errors, deviation = np.abs(computed - meant), float(meant.std())
    if not np.isfinite(errors).all():
        return Fidelity(None, None, len(errors), split, False)
    rounding = _ROUNDING * max(1.0, float(np.abs(meant).max()))
    if deviation <= rounding:
        # All frames look the same to the network: there is no unit, and only more than rounding is a difference.
        return Fidelity(None, None, len(errors), split, False if errors.max() > rounding else None)
    mean, largest = float(errors.mean() / deviation), float(errors.max() / deviation)
    return Fidelity(mean, largest, len(errors), split, mean <= MEAN_BOUND and largest <= LARGEST_BOUND)


def write(file: Path, fidelity: Fidelity) -> None:
    if file.is_dir():
        remove(file)
    write_text(file, json.dumps(dataclasses.asdict(fidelity)) + "\n")


def read(file: Path) -> Fidelity | None:
    """The fidelity that was measured; None where it was not, or the file is damaged: then it is measured again."""
    try:
        fidelity: Fidelity = stored.typed(Fidelity, stored.read_json(file, stored.MIB))
    except (OSError, ValueError):
        return None
    differences = [difference for difference in (fidelity.mean, fidelity.largest) if difference is not None]
    sound = fidelity.frames >= 1 and fidelity.split in SPLITS and min(differences, default=0) >= 0
    return fidelity if sound else None
