"""Answers to uploads that came before, the ones asked for last, a bounded number of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_BYTES = 64 * 2**20
"""Of all answers: those with heatmaps are large."""


class AnswerCache(Generic[T]):
    """The last `most` answers by what they answer, of which none changes while a service runs."""

    def __init__(self, most: int, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0
        self._answers: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        """The answer, None where there is none any more."""
        if key not in self._answers:
            return None
        self._answers.move_to_end(key)
        return self._answers[key][0]

    def put(self, key: Hashable, answer: T, size: int) -> None:
        """Remember an answer of so many bytes; the ones that were asked for longest ago are forgotten."""
        if key in self._answers or size > self._most_bytes or not self._most:
            return
        self._answers[key] = (answer, size)
        self._bytes += size
        while len(self._answers) > self._most or self._bytes > self._most_bytes:
            _, (_, forgotten) = self._answers.popitem(last=False)
            self._bytes -= forgotten
