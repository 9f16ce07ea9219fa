"""explanations.parquet: a row for each frame and variant, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import write_atomically
from bench.records.inspection import PARTS, Inspection, Look, Subject
from bench.records.joint_inspection import JointInspection

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_COLUMN = {part: part.replace(" ", "_") for part in PARTS}
_NUMBERS = (
    "p_fake", "logit_real", "logit_fake", *(f"share_{name}" for name in _COLUMN.values()),
    *(f"fall_{name}" for name in _COLUMN.values()), "distance", "mask_inside", "mask_auc",
)  # fmt: skip


def unexplained(subject: Subject, variant: str, logits: tuple[float, float], p_fake: float) -> dict[str, Any]:
    """A row of a frame that was judged, and not looked into."""
    return {
        "frame": subject.name,
        "set_frame": subject.set_frame or None,
        "set_split": subject.set_split or None,
        "variant": variant,
        "label": subject.label,
        "method": subject.method or None,
        "p_fake": p_fake,
        "logit_real": logits[0],
        "logit_fake": logits[1],
        "explained": False,
    }


def explanations(inspected: Inspection) -> list[dict[str, Any]]:
    """A row for each variant: P(fake), shares of the parts of the face, distances, how its map lies on a mask."""
    return [
        unexplained(inspected.subject, look.judge.name, look.logits, look.p_fake) | _explained(look)
        for look in inspected.looks
    ]


def _explained(look: Look) -> dict[str, Any]:
    """The columns of a variant that was looked into."""
    row: dict[str, Any] = {"explained": True, "target": look.target}
    evidence = look.agreed_on_face or look.on_face
    if evidence is not None and evidence.shares:
        row["leading"] = evidence.leading
        row |= {f"share_{_COLUMN[part]}": share for part, share in evidence.shares.items()}
    if look.on_face is not None:
        row |= {f"fall_{_COLUMN[part]}": fall for part, fall in look.on_face.falls.items()}
    if look.hottest:
        first = look.hottest[0]
        row |= {"hottest_part": first.part, "landmark": first.landmark, "distance": first.distance}
    if look.beside_mask is not None:
        beside = look.beside_mask
        row |= {
            "mask_hit": beside.hit,
            "mask_inside": beside.inside,
            "mask_auc": beside.auc,
            "mask_blank": beside.blank,
        }
    return row | _hottest(look.heat)


def joint_explanations(joint: JointInspection) -> list[dict[str, Any]]:
    """A row for each variant of an ensemble; parts of the face and masks are in the rows of none: maps are joined."""
    return [
        unexplained(joint.subject, look.name, look.logits, look.p_fake)
        | {"explained": True, "target": look.target}
        | _hottest(None if look.cam is None else look.cam * (1 if look.target == "fake" else -1))
        for look in joint.looks
    ]


def _hottest(heat: NDArray[np.floating] | None) -> dict[str, int]:
    """Row and column of the strongest cell of a map [h, w], where anything in it speaks for the target."""
    if heat is None or not heat.max(initial=0) > 0:
        return {}
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    return {"hottest_row": row, "hottest_column": column}


def frame_of(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a table with all columns, in a fixed order; what could not be had is missing."""
    import pandas as pd

    texts = ("frame", "set_frame", "set_split", "variant", "method", "target", "leading", "hottest_part", "landmark")
    integers = ("label", "hottest_row", "hottest_column")
    order = ("frame", "set_frame", "set_split", "variant", "label", "method", *_NUMBERS[:3], "explained", "target",
             "leading", *_NUMBERS[3:], "mask_hit", "mask_blank", "landmark", "hottest_part", "hottest_row",
             "hottest_column")  # fmt: skip
    table = pd.DataFrame(list(rows), columns=list(order))
    kinds = dict.fromkeys(texts, "string") | dict.fromkeys(integers, "Int64") | dict.fromkeys(_NUMBERS, "float64")
    return table.astype({**kinds, "explained": "bool", "mask_hit": "boolean", "mask_blank": "boolean"})


def write_explanations(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the table."""
    table = frame_of(rows)
    write_atomically(path, lambda file: table.to_parquet(file, index=False))
