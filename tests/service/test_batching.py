"""Frames that come one by one and are computed together."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from bench.inference.serving import latency_ms
from bench.records import Measurement
from bench.service.batching import Batcher, Window, window
from tests.support.drawn_service import SIZE, Brightness


def frame(level: int) -> np.ndarray:
    return np.full((3, SIZE, SIZE), level, np.uint8)


def test_the_window_follows_the_measured_times() -> None:
    # Batches that save nothing are not waited for; those that halve the time of a frame are.
    assert window({1: 100.0, 8: 800.0, 16: 1600.0}) == Window(1, 0.0)
    assert window({1: 10.0, 8: 40.0, 16: 80.0}) == Window(8, 0.005)
    assert window({1: 10.0, 8: 40.0, 16: 50.0}) == Window(16, 0.005)
    # What waiting costs is never more than what the batch saves: 8 x 10 - 78 = 2 ms.
    assert window({1: 10.0, 8: 77.0}).seconds == pytest.approx(0.003)
    assert window({}).seconds == 0


def test_times_are_those_of_the_runtime_and_device_that_serve() -> None:
    measured = [
        Measurement("onnxruntime", "cpu", 8, ((40.0, 44.0), (42.0,))),
        Measurement("onnxruntime", "cpu", 1, ((10.0,), (30.0, 11.0))),
        Measurement("openvino", "cpu", 1, ((1.0,),)),
        Measurement("onnxruntime", "cuda", 1, ((2.0,),)),
        Measurement("onnxruntime", "cpu", 16, ((), ())),
    ]
    assert latency_ms(measured, "onnxruntime", "cpu") == {1: 11.0, 8: 42.0}
    assert window(latency_ms(measured, "tensorrt", "cuda")).seconds == 0


def test_what_waits_is_computed_together_and_answers_go_to_who_asked() -> None:
    session = Brightness()
    session.go.clear()
    batcher = Batcher(session, Window(4, 0.0))
    answers = [batcher.submit(frame(level)) for level in range(0, 250, 25)]
    session.go.set()
    logits = [answer.result(10).logits[1] for answer in answers]
    assert logits == pytest.approx([(level - 100) / 25 for level in range(0, 250, 25)])
    assert max(session.sizes) == 4
    assert sum(session.sizes) == 10
    batcher.close()


def test_a_frame_waits_for_those_on_their_way_and_for_no_others() -> None:
    session = Brightness()
    batcher = Batcher(session, Window(2, 20.0))
    begin = time.monotonic()
    batcher.submit(frame(1)).result(10)
    assert time.monotonic() - begin < 10, "nothing was on its way"
    with batcher.coming():
        first = batcher.submit(frame(1))
        second = batcher.submit(frame(2))
    assert first.result(10)
    assert second.result(10)
    assert session.sizes == [1, 2]
    batcher.close()


def test_a_failing_batch_fails_alone() -> None:
    session = Brightness(fails=[ValueError("broken")])
    batcher = Batcher(session, Window(4, 0.0))
    with pytest.raises(ValueError, match="broken"):
        batcher.submit(frame(1)).result(10)
    session.fails.append(SystemExit(1))
    with pytest.raises(RuntimeError, match="SystemExit"):
        batcher.submit(frame(1)).result(10)
    assert batcher.works
    assert batcher.submit(frame(100)).result(10).logits[1] == 0
    batcher.close()


def test_a_batch_too_large_for_the_memory_is_halved() -> None:
    session = Brightness(fails=[MemoryError()])
    batcher = Batcher(session, Window(4, 30.0))
    with batcher.coming():  # so that the first is not computed before the others are there
        answers = [batcher.submit(frame(100)) for _ in range(4)]
    assert [answer.result(10).logits[1] for answer in answers] == [0] * 4
    assert session.sizes == [4, 2, 2]
    batcher.close()


def test_closing_computes_what_was_submitted() -> None:
    session = Brightness()
    session.go.clear()
    batcher = Batcher(session, Window(1, 0.0))
    answers = [batcher.submit(frame(100)) for _ in range(5)]
    threading.Timer(0.1, session.go.set).start()
    batcher.close()
    assert all(answer.done() for answer in answers)
    with pytest.raises(RuntimeError, match="ending"):
        batcher.submit(frame(1))
