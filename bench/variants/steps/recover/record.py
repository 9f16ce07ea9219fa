"""What `recover` records of itself in `variant.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from bench.records import Recovery

_Count = Annotated[int, Field(ge=0)]
_Text = Annotated[str, Field(max_length=4000)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Errors:
    """The held-out error when training began, and that of the weights that stayed."""

    before: _Finite
    after: _Finite


@dataclass(frozen=True)
class Record:
    """What became of the training; `bench.records.Recovery` says what each field means."""

    steps: _Count
    steps_wanted: _Count
    ended: _Text
    cut_short: bool
    best_step: _Count
    judged_on: _Text
    error: Errors

    @property
    def recovery(self) -> Recovery:
        return Recovery(
            self.steps, self.steps_wanted, self.ended, self.cut_short, self.best_step, self.judged_on,
            self.error.before, self.error.after,
        )  # fmt: skip
