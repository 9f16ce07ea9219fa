"""What is asked in a Python of its own: importing these libraries can fail in ways that no `except` catches.

Run by `findings.ask` with QUESTION [ARGUMENT …]; the last line printed is the answer, in JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

_TYPES = ("FP32", "FP16", "BF16", "INT8")


def torch() -> dict[str, Any]:
    """What PyTorch says of itself; a product is computed wherever it would compute."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    product = torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "right": float(product.sum()) == 512.0,
    }


def timm() -> dict[str, Any]:
    """Whether torchvision's compiled operators fit this torch, and timm imports on both."""
    import timm
    import torch
    import torchvision

    boxes = torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    return {"timm": timm.__version__, "torchvision": torchvision.__version__, "right": boxes.tolist() == [0]}


def onnxruntime() -> dict[str, Any]:
    """Version and the providers that this build has, whether or not they load."""
    import onnxruntime

    return {"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}


def provider(name: str) -> dict[str, Any]:
    """Whether a session with one node really runs on a provider: what is available need not load."""
    import numpy as np
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    if name != "CPUExecutionProvider" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(_relu(), providers=[name])
    output = session.run(None, {"x": np.array([-1, 0, 1, 2], np.float32)})[0]
    return {"loads": name in session.get_providers(), "right": output.tolist() == [0, 0, 1, 2]}


def int8() -> dict[str, Any]:
    """How many times as fast a small network runs in int8 as in fp32, each turn of both compared: median, quartiles."""
    from bench.commands.doctor import int8_speed

    return int8_speed.measure()


def openvino() -> dict[str, Any]:
    """OpenVINO's version, and whether a network with one node runs; the types that this CPU is fast in."""
    import numpy as np

    from bench.runtimes.openvino import library

    package = library()
    core = package.Core()
    output = core.compile_model(core.read_model(_relu()), "CPU")({"x": np.array([-1, 0, 1, 2], np.float32)})["y"]
    return {
        "version": package.__version__.partition("-")[0],
        "types": [dtype for dtype in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") if dtype in _TYPES],
        "right": output.tolist() == [0, 0, 1, 2],
    }


def inductor(device: str) -> dict[str, Any]:
    """Whether one convolution compiled computes what it does uncompiled, and how long compiling takes."""
    import tempfile
    import time
    from pathlib import Path

    import torch

    from bench.detectors.detector import Detector
    from bench.detectors.heads.gap_linear import GapLinear
    from bench.records import Preprocessing
    from bench.runtimes.inductor import CONFIG, package, requirements

    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    detector = Detector("", "", Preprocessing(size=16), backbone, GapLinear(8)).to(device).eval()
    frames = torch.arange(2 * 3 * 16 * 16, device=device).reshape(2, 3, 16, 16).to(torch.uint8)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, torch.inference_mode():
        file = Path(folder) / "model.pt2"
        inputs = detector.preprocess(frames)
        package.compile_to(file, detector, inputs, CONFIG)
        (features,) = package.opened(file)([inputs])
        expected = detector.features(inputs)
    return {
        "compiler": Path(requirements.compiler() or "").name,
        "seconds": time.monotonic() - began,
        "right": bool(torch.allclose(features, expected, atol=1e-2)),
    }


def _relu() -> bytes:
    """An ONNX network of one node, from x [4] to y [4]."""
    import onnx

    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "one", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    serialised: bytes = model.SerializeToString()
    return serialised


if __name__ == "__main__":
    print("\n" + json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
