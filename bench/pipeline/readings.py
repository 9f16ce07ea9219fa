"""How each detector's weights are read, and whether its preprocessing fits them: looked at once, then remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import detectors
from bench.datasets import decoder_versions
from bench.pipeline import remembered
from bench.pipeline.prepared import Prepared, Setup
from bench.records import Event, Frame, InputFit, OnEvent, Reading, Split
from bench.variants import ids
from bench.variants.context import Source

# Raised whenever a file is checked otherwise, or something else is said of it.
_READING_VERSION = 1
# Raised whenever the same frames and weights would give other numbers.
_FIT_VERSION = 1
_FRAMES = 32
_WORK = "comparing preprocessing with the weights"


def reading_of(source: Source, variants: Path) -> Reading:
    """What is made of the weights of a source. Raises `UserError` for all that `bench run` refuses of them.

    Where nothing can be remembered, weights are read every time.
    """
    reading = known_reading(source, variants)
    if reading is None:
        _, reading = detectors.read(source.architecture, source.weights, source.preprocessing, source.conventions)
        remembered.remember(variants, _of_reading(source), reading)
    return reading


def known_reading(source: Source, variants: Path) -> Reading | None:
    """What was made of the weights earlier; None where this version of bench has not read them yet."""
    return remembered.recall(variants, _of_reading(source), Reading)


def _of_reading(source: Source) -> dict[str, Any]:
    return {"reading": _READING_VERSION, "weights": ids.of_weights(source)}


# ------------------------------------------------------------------------------------ preprocessing
def with_warnings(prepared: Prepared, on_event: OnEvent) -> Prepared:
    """The experiment with a remark on each detector that another preprocessing would fit clearly better.

    The shipped detector is known to fit its own.
    """
    remarks: dict[str, tuple[str, ...]] = {}
    for name, setup in prepared.by_detector.items():
        fit = None if setup.detector.is_demo else input_fit_of(setup, on_event)
        remarks[name] = (fit.warning,) if fit and fit.warning else ()
        for remark in remarks[name]:
            on_event(Event(f"{name}: {remark}" if len(prepared.by_detector) > 1 else remark, 0, 0, "warning"))
    setups = [replace(setup, remarks=(*setup.remarks, *remarks[setup.detector_name])) for setup in prepared.setups]
    return Prepared(tuple(setups))


def input_fit_of(setup: Setup, on_event: OnEvent, *, with_flavours: bool = False) -> InputFit:
    """How well the preprocessing of a setup's detector fits its weights, on some of the frames to build with.

    With flavours it takes a pass through the whole network for each.
    """
    frames = _frames(setup)
    depends_on = {
        "input fit": _FIT_VERSION,
        "flavours": with_flavours,
        "weights": ids.of_weights(setup.source),
        "frames": [frame.digest for frame in frames],
        "decoded by": decoder_versions(),
    }
    fit = remembered.recall(setup.variants, depends_on, InputFit)
    if fit is None:
        on_event(Event(_WORK, 0, 1, "detector"))
        fit = _input_fit(setup, frames, with_flavours=with_flavours)
        remembered.remember(setup.variants, depends_on, fit)
        on_event(Event(_WORK, 1, 1, "detector"))
    return fit


def _frames(setup: Setup) -> list[Frame]:
    """Some frames of the first split there is that variants are built with; else of those that are judged."""
    splits: tuple[Split, ...] = ("calibration", "train", "validation", "test")
    chosen = next(setup.built_with[split] for split in splits if split in setup.built_with)
    return [chosen.frames[index] for index in chosen.sample_evenly(_FRAMES)]


def _input_fit(setup: Setup, frames: list[Frame], *, with_flavours: bool) -> InputFit:
    from bench.detectors.input_fit import flavour_fit, input_fit
    from bench.system.idle_cores import torch_threads

    source = setup.source
    batch = next(iter(setup.read(frames, setup.spec, len(frames))))
    with torch_threads(setup.threads):
        detector = detectors.load(source.architecture, source.weights, source.preprocessing, source.conventions)
        inputs = input_fit(detector, batch)
        flavours = flavour_fit(detector, source.weights, source.conventions, batch) if with_flavours and inputs else ()
    return InputFit(inputs, flavours)
