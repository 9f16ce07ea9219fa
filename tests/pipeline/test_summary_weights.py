"""The file of a detector's weights, read back from what a run says of it."""

from __future__ import annotations

import pytest

from bench.pipeline.summary import file_of_weights

SHA = "3f" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"weights/best.pth (SHA-256 {SHA})", ("best.pth", SHA)),
        # What its owner says of the weights is no part of the digest.
        (f"best.pth (SHA-256 {SHA}), positive: fake, flavour: tf", ("best.pth", SHA)),
        ("a (SHA-256 b).pth", None),
        ("", None),
    ],
)
def test_name_and_digest(text: str, expected: tuple[str, str] | None) -> None:
    assert file_of_weights(text) == expected
