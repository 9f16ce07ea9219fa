"""The chains that a search may try: at most one step of each turn, with the values that steps declare as `TRIED`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.records import FrameSet, Split
from bench.variants.chain import frame_problems, offer_problems, order_problems, parse
from bench.variants.steps import TURNS, Kind, Turn, Use, find, names


def chains(architecture: str, kind: Kind, frames: Mapping[Split, FrameSet] | None) -> list[tuple[Use, ...]]:
    """Every chain that can be built of a detector; without `frames`, whatever these are.

    `kind` is what the detector is.
    """
    by_turn = [[None, *_uses(turn)] for turn in TURNS]
    tried = (tuple(use for use in uses if use) for uses in itertools.product(*by_turn))
    return [chain for chain in tried if chain and not any(_problems(chain, architecture, kind, frames))]


def _uses(turn: Turn) -> Iterator[Use]:
    """The steps of a turn, with each of the values that they declare."""
    for name in names():
        step: Any = find(name)
        if getattr(step, "TURN", None) == turn:
            yield from (parse(name if value is None else {name: value}) for value in step.TRIED)


def _problems(
    chain: Sequence[Use], architecture: str, kind: Kind, frames: Mapping[Split, FrameSet] | None
) -> Iterator[tuple[int, str]]:
    yield from order_problems(chain, kind)
    yield from offer_problems(chain, architecture)
    if frames is not None:
        yield from frame_problems(chain, frames, kind)
