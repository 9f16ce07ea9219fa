"""Predictions of a service are logged in batches by a thread; nothing that goes wrong there reaches who predicts."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.records import TrackedPrediction
from bench.tracking.predictions import PredictionLog, prediction_log

PREDICTION = TrackedPrediction("image", "real", 0.2, 0.01, {"b5": 0.2})


def test_all_are_logged_in_batches() -> None:
    batches: list[int] = []
    log = PredictionLog(lambda predictions: batches.append(len(predictions)), batch=40, interval_s=0.01)
    assert all(log.add(PREDICTION) for _ in range(100))
    log.close()
    assert (sum(batches), log.logged, log.lost) == (100, 100, 0)
    assert max(batches) <= 40


def test_adding_never_waits_for_a_slow_tracker() -> None:
    blocked = threading.Event()

    def hang(predictions: Sequence[TrackedPrediction]) -> None:
        blocked.wait()

    log = PredictionLog(hang, most=10, batch=5, interval_s=0.01)
    began = time.monotonic()
    taken = [log.add(PREDICTION) for _ in range(200)]
    took_s = time.monotonic() - began
    blocked.set()
    log.close()
    assert took_s < 5, "200 predictions were taken or lost while the tracker hung"
    assert log.logged == sum(taken)
    assert log.lost == 200 - sum(taken) > 0


def test_a_tracker_that_fails_loses_its_batch_alone() -> None:
    fails = [True, False]

    def write(predictions: Sequence[TrackedPrediction]) -> None:
        if fails.pop(0):
            raise OSError("no server")

    log = PredictionLog(write, batch=1, interval_s=0.01)
    log.add(PREDICTION)
    log.add(PREDICTION)
    log.close()
    assert (log.logged, log.lost) == (1, 1)


def test_what_is_not_logged_by_the_end_is_said(logged: list[str]) -> None:
    blocked = threading.Event()

    def hang(predictions: Sequence[TrackedPrediction]) -> None:
        blocked.wait()

    log = PredictionLog(hang, batch=2, interval_s=0.01)
    for _ in range(5):
        log.add(PREDICTION)
    log.close(0.2)
    log.close(0.2)
    blocked.set()
    assert log.lost == 5
    (message,) = logged
    assert "5 predictions were not logged in 0.2 seconds, and are lost" in message


def test_closed_takes_none() -> None:
    log = PredictionLog(lambda predictions: None, interval_s=0.01)
    log.close()
    log.close()
    assert not log.add(PREDICTION)


def test_a_wrong_address_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected sqlite:///FILE"):
        prediction_log({"mlflow": "mlruns"}, "shop", tmp_path)
