"""Arrays handed to another process in memory that both see: a pipe takes ten times as long for a batch of frames."""

from __future__ import annotations

import os
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Sent: TypeAlias = "tuple[str, tuple[int, ...]] | NDArray[np.uint8]"
"""The name of the memory with the array's shape; the array itself where the system has no such memory left."""


class Outbox:
    """The sender's end, for one array at a time: the next overwrites it."""

    def __init__(self) -> None:
        self._memory: SharedMemory | None = None

    def put(self, array: NDArray[np.uint8]) -> Sent:
        """What to send in place of an array."""
        import numpy as np

        try:
            memory = self._of(array.nbytes)
        except OSError:
            return array
        np.ndarray(array.shape, np.uint8, memory.buf)[...] = array
        return memory.name, array.shape

    def close(self) -> None:
        """Give the memory back. May be called again."""
        if self._memory is not None:
            self._memory.close()
            self._memory.unlink()
            self._memory = None

    def _of(self, size: int) -> SharedMemory:
        """Memory of at least so many bytes; `OSError` where the system has none."""
        if self._memory is None or self._memory.size < size:
            self.close()
            self._memory = SharedMemory(create=True, size=size)
            try:
                _reserve(self._memory, size)
            except OSError:
                self.close()
                raise
        return self._memory


class Inbox:
    """The receiver's end."""

    def __init__(self) -> None:
        self._memory: SharedMemory | None = None

    def get(self, sent: Sent) -> NDArray[np.uint8]:
        """The array that was sent, until the next comes."""
        import numpy as np

        if not isinstance(sent, tuple):
            return sent
        name, shape = sent
        if self._memory is None or self._memory.name != name:
            self.close()
            self._memory = SharedMemory(name)
        return np.ndarray(shape, np.uint8, self._memory.buf)

    def close(self) -> None:
        if self._memory is not None:
            with suppress(BufferError):  # whoever computed with the array may hold it still
                self._memory.close()
            self._memory = None


def _reserve(memory: SharedMemory, size: int) -> None:
    """Have the system set the memory aside: a container has little, and whoever writes beyond that is killed."""
    file: Any = getattr(memory, "_fd", None)
    if file is not None and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
