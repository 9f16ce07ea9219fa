"""Maps beside masks: against a direct computation, at extremes, and between variants; stored masks that are damaged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import zoom
from sklearn.metrics import roc_auc_score

from bench.errors import UserError
from bench.records import GRID, FittedMasks, LabelledFrames, MaskCounts, Predictions
from bench.results import localisation
from bench.results.localisation import judging
from bench.results.localisation.measuring import centre, measured, up_sampled

KEY = "ab" * 32


def disc(x: float, y: float, radius: float = 0.2, side: int = GRID) -> NDArray[np.uint8]:
    """How much of each place is in a disc, 0 to 255, by eight points across each."""
    fine = (np.arange(8 * side) + 0.5) / (8 * side)
    inside = (fine[None] - x) ** 2 + (fine[:, None] - y) ** 2 < radius**2
    shares = inside.reshape(side, 8, side, 8).mean((1, 3))
    return np.asarray((255 * shares).round(), np.uint8)


def peak(x: float, y: float, cells: int = 7, width: float = 0.15) -> NDArray[np.float32]:
    """A map with one hill on a plain that speaks for real."""
    centres = (np.arange(cells) + 0.5) / cells
    hill = np.exp(-((centres[None] - x) ** 2 + (centres[:, None] - y) ** 2) / (2 * width**2))
    return np.asarray(2 * hill - 0.5, np.float32)


# ----------------------------------------------------------------------------------------- one map, one mask
@pytest.mark.parametrize("cells", [4, 7, 12, 24])
@pytest.mark.parametrize("seed", range(4))
def test_against_a_direct_computation_at_eight_times_as_many_points(cells: int, seed: int) -> None:
    """Every pixel of a picture of 512 px: its colour in the map drawn as large, and whether it is in the disc."""
    rng = np.random.default_rng(seed)
    cam = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    x, y, radius = rng.uniform([0.3, 0.3, 0.1], [0.7, 0.7, 0.3])
    large = np.asarray(Image.fromarray(cam).resize((512, 512), Image.Resampling.BICUBIC), np.float64)
    pixel = (np.arange(512) + 0.5) / 512
    inside = (pixel[None] - x) ** 2 + (pixel[:, None] - y) ** 2 < radius**2
    evidence = np.maximum(large, 0)
    pointing, share, auc, blank = measured(up_sampled(cam), disc(x, y, radius))
    assert not blank
    assert share == pytest.approx(evidence[inside].sum() / evidence.sum(), abs=0.004)
    assert auc == pytest.approx(roc_auc_score(inside.ravel(), large.ravel()), abs=0.004)
    row, column = np.unravel_index(large.argmax(), large.shape)
    distance = np.hypot(pixel[column] - x, pixel[row] - y)
    if abs(distance - radius) > 2 / GRID:  # at its very rim, a place and a pixel may differ
        assert pointing == float(distance < radius)


def test_the_area_under_the_curve_weighs_places_by_their_shares() -> None:
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 20, (GRID, GRID)).astype(np.float32)  # many ties
    mask = rng.integers(0, 256, (GRID, GRID), dtype=np.uint8)
    values, shares = fine.ravel(), mask.ravel() / 255
    labels, weights = np.repeat([1, 0], len(values)), np.concatenate([shares, 1 - shares])
    expected = roc_auc_score(labels, np.tile(values, 2), sample_weight=weights)
    assert measured(fine, mask)[2] == pytest.approx(expected, abs=1e-6)


def test_up_sampled_as_drawn_and_not_turned() -> None:
    cam = peak(0.2, 0.7)
    fine = up_sampled(cam)
    row, column = np.unravel_index(fine.argmax(), fine.shape)
    assert (column / GRID, row / GRID) == pytest.approx((0.2, 0.7), abs=0.08)
    assert np.corrcoef(fine.ravel(), zoom(cam, GRID / 7, order=3, grid_mode=True, mode="nearest").ravel())[0, 1] > 0.99


def test_perfect_and_inverted_maps() -> None:
    mask = disc(0.5, 0.5)
    pointing, share, auc, _ = measured(mask.astype(np.float32) - 1, mask)
    assert pointing == 1
    assert auc == pytest.approx(1, abs=0.002)
    assert share > 0.95
    pointing, share, auc, blank = measured(-mask.astype(np.float32), mask)
    assert (pointing, share, blank) == (0, 0, True)
    assert auc == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_map_in_which_nothing_speaks_for_fake_is_blank(value: float) -> None:
    flat = np.full((7, 7), value, np.float32)
    pointing, share, auc, blank = measured(up_sampled(flat), disc(0.5, 0.5))
    assert (pointing, share, blank) == (0, 0, True)
    assert auc == pytest.approx(0.5)


def test_a_map_that_says_the_same_everywhere_has_the_masks_area_inside() -> None:
    mask = disc(0.3, 0.4)
    _, share, auc, _ = measured(up_sampled(np.ones((7, 7), np.float32)), mask)
    assert share == pytest.approx(mask.mean() / 255, abs=1e-4)
    assert auc == pytest.approx(0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_blank(value: float) -> None:
    cam = peak(0.5, 0.5)
    cam[0, 0] = value
    assert measured(up_sampled(cam), disc(0.5, 0.5))[3]


def test_the_guess_is_hottest_in_the_centre() -> None:
    assert measured(centre(), disc(0.5, 0.5, 0.1))[0] == 1
    assert measured(centre(), disc(0.2, 0.2, 0.1))[0] == 0


# ------------------------------------------------------------------------------------------- all variants
COUNT = 40


def frames(sources: list[str] | None = None) -> LabelledFrames:
    """Every second one is a fake; two and two frames after each other are of one source, unless others are given."""
    names = pd.Series([f"{index:03}.png" for index in range(2 * COUNT)])
    of = sources or [f"v{index // 4}" for index in range(2 * COUNT)]
    labels = np.tile([0, 1], COUNT).astype(np.int8)
    return LabelledFrames(names, labels, pd.Series(of), pd.DataFrame(index=names.index))


def masks(test: LabelledFrames, without: int = 0) -> FittedMasks:
    """A disc in every fake but the last few."""
    rows = np.flatnonzero(test.labels)[: COUNT - without]
    shares = np.stack([disc(*_middle(row)) for row in rows])
    return FittedMasks(MaskCounts(KEY, COUNT, len(rows), missing=without), rows, np.arange(len(rows)), shares)


def _middle(row: int) -> tuple[float, float]:
    x, y = np.random.default_rng(row).uniform(0.25, 0.75, 2).tolist()
    return x, y


def answers(test: LabelledFrames, off: float = 0.0, every: int = 1) -> Predictions:
    """Maps with their hill on the disc, or `off` to the side in every so many frames."""
    cams = []
    for row in range(len(test.labels)):
        x, y = _middle(row)
        cams.append(peak(x + (off if row % every == 0 else 0), y))
    p_fake = np.where(test.labels == 1, 0.9, 0.1)
    return Predictions(p_fake, None, np.stack(cams))


def test_who_looks_away_is_told_from_who_does_not() -> None:
    test = frames()
    answered = {"baseline": answers(test), "same": answers(test), "away": answers(test, off=0.35)}
    located = localisation.localisation(masks(test), test, answered, "baseline")
    assert located.frames == COUNT
    first, same, away = (located.variants[name] for name in answered)
    assert first.pointing.value == 1
    assert first.pointing_delta is None
    assert same.inside_delta is not None
    assert (same.inside_delta.value, same.inside_delta.interval.low, same.inside_delta.interval.high) == (0, 0, 0)
    assert same.pointing_delta is not None
    assert same.pointing_delta.interval.low < 0 < same.pointing_delta.interval.high, "no change in 40 is not certainty"
    assert away.pointing.value < 0.2
    for delta in (away.pointing_delta, away.inside_delta, away.auc_delta):
        assert delta is not None
        assert delta.interval.high < 0
        assert delta.by_source is not None
    assert away.inside_delta is not None
    assert away.inside_delta.value == pytest.approx(away.inside.value - first.inside.value)
    assert located.chance is not None
    assert located.chance.area == pytest.approx(np.pi * 0.2**2, abs=0.002)
    assert located.chance.centre_pointing < 1
    assert located.chance.mean_inside is not None
    assert located.chance.area < located.chance.mean_inside < first.inside.value, "each fake is forged elsewhere"


def test_the_mean_of_maps_that_follow_no_frame_is_as_good_as_they_are() -> None:
    test = frames()
    answered = answers(test)
    assert answered.cam is not None
    answered.cam[:] = np.float32(-0.1)
    answered.cam[:, 3, 3] = 1.0
    chance = localisation.localisation(masks(test), test, {"baseline": answered}, "baseline").chance
    located = localisation.localisation(masks(test), test, {"baseline": answered}, "baseline").variants["baseline"]
    assert chance is not None
    assert (chance.mean_pointing, chance.mean_inside, chance.mean_auc) == pytest.approx(
        (located.pointing.value, located.inside.value, located.auc.value)
    )
    without = dataclasses.replace(answered, cam=None)
    chance = localisation.localisation(masks(test), test, {"baseline": without, "other": answered}, "baseline").chance
    assert chance is not None
    assert chance.mean_inside is None


def test_blank_maps_count_and_the_game_without_them_is_given() -> None:
    test = frames()
    answered = answers(test)
    assert answered.cam is not None
    blank = np.flatnonzero(test.labels == 1)[:10]
    answered.cam[blank] = -np.abs(answered.cam[blank])
    away = answers(test, off=0.35, every=4)
    assert away.cam is not None
    away.cam[:] = -np.abs(away.cam)
    located = localisation.localisation(masks(test), test, {"baseline": answered, "none": away}, "baseline")
    of_some, of_none = located.variants["baseline"], located.variants["none"]
    assert of_some.blank == 10
    assert of_some.pointing.value == pytest.approx((COUNT - 10) / COUNT)
    assert of_some.pointing_not_blank == pytest.approx(1)
    assert (of_none.blank, of_none.pointing_not_blank) == (COUNT, None)


def test_variants_without_maps_have_a_reason() -> None:
    test = frames()
    bare = dataclasses.replace(answers(test), cam=None)
    located = localisation.localisation(masks(test), test, {"baseline": bare, "q8": answers(test)}, "baseline")
    assert located.reasons == {"baseline": judging.NO_MAPS}
    assert located.variants["q8"].inside_delta is None, "there is nothing to compare with"


def test_fakes_without_a_mask_and_reals_do_not_count() -> None:
    test = frames()
    answered = {"baseline": answers(test)}
    changed = answers(test, off=0.4)
    assert changed.cam is not None
    part = masks(test, without=10)
    assert localisation.localisation(part, test, answered, "baseline").frames == 30
    cams = np.array(answered["baseline"].cam)
    others = np.setdiff1d(np.arange(len(test.labels)), part.rows)
    cams[others] = changed.cam[others]
    again = localisation.localisation(
        part, test, {"baseline": dataclasses.replace(answers(test), cam=cams)}, "baseline"
    )
    assert again == localisation.localisation(part, test, answered, "baseline")


def test_no_mask_that_counts() -> None:
    test = frames()
    none = FittedMasks(MaskCounts(KEY, COUNT, 0, black=COUNT), *(np.zeros(0, np.int64),) * 2, masks(test).shares)
    located = localisation.localisation(none, test, {"baseline": answers(test)}, "baseline")
    assert (located.frames, located.variants, located.chance) == (0, {}, None)
    assert located.reasons == {"baseline": judging.NO_MASKS}


def test_of_very_many_fakes_some_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "MOST_FRAMES", 8)
    test = frames()
    assert localisation.localisation(masks(test), test, {"baseline": answers(test)}, "baseline").frames == 8


def test_copies_lend_their_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are those of all test frames, clusters those of the frames that count."""
    test = frames()
    firsts = np.arange(len(test.labels))
    firsts[3] = 1
    test = dataclasses.replace(test, firsts=firsts)
    fitted = masks(test)
    keep = fitted.rows != 3
    fitted = FittedMasks(
        MaskCounts(KEY, COUNT - 1, COUNT - 1), fitted.rows[keep], fitted.positions[keep], fitted.shares
    )
    located = localisation.localisation(fitted, test, {"baseline": answers(test)}, "baseline")
    assert located.frames == COUNT - 1
    assert located.variants["baseline"].pointing.value == 1, "each map beside the mask of its own frame"


def test_without_shared_sources_frames_are_independent() -> None:
    test = frames([f"v{index}" for index in range(2 * COUNT)])
    located = localisation.localisation(masks(test), test, {"baseline": answers(test)}, "baseline")
    assert located.variants["baseline"].inside.by_source is None


# ---------------------------------------------------------------------------------------- masks as stored
def stored(folder: Path) -> MaskCounts:
    fitted = masks(frames(), without=2)
    localisation.write_masks(folder, len(fitted.shares), iter(fitted.shares))
    localisation.write_record(folder, fitted.counts, fitted.rows.tolist(), fitted.positions.tolist())
    return fitted.counts


def test_stored_masks_come_back(tmp_path: Path) -> None:
    counts = stored(tmp_path)
    read, expected = localisation.read(tmp_path, counts, 2 * COUNT), masks(frames(), without=2)
    assert localisation.read_counts(tmp_path, KEY) == counts
    assert localisation.read_counts(tmp_path, "cd" * 32) is None
    assert (read.rows == expected.rows).all()
    for row in (1, 5, 75):
        mask = read.of(row)
        assert mask is not None
        assert (mask == disc(*_middle(row))).all()
    assert read.of(0) is None
    assert read.of(79) is None


def _change(key: str, value: object) -> object:
    def change(folder: Path) -> None:
        record = json.loads((folder / localisation.RECORD).read_text())
        record[key] = value
        (folder / localisation.RECORD).write_text(json.dumps(record))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / localisation.MASKS).write_bytes(b"no array"),
        lambda folder: np.save(folder / localisation.MASKS, np.zeros((2, GRID, GRID), np.uint8)),
        lambda folder: np.save(folder / localisation.MASKS, np.zeros((38, 8, 8), np.uint8)),
        lambda folder: (folder / localisation.MASKS).unlink(),
        lambda folder: (folder / localisation.RECORD).write_text("{}"),
        lambda folder: (folder / localisation.RECORD).write_text("{"),
        _change("rows", [-1, *range(37)]),
        _change("rows", [10**9 + index for index in range(38)]),
        _change("rows", [5] * 38),
        _change("positions", list(range(1, 39))),
        _change("positions", list(range(3))),
    ],
)
def test_damaged_masks_are_refused_with_what_makes_them_again(tmp_path: Path, damage: object) -> None:
    counts = stored(tmp_path)
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(UserError, match="bench run"):
        localisation.read(tmp_path, counts, 2 * COUNT)


def test_masks_of_another_run_are_refused(tmp_path: Path) -> None:
    counts = stored(tmp_path)
    with pytest.raises(UserError, match="of other masks than the run"):
        localisation.read(tmp_path, dataclasses.replace(counts, key="cd" * 32), 2 * COUNT)


def test_measuring_is_quick_enough_to_render_again() -> None:
    assert judging.MOST_FRAMES * GRID**2 <= 2_000 * 64**2
