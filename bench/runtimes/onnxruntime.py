"""ONNX Runtime on a CPU or CUDA: ONNX artifacts as they are, safetensors artifacts exported once."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.detectors import EXPORT_VERSION
from bench.errors import UserError
from bench.provenance import cpu_name, digest, versions
from bench.records import Built, Executed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ACCEPTS = ("torch", "onnx")
LIBRARIES = ("onnxruntime-gpu", "onnxruntime", "onnx", "onnxscript")

# Operators that do the arithmetic of a network, as the optimised graph of a provider names them.
_FLOAT_OPERATORS = {
    "Conv", "FusedConv", "NhwcFusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm",
}  # fmt: skip
_INTEGER_OPERATORS = {
    "QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
}  # fmt: skip
# How onnxruntime says that memory ran out; it has no exception of its own for that.
_OUT_OF_MEMORY = (
    "bad_alloc", "bad allocation", "out of memory", "failed to allocate memory", "smaller than requested bytes",
    "_alloc_failed",
)  # fmt: skip


class Session:
    """An inference session and what it told about itself."""

    def __init__(self, session: Any, executed: Executed) -> None:
        self.session = session
        self.executed = executed

    def predict(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """uint8 RGB [n, 3, H, W] to logits [n, 2] and signed CAMs [n, h, w]."""
        try:
            logits, cam = self.session.run(["logits", "cam"], {"frames": frames})
        except Exception as error:
            if any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                raise MemoryError(str(error)) from error
            raise
        return logits, cam


def load(built: Built, device: Literal["cpu", "cuda"], threads: int) -> Session:
    """Half-precision weights are stored as they are and compute in float32 here, on either device.

    The exported graph is float32: onnxruntime has no half convolution on a CPU and would surround
    every one with casts (394 on a B5, three times the time).
    """
    file = built.file if built.kind == "onnx" else _exported(built.file)
    with tempfile.TemporaryDirectory() as folder:
        # The graph that really runs is only written on request, and only int8 has something to ask.
        optimised = Path(folder) / "optimised.onnx" if built.stored == "int8" else None
        session = _session(file, device, threads, optimised)
        integer, heavy = _count(optimised) if optimised else (None, None)
    computed = "fp32 (TF32 convolutions)" if device == "cuda" else "fp32"
    native = integer is not None and heavy is not None and 2 * integer > heavy
    executed = Executed(
        runtime="onnxruntime",
        device=device,
        device_name=_cuda_name() if device == "cuda" else cpu_name(),
        providers=tuple(session.get_providers()),
        stored=built.stored,
        computed="int8" if native else computed,
        int8=None if integer is None else ("native" if native else "simulated"),
        int8_operators=integer,
        heavy_operators=heavy,
        threads=threads if device == "cpu" else None,
    )
    return Session(session, executed)


def _exported(file: Path) -> Path:
    """The ONNX file of a safetensors artifact, kept beside it."""
    made_by = digest({"version": EXPORT_VERSION, "libraries": versions(LIBRARIES)})
    exported = file.with_name(f"{file.stem}.exported-{made_by[:8]}.onnx")
    if not exported.exists():
        from bench.detectors import artifact
        from bench.detectors.export import to_onnx

        partial = exported.with_name(f"{exported.name}.{os.getpid()}.partial")
        partial.write_bytes(to_onnx(artifact.load_torch(file)).SerializeToString(deterministic=True))
        partial.replace(exported)
    return exported


def _session(file: Path, device: Literal["cpu", "cuda"], threads: int, optimised: Path | None) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads that spin take the cores from the other variants' sessions in this process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if optimised:
        options.optimized_model_filepath = str(optimised)
    providers: list[Any] = ["CPUExecutionProvider"]
    if device == "cuda":
        _find_cuda()
        # The default searches exhaustively, again for every batch size.
        providers.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}))
    with _quiet():
        session = onnxruntime.InferenceSession(str(file), options, providers=providers)
    if device == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise _no_cuda(f"its session fell back to {', '.join(session.get_providers())}")
    return session


def _find_cuda() -> None:
    """Load the CUDA libraries that pip installed, or raise where this onnxruntime has no CUDA provider."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise _no_cuda(f"this onnxruntime was built for {', '.join(available)}")
    with _quiet():
        onnxruntime.preload_dlls()


def _no_cuda(found: str) -> UserError:
    return UserError(
        f"device: cuda was asked for, but onnxruntime has none: {found}; expected CUDAExecutionProvider. "
        "Check `nvidia-smi`, install `onnxruntime-gpu[cuda,cudnn]`, or set `device: cpu`"
    )


def _cuda_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CUDA device 0"


def _count(optimised: Path) -> tuple[int, int]:
    """Heavy operators on integers, and all heavy operators, of the graph that a session runs."""
    import onnx

    types = [node.op_type for node in onnx.load(optimised).graph.node]
    integer = sum(kind in _INTEGER_OPERATORS for kind in types)
    return integer, integer + sum(kind in _FLOAT_OPERATORS for kind in types)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what onnxruntime prints on a failed provider from the terminal; we raise instead."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
