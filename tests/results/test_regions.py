"""Parts of the face: the raster of the template against the polygons, shares by hand, variants, stored points."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bench.errors import UserError
from bench.records import POINT_COLUMNS, FaceCounts, LabelledFrames, Predictions
from bench.records.face_template import POINTS, part_map
from bench.records.inspection import PARTS
from bench.results import regions
from bench.results.regions import judging
from bench.results.regions.measuring import areas, parts_of, shares

KEY, COUNT, GRID = "ab" * 8, 40, 64


def face(x: float = 0.5, y: float = 0.42, eyes: float = 0.2, turn: float = 0.0) -> NDArray[np.float64]:
    """Five points around (x, y), midway between the eyes, as shares of a frame's side."""
    matrix = eyes * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return POINTS @ matrix.T + [x, y]


def index(part: str) -> int:
    return PARTS.index(part)


@pytest.mark.parametrize("points", [face(), face(0.4, 0.5, 0.3, 0.3), face(0.6, 0.3, 0.12, -0.6), face(0.1, 0.2)])
def test_the_raster_shows_what_the_polygons_do(points: NDArray[np.float64]) -> None:
    exact = part_map([(float(x) * GRID, float(y) * GRID) for x, y in points], GRID, GRID)
    assert (parts_of(points) == exact).mean() > 0.985, "but for places on an outline"


def test_parts_lie_where_they_should() -> None:
    parts = parts_of(face())
    at = {
        "eyes": (0.4, 0.42),
        "nose": (0.5, 0.53),
        "mouth": (0.5, 0.65),
        "background": (0.02, 0.98),
        "skin": (0.36, 0.5),
    }
    for part, (x, y) in at.items():
        assert PARTS[parts[int(y * GRID), int(x * GRID)]] == part
    assert areas(parts).sum() == pytest.approx(1)


def test_shares_are_those_of_a_sum_by_hand() -> None:
    rng, parts = np.random.default_rng(0), parts_of(face())
    fine = rng.normal(0, 1, (GRID, GRID)).astype(np.float32)
    for is_fake in (True, False):
        support = np.maximum(fine if is_fake else -fine, 0)
        by_hand = [support[parts == part].sum() / support.sum() for part in range(len(PARTS))]
        assert shares(fine, parts, is_fake) == pytest.approx(np.array(by_hand), abs=1e-6)
    assert np.isnan(shares(-np.abs(fine), parts, True)).all(), "nothing speaks for fake"
    assert shares(np.ones_like(fine), parts, True) == pytest.approx(areas(parts))


# ------------------------------------------------------------------------------------------- all variants
def frames() -> LabelledFrames:
    names = pd.Series([f"{row:03}.png" for row in range(2 * COUNT)])
    labels = np.tile([0, 1], COUNT).astype(np.int8)
    return LabelledFrames(
        names, labels, pd.Series([f"v{row // 4}" for row in range(2 * COUNT)]), pd.DataFrame(index=names.index)
    )


def answers(part: str, other: str = "", every: int = 1000) -> Predictions:
    """Maps of 16 × 16 cells that show the called class on one part alone, on another one in every so many frames."""
    labels = frames().labels
    parts = part_map([(float(x) * 16, float(y) * 16) for x, y in face(eyes=0.3)], 16, 16)
    on_part, on_other = (np.where(parts == index(name), 1.0, 0.0) for name in (part, other or part))
    cams = [(on_other if row % every == 1 else on_part) * (1 if label else -1) for row, label in enumerate(labels)]
    return Predictions(np.where(labels == 1, 0.9, 0.1), None, np.array(cams, np.float32))


def judged(**predictions: Predictions) -> Any:
    points = np.stack([face(eyes=0.3)] * (2 * COUNT))
    counts = FaceCounts(KEY, "yunet", 2 * COUNT, 2 * COUNT)
    return regions.regions(counts, points, frames(), predictions, ("baseline", 0.5))


def test_who_looks_elsewhere_is_told() -> None:
    of_all = judged(baseline=answers("mouth"), same=answers("mouth"), away=answers("hair"))
    baseline, same, away = (of_all.variants[name] for name in ("baseline", "same", "away"))
    resolved = baseline.outcomes["true_positives"]
    assert (resolved.frames, resolved.compared) == (COUNT, 0)
    assert max(resolved.parts, key=lambda part: resolved.parts[part].share.value) == "mouth"
    assert sum(part.share.value for part in resolved.parts.values()) == pytest.approx(1)
    assert "false_negatives" not in baseline.outcomes
    assert same.changed == ()
    assert same.compared == 2 * COUNT
    assert all(part.delta.value == 0 for part in same.outcomes["true_negatives"].parts.values())
    assert len(away.changed) == 2 * COUNT
    assert (away.changed[0].before, away.changed[0].after) == ("mouth", "hair")
    delta = away.outcomes["true_positives"].parts["mouth"].delta
    assert delta.interval.high < 0
    assert sum(part.delta.value for part in away.outcomes["true_positives"].parts.values()) == pytest.approx(0)


def test_frames_whose_leading_part_changed_are_named() -> None:
    of_all = judged(baseline=answers("nose"), sometimes=answers("nose", "hair", every=20))
    assert sorted(each.row for each in of_all.variants["sometimes"].changed) == [1, 21, 41, 61]


def test_where_a_verdict_changes_the_same_class_is_compared() -> None:
    """The variant calls all real: what the baseline's maps of fakes show for real is nothing."""
    blind = dataclasses.replace(answers("mouth"), test=np.full(2 * COUNT, 0.1))
    of_all = judged(baseline=answers("mouth"), blind=blind)
    assert set(of_all.variants["blind"].outcomes) == {"true_negatives"}, "nothing speaks for real in fakes"
    assert of_all.variants["blind"].compared == COUNT


def test_frames_without_a_face_and_variants_without_maps() -> None:
    points = np.stack([face()] * (2 * COUNT))
    points[10:] = np.nan
    bare = dataclasses.replace(answers("mouth"), cam=None)
    of = ("baseline", 0.5)
    predictions = {"baseline": answers("mouth"), "bare": bare}
    ten = regions.regions(FaceCounts(KEY, "yunet", 80, 10), points, frames(), predictions, of)
    assert ten.frames == 10
    assert set(ten.reasons) == {"bare"}
    none = regions.regions(FaceCounts(KEY, "yunet", 80, 0), np.full_like(points, np.nan), frames(), predictions, of)
    assert (none.frames, none.variants) == (0, {})
    assert set(none.reasons.values()) == {judging.NO_FACES}


# ------------------------------------------------------------------------------------------------ as stored
def stored(folder: Path) -> FaceCounts:
    names = [(f"{row}.png", f"{row:064x}") for row in range(6)]
    points = {digest: tuple(face().ravel().tolist()) if row % 2 else None for row, (_, digest) in enumerate(names)}
    points.pop(names[5][1])
    regions.write(folder, KEY, names, points)
    return FaceCounts(KEY, "yunet", 6, 2)


def test_stored_points_come_back(tmp_path: Path) -> None:
    counts = stored(tmp_path)
    points_of = regions.stored_faces(tmp_path, KEY).points
    assert len(points_of) == 5, "what was not looked at has no row"
    assert points_of[f"{0:064x}"] is None
    assert points_of[f"{1:064x}"] == pytest.approx(face().ravel(), abs=1e-6)
    points = regions.read(tmp_path, counts, pd.Series(["1.png", "0.png", "5.png"]))
    assert points[0] == pytest.approx(face(), abs=1e-6)
    assert np.isnan(points[1:]).all()
    assert regions.stored_faces(tmp_path, "cd" * 8).points == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b"PAR1"),
        lambda file: pd.DataFrame({"frame": ["a"]}).to_parquet(file),
        lambda file: regions.write(file.parent, KEY, [("a", "b")], {"b": (99.0,) * len(POINT_COLUMNS)}),
        lambda file: regions.write(file.parent, KEY, [("a", "b")], {"b": None}),
        lambda file: regions.write(file.parent, "cd" * 8, [], {}),
    ],
)
def test_damaged_points_are_refused_with_what_makes_them_again(tmp_path: Path, damage: Any) -> None:
    counts = stored(tmp_path)
    damage(tmp_path / regions.FACES)
    with pytest.raises(UserError, match="bench run"):
        regions.read(tmp_path, counts, pd.Series(["1.png"]))


def test_the_hottest_part_is_that_under_the_hottest_place_for_the_called_class() -> None:
    """Single cells of a fine map over a large face: at the mouth for fake, at an eye for real."""
    points = np.stack([face(eyes=0.25), face(eyes=0.25), face(eyes=0.25), np.full((5, 2), np.nan), face(eyes=0.25)])
    (left, *_), mouth = points[0], points[0][3:].mean(0)
    cam = np.zeros((5, 32, 32), np.float32)
    for frame in cam:
        frame[int(mouth[1] * 32), int(mouth[0] * 32)] = 2
        frame[int(left[1] * 32), int(left[0] * 32)] = -3
    cam[4] = np.abs(cam[4])
    called = np.array([True, False, True, True, False])
    cam[2, 0, 0] = np.nan
    assert regions.hottest_part(cam, points, called).tolist() == ["mouth", "eyes", None, None, None]
