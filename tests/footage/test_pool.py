"""A pool of processes: a task that hangs, ends its process or fails costs itself alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.footage import pool
from bench.footage.pool import LostError, run_all
from tests.support import pool_work
from tests.support.pace import limit


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes import nothing from the working folder, where the tests would lie."""
    monkeypatch.chdir(tmp_path)


def test_tasks_are_done_in_processes_of_which_one_is_used_again() -> None:
    tasks = [f"task {number}" for number in range(9)]
    results = dict(run_all(pool_work.load, tasks, 2))
    assert results == {task: task.upper() for task in tasks}


@pytest.mark.slow
def test_what_hangs_is_ended_and_what_is_slow_is_not() -> None:
    results = dict(run_all(pool_work.load, ["hang", "slow", "a", "b"], 2, patience_s=limit(3)))
    assert {task: results[task] for task in "ab"} == {"a": "A", "b": "B"}
    assert results["slow"] == "SLOW"
    lost = results["hang"]
    assert isinstance(lost, LostError)
    assert lost.stuck
    assert not multiprocessing.active_children()


def test_what_ends_its_process_or_fails_costs_itself_alone() -> None:
    results = dict(run_all(pool_work.load, ["end", "a", "raise", "b"], 1))
    lost, failed = results["end"], results["raise"]
    assert isinstance(lost, LostError)
    assert not lost.stuck
    assert isinstance(failed, ValueError)
    assert (results["a"], results["b"]) == ("A", "B")


def test_what_no_process_can_begin_with_is_raised() -> None:
    with pytest.raises(ValueError, match="no model"):
        list(run_all(pool_work.load_badly, ["a", "b"], 2))
    with pytest.raises(LostError):
        list(run_all(pool_work.end_at_once, ["a", "b"], 1))


def test_tasks_are_taken_as_they_are_needed_and_processes_end_with_the_iterator() -> None:
    taken = []

    def tasks() -> Iterator[str]:
        for number in range(1000):
            taken.append(number)
            yield str(number)

    results = run_all(pool_work.load, tasks(), 2)
    next(results)
    assert len(taken) <= 4
    results.close()
    assert not multiprocessing.active_children()


def test_patience_is_longer_than_any_frame_takes() -> None:
    assert pool.PATIENCE_SECONDS >= 60
