"""Evaluation in shards, with stand-ins for the sessions."""

from __future__ import annotations

import errno
import gc
import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from bench import stored
from bench.artifacts import safetensors
from bench.records import (
    AnySpec,
    Event,
    Executed,
    Frame,
    InputSpec,
    Prediction,
    PredictionPass,
    Preprocessing,
    Session,
    SpecBatches,
    Timed,
    silent,
)
from bench.results import predict, store
from bench.runtimes import pytorch
from tests.support import b0, tiny
from tests.support.pace import limit

SPEC = InputSpec(8)
EXECUTED = Executed("stand-in", "cpu", "none", ("none",), "fp32", "fp32")
Answer: TypeAlias = Prediction[NDArray[np.float32]]


class Sums:
    """Logits and CAMs that depend on the frame alone; refuses batches over `most`."""

    executed = EXECUTED

    def __init__(self, most: int = 1000, seconds: float = 0.0) -> None:
        self.most, self.seconds, self.sizes = most, seconds, list[int]()

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        raise AssertionError("evaluation does not time")

    def predict(self, frames: NDArray[np.uint8]) -> Answer:
        self.sizes.append(len(frames))
        if len(frames) > self.most:
            raise MemoryError
        time.sleep(self.seconds)
        value = frames[:, 0, 0, 0].astype(np.float32)
        return Prediction(np.stack([-value / 10, value / 5 - 3], axis=1), np.repeat(value, 4).reshape(-1, 2, 2))


class Broken(Sums):
    def predict(self, frames: NDArray[np.uint8]) -> Answer:
        raise RuntimeError("fell over")


class Overflowing(Sums):
    def predict(self, frames: NDArray[np.uint8]) -> Answer:
        logits, cam = super().predict(frames)
        return Prediction(np.full_like(logits, np.inf), cam)


class Device:
    """What sessions on one device share: which answers are under way, in order, and how many there were at most."""

    def __init__(self) -> None:
        self.under_way: list[object] = []
        self.most = 0


class Queued(Sums):
    """Computes only when its answer is asked for: whoever changed the frames meanwhile would change the answer.

    What is refused is refused by `submit`, or with `late` by the answer.
    """

    def __init__(self, device: Device, most: int = 1000, *, late: bool = False) -> None:
        super().__init__(most)
        self.device, self.late = device, late

    def predict(self, frames: NDArray[np.uint8]) -> Answer:
        raise AssertionError("what can be submitted is submitted")

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Answer]:
        self.sizes.append(len(frames))
        if not self.late:
            self.refuse(frames)
        ticket = object()
        self.device.under_way.append(ticket)
        self.device.most = max(self.device.most, len(self.device.under_way))
        return partial(self.answer, ticket, frames)

    def answer(self, ticket: object, frames: NDArray[np.uint8]) -> Answer:
        assert self.device.under_way[0] is ticket, "answers are asked for in the order of submission"
        self.device.under_way.pop(0)
        if self.late:
            self.refuse(frames)
        return self.compute(frames)

    def refuse(self, frames: NDArray[np.uint8]) -> None:
        if len(frames) > self.most:
            raise MemoryError

    def compute(self, frames: NDArray[np.uint8]) -> Answer:
        return Sums().predict(frames)


class Reader:
    """Frame i is filled with i; knows how often it was opened, and the frames of every batch."""

    def __init__(self, before: Callable[[int], object] = lambda batch: None) -> None:
        self.before = before
        self.opened = 0
        self.batches: list[list[int]] = []

    def __call__(self, frames: Sequence[Frame], specs: Sequence[AnySpec], batch_size: int) -> Iterator[SpecBatches]:
        self.opened += 1
        for low in range(0, len(frames), batch_size):
            self.before(low // batch_size)
            part = frames[low : low + batch_size]
            self.batches.append([int(frame.path) for frame in part])
            yield {
                spec: np.stack([np.full((3, spec.size, spec.size), int(frame.path), np.uint8) for frame in part])
                for spec in specs
            }

    @property
    def decoded(self) -> list[int]:
        return [frame for batch in self.batches for frame in batch]


@pytest.fixture
def short_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "SHARD_FRAMES", 16)


def rows(count: int) -> list[predict.FrameRow]:
    return [predict.FrameRow("test", Frame(str(i), Path(str(i)), i % 2, None, "")) for i in range(count)]


def pending(folder: Path, **sessions: Session) -> list[predict.Pending]:
    return [predict.Pending(name, f"key of {name}", folder / name, session, SPEC) for name, session in sessions.items()]


def check_answers(variants: Sequence[predict.Pending], count: int) -> None:
    """Every variant's files hold the answers of all frames, in their order."""
    expected = Sums().predict(np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1))
    for variant in variants:
        assert predict.is_done(variant.folder, variant.key), variant.name
        table = pd.read_parquet(variant.folder / predict.PREDICTIONS)
        assert table["frame"].tolist() == [str(i) for i in range(count)]
        np.testing.assert_array_equal(table[["logit_real", "logit_fake"]], expected[0])
        np.testing.assert_array_equal(np.load(variant.folder / predict.CAMS), expected[1])


@pytest.mark.usefixtures("short_shards")
def test_every_frame_is_decoded_once_for_all_variants(tmp_path: Path) -> None:
    reader, events = Reader(), list[Event]()
    variants = pending(tmp_path, a=Sums(), b=Sums(), c=Sums())
    assert predict.predict(variants, rows(41), reader, events.append) == {}
    assert (reader.opened, reader.decoded) == (1, list(range(41)))
    counted = [event.done for event in events if event.total]
    assert counted == sorted(counted)
    assert events[-1].done == events[-1].total == 41
    check_answers(variants, 41)
    for variant in variants:
        assert not predict.is_done(variant.folder, "another key")
        assert sorted(p.name for p in variant.folder.iterdir()) == [
            "cam.npy",
            "predictions.json",
            "predictions.parquet",
        ]
        table = pd.read_parquet(variant.folder / predict.PREDICTIONS)
        logits = table[["logit_real", "logit_fake"]].to_numpy(np.float64)
        np.testing.assert_allclose(table["p_fake"], softmax(logits, axis=1)[:, 1], rtol=1e-12)


def test_batches_are_halved_when_memory_runs_out(tmp_path: Path) -> None:
    small = Sums(most=1)
    variants = pending(tmp_path, small=small, large=Sums())
    assert predict.predict(variants, rows(20), Reader(), silent) == {}
    assert small.sizes[:3] == [4, 2, 1], "4 and 2 are too many"
    assert set(small.sizes[2:]) == {1}, "a size that did not fit is not tried again"
    first, second = (pd.read_parquet(variant.folder / predict.PREDICTIONS) for variant in variants)
    pd.testing.assert_frame_equal(first, second)


def test_one_that_never_fits_fails_alone(tmp_path: Path) -> None:
    variants = pending(tmp_path, never=Sums(most=0), broken=Broken(), infinite=Overflowing(), fine=Sums())
    failed = predict.predict(variants, rows(20), Reader(), silent)
    assert {name: type(error) for name, error in failed.items()} == {
        "never": MemoryError,
        "broken": RuntimeError,
        "infinite": ValueError,
    }
    assert [v.name for v in variants if predict.is_done(v.folder, v.key)] == ["fine"]


# ------------------------------------------------------------------------------------------ under way
@pytest.mark.usefixtures("short_shards")
@pytest.mark.parametrize("names", ["a", "abc"])
def test_a_device_has_two_answers_under_way_while_frames_are_decoded(names: str, tmp_path: Path) -> None:
    device, waiting = Device(), list[int]()
    reader = Reader(lambda batch: waiting.append(len(device.under_way)))
    variants = pending(tmp_path, **{name: Queued(device) for name in names})
    assert predict.predict(variants, rows(41), reader, silent) == {}
    assert waiting == [0, min(len(names), 2), *[2] * 9], "across batches and the borders of shards"
    assert device.most == 2, "of all variants together"
    assert device.under_way == []
    check_answers(variants, 41)


class Threaded(Sums):
    """Computes in a thread, and each batch only when the second after it was asked of the reader."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = ThreadPoolExecutor(1)
        self.asked = threading.Semaphore(0)

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Answer]:
        return self.pool.submit(self.compute, frames).result

    def compute(self, frames: NDArray[np.uint8]) -> Answer:
        assert self.asked.acquire(timeout=limit(20)), "the host waits for the device before it decodes"
        return self.predict(frames)


@pytest.mark.usefixtures("short_shards")
def test_decoding_goes_on_while_a_device_computes(tmp_path: Path) -> None:
    """Were any answer waited for before the frames two batches later are decoded, nothing would ever go on."""
    session = Threaded()

    def before(batch: int) -> None:
        if batch >= 2:
            session.asked.release(3 if batch == 10 else 1)  # after the last one nothing is decoded

    variants = pending(tmp_path, a=session)
    assert predict.predict(variants, rows(41), Reader(before), silent) == {}
    check_answers(variants, 41)


@pytest.mark.usefixtures("short_shards")
@pytest.mark.parametrize("late", [False, True])
def test_devices_batches_are_halved_when_memory_runs_out(late: bool, tmp_path: Path) -> None:
    device = Device()
    small, large = Queued(device, 1, late=late), Queued(device)
    variants = pending(tmp_path, small=small, host=Sums(), large=large, other=Sums(most=2))
    assert predict.predict(variants, rows(41), Reader(), silent) == {}
    expected = [4, 2, 2] if late else [4, 2]  # an answer that comes too late finds another one under way
    assert [size for size in small.sizes if size > 1] == expected, "a size that did not fit is not tried again"
    assert set(large.sizes) == {1, 4}, "whose memory suffices keeps its size; one frame is left for the last batch"
    check_answers(variants, 41)


def test_two_batches_that_do_not_fit_halve_the_size_once(tmp_path: Path) -> None:
    """Both were submitted before the first was refused."""
    session = Queued(Device(), 2, late=True)
    variants = pending(tmp_path, a=session)
    assert predict.predict(variants, rows(20), Reader(), silent) == {}
    assert session.sizes == [4, 4, *[2] * 10]
    check_answers(variants, 20)


class OneAtATime(Queued):
    """Has memory for one frame, and only if nothing else is under way."""

    def refuse(self, frames: NDArray[np.uint8]) -> None:
        if len(frames) > 1 or self.device.under_way:
            raise MemoryError


def test_a_frame_that_does_not_fit_beside_others_is_computed_by_itself(tmp_path: Path) -> None:
    device = Device()
    variants = pending(tmp_path, large=Queued(device), small=OneAtATime(device))
    assert predict.predict(variants, rows(20), Reader(), silent) == {}
    check_answers(variants, 20)


class RefusedLate(Queued):
    """Answers that come to nothing: the second batch, and all later ones if there were any."""

    def compute(self, frames: NDArray[np.uint8]) -> Answer:
        if frames[0, 0, 0, 0] >= 4:
            raise RuntimeError("fell over")
        return super().compute(frames)


class RefusedAtOnce(Queued):
    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Answer]:
        raise RuntimeError("fell over")


class NotFinite(Queued):
    def compute(self, frames: NDArray[np.uint8]) -> Answer:
        logits, cams = super().compute(frames)
        return Prediction(np.where(frames[:, :2, 0, 0] >= 4, np.nan, logits).astype(np.float32), cams)


@pytest.mark.usefixtures("short_shards")
def test_what_fails_on_a_device_fails_alone(tmp_path: Path) -> None:
    device = Device()
    sessions: dict[str, Session] = {
        "first": Queued(device),
        "late": RefusedLate(device),
        "at once": RefusedAtOnce(device),
        "never": Queued(device, 0),
        "never, late": Queued(device, 0, late=True),
        "infinite": NotFinite(device),
        "host": Sums(),
        "last": Queued(device, 2),
    }
    variants = pending(tmp_path, **sessions)
    failed = predict.predict(variants, rows(41), Reader(), silent)
    assert {name: type(error) for name, error in failed.items()} == {
        "late": RuntimeError,
        "at once": RuntimeError,
        "never": MemoryError,
        "never, late": MemoryError,
        "infinite": ValueError,
    }
    assert device.under_way == []
    assert device.most == 2
    fine = [variant for variant in variants if variant.name not in failed]
    check_answers(fine, 41)
    passes = {store.read_prediction_pass(variant.folder, variant.key) for variant in fine}
    assert [(evaluation.frames, evaluation.variants) for evaluation in passes if evaluation] == [(41, 3)]


def test_nothing_is_decoded_for_variants_that_have_all_failed(tmp_path: Path) -> None:
    reader = Reader()
    assert set(predict.predict(pending(tmp_path, a=Broken(), b=Broken()), rows(40), reader, silent)) == {"a", "b"}
    assert reader.decoded == [0, 1, 2, 3]


class Activations:
    """Something large that a call holds."""


def test_an_error_does_not_hold_the_memory_of_the_call_that_failed(tmp_path: Path) -> None:
    held: list[weakref.ref[Activations]] = []

    class Failing(Sums):
        def predict(self, frames: NDArray[np.uint8]) -> Answer:
            try:
                self.compute()
            except ValueError as error:
                raise RuntimeError("fell over") from error
            raise AssertionError

        def compute(self) -> None:
            activations = Activations()
            held.append(weakref.ref(activations))
            raise ValueError("in a layer")

    failed = predict.predict(pending(tmp_path, a=Failing()), rows(4), Reader(), silent)
    gc.collect()
    assert failed["a"].__cause__ is not None
    assert [reference() for reference in held] == [None]


# --------------------------------------------------------------------------------- shards and batches
@pytest.mark.usefixtures("short_shards")
def test_an_interrupted_pass_goes_on_where_it_was(tmp_path: Path) -> None:
    """Past the border of two shards answers are still under way: that shard is computed again, those before are not."""

    def interrupt(batch: int) -> None:
        if batch == 9:
            raise KeyboardInterrupt

    device = Device()
    with pytest.raises(KeyboardInterrupt):
        predict.predict(pending(tmp_path, a=Queued(device)), rows(41), Reader(interrupt), silent)
    device.under_way.clear()
    [first, other] = pending(tmp_path, a=Queued(device), b=Queued(device))
    assert [path.stem for path in (first.folder / predict.SHARDS / first.key).iterdir()] == ["000000000"]

    reader, events = Reader(), list[Event]()
    assert predict.predict([first], rows(41), reader, events.append) == {}
    assert (reader.opened, reader.decoded) == (1, list(range(16, 41)))
    assert [event.done for event in events[:3]] == [0, 16, 20]
    evaluation = store.read_prediction_pass(first.folder, first.key)
    assert evaluation is not None
    assert (evaluation.frames, evaluation.variants) == (25, 1)
    assert predict.predict([other], rows(41), Reader(), silent) == {}
    check_answers([first, other], 41)


@pytest.mark.usefixtures("short_shards")
def test_shards_that_a_variant_has_are_not_computed_again(tmp_path: Path) -> None:
    device = Device()
    old, new, whole = Queued(device), Queued(device), Queued(device)
    variants = pending(tmp_path, old=old, new=new, whole=whole)
    for variant, lows in ((variants[0], (0, 32)), (variants[2], (0, 16, 32))):
        for low in lows:
            frames = np.arange(low, min(low + 16, 41), dtype=np.uint8).reshape(-1, 1, 1, 1)
            predict._write_shard(predict._shard(variant, low), [Sums().predict(frames)])
    reader = Reader()
    assert predict.predict(variants, rows(41), reader, silent) == {}
    assert reader.decoded == list(range(41))
    assert [sum(session.sizes) for session in (old, new, whole)] == [16, 41, 0]
    check_answers(variants, 41)
    measured = [store.read_prediction_pass(variant.folder, variant.key) for variant in variants]
    assert measured[0] == measured[1]
    assert measured[0] is not None
    assert (measured[0].frames, measured[0].variants) == (41, 2)
    assert measured[2] is None, "nothing of it was computed in this pass"


@pytest.mark.parametrize(("shard", "batch"), [(16, 4), (10, 2), (2, 2), (256, 4)])
def test_no_batch_crosses_the_border_of_two_shards(
    shard: int, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "SHARD_FRAMES", shard)
    reader, variants = Reader(), pending(tmp_path, a=Sums())
    assert predict.predict(variants, rows(41), reader, silent) == {}
    assert {len(frames) for frames in reader.batches} == {batch, 1}
    assert all(frames[0] // shard == frames[-1] // shard for frames in reader.batches)
    check_answers(variants, 41)


@pytest.mark.parametrize(
    ("device", "frames", "size"),
    [("cpu", 0.5, 1), ("cpu", 3, 2), ("cpu", 100, 4), ("cuda", 0, 1), ("cuda", 100, 64), ("cuda", 1000, 128)],
)
def test_batch_sizes_are_powers_of_two_that_a_quarter_of_the_free_memory_holds(
    device: str, frames: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = int(4 * 90e6 * frames) + 1
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (free, 2 * free))
    assert predict.batch_size(InputSpec(380), device) == size


# ------------------------------------------------------------------------------------ what it took
def test_waiting_for_decoded_frames_is_measured(tmp_path: Path) -> None:
    variants = pending(tmp_path, a=Sums(seconds=0.02), b=Sums())
    reader = Reader(lambda batch: time.sleep(0.03))
    assert predict.predict(variants, rows(20), reader, silent) == {}
    first, second = (store.read_prediction_pass(variant.folder, variant.key) for variant in variants)
    assert first is not None
    assert first == second, "one pass"
    assert (first.frames, first.variants) == (20, 2)
    assert first.waited_seconds >= 0.149, "five batches"
    assert first.seconds >= first.waited_seconds + 0.099
    assert store.read_prediction_pass(variants[0].folder, "another key") is None


@pytest.mark.parametrize("noted", [{}, {"evaluation": None}, {"evaluation": {"frames": 3}}, {"evaluation": "fast"}])
def test_predictions_without_what_they_took_are_as_good(noted: dict[str, Any], tmp_path: Path) -> None:
    [variant] = pending(tmp_path, a=Sums())
    predict.predict([variant], rows(5), Reader(), silent)
    file = variant.folder / predict.MARK
    mark = json.loads(file.read_text())
    assert PredictionPass(**mark.pop("evaluation")) == store.read_prediction_pass(variant.folder, variant.key)
    file.write_text(json.dumps(mark | noted))
    assert predict.is_done(variant.folder, variant.key)
    assert store.read_prediction_pass(variant.folder, variant.key) is None


# ---------------------------------------------------------------------------------- a real device
class Recorded:
    """A real session, and how many frames each call was given."""

    def __init__(self, session: Session) -> None:
        self.session, self.executed, self.sizes = session, session.executed, list[int]()
        self.predict_timed = session.predict_timed
        if hasattr(session, "submit"):
            self.submit = self._submit

    def predict(self, frames: NDArray[np.uint8]) -> Answer:
        self.sizes.append(len(frames))
        return self.session.predict(frames)

    def _submit(self, frames: NDArray[np.uint8]) -> Callable[[], Answer]:
        self.sizes.append(len(frames))
        session: Any = self.session
        answer: Callable[[], Answer] = session.submit(frames)
        return answer


def noise(frames: Sequence[Frame], specs: Sequence[AnySpec], batch_size: int) -> Iterator[SpecBatches]:
    """Noise of sixteen strengths: noise of one looks the same to a network that averages over it."""
    [spec] = specs
    for low in range(0, len(frames), batch_size):
        part = frames[low : low + batch_size]
        drawn = [
            np.random.default_rng(number).integers(0, 16 * (number % 16 + 1), (3, spec.size, spec.size), dtype=np.uint8)
            for number in (int(frame.path) for frame in part)
        ]
        yield {spec: np.stack(drawn)}


@pytest.mark.cuda
@pytest.mark.usefixtures("tiny_family")
def test_batches_are_halved_when_a_devices_memory_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 512 px this network's widest maps take 17 MB a frame: 128 frames take 2 GiB a map, one frame takes little."""
    import torch

    size, device = 512, torch.device("cuda", torch.cuda.current_device())
    detector = tiny.lively(tiny.build("tiny", "tiny", Preprocessing(size=size, channels="bgr", wavelet="sym2")))
    built = b0.built(safetensors.save(detector, tmp_path / "built"), "torch", "fp32")
    # Free memory is the whole device's, of which the limit says nothing.
    monkeypatch.setattr(predict, "batch_size", lambda spec, device: 128)

    def evaluated(name: str) -> tuple[list[int], pd.DataFrame, NDArray[np.float32]]:
        # Which convolution is fastest hangs on the memory there is; in float32 proper they agree.
        session = Recorded(pytorch.load(built, "cuda", 1, tf32=False))
        variant = predict.Pending(name, f"key of {name}", tmp_path / name, session, InputSpec(size))
        assert predict.predict([variant], rows(256), noise, silent) == {}
        table = pd.read_parquet(variant.folder / predict.PREDICTIONS)
        return session.sizes, table, np.load(variant.folder / predict.CAMS)

    gc.collect()
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved(device) + 2**30
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(device).total_memory, device)
    try:
        sizes, table, cams = evaluated("limited")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        gc.collect()
        torch.cuda.empty_cache()
    whole_sizes, whole, whole_cams = evaluated("unlimited")
    assert whole_sizes == [128, 128]
    assert sizes[0] == 128
    assert sizes[-1] < 128, "halved for good"
    columns = ["logit_real", "logit_fake", "p_fake"]
    assert table["frame"].tolist() == [str(i) for i in range(256)]
    assert whole["p_fake"].std() > 1e-3, "answers alike would prove nothing of their order"
    np.testing.assert_allclose(table[columns], whole[columns], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(cams, whole_cams, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_a_shard_that_cannot_be_read_at_present_is_not_removed(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is damaged is."""
    file = predict.shard_file(tmp_path, "key", 0)
    predict._write_shard(file, [Sums().predict(np.zeros((1, 1, 1, 1), dtype=np.uint8))])
    with monkeypatch.context() as patch:
        patch.setattr(stored, "open_file", Mock(side_effect=error))
        with pytest.raises(type(error)):
            predict.remove_damaged(file)
    assert not predict.remove_damaged(file)
    file.write_bytes(file.read_bytes()[:-30])
    assert predict.remove_damaged(file)
    assert not file.exists()
