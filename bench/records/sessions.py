"""What a detector answers, and what every runtime offers: a loaded variant that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from bench.records.measurements import Executed

ArrayT = TypeVar("ArrayT")
OtherT = TypeVar("OtherT")


class Prediction(NamedTuple, Generic[ArrayT]):
    """What a detector answers to n frames: tensors of torch, or arrays of NumPy on the host.

    `logits` [n, 2], class 0 real and class 1 fake. `cam` [n, h, w], the signed class-activation maps of
    `logit_fake - logit_real`; None where the detector has none.
    """

    logits: ArrayT
    cam: ArrayT | None

    def map(self, change: Callable[[ArrayT], OtherT]) -> Prediction[OtherT]:
        """The prediction with `change` applied to logits and, where there are any, CAMs."""
        return Prediction(change(self.logits), None if self.cam is None else change(self.cam))


class Timed(NamedTuple):
    """A prediction, and the milliseconds that the device computed, copies aside; None where it is the host."""

    prediction: Prediction[NDArray[np.float32]]
    device_ms: float | None


class Session(Protocol):
    """A loaded variant. `executed` is what really runs, as the runtime itself reports it."""

    executed: Executed

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        """The prediction of uint8 RGB frames [n, 3, H, W], on the host.

        The device has finished when this returns. Raises `MemoryError` where the batch is too large.
        """

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        """The same with the device's time."""
