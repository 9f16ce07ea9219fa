"""The training of `recover`: distillation from the unpruned detector, evaluated on frames that are held out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from bench import phases
from bench.detectors.learning import Precision, native_precision
from bench.errors import UserError, counted
from bench.provenance import write_json
from bench.records import Frame, Recovery
from bench.variants import augmentation, checkpoints
from bench.variants.steps import RECORD_FILE
from bench.variants.steps.recover import distillation, norms, rates
from bench.variants.steps.recover.distillation import distillation_loss
from bench.variants.steps.recover.optimizing import Tools, find_scale, optimized, tools

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector
    from bench.variants.steps import StepContext
    from bench.variants.steps.recover.settings import Settings

    State = dict[str, Tensor]

_REPORT_EVERY = 5
_CHECKS = 10
_PATIENCE = 3
_DIVERGED = 10.0
_FAR = 0.5
# The average reaches back over such a share of the steps.
_AVERAGED = 0.05
CHECKPOINT = "training"
RECORD = RECORD_FILE
"""The file in the step's scratch folder that holds what became of the training, for `variant.json`."""


@dataclass
class _Training:
    """How far the training is. Errors and AUC are those of the held-out set, measured last at step `evaluated_at`.

    `norms_measured`: batch norms were measured again, since held-out frames were followed more closely then, or since
    the settings ask for it whatever these say.
    `prepared` are the seconds before the first step.
    """

    total: int
    rate: float = 0.0
    step: int = 0
    evaluated_at: int = 0
    seconds: float = 0.0
    prepared: float = 0.0
    smooth: float = 0.0
    first_error: float = math.inf
    best_error: float = math.inf
    error: float = math.inf
    best_step: int = 0
    worse: int = 0
    auc: float | None = None
    norms_measured: bool = False
    cut_short: bool = False
    ended: str = Recovery.ALL_STEPS


def distil(
    model: Detector, settings: Settings, work: StepContext, going_on: dict[str, Any] | None
) -> distillation.HeldOut:
    """Train what requires gradients of `model`, in place, going on from what was saved; what it was judged on.

    Of a training that diverges, the best weights are kept. Batches and what is varied in them follow from the seed and
    the step alone.
    """
    # What comes before the first step takes its time, too.
    pace, began = checkpoints.Pace(), time.monotonic()
    phases.begin("preparing the teacher")
    learned, held = distillation.held_out(work.frames["train"].frames, work.seed)
    precision = native_precision(work.device) if settings.precision == "auto" else settings.precision
    means = tools(model, _evaluated_on(learned, held), settings, precision, work)
    training, best = _restored(going_on, means) if going_on else _begun(settings, means, learned, work)
    if not going_on:
        training.seconds = training.prepared = time.monotonic() - began
    clock = time.monotonic() - training.seconds

    def keep() -> None:
        pace.save(work, CHECKPOINT, lambda: {**asdict(training), "best": best, **means.state()})

    if not going_on:
        # What came before the first step may have taken as long as several.
        keep()
    if training.evaluated_at < training.step and _is_evaluated(training, settings):
        best = _evaluated(training, settings, means, best)
    order = work.seed + 1, training.step
    for batch in distillation.shuffled(work, learned, settings.batch_size, training.total, *order):
        frames = augmentation.varied(batch, work.seed, training.step, all_ways=settings.augment)
        if not _step(training, settings, means, frames):
            break
        training.seconds = time.monotonic() - clock
        training.total = _affordable(training, settings)
        if _is_evaluated(training, settings):
            # On a processor an evaluation takes as long as several steps.
            keep()
            best = _evaluated(training, settings, means, best)
        if training.step % _REPORT_EVERY == 0 or training.step == training.total:
            work.progress(training.step, training.total, "steps", _note(training, means.held_out))
        if training.step == training.total:
            break
        keep()
    if training.step == 0:
        work.progress(1, 1, "looks", training.ended)
    _note_divergence(training, settings, precision)
    model.load_state_dict(best)
    write_json(work.scratch / RECORD, _record(training, settings, precision, means.held_out))
    return means.held_out


def _evaluated_on(learned: list[Frame], held: list[Frame]) -> tuple[str, list[Frame]]:
    """The frames to evaluate on, with their name."""
    # Few frames are all learned from: to tell how far the network is from its teacher, they will do.
    return ("held-out", held) if held else ("train", learned[:: 1 + len(learned) // distillation.HELD_OUT_MOST])


def _begun(settings: Settings, means: Tools, learned: Sequence[Frame], work: StepContext) -> tuple[_Training, State]:
    """A training before its first step, and the weights now. `UserError` where their error is not finite."""
    training = _Training(settings.steps)
    if settings.recalibrate is True and norms.has_norms(means.model):
        training.first_error, training.norms_measured = means.evaluate()[0], True
        norms.recalibrate(means.model, work.frames["train"].frames, settings.batch_size, work)
    find_scale(means)
    best = _evaluated(training, settings, means, {})
    if not training.norms_measured:
        training.first_error = training.best_error
    if training.total and settings.recalibrate == "auto" and norms.has_norms(means.model):
        best = _with_measured_norms(training, settings, means, best, learned, work)
    if not math.isfinite(training.best_error):
        raise UserError(
            "recover: the answers of the network that it was given are not finite on the frames that it is judged by, "
            f"before any training; check the weights, and the step before{_or_more_bits(means.precision)}"
        )
    if not math.isfinite(training.first_error):
        training.first_error = training.best_error
    if training.total:
        auto = settings.learning_rate == "auto"
        training.rate = rates.range_test(means, learned, settings, work) if auto else float(settings.learning_rate)
    return training, best


def _with_measured_norms(
    training: _Training,
    settings: Settings,
    means: Tools,
    best: State,
    learned: Sequence[Frame],
    work: StepContext,
) -> State:
    """The weights to begin with: with batch norms measured again where that brings the network closer."""
    before, model = best or _weights(means.model), means.model
    norms.recalibrate(model, learned, settings.batch_size, work)
    error = means.evaluate()[0]
    if not error < training.best_error:
        model.load_state_dict(before)
        return best
    training.norms_measured, training.best_error = True, error
    return _weights(model)


def _step(training: _Training, settings: Settings, means: Tools, frames: Tensor) -> bool:
    """One step of the optimizer on a batch of frames; False where its loss is not finite, which ends the training."""
    rate = training.rate * rates.share_of_rate(training.step, training.total)
    now = optimized(means, frames, rate, distillation_loss)
    training.step += 1
    means.average.add(means.model, 1 / max(1, min(training.step, round(_AVERAGED * training.total))))
    if not math.isfinite(now):
        training.ended = f"the loss became {now} at step {training.step}; {_advice(training.rate, means.precision)}"
        return False
    training.smooth = now if training.step == 1 else 0.9 * training.smooth + 0.1 * now
    return True


def _evaluated(training: _Training, settings: Settings, means: Tools, best: State) -> State:
    """The best weights so far. Ends a training that is done or gets no better."""
    training.error, training.auc = means.evaluate()
    training.evaluated_at = training.step
    if training.error < training.best_error:
        training.best_error, training.best_step, training.worse = training.error, training.step, 0
        if training.error < settings.enough:
            training.total, training.ended = (
                training.step,
                f"it answers as the uncompressed detector does on {means.held_out.name} frames already",
            )
        with means.average.in_place_of(means.model):
            return _weights(means.model)
    # While the rate is high the weights jump about the point where they come to rest when it falls: a training that was
    # better once is not over before its rate has fallen.
    training.worse += training.step > training.total / 2 and training.best_step == 0
    if training.worse == _PATIENCE:
        training.total, training.ended = training.step, f"no better on {means.held_out.name} frames"
    return best


def _weights(model: Detector) -> State:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _is_evaluated(training: _Training, settings: Settings) -> bool:
    """Whether the network is evaluated after this step."""
    return training.step == training.total or training.step % max(_REPORT_EVERY, settings.steps // _CHECKS) == 0


def _affordable(training: _Training, settings: Settings) -> int:
    """The steps that fit into the time at the pace so far; all of them where there is no limit."""
    if settings.minutes is None:
        return training.total
    left = settings.minutes * 60 - training.seconds
    # The first steps are slower than the rest, and tell no pace.
    pace = (training.seconds - training.prepared) / training.step
    fits = left / max(pace, 1e-9) if training.step >= _REPORT_EVERY else training.total
    affordable = min(training.total, training.step + max(0, int(fits if left > 0 else 0)))
    if affordable < training.total:
        training.cut_short = True
        training.ended = f"no more fitted into {settings.minutes:g} minutes"
    return affordable


def _note(training: _Training, held_out: distillation.HeldOut) -> str:
    judged = "" if training.auc is None else f", ROC AUC {training.auc:.3f} on {held_out.name} frames"
    return f"loss {training.smooth:.3f}{judged}"


def _record(
    training: _Training, settings: Settings, precision: Precision, held_out: distillation.HeldOut
) -> dict[str, Any]:
    """What happened, without what differs from run to run."""
    return {
        "steps": training.step,
        "steps_wanted": settings.steps,
        "learning_rate": training.rate,
        "norms_measured": training.norms_measured,
        "ended": training.ended,
        "cut_short": training.cut_short,
        "precision": precision,
        "judged_on": counted(held_out.count, f"{held_out.name} frame"),
        "best_step": training.best_step,
        "error": {"before": training.first_error, "after": training.best_error},
    }


def _note_divergence(training: _Training, settings: Settings, precision: Precision) -> None:
    """Say so where the training ended far from where it began."""
    if not training.error <= max(_DIVERGED * training.first_error, _FAR):
        training.ended = (
            f"training diverged: the error grew from {training.first_error:.3g} to {training.error:.3g}; "
            f"{_advice(training.rate, precision)}"
        )


def _advice(rate: float, precision: Precision) -> str:
    return f"use a learning_rate below {rate:.2g}{_or_more_bits(precision)}"


def _or_more_bits(precision: Precision) -> str:
    """Numbers in fp16 end at 65504, whatever the learning rate."""
    return "" if precision == "fp32" else f", or set `precision: fp32` (it was {precision})"


# ------------------------------------------------------------------------------------ checkpoints
def saved(work: StepContext) -> dict[str, Any] | None:
    """What a killed run of this user saved; None where there is nothing whole, so that the training begins again."""
    state = checkpoints.read(work, CHECKPOINT)
    keys = {"model", "optimizer", "scaler", "average", "best", *(field.name for field in fields(_Training))}
    return state if state and keys <= state.keys() else None


def _restored(going_on: dict[str, Any], means: Tools) -> tuple[_Training, State]:
    """Take up what was saved; what is copied from it takes no memory any more."""
    means.restore(going_on)
    return _Training(**{field.name: going_on[field.name] for field in fields(_Training)}), going_on["best"]
