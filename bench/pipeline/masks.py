"""Masks of the test frames: checked before any work, fitted once as the network sees them, kept with the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datasets
from bench.errors import UserError, listed
from bench.pipeline.prepared import Prepared, Setup
from bench.provenance import digest
from bench.records import Evaluation, Event, Frame, FrameSet, MaskCounts, OnEvent, RunRecord
from bench.records.frames import as_inputs
from bench.results import localisation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORK = "fitting masks"
_CHUNK = 64
_MOST_NAMED = 10


def key_of(setup: Setup) -> str:
    """What the fitted masks hang on: frames, how they are prepared, and the files of masks; empty without masks."""
    test = setup.frames["test"]
    if not test.digest or not test.masks_digest:
        return ""
    of_files = {"frames": test.digest, "masks": test.masks_digest}
    return digest({**of_files, "spec": as_inputs(setup.spec), "fitting": datasets.fitting_versions()})


def counts_of(setup: Setup) -> MaskCounts | None:
    """What became of the masks of the test frames; None where there are none, or they are not fitted yet."""
    key = key_of(setup)
    return localisation.read_counts(setup.results, key) if key else None


def problems(prepared: Prepared) -> Iterator[tuple[str, str]]:
    """Frame sets with a mask that does not lie over its frame, and what is wrong with the first of these.

    Only headers are read, and none where the masks were fitted already.
    """
    for name, setups in prepared.by_frame_set.items():
        if all(not key_of(setup) or counts_of(setup) for setup in setups):
            continue
        wrong = [text for frame in _readable(setups[0].frames["test"]) if (text := _misshapen(frame))]
        if wrong:
            rest = f" … and {len(wrong) - _MOST_NAMED:,} more" if len(wrong) > _MOST_NAMED else ""
            yield from ((name, text) for text in wrong[: _MOST_NAMED - 1])
            yield from ((name, f"{text}{rest}") for text in wrong[_MOST_NAMED - 1 : _MOST_NAMED])


def _readable(test: FrameSet) -> list[Frame]:
    """The frames whose mask was read; of identical frames, the first."""
    return [frame for frame in test.distinct if frame.mask and frame.mask.digest]


def _misshapen(frame: Frame) -> str:
    """Why a mask that somebody named does not lie over its frame; those that a layout found are counted instead."""
    assert frame.mask is not None
    return "" if frame.mask.native else datasets.misshapen(frame)


def fit(prepared: Prepared, on_event: OnEvent) -> None:
    """Fit the masks of every frame set for every detector, where that was not done yet."""
    for setup in prepared.setups:
        key = key_of(setup)
        if key and counts_of(setup) is None:
            _Fitting(setup, key, on_event).run()


class _Fitting:
    """The masks of a frame set, fitted for a detector."""

    def __init__(self, setup: Setup, key: str, on_event: OnEvent) -> None:
        self._setup, self._key, self._on_event = setup, key, on_event
        self._test = setup.frames["test"]
        self._counts = Counter[str]()
        self._rows: list[int] = []
        self._positions: list[int] = []

    def run(self) -> None:
        fakes = [row for row in self._counted if self._test.frames[row].label == 1]
        masked = [row for row in fakes if (mask := self._test.frames[row].mask) and mask.digest]
        self._counts["missing"] = sum(self._test.frames[row].mask is None for row in fakes)
        self._counts["unreadable"] = len(fakes) - len(masked) - self._counts["missing"]
        self._setup.results.mkdir(parents=True, exist_ok=True)
        localisation.write_masks(self._setup.results, len(masked), self._of_fakes(masked))
        self._look_at_reals()
        counts = MaskCounts(self._key, len(fakes), len(self._rows), **self._counts)
        localisation.write_record(self._setup.results, counts, self._rows, self._positions)

    @property
    def _counted(self) -> Iterator[int]:
        """The rows of the frames that count: without copies of others."""
        return (row for row, first in enumerate(self._test.firsts) if first == row)

    def _of_fakes(self, rows: list[int]) -> Iterator[NDArray[np.uint8]]:
        """The masks of these rows, each counted as what it is."""
        work = f"{WORK}{self._setup.on_frames}"
        self._on_event(Event(work, 0, len(rows), "masks"))
        for position, (row, fitted) in enumerate(self._fitted(rows)):
            kind = fitted if isinstance(fitted, str) else _kind(fitted)
            if kind:
                self._counts[kind] += 1
            else:
                self._rows.append(row)
                self._positions.append(position)
            if isinstance(fitted, str):
                yield _nothing()
            else:
                self._counts["faint"] += fitted.is_faint
                yield fitted.shares
            if (position + 1) % _CHUNK == 0 or position + 1 == len(rows):
                self._on_event(Event(work, position + 1, len(rows), "masks"))

    def _look_at_reals(self) -> None:
        frames = self._test.frames
        reals = [r for r in self._counted if frames[r].label == 0 and (mask := frames[r].mask) and mask.digest]
        marked = (not isinstance(fitted, str) and not fitted.is_black for _, fitted in self._fitted(reals))
        self._counts["marked_real"] = sum(marked)

    def _fitted(self, rows: list[int]) -> Iterator[tuple[int, datasets.FittedMask | str]]:
        """Each row with its mask, or with why it has none: "unreadable" or "misshapen"."""
        with ThreadPoolExecutor(self._setup.threads, "masks") as pool:
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                yield from zip(part, pool.map(self._fit, part), strict=True)

    def _fit(self, row: int) -> datasets.FittedMask | str:
        frame = self._test.frames[row]
        try:
            if datasets.misshapen(frame):
                return "misshapen"
            return datasets.fitted(frame, self._setup.spec)
        except UserError:
            return "unreadable"


def _kind(fitted: datasets.FittedMask) -> str:
    """Why a mask does not count; empty where it does."""
    if fitted.is_black:
        return "black"
    if not fitted.shares.any():
        return "outside"
    return "whole" if fitted.shares.min() == 255 else ""


def _nothing() -> NDArray[np.uint8]:
    import numpy as np

    from bench.records import GRID

    return np.zeros((GRID, GRID), np.uint8)


def remarks(counts: MaskCounts | None) -> Iterator[str]:
    """What a reader must know of masks that were read and do not count."""
    if counts is None:
        return
    kinds = {
        "of another proportion than their frames (whole frames, where these are crops?)": counts.misshapen,
        "black (nothing is forged)": counts.black,
        "of what is cut off before the network sees it": counts.outside,
        "that cover all that the network sees": counts.whole,
    }
    left_out = [f"{count:,} {what}" for what, count in kinds.items() if count]
    if left_out:
        yield f"Masks of test fakes that are not used: {listed(left_out)}."
    if counts.faint:
        yield (
            f"{counts.faint:,} of the black masks are not black throughout: forged is what is brighter than 127 of "
            "255; masks of 0 and 1 must be multiplied by 255."
        )
    if counts.marked_real:
        yield (
            f"{counts.marked_real:,} real test frames have a mask that is not black: either their labels are wrong, or "
            "these masks are not of what was forged. They are not used."
        )


def with_localisation(run: RunRecord, evaluation: Evaluation, results: Path) -> Evaluation:
    """The scores with what heatmaps come to beside the masks of test fakes, where there are some."""
    if run.masks is None or not evaluation.variants:
        return evaluation
    test = evaluation.test
    masks = localisation.read(results, run.masks, len(test.labels))
    located = localisation.localisation(masks, test, evaluation.predictions, run.baseline.name)
    return replace(evaluation, masks=masks, localisation=located)
