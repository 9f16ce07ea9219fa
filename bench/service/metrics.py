"""What Prometheus is told: requests, how long they took, batches, and what was called fake."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64)

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The numbers of one service, in a registry of its own."""

    def __init__(self) -> None:
        """Every number at nothing."""
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "bench_requests_total", "Requests by address and status.", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "bench_request_seconds", "Time to answer.", ["path"], buckets=_SECONDS, registry=registry
        )
        self._called = Counter(
            "bench_predictions_total", "Pictures, videos, webcam frames.", ["variant", "prediction"],
            registry=registry,
        )  # fmt: skip
        self._p_fake = Histogram(
            "bench_fake_probability", "P(fake) of what was judged.", ["variant"],
            buckets=[step / 10 for step in range(1, 11)], registry=registry,
        )  # fmt: skip
        self._batch = Histogram(
            "bench_batch_frames", "Frames of a batch.", ["member"], buckets=_SIZES, registry=registry
        )
        self._computing = Histogram(
            "bench_batch_seconds", "Time of a batch in its runtime.", ["member"], buckets=_SECONDS, registry=registry
        )
        self._cached = Counter("bench_cached_answers_total", "Answers that were known already.", registry=registry)

    def watch(self, name: str, text: str, function: Any) -> None:
        """A gauge whose value a function returns when it is asked for."""
        Gauge(name, text, registry=self._registry).set_function(function)

    def answered(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def called(self, variant: str, prediction: str, p_fake: float) -> None:
        self._called.labels(variant, prediction).inc()
        self._p_fake.labels(variant).observe(p_fake)

    def computed(self, member: str, size: int, seconds: float) -> None:
        self._batch.labels(member).observe(size)
        self._computing.labels(member).observe(seconds)

    def cached(self) -> None:
        self._cached.inc()

    def text(self) -> bytes:
        """All numbers as Prometheus reads them."""
        return generate_latest(self._registry)
