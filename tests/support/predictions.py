"""Predictions that must have a class-activation map."""

from __future__ import annotations

from typing import TypeVar

from bench.records import Prediction

ArrayT = TypeVar("ArrayT")


def logits_and_cam(prediction: Prediction[ArrayT]) -> tuple[ArrayT, ArrayT]:
    """Both parts; `AssertionError` where there is no map."""
    assert prediction.cam is not None
    return prediction.logits, prediction.cam
