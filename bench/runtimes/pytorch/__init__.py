"""PyTorch: safetensors artifacts on CUDA, as CUDA graphs, or on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bench.errors import UserError
from bench.provenance import cpu_name, cuda_device_name
from bench.records import Built, Executed, Prediction, Timed
from bench.runtimes import memory_errors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from bench.runtimes.pytorch.device import Session
    from bench.runtimes.pytorch.graphs import Function

ACCEPTS = ("torch",)
LIBRARIES = ("torch", "timm")
# Raised whenever the same artifact would be executed otherwise.
VERSIONS = {"pytorch": 2}
PACKAGE = "torch"
CUDA_FILES = ("lib/libtorch_cuda.so", "lib/torch_cuda.dll")


class HostSession:
    """A network on the CPU."""

    def __init__(self, network: Function, executed: Executed) -> None:
        self._network = network
        self.executed = executed

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        import torch

        # OpenMP counts threads for each thread that calls it, and services call from others than loaded the network.
        if self.executed.threads and torch.get_num_threads() != self.executed.threads:
            torch.set_num_threads(self.executed.threads)
        with memory_errors(("can't allocate memory",)):
            return self._network(torch.from_numpy(frames)).map(_array)

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        """The same; the device is the host, so it has no time of its own."""
        return Timed(self.predict(frames), None)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.numpy()


def load(
    built: Built, device: Literal["cpu", "cuda"], threads: int, *, tf32: bool = True, graphs: bool = True
) -> HostSession | Session:
    """Half-precision weights compute as they are stored on CUDA and in float32 on a CPU.

    `tf32`: whether float32 networks may round their inputs to TF32 on CUDA. `graphs`: whether CUDA graphs are used.
    """
    import torch

    from bench.artifacts import safetensors
    from bench.runtimes.pytorch.network import Network

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but PyTorch sees no CUDA device: is a CUDA build installed?")
    if device == "cpu":
        torch.set_num_threads(threads)
    network = Network(safetensors.load_torch(built.file).eval(), device, built.stored, tf32=tf32)
    executed = Executed(
        runtime="pytorch",
        device=device,
        device_name=cuda_device_name() if device == "cuda" else cpu_name(),
        providers=("torch.cuda",) if device == "cuda" else ("torch.cpu",),
        stored=built.stored,
        computed=network.computed,
        threads=threads if device == "cpu" else None,
    )
    if device == "cpu":
        return HostSession(network, executed)
    return on_cuda(network, network.size, executed, graphs=graphs)


def on_cuda(network: Function, size: int, executed: Executed, *, graphs: bool) -> Session:
    """A session for a network whose weights are on the device."""
    import torch

    from bench.runtimes.pytorch.device import Session

    # The session computes on a stream of its own, which would not wait for what the default one does to the weights.
    torch.cuda.synchronize()
    return Session(network, size, executed, graphs=graphs)
