"""A picture as an ensemble judges it: what its members say, and their maps with the joint one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.records.ensembles import Combination
from bench.records.inspection import Subject
from bench.records.weights import ClassName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class MemberLook:
    """What a member says of a picture.

    `weight` is what it counts for, of 1; None where the highest P(fake) counts alone. `cam` [h, w] is its signed map
    over the first member's part of the picture, None without one. `page` is where its own inspection lies.
    """

    name: str
    variant: str
    weight: float | None
    p_fake: float
    calls: ClassName
    cam: NDArray[np.float32] | None
    page: str


@dataclass(frozen=True)
class JointLook:
    """What a variant of an ensemble says of a picture: `logits` are real and fake, as in predictions.parquet.

    `target` is the class that pictures of maps are for. `agree` is how many of its members call the picture as it does.
    """

    name: str
    p_fake: float
    logits: tuple[float, float]
    calls: ClassName
    target: ClassName
    cam: NDArray[np.floating] | None
    agree: int
    members: tuple[MemberLook, ...]


@dataclass(frozen=True)
class JointInspection:
    """A picture and how each variant of an ensemble sees it, the baseline first. `subject` is the first member's.

    `asked` is the target class that was asked for.
    """

    experiment: str
    time: str
    subject: Subject
    threshold: float
    combine: Combination
    map_kind: str
    looks: tuple[JointLook, ...]
    asked: ClassName | None = None
