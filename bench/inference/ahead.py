"""An iterator that is pulled by a thread of its own, ahead of whoever reads it."""

from __future__ import annotations

from collections.abc import Generator
from queue import Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")

_PATIENCE_S = 0.2
"""After so long, a thread that waits for its reader looks whether that is still there."""


def ahead(items: Generator[Item, None, None], most: int) -> Generator[Item, None, None]:
    """The items, in their order, at most `most` of them waiting to be read; errors arise where they are read.

    `items` is closed, and the thread at its end, when this is exhausted or left early.
    """
    puller = _Puller(items, most)
    thread = Thread(target=puller.pull, name="reading ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = puller.waiting.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item[0]
    finally:
        puller.left.set()
        thread.join()


class _Puller(Generic[Item]):
    """What the thread does: `waiting` has tuples of an item, None at the end, and an error or None."""

    def __init__(self, items: Generator[Item, None, None], most: int) -> None:
        self._items = items
        self.waiting: Queue[tuple[tuple[Item] | None, BaseException | None]] = Queue(most)
        self.left = Event()

    def pull(self) -> None:
        """Pull until the end, an error, or until the reader has left."""
        try:
            for item in self._items:
                self._put((item,), None)
                if self.left.is_set():
                    return
            self._put(None, None)
        except BaseException as error:
            self._put(None, error)
        finally:
            self._items.close()

    def _put(self, item: tuple[Item] | None, error: BaseException | None) -> None:
        while not self.left.is_set():
            try:
                self.waiting.put((item, error), timeout=_PATIENCE_S)
            except Full:
                continue
            return
