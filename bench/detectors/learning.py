"""What every training of a detector needs: precision, arithmetic that repeats itself, weights averaged over steps.

`recover` distils with it (`bench/variants/steps/recover/`), `bench train` learns from labels (`bench/training/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]
Lower: TypeAlias = Callable[[], AbstractContextManager[object]]
"""Makes a context in which convolutions run in a chosen precision."""


def native_precision(device: str) -> Precision:
    """What the device multiplies fastest in: half the bits where it has units for them.

    A CPU needs AMX for it: with AVX-512's bf16 instructions alone a step took longer than in fp32.
    """
    import torch

    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Older versions of torch have no public way to tell, and go on in fp32.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if capabilities.get("amx_bf16") else "fp32"


def lowered(device: str, precision: Precision) -> Lower:
    """The context in which convolutions run in this precision on the device."""
    import torch

    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return lambda: torch.autocast(torch.device(device).type, dtype, enabled=precision != "fp32")


@contextmanager
def repeatable(*, tf32: bool) -> Iterator[None]:
    """Convolutions on CUDA give equal results for equal inputs; the settings from before are restored afterwards.

    There the fastest algorithms add up in any order. Other operations may still do so, such as the backward pass of
    max pooling. `tf32`: whether convolutions may round float32 to ten bits of mantissa, which is faster.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


class Average:
    """The weights of the last steps, averaged: at a high rate they jump about the point where they come to rest."""

    def __init__(self, model: Detector) -> None:
        self.weights = [weight.detach().clone() for weight in trained(model)]

    def take(self, weights: list[Tensor]) -> None:
        """Go on from these weights."""
        for average, weight in zip(self.weights, weights, strict=True):
            average.copy_(weight)

    def add(self, model: Detector, share: float) -> None:
        """Move towards the weights of the model by this share of the way."""
        for average, weight in zip(self.weights, trained(model), strict=True):
            average.lerp_(weight.detach(), share)

    @contextmanager
    def in_place_of(self, model: Detector) -> Iterator[None]:
        """The model has the averaged weights meanwhile."""
        weights = trained(model)
        for weight, average in zip(weights, self.weights, strict=True):
            weight.data, average.data = average.data, weight.data
        try:
            yield
        finally:
            for weight, average in zip(weights, self.weights, strict=True):
                weight.data, average.data = average.data, weight.data


def trained(model: Detector) -> list[Tensor]:
    """The weights that require gradients, in the network's order."""
    return [weight for weight in model.parameters() if weight.requires_grad]
