"""A service whose network is a sum: it starts without a run, and a test can hold it back or let it fail."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray

from bench.inference.served import Member, Served
from bench.records import Executed, Prediction, Preprocessing, Timed, VideoScoring
from bench.records.ensembles import Ensemble
from bench.records.inspection import Judge
from bench.service.app import create_app
from bench.service.settings import ServiceSettings
from bench.service.state import OnPredicted

SIZE = 64


@dataclass
class Brightness:
    """Calls bright frames fake. `sizes` are those of its batches; it waits for `go`, and raises what `fails` holds.

    It says of itself whether it `works`, as one in a process of its own does.
    """

    sizes: list[int] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    fails: list[BaseException] = field(default_factory=list)
    works: bool = True

    def __post_init__(self) -> None:
        self.executed = Executed("drawn", "cpu", "a processor", (), "fp32", "fp32")
        self.go.set()

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        self.go.wait(30)
        self.sizes.append(len(frames))
        if self.fails:
            raise self.fails.pop()
        level = (frames.mean((1, 2, 3)).astype(np.float32) - 100) / 25
        cam = (frames.mean(1)[:, ::8, ::8].astype(np.float32) - 100) / 25
        return Prediction(np.stack([np.zeros_like(level), level], 1), cam)

    def predict_timed(self, frames: NDArray[np.uint8]) -> Timed:
        return Timed(self.predict(frames), None)


class NoFrames:
    """A set to which no picture belongs."""

    def find(self, size: int, digest: str) -> None:
        return None


def member(name: str, session: Brightness, latency_ms: Mapping[int, float] | None = None, crop: str = "none") -> Member:
    judge = Judge(name, f"id-{name}", (), "model.onnx", "d" * 64, "int8", "drawn", "cpu", "int8")
    of_set: Any = NoFrames()
    return Member(name, judge, session, Preprocessing(SIZE, crop=crop), of_set, latency_ms or {})


def served(*members: Member, name: str = "q8", rule: Ensemble | None = None) -> Served:
    """Members joined by a rule, by the mean of their P(fake) if left out."""
    rule = rule or Ensemble({member.name: 1.0 for member in members})
    return Served(name, members, rule, 0.5, "stable: AUC 0.9000", 0.9, 1.5, True, VideoScoring())


def application(*variants: Served, on_predicted: OnPredicted = lambda predicted: None, **settings: Any) -> FastAPI:
    settings = {"allowed_hosts": ("test", "testserver"), **settings}
    variants = variants or (served(member("q8", Brightness())),)
    return create_app("first", variants, ServiceSettings(**settings), on_predicted)
