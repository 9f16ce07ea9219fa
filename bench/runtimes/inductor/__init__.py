"""PyTorch compiled by AOTInductor: safetensors artifacts on CUDA or a CPU, where there is a C++ compiler.

The network is compiled once for this machine, which takes a minute or two, and the package is kept beside the
artifact. Preprocessing, pooling, head and CAM stay outside of it, in float32 without TF32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from bench import seals
from bench.errors import UserError
from bench.provenance import cpu_name, cuda_device_name, digest, file_digest, versions
from bench.records import Built, Executed, Prediction
from bench.runtimes.inductor import package, requirements
from bench.runtimes.pytorch import HostSession, on_cuda
from bench.system.processor import processor

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector

ACCEPTS = ("torch",)
LIBRARIES = ("torch", "timm", "triton")
# Raised whenever the same artifact would be compiled or executed otherwise.
VERSIONS = {"inductor": 1}
PACKAGE = "torch"
CUDA_FILES = ("lib/libtorch_cuda.so", "lib/torch_cuda.dll")

COMPILE_SECONDS = 60.0
"""For a large network on two cores that have nothing else to do."""

CONFIG: dict[str, Any] = {
    # Weights become constants: batch norms are folded into convolutions, weights laid out as kernels want them.
    "freezing": True,
    "max_autotune": False,
    # They pay only where many networks are compiled, and would stay in the system's temporary folder for ever.
    "aot_inductor.precompile_headers": False,
    # Weights on CUDA are counted in the peak of PyTorch's allocator, as those of other runtimes are.
    "aot_inductor.weight_use_caching_allocator": True,
}
"""Inductor's settings, as `torch._inductor.config` names them; packages are kept under them."""


def unavailable_reason(device: Literal["cpu", "cuda"]) -> str | None:
    """Why nothing can be compiled here, as far as files tell."""
    reason = requirements.missing(device) or seals.trouble()
    return f"runtime 'inductor' {reason}, or choose another `runtime:`" if reason else None


def load(built: Built, device: Literal["cpu", "cuda"], threads: int, *, tf32: bool = True, graphs: bool = True) -> Any:
    """Half-precision weights compute as they are stored on CUDA and in float32 on a CPU, as in runtime `pytorch`.

    `tf32`: whether float32 convolutions and matrix products on CUDA may round their inputs to TF32. `graphs`: whether
    CUDA graphs are used.
    """
    import torch

    from bench.artifacts import safetensors
    from bench.runtimes.pytorch.network import computed, float32, uses_tf32

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but PyTorch sees no CUDA device: is a CUDA build installed?")
    detector = safetensors.load_torch(built.file)
    if device == "cpu":
        torch.set_num_threads(threads)
        detector = detector.float()
    tf32 = uses_tf32(device, detector.dtype, asked=tf32)
    size = detector.preprocessing.size
    with torch.no_grad():
        inputs = detector.preprocess.to(device)(torch.zeros(2, 3, size, size, dtype=torch.uint8, device=device))
        with float32(tf32=tf32):
            key = _key(built, device, threads, tf32)
            body = package.load(
                built.file, key, inputs, lambda file: package.compile_to(file, detector, inputs, CONFIG)
            )
    network = Network(body, detector, device, tf32)
    executed = Executed(
        runtime="inductor",
        device=device,
        device_name=cuda_device_name() if device == "cuda" else cpu_name(),
        providers=(f"inductor.{device}",),
        stored=built.stored,
        computed=computed(device, built.stored, tf32=tf32),
        threads=threads if device == "cpu" else None,
        mode="compiled",
    )
    return HostSession(network, executed) if device == "cpu" else on_cuda(network, size, executed, graphs=graphs)


def _key(built: Built, device: Literal["cpu", "cuda"], threads: int, tf32: bool) -> str:
    """A digest of all that makes a package another one: whose it is, what compiles it, and what it is compiled for."""
    import torch

    if device == "cuda":
        hardware: Any = [torch.cuda.get_device_name(), *torch.cuda.get_device_capability()]
    else:
        # The number of threads stands in the compiled loops.
        hardware = {**processor().identity, "threads": threads}
    return digest(
        {
            "version": VERSIONS["inductor"],
            "artifact": file_digest(built.file),
            "libraries": {**versions(("torch", "triton")), "build": torch.__version__},
            "device": device,
            "hardware": hardware,
            "config": CONFIG,
            "tf32": tf32,
        }
    )


class Network:
    """A callable on the device: uint8 frames [n, 3, H, W] to their prediction."""

    def __init__(
        self,
        body: Callable[[list[Tensor]], list[Tensor]],
        detector: Detector,
        device: Literal["cpu", "cuda"],
        tf32: bool,
    ) -> None:
        """`body` is the compiled backbone; `detector` does the rest, and gives its own backbone up."""
        self.body = body
        self.device = device
        self.tf32 = tf32
        self.size = detector.preprocessing.size
        # Its weights are in the package now.
        detector.drop_backbone()
        self.detector = detector.to(device)
        self.out_of_memory_count = self._count_out_of_memory()

    def __call__(self, frames: Tensor) -> Prediction[Tensor]:
        """The prediction of uint8 frames [n, 3, size, size] on the device; `ValueError` where they are others."""
        import torch

        from bench.runtimes.pytorch.network import float32

        # Compiled code checks nothing: what does not fit is read beyond its end.
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1:] != (3, self.size, self.size):
            raise ValueError(
                f"frames of type {frames.dtype} and shape {tuple(frames.shape)}; "
                f"expected torch.uint8 [n, 3, {self.size}, {self.size}]"
            )
        with torch.inference_mode():
            with float32(tf32=False):
                inputs = self.detector.preprocess(frames).contiguous()
            with float32(tf32=self.tf32):
                features = self._features(inputs)
            with float32(tf32=False):
                return self.detector.classify(features)

    def _features(self, inputs: Tensor) -> Any:
        """Exhausted memory as the error that PyTorch itself raises: compiled code raises `RuntimeError` for all.

        Before 2.12 or so its text does not even say why; PyTorch's allocator counts.
        """
        import torch

        try:
            outputs = self.body([inputs])
        except RuntimeError as error:
            before, self.out_of_memory_count = self.out_of_memory_count, self._count_out_of_memory()
            if "out of memory" in str(error).lower() or self.out_of_memory_count > before:
                raise torch.OutOfMemoryError(f"out of memory in compiled code: {error}") from error
            raise
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _count_out_of_memory(self) -> int:
        """How often an allocation failed on the device in this process."""
        import torch

        return int(torch.cuda.memory_stats().get("num_ooms", 0)) if self.device == "cuda" else 0
