"""The predictions of an ensemble's variant, joined from those of its members that are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bench.errors import UserError
from bench.provenance import digest
from bench.records import SplitSummary
from bench.records.ensembles import Ensemble
from bench.results import predict, store

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Map: TypeAlias = NDArray[np.floating] | None


@dataclass(frozen=True)
class Answered:
    """The members that answered, in the order of the rule's weights: folders of their predictions, with their keys."""

    rule: Ensemble
    folders: tuple[Path, ...]
    keys: tuple[str, ...]
    with_maps: bool

    @property
    def key(self) -> str:
        """That of the joined predictions."""
        rule = {"weights": list(self.rule.weights.values()), "combine": self.rule.combine}
        return digest({"joined": list(self.keys), **rule, "maps": self.with_maps, "version": 1})


def join(answered: Answered, folder: Path, frames: Mapping[str, SplitSummary] | None = None) -> None:
    """Write the joined predictions into `folder`, unless they are there. `UserError` where a member's are damaged."""
    if predict.is_done(folder, answered.key):
        return
    tables = [store.read_predictions_table(each, frames) for each in answered.folders]
    names = tables[0]["frame"]
    if any(not table["frame"].equals(names) for table in tables):
        raise UserError(f"{folder.parent}: its members were run on different frames; `bench run` mends it")
    differences = [(table["logit_fake"] - table["logit_real"]).to_numpy("float64") for table in tables]
    p_fake, difference = answered.rule.join_differences(differences)
    table = tables[0].assign(p_fake=p_fake, logit_real=-difference / 2, logit_fake=difference / 2)
    maps = _maps(answered, tables) if answered.with_maps else None
    predict.write_joined(folder, answered.key, table, maps, answered.folders[0])


def _maps(answered: Answered, tables: Sequence[pd.DataFrame]) -> NDArray[np.float32] | None:
    """The maps of all members, each as large as the largest, weighted as their answers are [n, h, w]."""
    import numpy as np

    maps = [store.read_maps(folder, len(tables[0])) for folder in answered.folders]
    answers = np.array([table["p_fake"].to_numpy() for table in tables])
    rows = [
        answered.rule.join_maps(same_size([None if each is None else each[row] for each in maps]), answers[:, row])
        for row in range(len(tables[0]))
    ]
    side = next((each.shape for each in rows if each is not None), None)
    if side is None:
        return None
    return np.stack([np.zeros(side, np.float32) if each is None else each.astype(np.float32) for each in rows])


def same_size(maps: Sequence[Map]) -> list[Map]:
    """The maps [h, w] of a frame, each as large as the largest of them; None stays None."""
    import cv2
    import numpy as np

    side = max((each.shape for each in maps if each is not None), key=max, default=(0, 0))
    return [
        None if each is None else np.asarray(cv2.resize(np.asarray(each, np.float32), side[::-1]), np.float32)
        for each in maps
    ]
