"""The device that an experiment runs on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench import runtimes
from bench.errors import DEVICES, UserError, no_device
from bench.provenance import cuda_devices, cuda_trouble

if TYPE_CHECKING:
    from bench.runtimes import Device

CPU_USED = "There is a CUDA device, but the CPU was used"


def choose_device(requested: str, runtime: str, kinds: Sequence[str]) -> tuple[Device, tuple[str, ...]]:
    """The device that all variants run on, so that they can be compared; `kinds` are those of their artifacts.

    Where a CUDA device exists and cannot be used, a remark says why. A request that cannot be met is a `UserError`.
    """
    if requested not in DEVICES:  # from Python; the file and the command line are checked where they are read
        raise UserError(f"device: {no_device(requested)}")
    if requested == "cpu":
        return "cpu", ()
    if not cuda_devices():
        if requested == "cuda":
            raise UserError(f"device: cuda was asked for, but {cuda_trouble()}: no CUDA device; use auto or cpu")
        return "cpu", ()
    needed = [runtimes.choose("auto", kind, "cuda") for kind in kinds] if runtime == "auto" else [runtime]
    troubles = (runtimes.unavailable_reason(name, "cuda") for name in dict.fromkeys(needed))
    trouble = next(filter(None, troubles), None)
    if trouble is None:
        return "cuda", ()
    if requested == "cuda":
        raise UserError(f"device: cuda was asked for, but {trouble}")
    return "cpu", (f"{CPU_USED}: {trouble}.",)


def checked_device(
    requested: str, runtime: str, kinds: Sequence[str]
) -> tuple[Device, tuple[str, ...], tuple[str, ...]]:
    """Device and remarks, and why the request is refused: then everything else is checked for the CPU."""
    try:
        return *choose_device(requested, runtime, kinds), ()
    except UserError as error:
        return "cpu", (), error.lines
