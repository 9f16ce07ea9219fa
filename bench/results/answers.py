"""Give batches to sessions and collect their answers; the device computes while the host decodes, copies and writes.

The cycle is: collect the oldest answer, submit the next batch. While the host waits for the oldest, the device has
the next one queued; whatever the host does afterwards, it has up to two.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.records import Prediction
    from bench.results.predict import Pending

    Answer: TypeAlias = Prediction[NDArray[np.float32]]

UNDER_WAY = 2
"""Of all variants together: activations of several networks at once may not fit into the device's memory."""


@dataclass(frozen=True)
class Batch:
    """A batch for one variant: frames, uint8 [n, 3, H, W], the first of which is row `start` of all.

    With `alone`, nothing else may be under way: the frame did not fit into memory beside others.
    """

    variant: Pending
    start: int
    frames: NDArray[np.uint8]
    alone: bool = False


class Answers:
    """Gives batches to their variants' sessions, and passes each answer to `keep`; the order of answers may differ.

    `sizes` are frames a call by variant; a size is halved for good when memory runs out. `failed` has the error of
    each variant that failed. Such a variant gets no more batches, the others go on.
    """

    def __init__(self, sizes: dict[str, int], keep: Callable[[Batch, Answer], object]) -> None:
        self.sizes = sizes
        self.keep = keep
        self.failed: dict[str, Exception] = {}
        self._waiting: deque[Batch] = deque()
        self._under_way: deque[tuple[Batch, Callable[[], Answer]]] = deque()

    def give(self, batch: Batch) -> None:
        """Have a batch computed; its answer may come later."""
        self._waiting.append(batch)
        self._begin_waiting()

    def finish(self) -> None:
        """Collect all answers that are still under way."""
        while self._under_way:
            self._collect_down_to(0)
            self._begin_waiting()

    def _begin_waiting(self) -> None:
        """Submit every waiting batch; batches that are too large are split, and those of failed variants dropped."""
        while self._waiting:
            batch = self._waiting.popleft()
            name, submit = batch.variant.name, getattr(batch.variant.session, "submit", None)
            if batch.alone:
                self._collect_down_to(0)
            elif submit is not None:
                self._collect_down_to(UNDER_WAY - 1)
            # The collected answer may have been this variant's, and an error.
            if name in self.failed:
                continue
            if len(batch.frames) > self.sizes[name]:
                self._waiting.extendleft(reversed(_split(batch, self.sizes[name])))
            elif submit is None:
                self._take(batch, partial(batch.variant.session.predict, batch.frames))
            else:
                self._submit(batch, submit)

    def _submit(self, batch: Batch, submit: Callable[[NDArray[np.uint8]], Callable[[], Answer]]) -> None:
        try:
            self._under_way.append((batch, submit(batch.frames)))
        except Exception as error:
            self._refused(batch, error)
        if batch.alone:
            self._collect_down_to(0)

    def _collect_down_to(self, count: int) -> None:
        while len(self._under_way) > count:
            self._take(*self._under_way.popleft())

    def _take(self, batch: Batch, answer: Callable[[], Answer]) -> None:
        try:
            answered = answer()
        except Exception as error:
            self._refused(batch, error)
        else:
            self._check_and_keep(batch, answered)

    def _check_and_keep(self, batch: Batch, answer: Answer) -> None:
        """Pass an answer to `keep`; a variant whose logits are not finite has failed."""
        import numpy as np

        if batch.variant.name in self.failed:
            return
        if np.isfinite(answer.logits).all():
            self.keep(batch, answer)
        else:
            self.failed[batch.variant.name] = ValueError(
                "logits are not finite: the weights are broken (a negative variance of a batch norm, say), or the "
                "variant overflows in its number format"
            )

    def _refused(self, batch: Batch, error: Exception) -> None:
        """Compute the batch again in smaller ones if memory ran out; else the variant has failed."""
        name = batch.variant.name
        _forget_locals(error)
        if not isinstance(error, MemoryError) or batch.alone:
            self.failed.setdefault(name, error)
            return
        # Sizes stay powers of two. Parts submitted before the size was halved do not halve it again.
        while 1 < len(batch.frames) <= self.sizes[name]:
            self.sizes[name] //= 2
        self._waiting.appendleft(replace(batch, alone=len(batch.frames) == 1))
        # Nothing else may take memory while the batch is computed again.
        self._collect_down_to(0)


def _split(batch: Batch, size: int) -> list[Batch]:
    starts = range(0, len(batch.frames), size)
    return [replace(batch, start=batch.start + low, frames=batch.frames[low : low + size]) for low in starts]


def _forget_locals(error: BaseException | None) -> None:
    """Clear the locals of an error's traceback: they hold the network's activations."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
