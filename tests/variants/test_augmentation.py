"""Frames varied as cameras, crops and codecs vary them."""

from __future__ import annotations

import torch

from bench.variants import augmentation
from tests.support.step_work import frames


def test_frames_are_varied_by_seed_and_step_alone() -> None:
    given = frames(8, 64)
    first = augmentation.varied(given, 1, 2, all_ways=True)
    assert torch.equal(first, augmentation.varied(given, 1, 2, all_ways=True))
    assert first.shape == given.shape
    assert first.dtype == torch.uint8
    for seed, step in ((2, 2), (1, 3)):
        assert not torch.equal(first, augmentation.varied(given, seed, step, all_ways=True))
    # A frame stays what it was to look at: shifted by at most 4 % and in colours that differ by about a tenth.
    brightness = (first.float().mean((1, 2, 3)) / given.float().mean((1, 2, 3))).numpy()
    assert ((brightness > 0.75) & (brightness < 1.3)).all()


def test_without_all_ways_frames_are_mirrored_alone() -> None:
    given = frames(32, 32)
    mirrored = [
        bool(torch.equal(after, before.flip(2)))
        for before, after in zip(given, augmentation.varied(given, 0, 0, all_ways=False), strict=True)
    ]
    after = augmentation.varied(given, 0, 0, all_ways=False)
    assert 6 <= sum(mirrored) <= 26
    assert all(torch.equal(after[index], given[index]) for index, turned in enumerate(mirrored) if not turned)
