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

    def take(self, client: str, count: int = 1) -> None:
        """Count what a client asks for; `RefusedError` with the seconds to wait where it is more than the rate."""
        if self._rate is None or count < 1 or self._limiter.hit(self._rate, client, cost=count):
            return
        if count > self._rate.amount:
            raise RefusedError(429, f"so many pictures at once are more than {self._rate}; send fewer together")
        wait = math.ceil(self._limiter.get_window_stats(self._rate, client).reset_time - time())
        raise RefusedError(429, f"more than {self._rate}; ask again later", max(1, wait))
