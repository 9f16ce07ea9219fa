"""Steps that are killed at any of their checkpoints go on from there, and end in the same bytes."""

from __future__ import annotations

import contextlib
import copy
import io
import tracemalloc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.detectors.detector import Detector
from bench.records import Preprocessing
from bench.variants import checkpoints
from bench.variants.steps import StepContext, prune, quantize, recover
from bench.variants.steps.recover import Settings, distillation
from tests.support import tiny, tokens
from tests.support.step_work import work

STEPS: dict[str, tuple[Any, Any]] = {
    "int8": (quantize, quantize.Settings(dtype="int8", frames=16)),
    "int4 weights": (quantize, quantize.Settings(weights="int4", frames=16)),
    "half the channels": (prune, prune.Settings(amount=0.5, frames=16)),
    "half of a transformer": (prune, prune.Settings(amount=0.5, frames=16)),
    "2 of 4": (prune, prune.Settings.model_validate({"structure": "2of4", "frames": 16})),
    "recalibrated": (recover, recover.Settings(steps=0, recalibrate=True, batch_size=4)),
}


EVERY = {"int8": 6, "half of a transformer": 9}
"""Killed at every so many checkpoints, by default at every third: what is before the first part is repeated every time.

These two have dozens.
"""


class _KilledError(BaseException):
    """As nothing in a step expects it."""


def _bytes(result: Any) -> dict[str, bytes]:
    if isinstance(result, Detector):
        return {name: tensor.numpy().tobytes() for name, tensor in result.state_dict().items()}
    return {"graph": result.SerializeToString(deterministic=True)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", STEPS)
def test_a_step_killed_at_many_checkpoints_ends_in_the_same_bytes(
    kind: str, tiny_family: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after every few checkpoints until it is done, it does no part twice."""
    monkeypatch.setattr("bench.variants.steps.CALIBRATION_PIXELS", 4 * 32 * 32)
    (step, settings), model = STEPS[kind], tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    if "transformer" in kind:
        model = tokens.lively(preprocessing=Preprocessing(size=32))
    undisturbed = _bytes(step.apply(copy.deepcopy(model), settings, _work(tmp_path / "undisturbed", model)))

    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)
    saved_parts, write, every = list[tuple[str, int]](), checkpoints.write, EVERY.get(kind, 3)

    def save_and_die(surroundings: StepContext, name: str, state: dict[str, Any]) -> None:
        write(surroundings, name, state)
        saved_parts.append((name, state["done"]))
        if len(saved_parts) % every == 0:
            raise _KilledError

    monkeypatch.setattr(checkpoints, "write", save_and_die)
    for _ in range(200):
        try:
            result = step.apply(copy.deepcopy(model), settings, _work(tmp_path / "killed", model))
            break
        except _KilledError:
            pass
    else:
        pytest.fail(f"never done: {saved_parts}")
    assert _bytes(result) == undisturbed
    # Nothing was done twice.
    assert len(saved_parts) == len(set(saved_parts)) >= every
    for part in {name for name, _ in saved_parts}:
        done = [count for name, count in saved_parts if name == part]
        assert done == sorted(done)


def test_the_answers_that_a_killed_run_had_are_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher answers two batches, the run is killed in the third, and the next run asks for the rest."""
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)
    model = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    surroundings, asked = _work(tmp_path / "one", model), list[int]()
    frames, lower, answers = surroundings.frames["train"].frames, contextlib.nullcontext, distillation._answers
    settings = Settings(batch_size=4, augment=False)

    def answer(detector: Detector, batches: Any, lower: Any) -> Any:
        asked.extend(len(batch) for batch in batches)
        if len(asked) == 3:
            raise _KilledError
        return answers(detector, batches, lower)

    monkeypatch.setattr(distillation, "_answers", answer)
    with pytest.raises(_KilledError):
        distillation.answered(model, ("train", frames), surroundings, settings, lower)
    held_out = distillation.answered(model, ("train", frames), surroundings, settings, lower)
    assert asked == [4] * 5
    logit_diffs, cams = answers(model, held_out.batches, lower)
    assert torch.equal(held_out.logit_diffs, logit_diffs)
    assert held_out.cams is not None
    assert cams is not None
    assert torch.equal(held_out.cams, cams)


def _work(folder: Path, model: Detector) -> StepContext:
    folder.mkdir(exist_ok=True)
    return work(folder, model, count=16)


def test_what_is_not_this_users_or_of_another_variant_is_not_read(tmp_path: Path) -> None:
    """Neither of another part, nor copied from another variant, nor damaged anywhere."""
    surroundings = _work(tmp_path / "one", tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    checkpoints.write(surroundings, "pass", {"done": 1, "sums": torch.ones(3)})
    file = tmp_path / "one/pass.checkpoint"
    state = checkpoints.read(surroundings, "pass")
    assert state is not None
    assert state["done"] == 1
    assert checkpoints.read(surroundings, "another pass") is None
    other = _work(tmp_path / "other", tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    (tmp_path / "other/pass.checkpoint").write_bytes(file.read_bytes())
    assert checkpoints.read(other, "pass") is None
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole[:70], whole[65:], whole[:80] + b"x" + whole[81:]):
        file.write_bytes(damaged)
        assert checkpoints.read(surroundings, "pass") is None
        assert checkpoints.Part(surroundings, "pass").state == {}


def test_what_was_saved_takes_no_memory_once_the_step_goes_on(tmp_path: Path) -> None:
    surroundings = _work(tmp_path / "one", tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    checkpoints.write(surroundings, "pass", {"done": 3, "sums": torch.ones(3)})
    part = surroundings.part("pass")
    sums = weakref.ref(part.state["sums"])
    part.keep(4, 9, dict)
    assert (part.done, sums()) == (3, None)


def test_short_parts_are_not_saved_and_a_full_disk_stops_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of less than the interval leaves no file, and neither does a disk without room."""
    surroundings = _work(tmp_path / "one", tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 20.0)
    checkpoints.Part(surroundings, "pass").keep(1, 1, lambda: pytest.fail("saved"))
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_atomically", full)
    checkpoints.Part(surroundings, "pass").keep(1, 2, dict)
    assert list((tmp_path / "one").iterdir()) == []


@pytest.mark.parametrize(
    ("unit", "saving", "at"),
    [
        pytest.param(7, 0, [21, 42, 63, 84], id="every 20 s"),
        pytest.param(18, 0, [18, 36, 54, 72, 90], id="before the next unit takes it past 30 s"),
        pytest.param(50, 0, [50, 100], id="every unit that takes longer"),
        pytest.param(3, 2, [21, 50, 79], id="up to 30 s apart where saving takes long"),
    ],
)
def test_checkpoints_are_at_most_30_s_apart_where_units_of_work_allow_it(
    unit: int, saving: int, at: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, saved = 0, list[int]()
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 20.0)

    def write(*_: Any) -> None:
        nonlocal now
        saved.append(now)
        now += saving

    monkeypatch.setattr(checkpoints, "write", write)
    pace, surroundings = checkpoints.Pace(), _work(tmp_path, tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    while now + unit <= 100:
        now += unit
        pace.save(surroundings, "training", dict)
    assert saved == at


@pytest.mark.parametrize("what", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_ends_the_writing_is_raised_as_it_is(
    what: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, or Ctrl-C is pressed, after a thousand bytes."""

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 1000:
                raise what
            return super().write(data)

    monkeypatch.setattr(checkpoints, "write_atomically", lambda path, fill: fill(Full()))
    surroundings = _work(tmp_path / "one", tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    with pytest.raises(type(what)) as raised:
        checkpoints.write(surroundings, "pass", {"sums": torch.ones(5000)})
    assert raised.value is what


def test_saving_takes_no_second_copy_in_memory(tmp_path: Path) -> None:
    surroundings, state = _work(tmp_path / "one", tiny.build("tiny", "tiny", tiny.PREPROCESSING)), torch.ones(2**22)
    tracemalloc.start()
    try:
        checkpoints.write(surroundings, "pass", {"sums": state})
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < state.nbytes / 8
    assert torch.equal(surroundings.part("pass").state["sums"], state)
