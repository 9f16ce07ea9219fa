"""What int8 could gain over fp16 on the device, at most: every 1x1 convolution of a B5 on integers, for nothing else.

For each distinct shape: the convolution in fp16 with its SiLU, against the same on int8, scaled, activated and
rounded again: by `torch._int_mm` and an operation behind it, and by one Triton kernel; the faster counts. The
sums over the network, taken from the time of its whole forward pass in fp16, give the bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_parts import Job, large, sessions, timm_way
from gpu_parts.record import NEEDS_CUDA, Cells

STEP = 0.05
"""One step of the rounded output."""


@dataclass(frozen=True)
class Shape:
    """A 1x1 convolution: channels in and out, width of its square map, whether a SiLU follows."""

    inputs: int
    outputs: int
    width: int
    silu: bool


def run(job: Job) -> None:
    """Measure the convolutions that int8 would make faster, shape by shape, and bound the whole network by them."""
    batches = (2,) if job.small else (32, 64)
    counts = shapes(job)
    for batch in batches:
        chosen = list(counts)[:3] if job.small else list(counts)
        for shape in chosen:
            name = (
                f"batch {batch}: {shape.inputs} to {shape.outputs} at {shape.width} px{', SiLU' if shape.silu else ''}"
            )
            job.record.measure(name, partial(_row, job, shape, batch, counts[shape]))
        job.record.measure(f"batch {batch}, in all", partial(_bound, job, batch))
    job.record.note(
        "An upper bound: everything but these convolutions is taken to stay as fast as in fp16, and what rounding the "
        "other layers' outputs would cost is left out."
    )


def shapes(job: Job) -> Counter[Shape]:
    """The distinct 1x1 convolutions over whole maps, with how often each occurs; those in gates see one pixel each."""
    counts: Counter[Shape] = Counter()
    network = timm_way.network(job, "fp32").to("meta")

    def watch(module: Any, given: tuple[Tensor, ...], _: object) -> None:
        if given[0].shape[-1] > 1:
            counts[
                Shape(
                    module.in_channels,
                    module.out_channels,
                    given[0].shape[-1],
                    module.out_channels > module.in_channels,
                )
            ] += 1

    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.register_forward_hook(watch)
    network(torch.empty(1, 3, job.size, job.size, device="meta"))
    return counts


# ------------------------------------------------------------------------------------- one shape
def _row(job: Job, shape: Shape, batch: int, count: int) -> Cells:
    """One shape: fp16 and the ways on integers that are right, in ms."""
    seconds = 0.01 if job.small else 0.03
    rows = batch * shape.width**2
    drawn: Any = {"generator": torch.Generator(job.device).manual_seed(0), "device": job.device}
    given = torch.randint(-127, 128, (rows, shape.inputs), dtype=torch.int8, **drawn)
    weight = torch.randint(-127, 128, (shape.outputs, shape.inputs), dtype=torch.int8, **drawn)
    scale = (torch.rand(shape.outputs, **drawn) + 0.5) / (127 * shape.inputs**0.5 * 40)
    bias = torch.randn(shape.outputs, **drawn)
    half = partial(_half, shape, batch, given, weight, scale, bias, job)()
    integer = _candidates(job, given, weight, scale, bias, shape.silu)
    expected = _expected(given[:4096], weight, scale, bias, shape.silu)
    wrong = {name: _distance(way, expected) for name, way in integer.items()}
    right = {name: way for name, way in integer.items() if wrong[name] <= 1}
    taken = {name: timm_way.seconds_of(way, job.device, seconds) * 1000 for name, way in right.items()}
    half_ms = timm_way.seconds_of(half, job.device, seconds) * 1000
    fastest = min(taken, key=taken.__getitem__, default="")
    cells = {
        "count": count, "fp16, ms": half_ms, "int8, ms": taken.get(fastest), "fastest": fastest,
        "times faster": half_ms / taken[fastest] if fastest else None,
        "steps off at most": "; ".join(f"{name} {steps:.2f}" for name, steps in wrong.items() if not steps <= 1)
        or max(wrong.values()),
        "operations, T/s": 2 * rows * shape.inputs * shape.outputs / (taken[fastest] * 1e9) if fastest else None,
    }  # fmt: skip
    return cells if job.device == "cuda" else cells | {"answer": f"{NEEDS_CUDA}; fp32 stands for fp16"}


def _half(shape: Shape, batch: int, given: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, job: Job) -> Any:
    """The convolution on the same numbers, channels_last, as the network computes it."""
    dtype = torch.float16 if job.device == "cuda" else torch.float32
    picture = (given.float() / 127).reshape(batch, shape.width, shape.width, shape.inputs).permute(0, 3, 1, 2)
    picture = picture.to(dtype).contiguous(memory_format=torch.channels_last)
    filters = (weight.float() * scale[:, None] * 127).to(dtype)[:, :, None, None]
    filters = filters.contiguous(memory_format=torch.channels_last)
    offset = bias.to(dtype)

    def convolve() -> Tensor:
        with torch.inference_mode():
            out = F.conv2d(picture, filters, offset)
            return F.silu(out, inplace=True) if shape.silu else out

    return convolve


def _candidates(job: Job, given: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, silu: bool) -> dict[str, Any]:
    """The products on integers that there are for this device, by name."""
    turned = weight.t() if job.device == "cuda" else weight.t().contiguous()
    multiply: Any = torch._int_mm
    candidates: dict[str, Any] = {"int_mm": lambda: _rounded(multiply(given, turned), scale, bias, silu)}
    if job.device == "cuda":
        from gpu_parts import int8_triton

        for tile in int8_triton.TILES:
            candidates[f"Triton {tile[0]}x{tile[1]}"] = partial(
                int8_triton.product, given, weight, scale, bias, STEP, silu, tile
            )
    return candidates


def _rounded(total: Tensor, scale: Tensor, bias: Tensor, silu: bool) -> Tensor:
    value = total.float() * scale + bias
    value = F.silu(value, inplace=True) if silu else value
    return (value / STEP).round_().clamp_(-127, 127).to(torch.int8)


def _expected(given: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, silu: bool) -> Tensor:
    """In double precision, in steps, not rounded."""
    value = given.double() @ weight.double().t() * scale.double() + bias.double()
    return ((F.silu(value) if silu else value) / STEP).clamp(-127, 127)


def _distance(way: Any, expected: Tensor) -> float:
    """In steps; what is rounded rightly is at most half a step off, sums in float a little more.

    Infinite where the library does not take this shape.
    """
    try:
        output = way()[: len(expected)]
        return float((output.double() - expected).abs().max())
    except (RuntimeError, ValueError) as error:
        print(f"not on this shape: {error}")
        return float("inf")


# ------------------------------------------------------------------------------------ the network
def _whole(job: Job, batch: int) -> Iterator[tuple[float, str]]:
    """Milliseconds of the whole network in fp16: timm's, and bench's where the part `large` has built it."""
    seconds = 0.01 if job.small else 0.5
    with timm_way.prepared(job, "fp16" if job.device == "cuda" else "fp32", seconds) as step:
        yield step(batch)[1] * 1000, "timm"
    if (job.work / "large" / "experiments.yaml").exists():
        prepared = sessions.furnished(job.work / "large", large.setup(job))
        with sessions.session(sessions.built(prepared, "fp16"), job, tf32=True) as session:
            device_s, wall_s = sessions.session_step(session, job.size, seconds)(batch)
            yield (device_s or wall_s) * 1000, "pytorch"


def _bound(job: Job, batch: int) -> Cells:
    """What int8 could gain at most: the sums over all shapes, put into the whole network."""
    rows = [row for name, row in job.record.rows().items() if name.startswith(f"batch {batch}: ")]
    if any(row.get("int8, ms") is None for row in rows):
        raise RuntimeError("a shape has no right result on integers, so there is no bound")
    half, integer = (sum(row["count"] * row[column] for row in rows) for column in ("fp16, ms", "int8, ms"))
    whole, runs_in = min(_whole(job, batch))
    return {
        "fp16, ms": half,
        "int8, ms": integer,
        "times faster": half / integer,
        "fastest": runs_in,
        "whole network in fp16, ms": whole,
        # Without CUDA only some of the shapes are there, and the times are another device's.
        "whole network, times faster at most": whole / (whole - half + integer) if job.device == "cuda" else None,
        "answer": "" if job.device == "cuda" else NEEDS_CUDA,
    }
