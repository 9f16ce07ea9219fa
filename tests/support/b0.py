"""A real EfficientNet-B0 at 64 px with random weights, and what tests of its ONNX side share."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from bench.artifacts.onnx_export import to_onnx
from bench.artifacts.onnx_session import session_options
from bench.detectors.detector import Detector
from bench.detectors.families import efficientnet
from bench.records import Built, Preprocessing
from tests.support import shared

SIZE = 64


@cache
def detector() -> Detector:
    """Batch-norm statistics fit the weights, so that outputs vary.

    Variances are enlarged, because a random network is chaotic at unit gain: float rounding alone
    would move its logits by more than tests allow.
    """
    with torch.inference_mode(False):  # whichever test asks first
        return _detector()


def _detector() -> Detector:
    torch.manual_seed(0)
    preprocessing = Preprocessing(size=SIZE, channels="bgr", wavelet="sym2", mean=(0.4, 0.5, 0.6))
    network = efficientnet.build("efficientnet_b0", "static", preprocessing)
    with torch.no_grad():
        network.head.weight.normal_(0, 1)
        network.head.bias.copy_(torch.tensor([0.3, -0.4]))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
                module.bias.normal_(0, 0.3)
        network.train()
        network(torch.from_numpy(frames(96, seed=50)))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and module.running_var is not None:
                module.running_var *= 1.15
    return network.eval()


@cache
def model() -> onnx.ModelProto:
    return shared.graph("b0", lambda: to_onnx(detector()))


def frames(count: int, seed: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
    """Smooth colour fields: noise alone looks the same to a network in every frame."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 4, 4)))
    fine: NDArray[np.uint8] = torch.nn.functional.interpolate(coarse, size, mode="bilinear").byte().numpy()
    return fine


def run(
    graph: onnx.ModelProto, batch: NDArray[np.uint8], optimised: bool | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits and CAMs. `optimised` False: every operator as it stands in the graph.

    So run quantised graphs where nothing else is asked for: onnxruntime's integer kernels for them may saturate.
    """
    kinds = {node.op_type for node in graph.graph.node}
    if optimised is None:
        optimised = "QuantizeLinear" not in kinds or bool(kinds & {"MatMulIntegerToFloat", "QLinearConv"})
    options = session_options(1, floats=True)
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    logits, cam = session.run(["logits", "cam"], {"frames": batch})
    return logits, cam


def facts(graph: onnx.ModelProto) -> dict[str, Any]:
    return {entry.key: entry.value for entry in graph.metadata_props}


def margin(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    difference: NDArray[np.float32] = logits[:, 1] - logits[:, 0]
    return difference


def built(file: Path, kind: Any, stored: str) -> Built:
    return Built("id", file, kind, stored, file.stat().st_size, None, None, -0.7, 0.0)


def written(folder: Path, graph: onnx.ModelProto, stored: str) -> Built:
    file = folder / "model.onnx"
    file.write_bytes(graph.SerializeToString())
    return built(file, "onnx", stored)
