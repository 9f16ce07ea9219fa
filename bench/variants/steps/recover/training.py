"""The training of `recover`: distillation from the unpruned detector, evaluated on frames that are held out."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from bench import phases
from bench.errors import UserError
from bench.provenance import write_json
from bench.records import Frame, Recovery
from bench.variants import checkpoints
from bench.variants.steps.recover import distillation
from bench.variants.steps.recover.distillation import Lower, Precision, distillation_loss

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector
    from bench.variants.steps import StepContext
    from bench.variants.steps.recover.settings import Settings

    State = dict[str, Tensor]

_WARM_UP = 0.1
_REPORT_EVERY = 5
_CHECKS = 10
_PATIENCE = 3
_DIVERGED = 10.0
_FAR = 0.5
CHECKPOINT = "training"
RECORD = "record.json"
"""The file in the step's scratch folder that holds what became of the training, for `variant.json`."""


@dataclass
class _Training:
    """How far the training is. Errors and AUC are those of the held-out set, measured last at step `evaluated_at`."""

    total: int
    rate: float
    step: int = 0
    evaluated_at: int = 0
    seconds: float = 0.0
    smooth: float = 0.0
    first_error: float = math.inf
    best_error: float = math.inf
    error: float = math.inf
    best_step: int = 0
    worse: int = 0
    auc: float | None = None
    cut_short: bool = False
    ended: str = Recovery.ALL_STEPS


@dataclass(frozen=True)
class _Tools:
    """What the training is done with. `masks` has weights that stay zero where the mask is zero."""

    model: Detector
    teacher: Detector
    optimizer: Any
    scaler: Any
    lower: Lower
    masks: list[tuple[Tensor, Tensor]]
    sizes: list[tuple[Tensor, Tensor]]
    held_out: distillation.HeldOut
    precision: Precision


def distil(model: Detector, settings: Settings, work: StepContext, going_on: dict[str, Any] | None) -> None:
    """Train `model` in place, going on from what was saved. Of a training that diverges, the best weights are kept.

    Batches and what is varied in them follow from the seed and the step alone.
    """
    # What comes before the first step takes its time, too.
    pace = checkpoints.Pace()
    phases.begin("preparing the teacher")
    learned, held = distillation.held_out(work.frames["train"].frames, work.seed)
    precision = distillation.native_precision(work.device) if settings.precision == "auto" else settings.precision
    tools = _tools(model, _evaluated_on(learned, held), settings, precision, work)
    training, best = _restored(going_on, tools) if going_on else _begun(settings, tools)
    clock = time.monotonic() - training.seconds

    def keep() -> None:
        pace.save(work, CHECKPOINT, lambda: _state(training, tools, best))

    if not going_on:
        # What came before the first step may have taken as long as several.
        keep()
    if training.evaluated_at < training.step and _is_evaluated(training, settings):
        best = _evaluated(training, settings, tools, best)
    order = work.seed + 1, training.step
    for batch in distillation.shuffled(work, learned, settings.batch_size, training.total, *order):
        if not _step(training, settings, tools, distillation.varied(batch, work.seed, training.step)):
            break
        training.seconds = time.monotonic() - clock
        training.total = _affordable(training, settings)
        if _is_evaluated(training, settings):
            # On a processor an evaluation takes as long as several steps.
            keep()
            best = _evaluated(training, settings, tools, best)
        if training.step % _REPORT_EVERY == 0 or training.step == training.total:
            work.progress(training.step, training.total, "steps", _note(training, tools.held_out))
        if training.step == training.total:
            break
        keep()
    if training.step == 0:
        work.progress(1, 1, "looks", training.ended)
    _note_divergence(training, settings, precision)
    model.load_state_dict(best)
    write_json(work.scratch / RECORD, _record(training, settings, precision, tools.held_out))


def _evaluated_on(learned: list[Frame], held: list[Frame]) -> tuple[str, list[Frame]]:
    """The frames to evaluate on, with their name."""
    # Few frames are all learned from: to tell how far the network is from its teacher, they will do.
    return ("held-out", held) if held else ("train", learned[:: 1 + len(learned) // distillation.HELD_OUT_MOST])


def _tools(
    model: Detector, evaluated: tuple[str, list[Frame]], settings: Settings, precision: Precision, work: StepContext
) -> _Tools:
    """Teacher, optimizer and the rest; `evaluated` has the frames to evaluate on, with their name."""
    import torch

    teacher = work.teacher().float().to(work.device).to(memory_format=torch.channels_last)
    teacher.eval().requires_grad_(False)
    # Batch norms keep their statistics: those of sixteen frames are noise that the loss first pays for.
    model.requires_grad_(True).eval()
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=0.0)
    scaler = torch.amp.GradScaler(torch.device(work.device).type, enabled=precision == "fp16")
    lower = distillation.lowered(work.device, precision)
    masks, sizes = _masks(model, work), distillation.step_sizes(model)
    held_out = distillation.answered(teacher, *evaluated, work, settings.batch_size, lower)
    return _Tools(model, teacher, optimizer, scaler, lower, masks, sizes, held_out, precision)


def _begun(settings: Settings, tools: _Tools) -> tuple[_Training, State]:
    """A training before its first step, and the weights now. `UserError` where their error is not finite."""
    _find_scale(tools)
    training = _Training(settings.steps, settings.learning_rate)
    best = _evaluated(training, settings, tools, {})
    training.first_error = training.best_error
    if not math.isfinite(training.first_error):
        raise UserError(
            "recover: the pruned network's answers are not finite on the frames that it is judged by, before any "
            f"training; check the weights and what was pruned{_or_more_bits(tools.precision)}"
        )
    # Errors are squares: half as far from the teacher takes steps half as long, or they undo what pruning repaired.
    training.rate *= min(1.0, math.sqrt(training.first_error / _FAR))
    return training, best


def _find_scale(tools: _Tools) -> None:
    """Halve the factor that keeps small gradients in fp16 until the large ones fit.

    The scaler itself finds it by leaving steps out. Those would be the first ones, with the small rates, after which
    the rest began with a leap: on a small network all that was learned was lost by it.
    """
    import torch

    while tools.scaler.is_enabled() and tools.scaler.get_scale() > 1:
        loss = distillation_loss(tools.model, tools.teacher, tools.held_out.batches[0], tools.lower)
        tools.scaler.scale(loss).backward()
        gradients = [weight.grad for weight in tools.model.parameters() if weight.grad is not None]
        fits = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
        tools.optimizer.zero_grad(set_to_none=True)
        if fits:
            return
        tools.scaler.update(tools.scaler.get_scale() / 2)


def _step(training: _Training, settings: Settings, tools: _Tools, frames: Tensor) -> bool:
    """One step of the optimizer on a batch of frames; False where its loss is not finite, which ends the training."""
    import torch

    for group in tools.optimizer.param_groups:
        group["lr"] = training.rate * _share_of_rate(training.step, training.total)
    loss = distillation_loss(tools.model, tools.teacher, frames, tools.lower)
    tools.optimizer.zero_grad(set_to_none=True)
    tools.scaler.scale(loss).backward()
    tools.scaler.unscale_(tools.optimizer)
    for weight, mask in tools.masks:
        if weight.grad is not None:
            weight.grad.mul_(mask)
    torch.nn.utils.clip_grad_norm_(tools.model.parameters(), 1.0)
    before = [weight.detach().clone() for weight, _ in tools.sizes]
    tools.scaler.step(tools.optimizer)
    tools.scaler.update()
    with torch.no_grad():
        for (weight, size), was in zip(tools.sizes, before, strict=True):
            weight.copy_(torch.addcmul(was, weight - was, size))
    training.step += 1
    now = float(loss.detach())
    if not math.isfinite(now):
        training.ended = f"the loss became {now} at step {training.step}; {_advice(settings, tools.precision)}"
        return False
    training.smooth = now if training.step == 1 else 0.9 * training.smooth + 0.1 * now
    return True


def _evaluated(training: _Training, settings: Settings, tools: _Tools, best: State) -> State:
    """The best weights so far. Ends a training that is done or gets no better."""
    training.error, training.auc = distillation.evaluate(tools.model, tools.held_out, tools.lower)
    training.evaluated_at = training.step
    if training.error < training.best_error:
        training.best_error, training.best_step, training.worse = training.error, training.step, 0
        if training.error < settings.enough:
            training.total, training.ended = (
                training.step,
                f"close enough to the teacher on {tools.held_out.name} frames",
            )
        return _weights(tools.model)
    # While the rate is high the weights jump about the point where they come to rest when it falls.
    training.worse += training.step > training.total / 2
    if training.worse == _PATIENCE:
        training.total, training.ended = training.step, f"no better on {tools.held_out.name} frames"
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
    fits = left / training.seconds * training.step if training.step >= _REPORT_EVERY else training.total
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
        "ended": training.ended,
        "cut_short": training.cut_short,
        "precision": precision,
        "judged_on": f"{len(held_out.logit_diffs)} {held_out.name} frames",
        "best_step": training.best_step,
        "error": {"before": training.first_error, "after": training.best_error},
    }


def _note_divergence(training: _Training, settings: Settings, precision: Precision) -> None:
    """Say so where the training ended far from where it began."""
    if not training.error <= max(_DIVERGED * training.first_error, _FAR):
        training.ended = (
            f"training diverged: the error grew from {training.first_error:.3g} to {training.error:.3g}; "
            f"{_advice(settings, precision)}"
        )


def _advice(settings: Settings, precision: Precision) -> str:
    return f"use a learning_rate below {settings.learning_rate:g}{_or_more_bits(precision)}"


def _or_more_bits(precision: Precision) -> str:
    """Numbers in fp16 end at 65504, whatever the learning rate."""
    return "" if precision == "fp32" else f", or set `precision: fp32` (it was {precision})"


def _masks(model: Detector, work: StepContext) -> list[tuple[Tensor, Tensor]]:
    """After pruning that leaves zeros: weights among which some are exactly zero, with 1 where they are not.

    Without it there are none: what is zero then, as a new head may be, is to be learned.
    """
    if all(getattr(use.settings, "structure", "structured") == "structured" for use in work.earlier):
        return []
    masks = [(weight, (weight != 0).to(weight.dtype)) for weight in model.parameters() if weight.ndim > 1]
    return [(weight, mask) for weight, mask in masks if not mask.all()]


def _share_of_rate(step: int, steps: int) -> float:
    """Up in a straight line over the first tenth, then down along a cosine to almost nothing."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm + 1) / (steps - warm + 1)))


# ------------------------------------------------------------------------------------ checkpoints
def _state(training: _Training, tools: _Tools, best: State) -> dict[str, Any]:
    """All that the next step depends on, so that a run that is killed goes on from here."""
    parts = {"model": tools.model, "optimizer": tools.optimizer, "scaler": tools.scaler}
    return {**asdict(training), "best": best, **{name: part.state_dict() for name, part in parts.items()}}


def saved(work: StepContext) -> dict[str, Any] | None:
    """What a killed run of this user saved; None where there is nothing whole, so that the training begins again."""
    state = checkpoints.read(work, CHECKPOINT)
    keys = {"model", "optimizer", "scaler", "best", *(field.name for field in fields(_Training))}
    return state if state and keys <= state.keys() else None


def _restored(going_on: dict[str, Any], tools: _Tools) -> tuple[_Training, State]:
    """Take up what was saved; what is copied from it takes no memory any more."""
    tools.model.load_state_dict(going_on.pop("model"))
    tools.optimizer.load_state_dict(going_on.pop("optimizer"))
    tools.scaler.load_state_dict(going_on["scaler"])
    return _Training(**{field.name: going_on[field.name] for field in fields(_Training)}), going_on["best"]
