"""What variants are built from: a trained detector, frames, and a folder to build in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.records import BatchReader, Conventions, FrameSet, OnEvent, Preprocessing, Split


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Source:
    """What a chain starts from. `digest` is the SHA-256 of the weights file; `conventions` are its owner's words.

    `changed` tells whether the file holds something else by now.
    """

    architecture: str
    weights: Path
    digest: str
    preprocessing: Preprocessing
    conventions: Conventions = field(default_factory=Conventions)
    changed: Callable[[], bool] = field(default=_never, compare=False, repr=False)


@dataclass(frozen=True)
class BuildContext:
    """Where and with what variants are built.

    `decoder` has the versions of what turns files into pixels. `experiment` is the experiment's name, for messages.
    """

    folder: Path
    frames: Mapping[Split, FrameSet]
    read: BatchReader
    decoder: Mapping[str, str]
    device: str
    threads: int
    seed: int
    on_event: OnEvent
    experiment: str = ""
