"""Networks made elsewhere: an ONNX file, read so that it takes frames and gives two logits as our own artifacts do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.artifacts import onnx_export
from bench.artifacts.imports import file
from bench.errors import UserError, shown
from bench.records import Conventions, Preprocessing, Reading

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from bench.artifacts.imports.inputs import InputReading
    from bench.artifacts.imports.outputs import OutputReading

VERSION = 1
"""Raised whenever the same file would become another graph."""

LIBRARIES = ("numpy", "onnx", "onnxruntime-gpu", "onnxruntime")

ARCHITECTURE = "onnx"
"""What artifacts have in the place of an architecture, where nothing but a graph is known."""

# Answers to the same frame in another batch may differ by so much: kernels add up in another order.
_TOLERANCE = 2e-3


def read(path: Path, preprocessing: Preprocessing, conventions: Conventions) -> tuple[onnx.ModelProto, Reading]:
    """The graph of an ONNX file with our input and output, and how it was read.

    Input `frames`: uint8 RGB [n, 3, size, size], any n. Output `logits`, float32 [n, 2]. The metadata is that of
    `onnx_export.to_onnx`, without a constant of a CAM, and `stored`, `parameters` and `macs`. Raises `UserError`, which
    names the file, where it can't be read or run, or nothing tells what its output means.
    """
    with file.understood(path):
        try:
            return _read(file.load(path), preprocessing, conventions)
        except UserError as error:
            text = str(error)
            raise UserError(text if text.startswith(str(path)) else f"{path}: {text}") from error


def _read(
    model: onnx.ModelProto, preprocessing: Preprocessing, conventions: Conventions
) -> tuple[onnx.ModelProto, Reading]:
    """As `read`, with messages that do not name the file."""
    from bench.artifacts.imports import graph, inputs, outputs, trial

    producer = shown(f"{model.producer_name} {model.producer_version}".strip(), 60)
    name = f"{outputs.PREFIX}{outputs.output_name(model.graph, conventions.output_name)}"
    input_reading = inputs.read(model.graph, preprocessing, conventions.input)
    network = graph.prepared(model)
    input_reading = input_reading.prefixed(outputs.PREFIX)
    pictures = trial.frames(preprocessing.size)
    try:
        raw = trial.answers(graph.alone(network, input_reading, name), pictures, input_reading.batch or 1)
    except UserError as error:
        if not input_reading.layout_is_guess:
            raise
        raise UserError(
            f"{error}. Its input has no sizes that tell its axes: if these are [n, h, w, 3], write "
            "`input: {layout: nhwc}`"
        ) from error
    output_reading = outputs.read(network, name, raw, conventions)
    wrapped, batches = _for_any_batch(network, input_reading, output_reading, pictures)
    facts = _facts(network, input_reading)
    onnx_export.describe(wrapped, ARCHITECTURE, preprocessing, None)
    for key, fact in facts.items():
        wrapped.metadata_props.add(key=key, value=fact)
    by = f" by {producer}" if producer else ""
    reading = Reading(
        names=f"ONNX graph{by}, {facts['stored']}{batches}",
        logits=output_reading.sentence,
        arithmetic=input_reading.sentence,
    )
    return wrapped, reading


def _for_any_batch(
    network: onnx.ModelProto, input_reading: InputReading, output_reading: OutputReading, pictures: NDArray[np.uint8]
) -> tuple[onnx.ModelProto, str]:
    """The graph with our input and output for any number of frames, and how that is done, in words.

    All frames at once where that gives the answers that they get one by one, or block by block; else in a loop.
    """
    from bench.artifacts.imports import graph, trial

    block = input_reading.batch or 1
    expected = trial.answers(graph.alone(network, input_reading, output_reading), pictures, block)
    at_once = graph.free(network, input_reading, output_reading)
    try:
        if _agree(trial.answers(at_once, pictures, len(pictures)), expected, output_reading):
            return at_once, "" if input_reading.batch is None else f", its fixed batch of {block} set free"
        why = "its answer to a frame depends on those beside it"
    except UserError as error:
        why = f"its batch is fixed to {block}" if input_reading.batch else f"other batches fail ({error})"
    looped = graph.in_blocks(network, input_reading, output_reading)
    if not _agree(trial.answers(looped, pictures, len(pictures)), expected, output_reading):
        raise UserError("it gives other scores in a loop than frame by frame; export it with any batch")
    run = "frame by frame" if block == 1 else f"in blocks of {block} frames"
    return looped, f", run {run}, since {why}"


def _agree(answers: NDArray[np.floating], expected: NDArray[np.floating], reading: OutputReading) -> bool:
    """Whether logits are the same, or the probabilities that they stand for where the graph gives these."""
    import numpy as np

    if reading.kind == "probability":
        answers, expected = (1 / (1 + np.exp(logits[:, 0] - logits[:, 1])) for logits in (answers, expected))
    return bool(np.allclose(answers, expected, rtol=_TOLERANCE, atol=_TOLERANCE))


def _facts(network: onnx.ModelProto, input_reading: InputReading) -> dict[str, str]:
    """What the file tells of itself: the type of its weights, parameters and, where shapes tell them, MACs."""
    from bench.artifacts.imports import batches, counts

    block = input_reading.batch or 1
    batches.fix_sides(network, input_reading, block)
    macs = counts.macs(network, block)
    facts = {"stored": counts.stored(network), "parameters": str(counts.parameters(network))}
    return facts if macs is None else {**facts, "macs": str(macs)}


def facts(model: onnx.ModelProto) -> tuple[int | None, int | None]:
    """Parameters and MACs of a graph that `read` gave, as its metadata says; None where that is unknown."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    numbers = [int(properties.get(key, 0)) or None for key in ("parameters", "macs")]
    return numbers[0], numbers[1]
