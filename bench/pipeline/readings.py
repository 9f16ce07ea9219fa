"""How each detector's weights are read, and whether its preprocessing fits them: looked at once, then remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import detectors
from bench.artifacts import imports
from bench.artifacts.imports import file as imports_file
from bench.datasets import decoder_versions
from bench.detectors import families
from bench.errors import resolve_path
from bench.pipeline import remembered
from bench.pipeline.prepared import Prepared, Setup
from bench.provenance import file_digest, versions
from bench.records import Event, Frame, InputFit, OnEvent, Preprocessing, Reading, Split, as_inputs
from bench.variants import ids
from bench.variants.context import Source
from bench.variants.steps import Use, UsedFile

# Raised whenever a file is checked otherwise, or something else is said of it.
_READING_VERSION = 5
# Raised whenever the same frames and weights would give other numbers.
_FIT_VERSION = 2
_FRAMES = 32
_WORK = "comparing preprocessing with the weights"


def reading_of(source: Source, variants: Path) -> Reading:
    """What is made of the weights of a source. Raises `UserError` for all that `bench run` refuses of them.

    Where nothing can be remembered, weights are read every time.
    """
    reading = known_reading(source, variants)
    if reading is None:
        if families.kind(source.architecture) == "onnx":
            _, reading = imports.read(source.weights, source.preprocessing, source.conventions)
        else:
            _, reading = detectors.read(source.architecture, source.weights, source.preprocessing, source.conventions)
        remembered.remember(variants, _of_reading(source), reading)
    return reading


def known_reading(source: Source, variants: Path) -> Reading | None:
    """What was made of the weights earlier; None where this version of bench has not read them yet."""
    return remembered.recall(variants, _of_reading(source), Reading)


def content_of(weights: Path, architecture: str, variants: Path) -> str:
    """The digest of a file of weights, and of what lies beside it where it is an ONNX file; `UserError` as `check`."""
    if families.kind(architecture) == "onnx":
        return _content(weights, imports_file.content, variants)
    return file_digest(weights)


def _content(path: Path, digest_of: Callable[[Path], str], variants: Path) -> str:
    """The digest of a file's content, and of what lies beside it; what holds everything itself is parsed once."""
    of_file = file_digest(path)
    depends_on = {"reading": _READING_VERSION, "holds everything": of_file}
    if remembered.recall(variants, depends_on, _HoldsEverything) is not None:
        return of_file
    content = digest_of(path)
    if content == of_file:
        remembered.remember(variants, depends_on, _HoldsEverything())
    return content


@dataclass(frozen=True)
class _HoldsEverything:
    """A file that refers to no other."""


def check_file(use: Use, base: Path) -> None:
    """Raise `UserError` where the file that a step reads cannot be one, by its first bytes."""
    step: Any = use.step
    step.check_file(resolve_path(base, str(use.file_name)))


def read_file(use: Use, base: Path, preprocessing: Preprocessing) -> tuple[Use, Reading]:
    """The step with the file that it reads, and what is made of it; `UserError` for all that `bench run` refuses."""
    step: Any = use.step
    path, variants = resolve_path(base, str(use.file_name)), base / "variants"
    step.check_file(path)
    use = replace(use, file=UsedFile(path, _content(path, step.content, variants)))
    return use, _reading_of_file(use, preprocessing, variants)


def _reading_of_file(use: Use, preprocessing: Preprocessing, variants: Path) -> Reading:
    """What is made of the file, by the step itself, or as that is remembered."""
    step: Any = use.step
    assert use.file is not None
    depends_on = {
        "reading": _READING_VERSION,
        "step": [use.name, step.VERSION, versions(step.LIBRARIES)],
        "settings": use.settings.model_dump(mode="json"),
        "file": use.file.digest,
        "preprocessing": as_inputs(preprocessing),
    }
    reading = remembered.recall(variants, depends_on, Reading)
    if reading is None:
        reading = step.reading(use.settings, use.file.path, preprocessing)
        remembered.remember(variants, depends_on, reading)
    return reading


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
    if setup.kind == "onnx":
        return InputFit(())  # exporters fold batch norms away
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
