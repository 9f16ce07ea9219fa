"""The frame sets of an experiment: listed first, then read; a demo set that is missing is drawn, videos extracted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from bench import datasets
from bench.datasets import demo
from bench.experiment import Experiments
from bench.pipeline.footage import Footage, Pending, extractions
from bench.records import LABELLED_SPLITS, Frame, FrameSet, OnEvent, Split

DEMO_FRAMES = "datasets/demo"


class Listing:
    """A frame set of an experiment: its files are listed first, then read.

    Where they lie at an address, `fetches` is told what is copied from there before; without it, what was copied is
    listed, and the store is not asked.
    """

    def __init__(
        self,
        experiments: Experiments,
        name: str,
        base: Path,
        crops: Sequence[str] = (),
        fetches: OnEvent | None = None,
    ) -> None:
        """Nothing is looked at yet."""
        self.name, self.base, self.settings, self.fetches = name, base, experiments.datasets[name], fetches
        folder = base / DEMO_FRAMES
        # A set of the user's own may lie there; only what the demo drew is ever drawn again.
        named = self.settings.path == DEMO_FRAMES
        self.is_demo = named and (not folder.exists() or (folder / demo.CARD).exists())
        self.listed: datasets.Listed | None = None
        self.frames: dict[Split, FrameSet] = {}
        self.footage = Footage(name, self.settings, base, crops) if extractions(self.settings) else None

    @property
    def is_remote(self) -> bool:
        """Whether its files lie at an address."""
        return datasets.fetching.is_remote(self.settings)

    @property
    def sets(self) -> dict[Split, FrameSet] | None:
        """The splits without their frames' content; None where they are not known yet."""
        return self.listed.sets if self.listed else None

    @property
    def may_be_test(self) -> tuple[Frame, ...] | None:
        """The frames that are test frames, or some of which will be, before any is read; None where none are known."""
        if self.listed is None or self.footage:
            return None
        of_parts = self.listed.frames
        return of_parts.get("test", of_parts.get(None))

    @property
    def pending(self) -> Pending | None:
        """Videos that are not extracted yet."""
        return self.footage.pending if self.footage else None

    @property
    def extracted(self) -> tuple[str, ...]:
        """The names of the folders that the frames of videos lie in, or will."""
        return tuple(folder.name for folder in self.footage.folders) if self.footage else ()

    def find(self) -> None:
        """List the files of each split; those of the demo set are drawn later."""
        if self.is_remote and self.fetches:
            datasets.fetching.fetch(self.settings, self.base, self.fetches)
        elif self.is_remote:
            datasets.fetching.refuse_absent(self.settings, self.base)
        if not self.is_demo:
            self.listed = datasets.find(self.name, self.settings, self.base)
            if self.footage:
                self.footage.find(self.listed)

    def read(
        self, on_bad_frame: Literal["error", "skip"], on_event: OnEvent, *, draw: bool, reads: bool = True
    ) -> None:
        """Read every frame's digest; with `draw`, a demo set that is missing is drawn first, and videos extracted.

        Without `reads`, only what is remembered counts, and no frame is read.
        """
        if self.is_demo:
            folder = self.base / DEMO_FRAMES
            if not draw and not demo.is_drawn(folder):
                self.frames = demo.undrawn(self.name)
                return
            demo.draw(folder, on_event)
            self.listed = datasets.find(self.name, self.settings, self.base)
        assert self.listed is not None
        if self.footage:
            extracted = self.footage.read(draw, on_event)
            if extracted is None:
                self.frames = self.footage.expected(self.listed)
                return
            self.listed = _with_missing(datasets.find(self.name, extracted, self.base), self.listed)
        cache = self.base / "datasets" / ".cache"
        self.frames = datasets.read(self.listed, cache, on_event, on_bad_frame=on_bad_frame, reads=reads)
        if self.footage:
            test = self.frames["test"]
            judged = {video.name for frames in self.frames.values() for video in frames.missing}
            self.frames["test"] = replace(test, remarks=(*test.remarks, *self.footage.remarks(judged)))


def _with_missing(extracted: datasets.Listed, of_videos: datasets.Listed) -> datasets.Listed:
    """What was extracted, also with the videos that are listed and have no file."""
    parts = {
        split: replace(located, missing=(*located.missing, *of_videos.parts[split].missing_videos()))
        if split in of_videos.parts
        else located
        for split, located in extracted.parts.items()
    }
    return replace(extracted, parts=parts)


def frames_of(
    listings: Mapping[str, Listing], evaluated: Sequence[str], build_set: str
) -> dict[str, dict[Split, FrameSet]]:
    """The frames of each set that is `evaluated`: its own to judge, and those of the `build_set` to build with."""
    built_with = {split: of for split, of in listings[build_set].frames.items() if split not in LABELLED_SPLITS}
    frames = {}
    for name in evaluated:
        labelled = {split: of for split, of in listings[name].frames.items() if split in LABELLED_SPLITS}
        frames[name] = listings[name].frames if name == build_set else {**labelled, **built_with}
    return frames
