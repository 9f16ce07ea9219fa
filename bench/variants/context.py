"""What variants are built from: a trained detector, frames, and a folder to build in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.records import BatchReader, FrameSet, OnEvent, Preprocessing, Split


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
