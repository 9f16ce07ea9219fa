"""Which part of an experiment's shards a process evaluates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import UserError, shown

MOST_PARTS = 100_000
_FORM = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)
_EXPECTED = "expected K/N, such as 3/8 for the third of eight parts"


@dataclass(frozen=True)
class Part:
    """The part `number` of `count`, counted from 1."""

    number: int
    count: int

    @property
    def text(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, lows: Sequence[int]) -> Sequence[int]:
        """Its share of the shards, given by their first rows: neighbours, as many as any other part's, or one more."""
        return lows[len(lows) * (self.number - 1) // self.count : len(lows) * self.number // self.count]


def called(name: str, store: str | None) -> str:
    """How a command that is to be given next names the experiment, with the store that its parts share, if any."""
    return name if store is None else f"{name} --store {store}"


def parse(text: str) -> Part:
    """The part that "K/N" names. Raises `UserError` for what names none."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UserError(f"--shard: {shown(text, 40)} is no part; {_EXPECTED}")
    part = Part(int(match[1]), int(match[2]))
    if not 1 <= part.count <= MOST_PARTS:
        raise UserError(f"--shard: {part.text}: N must be from 1 to {MOST_PARTS:,}; {_EXPECTED}")
    if part.number < 1:
        raise UserError(f"--shard: {part.text}: parts are counted from 1, up to {part.count}/{part.count}")
    if part.number > part.count:
        raise UserError(
            f"--shard: {part.text}: there are only {part.count} parts, 1/{part.count} to {part.count}/{part.count}"
        )
    return part
