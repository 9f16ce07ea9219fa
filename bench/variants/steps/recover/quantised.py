"""`recover` of a quantised graph: training with rounding in the forward pass, judged by the graph's own answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch

from bench import phases
from bench.artifacts.onnx_session import session_options
from bench.errors import UserError
from bench.provenance import write_json
from bench.stored import MIB, read_json
from bench.variants.steps.quantize import stored_layers
from bench.variants.steps.recover import distillation, rounded, training

if TYPE_CHECKING:
    import onnx

    from bench.variants.steps import StepContext
    from bench.variants.steps.recover.distillation import HeldOut
    from bench.variants.steps.recover.settings import Settings

_NO_CLOSER = "the quantised graph itself came no closer"


def recovered(graph: onnx.ModelProto, settings: Settings, work: StepContext) -> onnx.ModelProto:
    """The graph with other integers and biases; the graph itself where its own answers came no closer by them."""
    phases.begin("reading the quantised layers")
    model = work.detector().float()
    layers = stored_layers.read(graph.graph)
    (first,) = (torch.from_numpy(batch) for batch in work.batches("train", 2, 2))
    student = rounded.rounded(model, layers, first)
    if not student:
        raise UserError(
            "recover: no layer of the quantised graph has both integers and a bias, so there is nothing to train in "
            "it; leave recover out of this variant"
        )
    model.to(work.device).to(memory_format=torch.channels_last)
    # Batch norms are part of the layers by now, and integers are told apart by what fewer bits would round away.
    chosen = settings.model_copy(update={"recalibrate": False, "precision": "fp32"})
    held_out = training.distil(model, chosen, work, training.saved(work))
    model.eval().cpu()
    changed = stored_layers.replaced(
        graph, {name: (layer.integers(), layer.bias.detach().numpy()) for name, layer in student.items()}
    )
    return _closer(graph, changed, held_out, work)


def _closer(graph: onnx.ModelProto, changed: onnx.ModelProto, held_out: HeldOut, work: StepContext) -> onnx.ModelProto:
    """The one whose answers on held-out frames are nearer to the teacher's, on equal terms the one from before.

    The record has their errors in place of the trained network's.
    """
    phases.begin("comparing the graphs")
    record: dict[str, Any] = read_json(work.scratch / training.RECORD, MIB)
    if not record["best_step"]:
        return graph
    before, after = (_error(candidate, held_out, work) for candidate in (graph, changed))
    if after < before:
        write_json(work.scratch / training.RECORD, {**record, "error": {"before": before, "after": after}})
        return changed
    unchanged = {"best_step": 0, "ended": _NO_CLOSER, "error": {"before": before, "after": before}}
    write_json(work.scratch / training.RECORD, {**record, **unchanged})
    return graph


def _error(graph: onnx.ModelProto, held_out: HeldOut, work: StepContext) -> float:
    """The error of a graph's answers in onnxruntime on a processor."""
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), session_options(work.threads), providers=["CPUExecutionProvider"]
    )
    has_cam = held_out.cams is not None
    names = ["logits", "cam"] if has_cam else ["logits"]
    answers = [session.run(names, {"frames": batch.cpu().numpy()}) for batch in held_out.batches]
    logits, *cams = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*answers, strict=True))
    cpu = replace(
        held_out,
        logit_diffs=held_out.logit_diffs.cpu(),
        cams=held_out.cams.cpu() if held_out.cams is not None else None,
    )
    return float(
        distillation.answer_error(logits[:, 1] - logits[:, 0], cams[0] if cams else None, cpu.logit_diffs, cpu.cams)
    )
