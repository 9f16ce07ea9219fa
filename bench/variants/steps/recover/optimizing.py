"""What the training of `recover` is done with, and one step of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.detectors.learning import Average, Lower, Precision, lowered, trained
from bench.variants.steps.recover import distillation

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector
    from bench.records import Frame
    from bench.variants.steps import StepContext
    from bench.variants.steps.recover.settings import Settings

_HIGHEST_NORM = 1.0


@dataclass(frozen=True)
class Tools:
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
    average: Average

    def state(self) -> dict[str, Any]:
        """What the next step depends on; `restore` takes it back."""
        parts = {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
        return {**{name: part.state_dict() for name, part in parts.items()}, "average": self.average.weights}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what was saved. What is copied from it is taken out, so that it takes no memory any more."""
        self.model.load_state_dict(state.pop("model"))
        self.optimizer.load_state_dict(state.pop("optimizer"))
        self.scaler.load_state_dict(state.pop("scaler"))
        self.average.take(state.pop("average"))

    def evaluate(self, held_out: distillation.HeldOut | None = None) -> tuple[float, float | None]:
        """The error and the ROC AUC of the averaged weights, on the held-out frames where no others are given."""
        with self.average.in_place_of(self.model):
            return distillation.evaluate(self.model, held_out or self.held_out, self.lower)


def tools(
    model: Detector,
    evaluated: tuple[str, list[Frame]],
    settings: Settings,
    precision: Precision,
    work: StepContext,
) -> Tools:
    """Teacher, optimizer and the rest; `evaluated` has the frames to evaluate on, with their name."""
    import torch

    teacher = work.teacher().float().to(work.device).to(memory_format=torch.channels_last)
    teacher.eval().requires_grad_(False)
    # Batch norms keep their statistics: those of sixteen frames are noise that the loss first pays for.
    model.eval()
    scaler = torch.amp.GradScaler(torch.device(work.device).type, enabled=precision == "fp16")
    lower = lowered(work.device, precision)
    held_out = distillation.answered(teacher, evaluated, work, settings, lower)
    sizes = [(weight, size) for weight, size in distillation.step_sizes(model) if weight.requires_grad]
    masks = _masks(model, work)
    return Tools(model, teacher, _optimizer(model), scaler, lower, masks, sizes, held_out, precision, Average(model))


def _optimizer(model: Detector) -> Any:
    """Its rate is set at every step."""
    import torch

    return torch.optim.AdamW(trained(model), weight_decay=0.0)


def optimized(tools: Tools, frames: Tensor, rate: float, loss_of: Any) -> float:
    """One step of the optimizer at this learning rate on a batch of frames; the loss before it."""
    import torch

    for group in tools.optimizer.param_groups:
        group["lr"] = rate
    loss = loss_of(tools.model, tools.teacher, frames, tools.lower)
    tools.optimizer.zero_grad(set_to_none=True)
    tools.scaler.scale(loss).backward()
    tools.scaler.unscale_(tools.optimizer)
    for weight, mask in tools.masks:
        if weight.grad is not None:
            weight.grad.mul_(mask)
    torch.nn.utils.clip_grad_norm_(trained(tools.model), _HIGHEST_NORM)
    before = [weight.detach().clone() for weight, _ in tools.sizes]
    tools.scaler.step(tools.optimizer)
    tools.scaler.update()
    with torch.no_grad():
        for (weight, size), was in zip(tools.sizes, before, strict=True):
            weight.copy_(torch.addcmul(was, weight - was, size))
    return float(loss.detach())


def find_scale(tools: Tools) -> None:
    """Halve the factor that keeps small gradients in fp16 until the large ones fit.

    The scaler itself finds it by leaving steps out. Those would be the first ones, with the small rates, after which
    the rest began with a leap: on a small network all that was learned was lost by it.
    """
    import torch

    while tools.scaler.is_enabled() and tools.scaler.get_scale() > 1:
        loss = distillation.distillation_loss(tools.model, tools.teacher, tools.held_out.batches[0], tools.lower)
        tools.scaler.scale(loss).backward()
        gradients = [weight.grad for weight in tools.model.parameters() if weight.grad is not None]
        fits = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
        tools.optimizer.zero_grad(set_to_none=True)
        if fits:
            return
        tools.scaler.update(tools.scaler.get_scale() / 2)


def _masks(model: Detector, work: StepContext) -> list[tuple[Tensor, Tensor]]:
    """After pruning that leaves zeros: weights among which some are exactly zero, with 1 where they are not.

    Without it there are none: what is zero then, as a new head may be, is to be learned.
    """
    if all(getattr(use.settings, "structure", "structured") == "structured" for use in work.earlier):
        return []
    masks = [(weight, (weight != 0).to(weight.dtype)) for weight in model.parameters() if weight.ndim > 1]
    return [(weight, mask) for weight, mask in masks if not mask.all()]
