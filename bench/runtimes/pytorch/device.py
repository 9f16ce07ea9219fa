"""A network on a CUDA device: copies and compute overlap, and the whole network is launched as one graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol

import torch

from bench.records import Executed, Prediction, Timed
from bench.runtimes.pytorch.graphs import Capture, Function, Graphs, OnDevice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

SLOTS = 2
"""Calls that may be under way: one computes while the next one's frames are copied."""

LARGE_BYTES = 2**30
"""Graphs that hold more than this are given up while their process has nothing to do."""


class Event(Protocol):
    """A place in a stream, as `torch.cuda.Event` is."""

    def record(self) -> None: ...
    def synchronize(self) -> None: ...
    def elapsed_time(self, end_event: Any) -> float: ...


class Device(Protocol):
    """What a session needs of a device, so that tests can stand in for one."""

    name: str
    pinned: bool

    @property
    def capture(self) -> Capture:
        """What captures graphs on it."""

    def copying(self) -> AbstractContextManager[Any]:
        """Within, work goes to the stream that copies frames."""

    def computing(self, after: Event) -> AbstractContextManager[Any]:
        """Within, work goes to the stream that computes, and waits for an event first."""

    def event(self, *, blocking: bool = False) -> Event:
        """An event with a time, to be recorded in the stream that is current then.

        Waiting for a `blocking` one takes some microseconds longer, and no processor time.
        """


class Cuda:
    """The streams of this process on its CUDA device, and the memory of its graphs, shared by all networks.

    One stream computes: the networks of an evaluation run after each other, so their graphs may share memory.
    """

    name, pinned = "cuda", True

    def __init__(self) -> None:
        stream: Any = torch.cuda.Stream
        self._copy, self._compute = stream(), stream()
        self.capture: Capture = OnDevice(self._compute)

    def copying(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._copy)

    @contextmanager
    def computing(self, after: Any) -> Iterator[None]:
        with torch.cuda.stream(self._compute):
            self._compute.wait_event(after)
            yield

    def event(self, *, blocking: bool = False) -> Event:
        event: Any = torch.cuda.Event
        made: Event = event(enable_timing=True, blocking=blocking)
        return made


@cache
def cuda() -> Cuda:
    """The device of this process, set up once."""
    return Cuda()


class _Slot:
    """Memory of one call: frames and answers on the host, where the device copies from and to, and frames there."""

    def __init__(self, device: Device, size: int) -> None:
        self._device, self._size = device, size
        self.frames = self.staged = torch.empty(0)
        self.prediction = Prediction(torch.empty(0), None)
        self.copied, self.began, self.ended, self.done = (device.event() for _ in range(4))
        # The same as `done`, for who has other work for the processor meanwhile.
        self.done_later = device.event(blocking=True)
        self.is_free = True

    def hold(self, count: int) -> None:
        """Make room for so many frames.

        Memory of this thread's stream, which others use: a slot is free only once its last call is done everywhere.
        """
        if len(self.frames) < count:
            shape = (count, 3, self._size, self._size)
            self.frames = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.pinned)
            self.staged = torch.empty(shape, dtype=torch.uint8, device=self._device.name)

    def take(self, prediction: Prediction[Tensor]) -> None:
        """Copy a prediction to the host, behind whatever the current stream still has to do."""
        if not all(_fits(part, memory) for part, memory in zip(prediction, self.prediction, strict=True)):
            pinned = self._device.pinned
            self.prediction = prediction.map(lambda part: torch.empty(part.shape, pin_memory=pinned))
        for part, memory in zip(prediction, self.prediction, strict=True):
            if part is not None and memory is not None:
                memory[: len(part)].copy_(part, non_blocking=True)


def _fits(part: Tensor | None, memory: Tensor | None) -> bool:
    """Whether a part of a prediction, or its absence, can be copied into memory of an earlier one."""
    if part is None or memory is None:
        return part is memory
    return len(part) <= len(memory) and part.shape[1:] == memory.shape[1:]


class Session:
    """A network on a device; `graphs=False` launches its kernels one by one."""

    def __init__(
        self, network: Function, size: int, executed: Executed, device: Device | None = None, *, graphs: bool = True
    ) -> None:
        self._device = device or cuda()
        self._network = network
        self._graphs = Graphs(network, self._device.capture) if graphs else None
        self._slots = [_Slot(self._device, size) for _ in range(SLOTS)]
        self._turn = 0
        self._way = executed.mode
        self.executed = replace(executed, mode=self._mode())

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        return self.predict_timed(frames).prediction

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        slot = self._begin(frames, exact=True)
        prediction = self._end(slot, len(frames), slot.done)
        return Timed(prediction, slot.began.elapsed_time(slot.ended))

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Prediction[NDArray[np.float32]]]:
        slot = self._begin(frames, exact=False)
        return partial(self._end, slot, len(frames), slot.done_later)

    def rest(self, *, from_all: bool = False) -> None:
        """Give back the memory of large graphs, or `from_all`: while this session has nothing to do, others need it."""
        if self._graphs and (from_all or torch.cuda.memory_reserved() > LARGE_BYTES):
            self._graphs.release()

    def _begin(self, frames: NDArray[np.uint8], *, exact: bool) -> _Slot:
        """Queue a call on the device: copy frames to it, compute, copy the prediction back.

        `RuntimeError` where `SLOTS` calls are under way, `MemoryError` where memory ran out.
        """
        slot = self._slots[self._turn]
        if not slot.is_free:
            raise RuntimeError(f"more than {SLOTS} calls are under way; ask for the oldest answer first")
        count = len(frames)
        with self._memory_errors(), torch.inference_mode():
            slot.hold(count)
            slot.frames[:count].copy_(torch.from_numpy(frames))
            with self._device.copying():
                slot.staged[:count].copy_(slot.frames[:count], non_blocking=True)
                slot.copied.record()
            with self._device.computing(after=slot.copied):
                slot.began.record()
                prediction = self._run(slot.staged[:count], exact=exact)
                slot.ended.record()
                slot.take(prediction)
                slot.done.record()
                slot.done_later.record()
        self._turn = (self._turn + 1) % SLOTS
        slot.is_free = False
        if self.executed.mode != self._mode():
            self.executed = replace(self.executed, mode=self._mode())
        return slot

    def _mode(self) -> str:
        """How the network runs: as its kernels were made, and how they are launched."""
        launched = self._graphs.mode if self._graphs else ""
        return ", ".join(filter(None, (self._way, launched))) or "eager"

    def _run(self, frames: Tensor, *, exact: bool) -> Prediction[Tensor]:
        if self._graphs:
            return self._graphs.run(frames, exact=exact)
        return self._network(frames)

    def _end(self, slot: _Slot, count: int, done: Event) -> Prediction[NDArray[np.float32]]:
        slot.is_free = True
        with self._memory_errors():
            done.synchronize()
        return slot.prediction.map(lambda tensor: tensor[:count].numpy().copy())

    @contextmanager
    def _memory_errors(self) -> Iterator[None]:
        """Raise `MemoryError` where memory ran out, after giving up what is only there for speed."""
        try:
            yield
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if "out of memory" not in str(error).lower() and "can't allocate memory" not in str(error):
                raise
            if self._graphs:
                self._graphs.release()
            raise MemoryError(str(error)) from error
