"""What variants are built from: a trained detector, frames, and a place to work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.records import BatchReader, FrameSet, OnEvent, Preprocessing, Split

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Source:
    """What a chain starts from. `digest` is the SHA-256 of the weights file."""

    architecture: str
    weights: Path
    digest: str
    preprocessing: Preprocessing


@dataclass(frozen=True)
class BuildContext:
    """Where and with what variants are built.

    `decoder` tells which versions of what turn files into pixels, `experiment` for which one is built.
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
