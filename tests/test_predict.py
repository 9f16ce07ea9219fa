"""Evaluation in shards, with stand-ins for the sessions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from bench.records import Event, Executed, Frame, InputSpec, silent
from bench.results import predict

SPEC = InputSpec(8)
EXECUTED = Executed("stand-in", "cpu", "none", ("none",), "fp32", "fp32")


class Sums:
    """Logits and CAMs that depend on the frame alone; refuses batches over `most`."""

    executed = EXECUTED

    def __init__(self, most: int = 1000, seconds: float = 0.0) -> None:
        self.most, self.seconds, self.sizes = most, seconds, list[int]()

    def predict_timed(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], None]:
        raise AssertionError("evaluation does not time")

    def predict(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.sizes.append(len(frames))
        if len(frames) > self.most:
            raise MemoryError
        time.sleep(self.seconds)
        value = frames[:, 0, 0, 0].astype(np.float32)
        return np.stack([-value / 10, value / 5 - 3], axis=1), np.repeat(value, 4).reshape(-1, 2, 2)


class Broken(Sums):
    def predict(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        raise RuntimeError("fell over")


class Overflowing(Sums):
    def predict(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, cam = super().predict(frames)
        return np.full_like(logits, np.inf), cam


class Reader:
    """Frame i is filled with i; counts how often each was decoded."""

    def __init__(self) -> None:
        self.decoded: list[str] = []

    def __call__(self, frames: Sequence[Frame], spec: InputSpec, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        for low in range(0, len(frames), batch_size):
            part = frames[low : low + batch_size]
            self.decoded += [frame.path for frame in part]
            yield np.stack([np.full((3, 8, 8), int(frame.path), np.uint8) for frame in part])


def rows(count: int) -> list[predict.Labelled]:
    return [predict.Labelled("test", Frame(str(i), Path(str(i)), i % 2, None, "")) for i in range(count)]


def pending(folder: Path, **sessions: predict.Predicts) -> list[predict.Pending]:
    return [predict.Pending(name, f"key of {name}", folder / name, session) for name, session in sessions.items()]


def test_every_frame_is_decoded_once_for_all_variants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "SHARD_FRAMES", 16)
    reader, events = Reader(), list[Event]()
    variants = pending(tmp_path, a=Sums(), b=Sums(), c=Sums())
    assert predict.predict(variants, rows(41), SPEC, reader, events.append) == {}
    assert reader.decoded == [str(i) for i in range(41)]
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[-1].done == events[-1].total == 41
    for variant in variants:
        assert predict.is_done(variant.folder, variant.key)
        assert not predict.is_done(variant.folder, "another key")
        assert sorted(p.name for p in variant.folder.iterdir()) == [
            "cam.npy",
            "predictions.json",
            "predictions.parquet",
        ]
        table = pd.read_parquet(variant.folder / predict.PREDICTIONS)
        assert table["frame"].tolist() == [str(i) for i in range(41)]
        logits = table[["logit_real", "logit_fake"]].to_numpy(np.float64)
        np.testing.assert_allclose(table["p_fake"], softmax(logits, axis=1)[:, 1], rtol=1e-12)
        np.testing.assert_array_equal(np.load(variant.folder / predict.CAMS)[:, 0, 0], np.arange(41))


def test_batches_are_halved_when_memory_runs_out(tmp_path: Path) -> None:
    small = Sums(most=1)
    variants = pending(tmp_path, small=small, large=Sums())
    assert predict.predict(variants, rows(20), SPEC, Reader(), silent) == {}
    assert small.sizes[:3] == [4, 2, 1], "4 and 2 are too many"
    assert set(small.sizes[2:]) == {1}, "a size that did not fit is not tried again"
    first, second = (pd.read_parquet(variant.folder / predict.PREDICTIONS) for variant in variants)
    pd.testing.assert_frame_equal(first, second)


def test_one_that_never_fits_fails_alone(tmp_path: Path) -> None:
    variants = pending(tmp_path, never=Sums(most=0), broken=Broken(), infinite=Overflowing(), fine=Sums())
    failed = predict.predict(variants, rows(20), SPEC, Reader(), silent)
    assert {name: type(error) for name, error in failed.items()} == {
        "never": MemoryError,
        "broken": RuntimeError,
        "infinite": ValueError,
    }
    assert [v.name for v in variants if predict.is_done(v.folder, v.key)] == ["fine"]
