"""OpenVINO on a CPU, an optional extra: bf16 weights in bf16 where the CPU can, int8 on integers where exact.

ONNX artifacts run as they are, safetensors artifacts through the ONNX file that onnxruntime would run. Left to
itself OpenVINO computes fp32 networks in bf16 wherever that is faster; here only what is stored in a half type
computes in it.

OpenVINO's int8 kernels saturate on x86 processors without VNNI, so there it gets int8 artifacts with unsigned weights,
which it computes in float: exactly, and not on integers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import phases
from bench.artifacts import EXPORT_VERSION, onnx_files, unsigned_weights
from bench.artifacts.onnx_graph import integer_layers
from bench.errors import UserError
from bench.provenance import cpu_name, versions
from bench.records import Built, Executed, Prediction, Timed
from bench.runtimes import memory_errors
from bench.system import signal_stack
from bench.system.processor import processor

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

ACCEPTS = ("torch", "onnx")
DEVICES = ("cpu",)
LIBRARIES = (*onnx_files.LIBRARIES, "openvino")
# The first is raised whenever the same graph would be executed otherwise.
VERSIONS = {"openvino": 1, "export": EXPORT_VERSION}
PACKAGE = "openvino"
EXTRA = "openvino"
CUDA_FILES = ()

# Stored type to OpenVINO's names of that capability of a CPU, and of the type to compute in.
_HALVES = {"bf16": ("BF16", "bf16"), "fp16": ("FP16", "f16")}
_COMPUTED = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
# Operators that do the arithmetic of a network, as OpenVINO's CPU plugin names the nodes that it executes.
_HEAVY = {"Convolution", "GroupConvolution", "FullyConnected", "MatMul", "Deconvolution"}
_INTEGERS = {"u8", "i8"}
# How OpenVINO and oneDNN say that memory ran out; they have no exception of their own for that.
_OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "out of memory", "out_of_memory", "failed to allocate")


class Session:
    """A compiled network and what it reports of itself."""

    def __init__(self, compiled: Any, executed: Executed) -> None:
        self.compiled = compiled
        self.executed = executed

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        """The prediction of uint8 RGB frames [n, 3, H, W]."""
        with memory_errors(_OUT_OF_MEMORY):
            # On one thread OpenVINO swallows errors and answers with what its request held before: nothing, if it
            # is new. Making one takes 0.1 ms.
            outputs = self.compiled.create_infer_request().infer({"frames": frames})
        by_name = {output.get_any_name(): array for output, array in outputs.items()}
        logits = by_name["logits"]
        if len(logits) != len(frames):
            raise RuntimeError(f"OpenVINO answered {len(logits)} of {len(frames)} frames and said no reason")
        return Prediction(logits, by_name.get("cam"))

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        """The same; the device is the host, so it has no time of its own."""
        return Timed(self.predict(frames), None)


def load(built: Built, device: Literal["cpu", "cuda"], threads: int, *, tf32: bool = True) -> Session:
    """Half-precision weights compute in their own type where the CPU has it, otherwise in float32.

    Of an int8 artifact, what is not on integers computes in float32: its pool and head must agree with its CAM.
    """
    if device != "cpu":
        raise UserError(
            f"device: {device} was asked for, but runtime 'openvino' runs on CPU only, not on device: {device}; "
            "choose another runtime, or set device: cpu"
        )
    # Its CPU plugin lays a stack for signals over the thread's own, and frees it at its end without giving that back
    # where another has come since (openvino's pull request 11894). One instance for all sessions would not end, but
    # crashes where one session goes and another comes after a call that failed.
    with signal_stack.preserved():
        core = library().Core()
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    phases.begin("compiling the graph")
    compiled = core.compile_model(
        core.read_model(_file(built)),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": _precision(built.stored, capabilities),
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Pinned threads of several sessions would all sit on the same cores.
            "ENABLE_CPU_PINNING": False,
        },
    )
    integer, heavy = _operators(compiled) if built.stored == "int8" else (None, None)
    meant = integer_layers(built.file) if built.stored == "int8" else 0
    native = integer is not None and 2 * integer > meant
    executed = Executed(
        runtime="openvino",
        device="cpu",
        device_name=cpu_name(),
        providers=tuple(f"openvino.{name}" for name in compiled.get_property("EXECUTION_DEVICES")),
        stored=built.stored,
        computed="int8" if native else _COMPUTED[compiled.get_property("INFERENCE_PRECISION_HINT").to_string()],
        int8=None if integer is None else ("native" if native else "simulated"),
        int8_operators=integer,
        heavy_operators=heavy,
        threads=compiled.get_property("INFERENCE_NUM_THREADS"),
    )
    return Session(compiled, executed)


def arithmetic(built: Built, device: Literal["cpu", "cuda"]) -> Mapping[str, Any] | None:
    """What of an artifact's scores hangs on this processor; None where nothing does."""
    return {"weights": "unsigned"} if _needs_unsigned(built) else None


def _needs_unsigned(built: Built) -> bool:
    return built.stored == "int8" and not processor().exact_with_signed_bytes


def _file(built: Built) -> Path:
    """The ONNX file to be compiled: the artifact's own, or a twin of it whose sums are exact here."""

    def unsigned() -> onnx.ModelProto:
        import onnx

        return unsigned_weights.unsigned(onnx.load(built.file))

    if not _needs_unsigned(built):
        return onnx_files.onnx_file(built)
    made_by = {"version": unsigned_weights.VERSION, "libraries": versions(("onnx",))}
    return onnx_files.beside(built, "unsigned", made_by, unsigned)


def library() -> Any:
    """The package, without its telemetry: importing it otherwise reports that over the network.

    OpenVINO takes a stand-in that sends nothing where `openvino_telemetry` cannot be imported.
    """
    modules: Any = sys.modules
    modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def _precision(stored: str, capabilities: list[str]) -> str:
    """The type to compute in, as OpenVINO spells it."""
    capability, half = _HALVES.get(stored, ("", ""))
    return half if capability in capabilities else "f32"


def _operators(compiled: Any) -> tuple[int, int]:
    """Heavy operators on integers, and all heavy operators, of the graph that is executed.

    Products of two activations, as in attention, have no weights that could be integers and do not count.
    """
    operators = compiled.get_runtime_model().get_ops()
    heavy = [
        operator.rt_info["runtimePrecision"].astype(str)
        for operator in operators
        if _kind(operator) in _HEAVY and (_kind(operator) != "MatMul" or _reads_constants(operator))
    ]
    return sum(precision in _INTEGERS for precision in heavy), len(heavy)


def _kind(operator: Any) -> str:
    return str(operator.rt_info["layerType"].astype(str))


def _reads_constants(operator: Any) -> bool:
    """Whether one of an operator's inputs is a constant."""
    return any(_kind(output.get_node()) == "Const" for output in operator.input_values())
