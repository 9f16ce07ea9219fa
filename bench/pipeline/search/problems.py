"""What keeps a search from being made, known before any work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench import runtimes
from bench.errors import UserError
from bench.experiment import ExperimentSettings
from bench.pipeline import judging
from bench.pipeline.prepared import Setup, Timing
from bench.records import FrameSet, Split
from bench.runtimes import Device
from bench.variants import proposals
from bench.variants.chain import kind_of
from bench.variants.foretelling import Chain
from bench.variants.search_settings import SearchSettings
from bench.variants.steps import Kind

LEAST_OF_A_CLASS = 2


def of_frames(settings: ExperimentSettings, frames: Mapping[Split, FrameSet]) -> Iterator[str]:
    """What validation frames lack for candidates to be judged on them; `frames` are those of the first frame set."""
    validation = frames.get("validation")
    first = settings.frame_sets[0]
    of_set = f" (of several frame sets, the first counts: {first})" if settings.has_several_sets else ""
    if validation is None:
        yield (
            f"a search judges candidates on validation frames, and the frame set has none: give it a `validation:` "
            f"folder with labels, or use `split: auto` with more sources{of_set}"
        )
        return
    fake = sum(frame.label == 1 for frame in validation.distinct)
    real = len(validation.distinct) - fake
    if min(fake, real) < LEAST_OF_A_CLASS:
        yield (
            f"a search judges candidates on validation frames, and there are {real} real and {fake} fake ones; "
            f"expected at least {LEAST_OF_A_CLASS} of each, better hundreds{of_set}"
        )
    if judging.judge(settings, frames["test"].frames) == "video" and not judging.videos_of({"validation": validation}):
        yield (
            "videos are judged, and not every validation frame names its video, so a search has nothing to judge by: "
            f"write the videos of validation frames too, or `judge: frame`{of_set}"
        )


def of_search(search: SearchSettings, timing: Timing) -> Iterator[str]:
    """What the command line keeps a search from."""
    if search.find == "fastest" and timing == "none":
        yield "`find: fastest` compares times, and `--no-timing` takes none: leave that out, or `--only` other variants"


def chains_of(setup: Setup) -> list[Chain]:
    """The chains that a search may try."""
    return _chains(setup.source.architecture, setup.kind, setup.built_with, (setup.settings.runtime, setup.device))


def of_detector(
    architecture: str, kind: Kind, frames: Mapping[Split, FrameSet], executed: tuple[str, Device]
) -> Iterator[str]:
    """That no chain can be built of a detector, where that is so; `executed` are the runtime as set, and the device."""
    if not _chains(architecture, kind, frames, executed):
        yield (
            f"there is nothing to try: no chain of steps can be built of {architecture} with these frames and executed "
            f"by `runtime: {executed[0]}`; calibration frames allow most"
        )


def _chains(
    architecture: str, kind: Kind, frames: Mapping[Split, FrameSet], executed: tuple[str, Device]
) -> list[Chain]:
    """The chains that can be built and executed."""
    chains = proposals.chains(architecture, kind, frames)
    runnable = {ends: _is_executed(ends, *executed) for ends in {kind_of(chain, kind) for chain in chains}}
    return [chain for chain in chains if runnable[kind_of(chain, kind)]]


def _is_executed(kind: Kind, runtime: str, device: Device) -> bool:
    try:
        return not runtimes.unavailable_reason(runtimes.choose(runtime, kind, device), device)
    except UserError:
        return False
