"""PyTorch, eager, in inference mode: safetensors artifacts on CUDA or a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from bench.errors import UserError
from bench.provenance import cpu_name
from bench.records import Built, Executed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector

ACCEPTS = ("torch",)
LIBRARIES = ("torch", "timm")
# Raised whenever the same artifact would be executed otherwise.
VERSIONS = {"pytorch": 1}
PACKAGE = "torch"
CUDA_FILES = ("lib/libtorch_cuda.so", "lib/torch_cuda.dll")


class Session:
    """A detector on its device, in the memory layout and type that are fastest there."""

    def __init__(self, detector: Detector, device: Literal["cpu", "cuda"], executed: Executed) -> None:
        self.detector = detector
        self.device = device
        self.executed = executed

    def predict(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, cam, _ = self.predict_timed(frames)
        return logits, cam

    def predict_timed(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], float | None]:
        import torch

        with torch.inference_mode():
            try:
                on_device = torch.from_numpy(frames).to(self.device)
                clock = _Clock() if self.device == "cuda" else None
                logits, cam = self.detector(on_device)
                if clock:
                    clock.stop()
                # Copying to the host waits for the device.
                return logits.cpu().numpy(), cam.cpu().numpy(), clock.elapsed_ms() if clock else None
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                raise MemoryError(str(error)) from error
            except RuntimeError as error:
                if "can't allocate memory" in str(error):
                    raise MemoryError(str(error)) from error
                raise


class _Clock:
    """The device's own clock, between two events in its stream."""

    def __init__(self) -> None:
        import torch

        event: Any = torch.cuda.Event
        self.began, self.ended = event(enable_timing=True), event(enable_timing=True)
        self.began.record()

    def stop(self) -> None:
        self.ended.record()

    def elapsed_ms(self) -> float:
        self.ended.synchronize()
        return float(self.began.elapsed_time(self.ended))


def load(built: Built, device: Literal["cpu", "cuda"], threads: int) -> Session:
    """Half-precision weights compute as they are stored on CUDA and in float32 on a CPU.

    CPUs have no fp16 convolution worth the name, and emulating one would time the emulation.
    channels_last won on CPUs (256 against 365 ms a frame on a B5 at 380 px) and is what tensor
    cores want in half precision; in fp32 on CUDA it lost (575 against 640 frames a second).
    """
    import torch

    from bench.detectors import artifact

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but PyTorch sees no CUDA device: is a CUDA build installed?")
    detector = artifact.load_torch(built.file).eval()
    computed = built.stored
    if device == "cpu":
        torch.set_num_threads(threads)
        detector = detector.float()
        computed = "fp32"
    detector.to(device)
    if device == "cpu" or computed != "fp32":
        detector.to(memory_format=torch.channels_last)
    if device == "cuda" and computed == "fp32" and torch.backends.cudnn.allow_tf32:
        computed = "fp32 (TF32 convolutions)"
    executed = Executed(
        runtime="pytorch",
        device=device,
        device_name=torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        providers=("torch.cuda",) if device == "cuda" else ("torch.cpu",),
        stored=built.stored,
        computed=computed,
        threads=threads if device == "cpu" else None,
    )
    return Session(detector, device, executed)
