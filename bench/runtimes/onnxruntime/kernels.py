"""The kernels that execute an int8 artifact on this processor: the fastest exact ones, timed once.

Every quantised layer is timed by itself, on integers and in float. The choice is stored beside the artifact and read at
every loading, so that scores do not change from one loading to the next.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import phases, stored
from bench.files import remove, write_text
from bench.provenance import digest, versions
from bench.runtimes.onnxruntime import islands, lowering, single_layers
from bench.runtimes.onnxruntime.lowering import EVERYWHERE, Kernels
from bench.system.processor import Processor, processor

if TYPE_CHECKING:
    import onnx

VERSION = 2
"""Raised whenever kernels would be chosen otherwise."""

WARM_UP_CALLS, TIMED_CALLS = 2, 7
LEAST_GAIN = 1.2
"""Float is taken where a layer is faster in it by this factor: by itself it pays no change of layout."""
LEAST_SHARE, LEAST_SAVED_MS = 0.02, 0.1
"""And only where that saves at least so much of all layers' time, and so many milliseconds: less is noise."""


@dataclass(frozen=True)
class Times:
    """Milliseconds of one quantised layer by itself, the least of a few calls; `signed_ms` None where inexact."""

    unsigned_ms: float
    float_ms: float
    signed_ms: float | None


@dataclass(frozen=True)
class _Choice:
    """The part of the stored choice that is read back."""

    signed: bool
    floats: tuple[str, ...]


def load(artifact: Path, libraries: Sequence[str]) -> Kernels | None:
    """The kernels that were chosen for an int8 artifact on this processor; None where none were."""
    try:
        choice: _Choice = stored.typed(_Choice, stored.read_json(_file(artifact, libraries), stored.MIB))
    except (OSError, ValueError):
        return None
    # A file from elsewhere may say so, but sums that are cut off on this processor are never the choice.
    if choice.signed and not processor().exact_with_signed_bytes:
        return None
    return Kernels(signed=choice.signed, floats=frozenset(choice.floats))


def choose(artifact: Path, libraries: Sequence[str], threads: int) -> Kernels:
    """Time the layers of an int8 artifact, choose their kernels, and store the choice beside the artifact.

    The choice stands for any number of threads: that hardly changes which kernel is faster.
    """
    import onnx

    from bench.artifacts import open_shapes

    model = open_shapes.inferred(onnx.load(artifact), threads)
    times = measure(model, processor(), threads)
    kernels = islands.without_islands(model, fastest(times))
    choice = {
        "signed": kernels.signed,
        "floats": sorted(kernels.floats),
        "unsigned_ms": round(sum(layer.unsigned_ms for layer in times.values()), 3),
        "float_ms": round(sum(layer.float_ms for layer in times.values()), 3),
        "threads": threads,
        "processor": processor().identity,
    }
    file = _file(artifact, libraries)
    if file.is_dir():
        remove(file)
    write_text(file, json.dumps(choice, indent=1) + "\n")
    return kernels


def fastest(times: Mapping[str, Times]) -> Kernels:
    """The fastest exact kernels for these times of all layers.

    Weights are signed bytes for all layers or for none. A layer computes in float where that is clearly
    faster, if all of these together save enough.
    """
    signed_ms = {name: layer.signed_ms for name, layer in times.items() if layer.signed_ms is not None}
    unsigned_ms = {name: layer.unsigned_ms for name, layer in times.items()}
    signed = 0 < len(signed_ms) == len(times) and sum(signed_ms.values()) <= sum(unsigned_ms.values())
    integer_ms = signed_ms if signed else unsigned_ms
    floats = {name for name, layer in times.items() if integer_ms[name] > LEAST_GAIN * layer.float_ms}
    saved_ms = sum(integer_ms[name] - times[name].float_ms for name in floats)
    if saved_ms < max(LEAST_SAVED_MS, LEAST_SHARE * sum(integer_ms.values())):
        floats = set()
    return Kernels(signed=signed, floats=frozenset(floats))


def measure(model: onnx.ModelProto, on: Processor, threads: int) -> dict[str, Times]:
    """By name the times of every quantised layer; those of one shape are timed once.

    `model` holds inferred shapes, `on` is the processor that this runs on.
    """
    by_shape: dict[object, Times] = {}
    times: dict[str, Times] = {}
    shapes = single_layers.layer_shapes(model)
    for name, shape in shapes.items():
        if shape not in by_shape:
            phases.begin("timing kernels", len(times), len(shapes), "layers")
            by_shape[shape] = _times(model, name, on, threads)
        times[name] = by_shape[shape]
    return times


def _times(model: onnx.ModelProto, name: str, on: Processor, threads: int) -> Times:
    exact = [EVERYWHERE, Kernels(floats=frozenset({name}))]
    exact += [Kernels(signed=True)] if on.exact_with_signed_bytes else []
    unsigned_ms, float_ms, *signed_ms = _least_ms(
        [single_layers.alone(model, name, kernels) for kernels in exact], threads
    )
    return Times(unsigned_ms, float_ms, next(iter(signed_ms), None))


def _least_ms(models: Sequence[onnx.ModelProto], threads: int) -> list[float]:
    """The least time of a call of each model in milliseconds, timed in turns: a slow moment slows all of them."""
    import numpy as np
    import onnxruntime

    from bench.artifacts.onnx_session import session_options

    (read,) = models[0].graph.input
    shape = [side.dim_value for side in read.type.tensor_type.shape.dim]
    feed = {read.name: np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)}
    options = session_options(threads, floats=True)
    sessions = [
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for model in models
    ]
    samples_ms: list[list[float]] = [[] for _ in sessions]
    for _ in range(WARM_UP_CALLS + TIMED_CALLS):
        for session, samples in zip(sessions, samples_ms, strict=True):
            began = time.perf_counter()
            session.run(None, feed)
            samples.append(1000 * (time.perf_counter() - began))
    return [min(samples[WARM_UP_CALLS:]) for samples in samples_ms]


def _file(artifact: Path, libraries: Sequence[str]) -> Path:
    made_by: dict[str, Any] = {
        "version": VERSION,
        "lowering": lowering.VERSION,
        "libraries": versions(libraries),
        "processor": processor().identity,
    }
    return artifact.with_name(f"{artifact.stem}.kernels-{digest(made_by)[:8]}.json")
