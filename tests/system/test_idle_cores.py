"""Building uses no more threads than others leave cores for, and measuring knows nothing of it."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest
import torch
from numpy.typing import NDArray

from bench.artifacts.onnx_export import to_onnx
from bench.detectors.detector import Detector
from bench.records import Event, Frame, InputSpec
from bench.system import idle_cores
from bench.system.idle_cores import Load
from bench.variants import build
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source


class _Machine:
    """Four cores that this process may run on, and a clock, moved on by hand."""

    def __init__(self) -> None:
        self.now, self.process_seconds, self.busy = 100.0, 5.0, [50.0, 60.0, 70.0, 80.0]

    def passes(self, seconds: float, *, process_cores: float, others: float) -> None:
        """So much time, of which this process and others took so many cores each."""
        self.now += seconds
        self.process_seconds += process_cores * seconds
        self.busy = [busy + (process_cores + others) * seconds / len(self.busy) for busy in self.busy]

    def cpu_times(self, percpu: bool) -> list[SimpleNamespace]:
        # A core that this process may not use is busy all the time.
        return [_times(busy) for busy in (*self.busy, 1e6 + self.now)]


def _times(busy: float) -> SimpleNamespace:
    spent = {
        "user": busy / 2,
        "nice": 0.0,
        "system": busy / 4,
        "steal": busy / 4,
        "idle": 7.0,
        "iowait": 9.0,
        "guest": busy,
    }
    return SimpleNamespace(_asdict=lambda: spent)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> _Machine:
    machine = _Machine()
    monkeypatch.setattr(time, "monotonic", lambda: machine.now)
    monkeypatch.setattr(psutil, "cpu_times", machine.cpu_times)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(idle_cores, "_tree_seconds", lambda: machine.process_seconds)
    return machine


@pytest.mark.parametrize(
    ("process_cores", "others", "free"),
    [(4.0, 0.0, 4), (1.0, 0.3, 4), (2.7, 1.3, 3), (2.0, 2.0, 2), (0.5, 3.5, 1), (0.0, 4.0, 1), (0.0, 0.0, 4)],
)
def test_what_others_leave(machine: _Machine, process_cores: float, others: float, free: int) -> None:
    watched = Load()
    machine.passes(1.0, process_cores=process_cores, others=others)
    assert watched.free_cores() == free
    assert watched.threads(8) == free
    assert watched.threads(2) == min(free, 2)


def test_looks_are_half_a_second_apart(machine: _Machine) -> None:
    watched = Load()
    machine.passes(0.4, process_cores=0.0, others=4.0)
    assert watched.free_cores() is None
    assert watched.threads(3) == 3
    machine.passes(0.2, process_cores=0.0, others=4.0)
    assert watched.free_cores() == 1
    machine.passes(0.4, process_cores=4.0, others=0.0)
    assert watched.free_cores() == 1
    machine.passes(0.6, process_cores=4.0, others=0.0)
    assert watched.free_cores() == 4


def test_one_thread_is_not_looked_at(machine: _Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Load()
    machine.passes(1.0, process_cores=0.0, others=4.0)
    monkeypatch.setattr(idle_cores, "_busy_seconds", lambda: pytest.fail("looked"))
    assert watched.threads(1) == 1


@pytest.mark.parametrize("broken", ["cpu_times", "Process"])
def test_what_cannot_be_told_changes_nothing(machine: _Machine, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.undo()
    monkeypatch.setattr(psutil, broken, refuse)
    watched = Load()
    monkeypatch.setattr(time, "monotonic", lambda: 1e9)
    assert watched.free_cores() is None
    assert watched.threads(5) == 5


def _spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.slow
def test_work_of_this_process_and_its_children_is_its_own() -> None:
    before = idle_cores._tree_seconds()
    child = multiprocessing.get_context("spawn").Process(target=_spin, args=(0.5,))
    child.start()
    _spin(0.3)
    time.sleep(0.1)
    assert idle_cores._tree_seconds() > before + 0.1
    child.join()
    # Of ended children the system still tells.
    assert idle_cores._tree_seconds() > before + 0.3


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_torch_follows_at_batches_and_events(machine: _Machine) -> None:
    def read(frames: object, spec: object, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        for _ in range(3):
            machine.passes(1.0, process_cores=1.0, others=2.0)
            yield np.zeros(1, np.uint8)

    heard: list[Event] = []
    with idle_cores.torch_threads(4) as threads:
        assert torch.get_num_threads() == 4
        frames = (Frame("a.png", Path("a.png"), 0, None, ""),)
        for _ in threads.before_batches(read)(frames, InputSpec(8), 1):
            assert torch.get_num_threads() == 2
        machine.passes(1.0, process_cores=1.0, others=0.0)
        threads.at_events(heard.append)(Event("work", 1, 2))
        assert torch.get_num_threads() == 4
    assert torch.get_num_threads() == 2
    assert heard == [Event("work", 1, 2)]


@pytest.mark.usefixtures("two_threads")
def test_threads_are_set_only_when_the_answer_changes(machine: _Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[int] = []
    with idle_cores.torch_threads(4) as threads:
        monkeypatch.setattr(torch, "set_num_threads", changes.append)
        monkeypatch.setattr(torch, "get_num_threads", lambda: changes[-1] if changes else 4)
        for others in (3.0, 3.0, 0.0, 0.0):
            machine.passes(1.0, process_cores=1.0, others=others)
            threads.follow()
    assert changes == [1, 4, 2]


@pytest.mark.usefixtures("two_threads")
def test_what_others_have_set_stays(machine: _Machine) -> None:
    with idle_cores.torch_threads(4) as threads:
        torch.set_num_threads(3)
        machine.passes(1.0, process_cores=1.0, others=3.0)
        threads.follow()
        assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("two_threads")
def test_restored_after_a_failure() -> None:
    with pytest.raises(RuntimeError, match="step"), idle_cores.torch_threads(1):
        raise RuntimeError("step")
    assert torch.get_num_threads() == 2


def test_every_step_follows_and_what_comes_after_does_not(
    context: BuildContext, source: Source, machine: _Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []

    def read(frames: Sequence[Frame], spec: InputSpec, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        used.append(torch.get_num_threads())
        machine.passes(1.0, process_cores=0.5, others=3.0)
        yield from context.read(frames, spec, batch_size)

    def heard(event: Event) -> None:
        used.append(torch.get_num_threads())

    before = torch.get_num_threads()
    follows = replace(context, threads=3, read=read, on_event=heard)
    build.build("small", source, [parse({"prune": 0.3}), parse({"recover": 2})], follows)
    assert torch.get_num_threads() == before
    assert set(used) == {before, 3, 1}


def test_quantize_observes_with_what_is_free(
    context: BuildContext, source: Source, machine: _Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Options(onnxruntime.SessionOptions):  # type: ignore[misc]  # onnxruntime has no types, and the setter is to be heard
        def __setattr__(self, name: str, value: object) -> None:
            if name == "intra_op_num_threads":
                asked.append(int(str(value)))
            super().__setattr__(name, value)

    def exported(detector: Detector) -> onnx.ModelProto:
        machine.passes(2.0, process_cores=1.0, others=2.0)
        return to_onnx(detector)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    monkeypatch.setattr("bench.variants.steps.quantize.observe.to_onnx", exported)
    build.build("q8", source, [parse({"quantize": "int8"})], replace(context, threads=3))
    assert asked == [2]
