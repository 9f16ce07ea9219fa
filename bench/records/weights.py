"""How a file of weights is read: what its owner says of it, and what was made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

ClassName: TypeAlias = Literal["real", "fake"]


@dataclass(frozen=True)
class Conventions:
    """What names in a file of weights cannot tell; None where the owner says nothing.

    `key` is where the set of weights lies in a file that holds several. `positive` is the class that a single high
    logit speaks for, `classes` are those of two logits in order. `flavour` is the arithmetic, of those that the
    detector's family knows.
    """

    key: str | None = None
    positive: ClassName | None = None
    classes: tuple[ClassName, ClassName] | None = None
    flavour: str | None = None


@dataclass(frozen=True)
class Reading:
    """What was made of a file of weights.

    `names` says whose names its tensors have and what stands before them, `logits` which layer gives them and what
    they mean, `arithmetic` what names alone do not fix and how it is known: empty where there is no choice. `left_out`
    are tensors of the file that are of no part of the network; `warnings` are sentences to be read before the numbers.
    """

    names: str
    logits: str
    arithmetic: str
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """All but the warnings, on one line."""
        left_out = f"left out: {', '.join(self.left_out)}" if self.left_out else ""
        return "; ".join(filter(None, (self.names, self.logits, self.arithmetic, left_out)))
