"""ONNX Runtime on a CPU or CUDA: safetensors artifacts exported once, int8 ones lowered for a CPU once."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import phases, stored
from bench.artifacts import EXPORT_VERSION, onnx_files
from bench.artifacts.onnx_files import beside, onnx_file
from bench.artifacts.onnx_graph import INTEGER_LAYERS, graphs, integer_layers
from bench.artifacts.onnx_session import session_options
from bench.errors import UserError
from bench.files import remove, write_text
from bench.provenance import cpu_name, cuda_device_name, digest, versions
from bench.records import Built, Executed, Prediction, Timed
from bench.runtimes import memory_errors
from bench.runtimes.onnxruntime import kernels as kernel_choice
from bench.runtimes.onnxruntime import lowering
from bench.runtimes.onnxruntime.lowering import EVERYWHERE, Kernels
from bench.system.processor import processor

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

ACCEPTS = ("torch", "onnx")
LIBRARIES = onnx_files.LIBRARIES
# The first is raised whenever the same graph would be executed otherwise.
VERSIONS = {"onnxruntime": 1, "export": EXPORT_VERSION, "lowering": lowering.VERSION}
PACKAGE = "onnxruntime"
CUDA_FILES = ("capi/libonnxruntime_providers_cuda.so", "capi/onnxruntime_providers_cuda.dll")

# Operators that do the arithmetic of a network, as the optimised graph of a provider names them.
_FLOAT_OPERATORS = {
    "Conv", "FusedConv", "NhwcFusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm",
}  # fmt: skip
# How onnxruntime says that memory ran out; it has no exception of its own for that.
_OUT_OF_MEMORY = (
    "bad_alloc", "bad allocation", "out of memory", "failed to allocate memory", "smaller than requested bytes",
    "_alloc_failed",
)  # fmt: skip


class Session:
    """An inference session and what it reports of itself."""

    def __init__(self, session: Any, executed: Executed) -> None:
        self.session = session
        self.executed = executed

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        """The prediction of uint8 RGB frames [n, 3, H, W]."""
        with memory_errors(_OUT_OF_MEMORY):
            return _prediction(self.session, self.session.run(None, {"frames": frames}))

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        """The same, and the milliseconds that the device computed, copies aside; None where it is the host."""
        if self.executed.device == "cpu":
            return Timed(self.predict(frames), None)
        with memory_errors(_OUT_OF_MEMORY):
            return predict_bound(self.session, frames, self.executed.device)


def _names(session: Any) -> list[str]:
    """The outputs of a session's graph, in their order: logits, and the CAM where it has one."""
    return [output.name for output in session.get_outputs()]


def _prediction(session: Any, arrays: Sequence[NDArray[np.float32]]) -> Prediction[NDArray[np.float32]]:
    """All that a session's graph gave out, in the order of its outputs, as a prediction."""
    by_name = dict(zip(_names(session), arrays, strict=True))
    return Prediction(by_name["logits"], by_name.get("cam"))


def predict_bound(session: Any, frames: NDArray[np.uint8], device: str) -> Timed:
    """One call with input and outputs on the device, and the milliseconds from the one to the other."""
    import onnxruntime

    binding = session.io_binding()
    binding.bind_ortvalue_input("frames", onnxruntime.OrtValue.ortvalue_from_numpy(frames, device, 0))
    for name in _names(session):
        binding.bind_output(name, device)
    binding.synchronize_inputs()
    began = time.perf_counter()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    milliseconds = (time.perf_counter() - began) * 1000
    return Timed(_prediction(session, binding.copy_outputs_to_cpu()), milliseconds)


def cuda_provider(*, tf32: bool) -> tuple[str, dict[str, str]]:
    """The provider for CUDA with its options."""
    # By default it searches exhaustively, again for every batch size.
    return "CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "1" if tf32 else "0"}


def load(built: Built, device: Literal["cpu", "cuda"], threads: int, *, tf32: bool = True) -> Session:
    """Half-precision weights are stored as they are and compute in float32 here, on either device.

    The exported graph is float32: onnxruntime has no half convolution on a CPU and would surround
    every one with casts (394 on a B5, three times the time).
    """
    int8 = built.stored == "int8"
    lowered = built.arranged and device == "cpu"
    file = lowered_file(built, chosen(built) or EVERYWHERE) if lowered else onnx_file(built)
    providers = [cuda_provider(tf32=tf32), "CPUExecutionProvider"] if device == "cuda" else ["CPUExecutionProvider"]
    # A lowered graph says itself what is on integers; onnxruntime must not turn further layers into those.
    floats = lowered or built.weights_only
    counted = _operators(built, file, threads, providers, floats) if int8 else None
    session = open_session(file, threads, providers, floats=floats)
    computed = "fp32 (TF32)" if device == "cuda" and tf32 else "fp32"
    if built.imported and built.stored == "fp16" and device == "cuda":
        computed = "fp16"  # as the graph says; on a CPU onnxruntime turns it into float32
    native = counted is not None and 2 * counted.integer > counted.meant
    executed = Executed(
        runtime="onnxruntime",
        device=device,
        device_name=cuda_name() if device == "cuda" else cpu_name(),
        providers=tuple(session.get_providers()),
        stored=built.stored,
        computed="int8" if native else computed,
        int8=None if counted is None else ("native" if native else "simulated"),
        int8_operators=counted.integer if counted else None,
        heavy_operators=counted.heavy if counted else None,
        threads=threads if device == "cpu" else None,
    )
    return Session(session, executed)


def load_reference(built: Built, threads: int) -> Session:
    """An artifact's own graph on the CPU, operator by operator as it stands in the file: what it means, slowly.

    Quantised convolutions compute in float there, between QuantizeLinear and DequantizeLinear.
    """
    import onnxruntime

    options = session_options(threads)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(onnx_file(built)), options, providers=["CPUExecutionProvider"])
    executed = Executed(
        "onnxruntime", "cpu", cpu_name(), tuple(session.get_providers()), built.stored, "fp32", threads=threads
    )
    return Session(session, executed)


def chosen(built: Built) -> Kernels | None:
    """The kernels that execute an int8 artifact on this CPU; None where they are yet to be chosen."""
    return kernel_choice.load(built.file, LIBRARIES)


def is_settled(built: Built, device: Literal["cpu", "cuda"]) -> bool:
    """Whether nothing is left to be chosen: kernels are, for int8 artifacts on a CPU."""
    return not built.arranged or device != "cpu" or chosen(built) is not None


def settle(built: Built, device: Literal["cpu", "cuda"], threads: int) -> None:
    """Choose by timing what executes an int8 artifact on this CPU, unless that is done."""
    if not is_settled(built, device):
        kernel_choice.choose(built.file, LIBRARIES, threads)


def arithmetic(built: Built, device: Literal["cpu", "cuda"]) -> Mapping[str, Any] | None:
    """What of an artifact's scores hangs on the choice that this processor led to; None for artifacts without one."""
    if not built.arranged or device != "cpu":
        return None
    choice = chosen(built)
    return {"signed": choice.signed, "floats": sorted(choice.floats)} if choice else {"signed": None, "floats": None}


def lowered_file(built: Built, kernels: Kernels = EVERYWHERE) -> Path:
    """An int8 artifact's graph for onnxruntime on a CPU, made once for each choice of kernels and kept beside it."""

    def lowered() -> onnx.ModelProto:
        import onnx

        phases.begin("lowering for this processor")
        return lowering.lower(onnx.load(built.file), kernels)

    made_by = {
        "version": lowering.VERSION,
        "libraries": versions(("onnx",)),
        "signed": kernels.signed,
        "floats": sorted(kernels.floats),
    }
    return beside(built, "lowered", made_by, lowered)


def open_session(
    file: Path,
    threads: int,
    providers: Sequence[Any],
    optimised: Path | None = None,
    *,
    floats: bool = False,
) -> Any:
    """A session whose first provider really is the first of `providers`; `UserError` where that did not load.

    `floats`: as in `session_options`.
    """
    import onnxruntime

    phases.begin("optimising the graph")
    first = providers[0] if isinstance(providers[0], str) else providers[0][0]
    options = session_options(threads, floats=floats)
    if optimised:
        options.optimized_model_filepath = str(optimised)
    available = onnxruntime.get_available_providers()
    if first not in available:
        raise _no_provider(first, f"this onnxruntime was built for {', '.join(available)}")
    with _quiet():
        if first != "CPUExecutionProvider":
            onnxruntime.preload_dlls()
        session = onnxruntime.InferenceSession(str(file), options, providers=list(providers))
    # onnxruntime drops providers that fail to load, without an error.
    if session.get_providers()[0] != first:
        raise _no_provider(first, f"its session fell back to {', '.join(session.get_providers())}")
    return session


def _no_provider(provider: str, reason: str) -> UserError:
    tensorrt = ", and TensorRT 10 as a wheel for the same CUDA" if provider.startswith("Tensorrt") else ""
    return UserError(
        f"device: cuda was asked for, but onnxruntime has none: {reason}; expected {provider}. "
        f"Check `nvidia-smi`, install `onnxruntime-gpu[cuda,cudnn]`{tensorrt}, or set `device: cpu`"
    )


def cuda_name() -> str:
    """The CUDA device's name."""
    return cuda_device_name()


@dataclass(frozen=True)
class _Counted:
    """Heavy operators on integers, all of them, and those that the artifact means to be on integers."""

    integer: int
    heavy: int
    meant: int


def _operators(built: Built, file: Path, threads: int, providers: Sequence[Any], floats: bool) -> _Counted:
    """The heavy operators of the graph that a session runs.

    They are counted once and kept beside the artifact: the graph is written out for it and read back,
    which takes time, and memory that a process whose peak is measured must not take.
    """
    counted_for = {
        "libraries": versions(LIBRARIES), "providers": str(providers), "cpu": processor().identity, "file": file.name,
    }  # fmt: skip
    record = built.file.with_name(f"{built.file.stem}.operators-{digest(counted_for)[:8]}.json")
    with contextlib.suppress(OSError, ValueError):
        counted: _Counted = stored.typed(_Counted, stored.read_json(record, stored.MIB))
        if 0 <= counted.integer <= counted.heavy and counted.meant >= 0:
            return counted
    if record.is_dir():
        remove(record)
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        open_session(file, threads, providers, optimised, floats=floats)
        counted = _count(optimised, built.file)
    write_text(record, json.dumps(asdict(counted)))
    return counted


def _count(optimised: Path, artifact: Path) -> _Counted:
    """The heavy operators, convolutions and products with weights, of a graph that was optimised for a session."""
    import onnx

    every = list(graphs(onnx.load(optimised).graph))
    fixed = {constant.name for graph in every for constant in graph.initializer if len(constant.dims) > 1}
    integer = floats = 0
    for node in (node for graph in every for node in graph.node):
        inputs = set(node.input)
        if node.op_type == "DequantizeLinear" and node.input[0] in fixed:
            fixed.update(node.output)
        integer += node.op_type in INTEGER_LAYERS
        # Products of two activations, as in attention, have no weights that could be integers.
        floats += node.op_type in _FLOAT_OPERATORS and bool(inputs & fixed) and not lowering.is_mean(node)
    return _Counted(integer, integer + floats, integer_layers(artifact))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what onnxruntime prints on a failed provider from the terminal; we raise instead."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
