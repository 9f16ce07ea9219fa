"""When a GPU's times have settled, by a clock that only calls move."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest

from bench.records import silent
from bench.results import timing
from bench.results.timing import warm_up, worker
from tests.conftest import start_in_a_thread
from tests.support.timed import EXECUTED, FRAMES, LOGITS, FakeSession


class Clock:
    """Time that passes only in calls, which take `seconds` one after the other."""

    def __init__(self, seconds: Iterable[float]) -> None:
        self.now, self.calls, self.seconds = 0.0, 0, iter(seconds)

    def __call__(self) -> float:
        return self.now

    def call(self) -> None:
        self.now += next(self.seconds)
        self.calls += 1


def settled(seconds: Iterable[float]) -> tuple[bool, Clock]:
    clock = Clock(seconds)
    return warm_up.settle(clock.call, clock), clock


@pytest.mark.parametrize(
    ("call_seconds", "calls"),
    [
        (0.01, 3 * 10),  # a tenth of a second a round
        (0.2, 3 * 5),  # five calls a round
        (0.5, 3 * 2),  # a second a round, though it has two calls
        (1.5, 3),
    ],
)
def test_steady_calls_settle_in_three_rounds(call_seconds: float, calls: int) -> None:
    ended, clock = settled(itertools.repeat(call_seconds))
    assert ended
    assert abs(clock.calls - calls) <= 3, "sums of floats"


def test_calls_that_get_faster_are_waited_for() -> None:
    """Ten rounds that differ, then steady ones."""
    faster = [0.025 * 0.95 ** (index // 5) for index in range(50)]
    ended, clock = settled(itertools.chain(faster, itertools.repeat(0.0125)))
    assert ended
    assert 50 < clock.calls < 90


def test_calls_that_never_agree_end_in_time() -> None:
    ended, clock = settled(0.01 if index // 10 % 2 else 0.02 for index in itertools.count())
    assert not ended
    assert warm_up.MOST_SECONDS <= clock.now <= warm_up.MOST_SECONDS + 0.02


def test_calls_that_are_too_long_to_tell_end_in_time() -> None:
    ended, clock = settled(itertools.repeat(3.0))
    assert (ended, clock.calls, clock.now) == (False, 2, 6.0)


def test_single_slow_calls_do_not_matter() -> None:
    ended, _ = settled(0.1 if index % 7 == 3 else 0.01 for index in itertools.count())
    assert ended


@pytest.mark.parametrize(
    ("medians", "agree"),
    [
        ([], False),
        ([1.0, 1.0], False),
        ([1.0, 1.019, 1.01], True),
        ([1.0, 1.03, 1.0], False),
        ([9.0, 1.0, 1.0, 1.0], True),
    ],
)
def test_three_medians_in_a_row_must_agree(medians: list[float], agree: bool) -> None:
    assert warm_up.has_settled(medians) == agree


ON_CUDA = replace(EXECUTED, device="cuda")


@pytest.mark.parametrize("settles", [True, False])
def test_a_gpu_is_warmed_up_for_both_batch_sizes_and_what_came_of_it_is_kept(
    settles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def settle(call: object) -> bool:
        (batch,) = call.args  # type: ignore[attr-defined]
        sizes.append(len(batch))
        return settles

    monkeypatch.setattr(timing, "start", start_in_a_thread)
    monkeypatch.setattr(worker, "settle", settle)
    monkeypatch.setattr(worker.FindBatch, "run", lambda *_: 4)
    subject = timing.Subject(partial(FakeSession, executed=ON_CUDA), LOGITS, FRAMES)
    session = timing.measure({"a": subject}, 0.01, silent)
    assert session.failed == {}
    assert sizes == [1, 4]
    assert [(timed.batch_size, timed.settled) for timed in session.times["a"].measurements] == [
        (1, settles),
        (4, settles),
    ]


def test_a_cpu_is_warmed_up_by_three_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "settle", lambda call: pytest.fail("on a CPU"))
    session = FakeSession()
    assert worker.WarmUp(2).run(session, FRAMES) is None
    assert session.calls == worker.WARM_UP_CALLS
