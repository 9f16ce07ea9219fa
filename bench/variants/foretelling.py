"""What chains would come to, before they are built: size, time and noise, by what their steps declare and foretell."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bench import phases
from bench.artifacts import safetensors
from bench.files import make_folder
from bench.provenance import digest, versions
from bench.records import Built
from bench.system import idle_cores
from bench.variants import cache, checkpoints, ids, steps
from bench.variants.context import BuildContext, Source
from bench.variants.steps import StepContext, StepForecast, Use

if TYPE_CHECKING:
    from bench.detectors.detector import Detector

Chain: TypeAlias = tuple[Use, ...]


@dataclass(frozen=True)
class ForetoldChain:
    """A chain that may be tried, and what is foretold of it.

    `time` is the share of the baseline's time. `noise` has the mean square of what each part of the chain changes the
    logit difference by, as a share of that difference's variance: by the steps of that part.
    """

    chain: Chain
    size_bytes: float
    time: float
    noise: Mapping[str, float]


def proposals(
    source: Source, chains: Sequence[Chain], baseline: Built, context: BuildContext, title: str
) -> list[ForetoldChain]:
    """What each chain is foretold to come to; without those that a look at the network rules out.

    `title` names the work in events.
    """
    forecasts: dict[str, StepForecast | None] = {}
    for name in dict.fromkeys(chain[0].name for chain in chains if chain[0].is_foretold):
        uses = {chain[0].text: chain[0] for chain in chains if chain[0].name == name}
        step: Any = next(iter(uses.values())).step
        with _work(source, context, _folder(context, baseline.id, name), title) as work:
            phases.begin("preparing")
            model = safetensors.load_torch(baseline.file)
            foretold = step.foretell(model, [use.settings for use in uses.values()], work)
        forecasts |= dict(zip(uses, foretold, strict=True))
    proposed = (_proposal(chain, forecasts, baseline.size_bytes) for chain in chains)
    return [proposal for proposal in proposed if proposal]


def _proposal(chain: Chain, forecasts: Mapping[str, StepForecast | None], size_bytes: int) -> ForetoldChain | None:
    """The forecast of a chain from those of its steps; None where its first one can't be."""
    numbers, time, stored, noise = 1.0, 1.0, 1.0, dict[str, float]()
    for use in chain:
        leaves = use.leaves
        forecast = forecasts.get(use.text, StepForecast(leaves.numbers, leaves.operations * leaves.time, leaves.adds))
        if forecast is None:
            return None
        numbers, time = numbers * forecast.numbers, time * forecast.time
        stored = stored if leaves.stored is None else leaves.stored
        if leaves.noise != 1.0 and noise:
            # What comes after training is another disturbance than what came before it.
            noise = {f"{', '.join(noise)}, {use.name}": leaves.noise * sum(noise.values())}
        if forecast.noise:
            noise[use.name if use.text in forecasts else use.text] = forecast.noise
    return ForetoldChain(chain, size_bytes * numbers * stored, time, noise)


def share(source: Source, chain: Chain, context: BuildContext) -> None:
    """Let the first step of a chain go on from what was done of it for the forecast."""
    parts: tuple[str, ...] = getattr(chain[0].step, "SHARED_PARTS", ())
    weights, link = ids.of_chain(source, chain[:1], context)
    looked_at = _folder(context, weights, chain[0].name)
    if not parts or cache.is_built(context.folder, link) or not looked_at.is_dir():
        return
    with _work(source, context, looked_at, "") as before, suppress(OSError):
        for part in parts:
            if state := checkpoints.read(before, part):
                scratch = context.folder / cache.SCRATCH / link
                make_folder(scratch)
                checkpoints.write(replace(before, scratch=scratch), part, state)


def forget(source: Source, context: BuildContext) -> None:
    """Remove what forecasts have left."""
    for name in steps.names():
        shutil.rmtree(_folder(context, ids.of_weights(source), name), ignore_errors=True)


def _folder(context: BuildContext, weights: str, name: str) -> Path:
    """What is done for forecasts by this version of a step, with this detector, these frames and their sources."""
    step, calibration = steps.find(name), context.frames.get("calibration")
    depends_on = {
        "foretold": name,
        "version": step.VERSION,
        "libraries": versions(step.LIBRARIES),
        "weights": weights,
        "calibration": calibration and calibration.digest,
        "decoded by": context.decoder,
        "seed": context.seed,
    }
    return context.folder / cache.SCRATCH / digest(depends_on)


@contextmanager
def _work(source: Source, context: BuildContext, scratch: Path, title: str) -> Iterator[StepContext]:
    """What a step may use that looks at a detector."""
    for folder in (scratch.parent, scratch):
        make_folder(folder)
    with idle_cores.torch_threads(context.threads) as threads:
        yield StepContext(
            title=title,
            spec=source.preprocessing.input_spec,
            frames=context.frames,
            read=threads.before_batches(context.read),
            teacher=_no_teacher,
            device=context.device,
            threads=context.threads,
            seed=context.seed,
            scratch=scratch,
            on_event=threads.at_events(context.on_event),
            preprocessing=source.preprocessing,
        )


def _no_teacher() -> Detector:
    raise AssertionError("a look at a detector needs no teacher")
