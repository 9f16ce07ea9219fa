"""How often a client may ask for what costs: a moving window for each key, or without keys each address."""

from __future__ import annotations

import math
from time import time

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from bench.service.refusals import RefusedError


class Rates:
    """Counts what clients ask for, against a rate such as "60/minute"; without one everything may be asked."""

    def __init__(self, rate: str) -> None:
        self._rate = parse(rate) if rate else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def take(self, client: str, count: int = 1, *, of: int = 1) -> None:
        """Count what a client asks for; `RefusedError` with the seconds to wait where it is more than the rate.

        `of` is how many belong together, those that were counted before among them.
        """
        if self._rate is None or count < 1:
            return
        if max(count, of) > self._rate.amount:
            raise RefusedError(429, f"so many pictures at once are more than {self._rate}; send fewer together")
        if not self._limiter.hit(self._rate, client, cost=count):
            raise self._refusal(client)

    def refuse_used_up(self, client: str) -> None:
        """Raise `RefusedError` where a client has nothing left to ask for; nothing is counted."""
        if self._rate is not None and not self._limiter.test(self._rate, client):
            raise self._refusal(client)

    def _refusal(self, client: str) -> RefusedError:
        assert self._rate is not None
        wait = math.ceil(self._limiter.get_window_stats(self._rate, client).reset_time - time())
        return RefusedError(429, f"more than {self._rate}; ask again later", max(1, wait))
