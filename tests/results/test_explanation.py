"""Parts of a face against drawn portraits, whose geometry is known; agreement of maps; what blurring a part costs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.datasets import portraits as drawing
from bench.records import POINTS, Executed, Prediction
from bench.records.face_template import POINTS as TEMPLATE
from bench.records.face_template import eye_distance, part_map, similarity
from bench.records.inspection import PARTS
from bench.results.explanation.blurred import falls, part_masks
from bench.results.explanation.evidence import agreed, face_evidence, hottest
from bench.results.localisation.measuring import up_sampled
from bench.results.regions.measuring import parts_of, shares

SIDE = 160


def drawn_face(seed: int) -> tuple[drawing.Face, list[tuple[float, float]]]:
    """A drawn portrait's face, and its five points."""
    rng = np.random.default_rng(seed)
    face = drawing.Face(
        x=SIDE * 0.5,
        y=SIDE * 0.5,
        half_width=SIDE * 0.27,
        half_height=SIDE * 0.37,
        tilt=float(rng.normal(0, 0.08)),
        eye_distance=0.395,
        eye_level=float(rng.uniform(-0.2, -0.1)),
        nose_level=0.25,
        mouth_level=float(rng.uniform(0.5, 0.58)),
        mouth_width=0.28,
    )
    return face, [(float(x), float(y)) for x, y in face.points]


def by_hand(face: drawing.Face, u: float, v: float, ru: float, rv: float) -> NDArray[np.bool_]:
    """An ellipse in the face's own frame, as the drawing paints one."""
    across, down = drawing.face_coordinates(face, SIDE)
    inside: NDArray[np.bool_] = ((across - u) / ru) ** 2 + ((down - v) / rv) ** 2 < 1
    return inside


@pytest.mark.parametrize("seed", range(6))
def test_parts_lie_where_portraits_have_them(seed: int) -> None:
    face, points = drawn_face(seed)
    eyes, mouth = face.eye_level, face.mouth_level
    named = np.array(PARTS)[part_map(points, SIDE, SIDE)]
    expected = {
        "eyes": by_hand(face, -0.395, eyes, 0.17, 0.07) | by_hand(face, 0.395, eyes, 0.17, 0.07),
        "mouth": by_hand(face, 0, mouth, 0.26, 0.06),
        "nose": by_hand(face, 0, 0.25, 0.12, 0.08),
        "brows": by_hand(face, -0.41, eyes - 0.19, 0.14, 0.03) | by_hand(face, 0.41, eyes - 0.19, 0.14, 0.03),
        "skin": by_hand(face, -0.5, 0.3, 0.15, 0.12) | by_hand(face, 0, -0.6, 0.2, 0.1),
    }
    for part, mask in expected.items():
        assert (named[mask] == part).mean() > 0.7, part
    outside = ~by_hand(face, 0, 0, 1.35, 1.35)
    assert np.isin(named[outside], ["background", "hair"]).mean() > 0.97
    assert (named[:6] == "background").mean() > 0.9
    assert (named[by_hand(face, 0, -0.92, 0.25, 0.04)] == "hair").mean() > 0.7
    assert (named[by_hand(face, 0, 0.82, 0.1, 0.02)] == "jaw and contour").mean() > 0.7


def test_a_similarity_is_found_exactly() -> None:
    angle, scale, shift = 0.3, 41.0, np.array([70.0, 55.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = [(float(x), float(y)) for x, y in TEMPLATE @ turn.T + shift]
    np.testing.assert_allclose(similarity(moved), np.column_stack([turn, shift]), atol=1e-9)
    assert eye_distance(moved) == pytest.approx(scale)


def test_the_fine_map_is_kept_where_the_coarse_one_is_strong() -> None:
    coarse = np.zeros((4, 4))
    coarse[0, 0] = 1
    fine = np.ones((8, 8))
    combined = agreed([coarse, fine])
    assert combined[0, 0] == 1
    assert combined[4:, :].sum() == combined[:, 4:].sum() == 0
    assert 1 <= combined.sum() <= 9


def test_maps_that_contradict_each_other_agree_on_nothing() -> None:
    coarse, fine = np.zeros((4, 4)), np.zeros((8, 8))
    coarse[0, 0] = fine[7, 7] = 1
    assert not agreed([coarse, fine]).any()
    assert not agreed([np.zeros((4, 4)), np.ones((8, 8))]).any()


def test_a_third_level_is_kept_where_the_first_two_agree() -> None:
    first, second, third = np.zeros((2, 2)), np.zeros((4, 4)), np.ones((16, 16))
    first[0, 0], second[0, 0] = 1, 1
    two, three = agreed([first, second]), agreed([first, second, third])
    assert two.sum() == 1
    assert three.shape == (16, 16)
    assert 0 < three.sum() < 64
    assert three[8:].sum() == 0


def test_shares_add_up_and_signs_tell_the_class() -> None:
    _, points = drawn_face(0)
    cam = np.full((14, 14), -0.5, np.float32)
    x, y = points[3][0] / 2 + points[4][0] / 2, points[3][1] / 2 + points[4][1] / 2
    cam[int(y / SIDE * 14), int(x / SIDE * 14)] = 9
    evidence = face_evidence(cam, True, points, SIDE)
    assert sum(evidence.shares.values()) == pytest.approx(1)
    assert evidence.leading == "mouth"
    assert evidence.signed["mouth"] > 0 > evidence.signed["background"]
    nothing = face_evidence(np.minimum(cam, 0), True, points, SIDE)
    assert (nothing.shares, nothing.leading) == ({}, None)
    assert nothing.signed["background"] < 0


def test_shares_are_those_of_a_run() -> None:
    """`regions: true` counts the same maps for all test frames at once."""
    rng = np.random.default_rng(4)
    for seed in range(5):
        _, points = drawn_face(seed)
        cam = rng.normal(size=(5, 5)).astype(np.float32)
        parts = parts_of(np.array(points) / SIDE)
        for fake in (True, False):
            of_run = shares(up_sampled(cam), parts, fake)
            evidence = face_evidence(cam, fake, points, SIDE)
            assert [evidence.shares.get(part, 0.0) for part in PARTS] == pytest.approx(of_run.tolist())


def test_the_hottest_place_is_near_its_landmark() -> None:
    _, points = drawn_face(1)
    heat = np.zeros((20, 20))
    column, row = (int(part / SIDE * 20) for part in points[2])
    heat[row, column] = 1
    first, *_ = hottest(heat, points, SIDE)
    assert (first.landmark, first.part) == (POINTS[2], "nose")
    assert first.distance is not None
    assert first.distance < 0.25
    assert hottest(np.zeros((20, 20)), points, SIDE) == ()
    assert hottest(heat, None, SIDE)[0].distance is None


class OfBrightMouths:
    """A session whose P(fake) hangs on how bright one part of a frame is."""

    executed = Executed("pytorch", "cpu", "a CPU", (), "fp32", "fp32")

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self._mask = mask

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        bright = frames[:, :, self._mask].mean((1, 2)) / 50 - 2.5
        return Prediction(np.stack([-bright, bright], axis=1).astype(np.float32), None)


def test_blurring_the_part_that_decides_costs_most() -> None:
    _, points = drawn_face(2)
    mask = part_map(points, SIDE, SIDE) == PARTS.index("mouth")
    pixels = np.full((SIDE, SIDE, 3), 20, np.uint8)
    pixels[mask] = 250
    session = OfBrightMouths(mask)
    logits = session.predict(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]).logits[0]
    both = falls(session, pixels, points, (float(logits[0]), float(logits[1])))  # type: ignore[arg-type]
    lost = both.p_fake
    assert max(lost, key=lambda part: lost[part]) == "mouth"
    assert lost["mouth"] > 0.3
    assert abs(lost["brows"]) < 0.05
    assert set(lost) == set(both.logit_diff) == set(part_masks(points, SIDE))
    before = logits[1] - logits[0]
    score = 1 / (1 + np.exp(-before))
    for part, fall in both.logit_diff.items():
        assert score - 1 / (1 + np.exp(fall - before)) == pytest.approx(lost[part], abs=1e-5)
