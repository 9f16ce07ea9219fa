"""CUDA graphs of a network, one for each batch size: a whole network is launched by one call.

At batch 1 the hundreds of kernels of a network take less time to run than to launch one by one; a captured graph is
launched as a whole. It always reads the same input and writes the same outputs, so frames are copied into the one
and answers have to be taken out of the others before the next graph runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, MutableSet
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from weakref import WeakSet

if TYPE_CHECKING:
    from torch import Tensor

    from bench.records import Prediction

Function: TypeAlias = "Callable[[Tensor], Prediction[Tensor]]"

MOST_GRAPHS = 4
"""Sizes that are kept at a time: evaluation meets two, timing two."""

MODE = "CUDA graphs"


@dataclass(frozen=True)
class Graph:
    """A captured call: `replay` computes `prediction` from `frames`, all of them always the same memory."""

    frames: Tensor
    prediction: Prediction[Tensor]
    replay: Callable[[], None]


class Capture(Protocol):
    """Captures a function of frames like these; `RuntimeError` where that cannot be done.

    Whoever captures with it is among its `users`: they share memory, and give it up together.
    """

    @property
    def users(self) -> MutableSet[Graphs]: ...

    def __call__(self, function: Function, example: Tensor) -> Graph: ...

    def settle(self) -> None:
        """Wait until no graph runs any more."""

    def release(self) -> None:
        """Give back the memory of graphs that nobody holds any more."""


class Graphs:
    """A network that is captured for each batch size that is asked of it, the least recently used ones given up."""

    def __init__(self, function: Function, capture: Capture) -> None:
        self._function, self._capture = function, capture
        self._graphs: OrderedDict[int, Graph] = OrderedDict()
        self._refused: dict[int, str] = {}
        capture.users.add(self)

    @property
    def mode(self) -> str:
        """How the network is launched: as graphs, or kernel by kernel and why."""
        sizes = ", ".join(f"{size:,}" for size in self._refused)
        reasons = "; ".join(dict.fromkeys(self._refused.values()))
        if not self._refused:
            return MODE
        return f"{MODE}, none at batch {sizes} ({reasons})" if self._graphs else f"no {MODE} ({reasons})"

    def run(self, frames: Tensor, *, exact: bool) -> Prediction[Tensor]:
        """The network's prediction for frames on the device, to be read before the next call.

        `exact`: by a graph of just this size. Otherwise a larger one that is there will do, whose other places hold
        frames of earlier calls: on an H100 the kernels of a B5 took seconds to prepare for every new size, and the
        last batch of a set has a size of its own.
        """
        count = len(frames)
        size = count if exact else min((size for size in self._graphs if size >= count), default=count)
        if size not in self._graphs and size not in self._refused:
            self._add(frames)
        graph = self._graphs.get(size)
        if graph is None:
            return self._function(frames)
        self._graphs.move_to_end(size)
        graph.frames[:count].copy_(frames, non_blocking=True)
        graph.replay()
        return graph.prediction.map(lambda tensor: tensor[:count])

    def release(self) -> None:
        """Give up all graphs that share this memory, other networks' too; what is needed again is captured again."""
        self._capture.settle()
        for user in self._capture.users:
            user._graphs.clear()
        self._capture.release()

    def _add(self, frames: Tensor) -> None:
        # Whatever a first call sets up must not happen during a capture; and if memory runs out here, it is the
        # batch that is too large, not its graph.
        self._function(frames)
        if len(self._graphs) == MOST_GRAPHS:
            self._capture.settle()
            self._graphs.popitem(last=False)
        try:
            self._graphs[len(frames)] = self._captured(frames)
        except RuntimeError as error:
            self._refused[len(frames)] = _first_line(error)

    def _captured(self, frames: Tensor) -> Graph:
        try:
            return self._capture(self._function, frames)
        except RuntimeError as error:
            if "out of memory" not in str(error).lower():
                raise
        # Its own memory is apart from that of other calls: what other graphs hold may be what is missing.
        self.release()
        return self._capture(self._function, frames)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


class OnDevice:
    """Captures on a stream, all graphs from one pool of memory.

    Graphs may share memory as long as they never run at the same time and nobody reads what one wrote after another
    ran: here all run on one stream, and answers are copied out of it before the next.
    """

    def __init__(self, stream: Any) -> None:
        self.users: MutableSet[Graphs] = WeakSet()
        self._stream = stream
        self._pool: Any = None

    def __call__(self, function: Function, example: Tensor) -> Graph:
        """Capture a function of frames like `example`; `RuntimeError` where that cannot be done."""
        import torch

        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        frames = example.clone()
        graph = torch.cuda.CUDAGraph()
        # Other threads, which decode, do nothing on the device; but a capture need not depend on that.
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                prediction = function(frames)
        except BaseException:
            self._abandon_pool()
            raise
        return Graph(frames, prediction, graph.replay)

    def _abandon_pool(self) -> None:
        """After a capture that failed: before 2.12 PyTorch's allocator takes it to go on, and keeps its memory."""
        import torch

        allocator: Any = torch._C
        device = torch.cuda.current_device()
        with suppress(RuntimeError):  # it knows already that the capture has ended
            allocator._cuda_endAllocateToPool(device, self._pool)
            allocator._cuda_releasePool(device, self._pool)
        self._pool = None

    def settle(self) -> None:
        self._stream.synchronize()

    def release(self) -> None:
        import torch

        self._pool = None
        torch.cuda.empty_cache()
