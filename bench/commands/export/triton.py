"""`bench export --triton`: a variant as a model of a Triton model repository, its ONNX file and config.pbtxt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.artifacts.onnx_tensors import inputs_and_outputs
from bench.commands.export import calibrated, models
from bench.commands.export.calibrated import Calibrated
from bench.errors import UserError, listed, quoted
from bench.files import advice, rename, sweep, temporary_name
from bench.provenance import file_digest, version
from bench.records import LOWERED, ONNX, Built, ModelFile, RunRecord, TensorShape, VariantResult
from bench.reports.templates import environment
from bench.results.score import speed

CONFIG, TEMPLATE = "config.pbtxt", "config.pbtxt.j2"
TYPES = {
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
}
"""Triton's names of the types that its backend for onnxruntime takes and gives, by NumPy's."""
DEVICES = {"cpu": "KIND_CPU", "cuda": "KIND_GPU"}
LARGEST = 32
"""Frames that a client may send in one request, where the best batch that was measured is smaller."""
_WORTH_IT = 1.02
"""How many times the frames a second of smaller batches a preferred batch has at least."""


@dataclass(frozen=True)
class Batching:
    """How Triton joins requests: up to `most` frames, best in `preferred` sizes, waiting `delay_us` microseconds."""

    most: int
    preferred: tuple[int, ...]
    delay_us: int


def batching(variant: VariantResult) -> Batching:
    """What the times that were measured of a variant in its runtime say.

    Preferred are the batch sizes that give more frames a second than every smaller one. A request waits for others at
    most as long as one frame alone takes. Of a variant that was not timed, nothing is preferred and nothing waits.
    """
    curve = sorted(speed.summaries(variant.measurements), key=lambda timing: timing.batch_size)
    preferred: list[int] = []
    best = 0.0
    for timing in curve:
        if timing.batch_size > 1 and timing.frames_per_second > best * _WORTH_IT:
            preferred.append(timing.batch_size)
        best = max(best, timing.frames_per_second)
    single = [timing.p50_ms for timing in curve if timing.batch_size == 1]
    delay_us = round(1000 * single[0]) if single and preferred else 0
    return Batching(max(LARGEST, *preferred) if preferred else LARGEST, tuple(preferred), delay_us)


def model_name(title: str) -> str:
    """What a variant is called in a repository, where each model is a folder: "b5/q8" is "b5-q8"."""
    return title.replace("/", "-")


def refuse_taken(repository: Path, name: str) -> None:
    """Raise `UserError` where the repository cannot take a model of this name."""
    if repository.exists() and not repository.is_dir():
        raise UserError(f"{repository}: is a file; --triton names a model repository, a folder that is made if missing")
    if (repository / name).exists():
        raise UserError(
            f"{repository / name}: is there already; move it away, or name another repository with --triton: Triton "
            "may be serving it"
        )


def write(
    repository: Path, title: str, run: RunRecord, variant: VariantResult, built: Built, scaling: Calibrated | None
) -> list[Path]:
    """Write `<name>/1/model.onnx` and `<name>/config.pbtxt` into a repository; returns their paths.

    On a CPU, the file of an int8 variant is the one that is arranged for onnxruntime there. Calibrated, its logits are
    scaled. Raises `UserError` where the file takes or gives what Triton cannot serve.
    """
    name = model_name(title)
    refuse_taken(repository, name)
    scratch = repository / temporary_name()
    try:
        (scratch / "1").mkdir(parents=True)
        model = scratch / "1" / ONNX
        files = _files(built, scaling, scratch)
        device = variant.executed.device if variant.executed else "cpu"
        chosen = LOWERED if LOWERED in files and device == "cpu" else ONNX
        rename(scratch / chosen, model)
        for left in files.keys() - {chosen}:
            (scratch / left).unlink()
        threshold = scaling.moved(run.threshold) if scaling else run.threshold
        facts = {
            "what": f"{title} of {run.experiment}: {', '.join(variant.steps) or 'no step, the baseline'}",
            "name": name,
            "device": DEVICES.get(device, DEVICES["cpu"]),
            "id": built.id,
            "threshold": f"{threshold:.9g}",
        }
        (scratch / CONFIG).write_text(config(model, batching(variant), facts), encoding="utf-8")
        rename(scratch, repository / name)
        return [repository / name / CONFIG, repository / name / "1" / ONNX]
    except OSError as error:
        raise UserError(advice(error) or f"{repository}: cannot be written to ({error.strerror})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if repository.is_dir():
            sweep(repository, held=True)


def _files(built: Built, scaling: Calibrated | None, folder: Path) -> Mapping[str, ModelFile]:
    """The variant's ONNX files in `folder`, calibrated where that is asked for."""
    files = models.write(built, "onnx", folder)
    return calibrated.rewritten(scaling, built, files, folder)[2]


def config(model: Path, how: Batching, facts: Mapping[str, str]) -> str:
    """The text of config.pbtxt of an ONNX file; `UserError` where Triton cannot serve it."""
    inputs, outputs = inputs_and_outputs(model)
    tensors = {"inputs": _tensors(inputs), "outputs": _tensors(outputs)}
    texts = environment(Path(__file__).parent, {"literal": _literal}, keep_trailing_newline=True)
    return texts.get_template(TEMPLATE).render(
        **facts, **tensors, side=next(iter(inputs.values()))[1][-1], most=how.most, preferred=how.preferred,
        delay_us=how.delay_us, version=version("bench"), sha256=file_digest(model),
    )  # fmt: skip


def _tensors(shapes: Mapping[str, TensorShape]) -> Sequence[Mapping[str, Any]]:
    """Tensors as config.pbtxt says them, without the number of frames; `UserError` for those that Triton refuses."""
    for name, (kind, sides) in shapes.items():
        if kind not in TYPES:
            raise UserError(
                f"--triton: {quoted(name)} of the ONNX file is of type {kind}, which Triton's onnxruntime does not "
                f"take; types are: {listed(TYPES)}. Export a variant that is not cast to it"
            )
        if not sides or sides[0] != -1:
            raise UserError(
                f"--triton: {quoted(name)} of the ONNX file has the sides {list(sides)}, and the first is not open: "
                "Triton joins requests to batches along it. Export the network with a dynamic first side"
            )
    return [{"name": name, "type": TYPES[kind], "dims": sides[1:]} for name, (kind, sides) in shapes.items()]


def _literal(value: str) -> str:
    """Text in quotes as protobuf's text format takes it."""
    return json.dumps(value)
