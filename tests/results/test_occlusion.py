"""Blurring squares of frames: is the judge of heatmaps right about maps that are true, and about those that lie?"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from bench.records import BlurredFrame, Executed, Prediction
from bench.results import occlusion
from bench.results.occlusion import blurring, judging
from bench.results.score.faithfulness import faithfulness

SIZE, CELLS = 64, 8
EXECUTED = Executed("pytorch", "cpu", "a processor", (), "fp32", "fp32", threads=1)


class Planted(nn.Module):
    """A network whose evidence for fake is the texture in one square of cells, with its exact map.

    Elsewhere it answers with texture too, but a hundred times less.
    """

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.weights = torch.full((CELLS, CELLS), 0.001)
        self.weights[row : row + 2, column : column + 2] = 0.1

    def forward(self, frames: torch.Tensor) -> Prediction[torch.Tensor]:
        grey = frames.float().mean(1, keepdim=True)
        texture = (grey - nn.functional.avg_pool2d(grey, 3, 1, 1, count_include_pad=False)).abs()
        cells = nn.functional.avg_pool2d(texture, SIZE // CELLS)[:, 0] * self.weights
        logit = cells.mean((1, 2)) * 10 - 0.3
        return Prediction(torch.stack([torch.zeros_like(logit), logit], dim=1), cells)


class Session:
    """What runs such a network, like a runtime; `memory` frames fit into it at once."""

    executed = EXECUTED

    def __init__(self, network: nn.Module, memory: int = 64, lie: bool = False) -> None:
        self.network, self.memory, self.lie, self.sizes = network, memory, lie, []  # type: ignore[var-annotated]

    def predict(self, frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        self.sizes.append(len(frames))
        if len(frames) > self.memory:
            raise MemoryError
        assert frames.dtype == np.uint8
        assert frames.shape[1:] == (3, SIZE, SIZE)
        with torch.inference_mode():
            answer = self.network(torch.from_numpy(frames)).map(lambda tensor: tensor.numpy())
        return Prediction(answer.logits, np.roll(answer.cam, CELLS // 2, (1, 2)) if self.lie else answer.cam)

    predict_timed: Any = None


def frame(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def as_judged(session: Session, pixels: NDArray[np.uint8], *, sign: float = 1.0) -> BlurredFrame:
    logits, cam = session.predict(pixels.transpose(2, 0, 1)[None])
    logit_diff = float(logits[0, 1] - logits[0, 0])
    assert cam is not None
    return occlusion.judged(session, pixels, sign * cam[0], BlurredFrame(3, logit_diff > 0, logit_diff), 4)


@pytest.mark.parametrize("cell", [(0, 0), (3, 3), (6, 1), (2, 6)])
def test_a_true_map_points_at_what_matters_and_one_that_lies_does_not(cell: tuple[int, int]) -> None:
    for seed in range(3):
        true = as_judged(Session(Planted(*cell)), frame(seed))
        assert true.fake
        assert true.is_right
        assert true.window is not None
        left, top = true.window
        middle = [(edge + 1) / CELLS for edge in cell]
        assert top - 0.05 < middle[0] < top + judging.SIDE + 0.05
        assert left - 0.05 < middle[1] < left + judging.SIDE + 0.05
        assert true.falls[0] > 10 * max(true.falls[1:])
        assert true.p_fake_blurred is not None
        assert true.p_fake_blurred < true.p_fake_elsewhere
        assert not as_judged(Session(Planted(*cell), lie=True), frame(seed)).is_right


def test_a_map_that_shows_nothing_for_the_class_points_nowhere_and_costs_no_answer() -> None:
    session = Session(Planted(3, 3))
    silent = as_judged(session, frame(), sign=-1.0)
    assert (silent.window, silent.blurred, silent.elsewhere) == (None, None, ())
    assert session.sizes == [1]


def test_of_a_real_frame_it_is_the_probability_of_real_that_must_fall() -> None:
    calls_real = BlurredFrame(0, False, -2.0, (0.1, 0.1), 1.0, (-2.0, -1.9, -2.1))
    assert calls_real.is_right
    assert calls_real.falls == pytest.approx((3.0, 0.0, 0.1, -0.1))
    assert not BlurredFrame(0, True, -2.0, (0.1, 0.1), 1.0, (-2.0, -1.9, -2.1)).is_right
    # What changes less than rounding does matters to nobody.
    assert not BlurredFrame(0, True, 1.0, (0.1, 0.1), 0.9999, (1.0, 1.0, 1.0)).is_right


def test_an_occlusion_map_is_hottest_where_the_evidence_is() -> None:
    for row, column in ((0, 0), (3, 4), (6, 6)):
        session = Session(Planted(row, column))
        logits = session.predict(frame().transpose(2, 0, 1)[None]).logits[0]
        cells = occlusion.occlusion_map(session, frame(), float(logits[1] - logits[0]), 4)
        assert cells.shape == (judging.CELLS, judging.CELLS)
        hottest = np.unravel_index(cells.argmax(), cells.shape)
        expected = [(edge + 1) / CELLS * judging.CELLS - 0.5 for edge in (row, column)]
        assert np.abs(np.array(hottest) - expected).max() < 1
        assert cells.max() > 0
        assert cells.max() > 10 * np.median(cells)


def test_only_the_square_is_changed_and_it_is_blurred() -> None:
    pixels = frame()
    (changed,) = blurring.with_blurred(pixels, [blurring.square(0.25, 0.5, judging.SIDE, SIZE)])
    moved = np.abs(changed.transpose(1, 2, 0).astype(int) - pixels).max(2) > 0
    rows, columns = np.flatnonzero(moved.any(1)), np.flatnonzero(moved.any(0))
    outside = blurring.EDGE / 2 * SIZE + 1
    assert 0.5 * SIZE - outside <= rows.min() <= 0.5 * SIZE + outside
    assert 0.25 * SIZE - outside <= columns.min() <= 0.25 * SIZE + outside
    assert 0.65 * SIZE - outside <= columns.max() <= 0.65 * SIZE + outside
    inside = changed[:, int(0.6 * SIZE) : int(0.85 * SIZE), int(0.35 * SIZE) : int(0.6 * SIZE)]
    assert inside.std() < 0.1 * pixels.std()


def test_the_four_squares_are_equally_large_and_do_not_touch() -> None:
    for left, top in ((0.025, 0.025), (0.31, 0.57), (0.575, 0.575)):
        squares = [
            blurring.square(left + right, top + down, judging.SIDE, 160, around=True)
            for right, down in ((0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5))
        ]
        assert np.sum(squares, axis=0).max() <= 1
        assert [square.mean() for square in squares] == pytest.approx([judging.SIDE**2] * 4, rel=0.02)


@pytest.mark.parametrize("shape", [(2, 5), (5, 5), (7, 7), (14, 14)])
def test_the_square_lies_around_the_only_cell_with_evidence(shape: tuple[int, int]) -> None:
    for row, column in np.ndindex(*shape):
        cam = np.full(shape, -1.0, np.float32)
        cam[row, column] = 2.0
        window = blurring.window_of(cam, True, judging.SIDE)
        assert window is not None
        middles = (np.array([column, row]) + 0.5) / shape[::-1]
        reached = np.clip(middles, judging.SIDE / 2, 1 - judging.SIDE / 2)
        assert np.abs(np.array(window) + judging.SIDE / 2 - reached).max() < 0.1
        assert blurring.window_of(-cam, False, judging.SIDE) == window
        assert blurring.window_of(np.minimum(cam, 0), True, judging.SIDE) is None


def test_batches_are_made_smaller_where_memory_runs_out() -> None:
    roomy, tight = Session(Planted(3, 3)), Session(Planted(3, 3), memory=1)
    assert as_judged(tight, frame()).falls == pytest.approx(as_judged(roomy, frame()).falls)
    assert tight.sizes == [1, 4, 2, 1, 1, 1, 1]
    with pytest.raises(MemoryError):
        occlusion.occlusion_map(Session(Planted(3, 3), memory=0), frame(), 0.0, 4)


def test_an_answer_that_is_no_number_is_refused() -> None:
    def predict(frames: NDArray[np.uint8]) -> Prediction[NDArray[np.float32]]:
        return Prediction(np.full((len(frames), 2), np.nan, np.float32), None)

    session: Any = SimpleNamespace(executed=EXECUTED, predict=predict)
    with pytest.raises(ValueError, match="not finite"):
        occlusion.occlusion_map(session, frame(), 0.0, 4)


# ---------------------------------------------------------------------------------------------------- the file
STORED = occlusion.Blurred(
    {4: BlurredFrame(4, True, 1.5, (0.1, 0.2), -0.5, (1.5, 1.25, 1.0)), 1: BlurredFrame(1, False, -1.0)},
    {7: np.arange(49, dtype=np.float32).reshape(7, 7)},
    "galleries",
)


def test_what_is_written_is_read_back_under_its_key_alone(tmp_path: Path) -> None:
    occlusion.write(tmp_path, "key", STORED)
    reread = occlusion.read(tmp_path, "key")
    assert reread.judged == STORED.judged
    np.testing.assert_array_equal(reread.maps[7], STORED.maps[7])
    assert occlusion.is_complete(tmp_path, "key", "galleries")
    assert not occlusion.is_complete(tmp_path, "key", "other galleries")
    assert occlusion.read(tmp_path, "another key") == occlusion.Blurred()
    assert occlusion.read(tmp_path / "absent", "key") == occlusion.Blurred()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"version": 1', '"version": 0'),
        ('"row": 4', '"row": -4'),
        ('"row": 4', '"row": "x"'),
        ("[0.1, 0.2]", "[0.1, 7.2]"),
        ("[0.1, 0.2]", "null"),
        ("1.25", "NaN"),
        ("1.25", "1e300"),
        ("[1.5, 1.25, 1.0]", "[1.5]"),
        ("[1.5, 1.25, 1.0]", "[]"),
        ('"blurred": -0.5', '"blurred": null'),
        ("[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]", "[0.0]"),
        ('"maps": [', '"maps": 3, "other": ['),
        ("{", "["),
    ],
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, old: str, new: str) -> None:
    occlusion.write(tmp_path, "key", STORED)
    file = tmp_path / occlusion.OCCLUSION
    text = file.read_text(encoding="utf-8")
    assert json.loads(text)["judged"][0]["row"] == 1
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert occlusion.read(tmp_path, "key") == occlusion.Blurred()
    occlusion.write(tmp_path, "key", STORED)
    assert occlusion.read(tmp_path, "key").judged == STORED.judged


def test_a_link_is_not_followed_and_a_folder_in_its_place_is_removed(tmp_path: Path) -> None:
    occlusion.write(tmp_path / "theirs", "key", STORED)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / occlusion.OCCLUSION).symlink_to(tmp_path / "theirs" / occlusion.OCCLUSION)
    assert occlusion.read(tmp_path / "mine", "key") == occlusion.Blurred()
    (tmp_path / "folder" / occlusion.OCCLUSION).mkdir(parents=True)
    occlusion.write(tmp_path / "folder", "key", STORED)
    assert occlusion.read(tmp_path / "folder", "key").judged == STORED.judged


# -------------------------------------------------------------------------------------------------- the numbers
def test_faithfulness_counts_the_same_frames_of_both_and_each_class_apart() -> None:
    variant = [
        BlurredFrame(0, True, 2.0, (0, 0), 0.0, (2.0, 2.0, 2.0)),
        BlurredFrame(1, True, 2.0, (0, 0), 2.0, (0.0, 2.0, 2.0)),
        BlurredFrame(2, True, 2.0),  # it points nowhere
        BlurredFrame(3, True, 2.0, (0, 0), 0.0, (2.0, 2.0, 2.0)),  # the baseline's points nowhere
        BlurredFrame(4, True, 2.0, (0, 0), 0.0, (2.0, 2.0, 2.0)),  # the baseline was not judged
        BlurredFrame(5, False, -2.0, (0, 0), 0.0, (-2.0, -2.0, -2.0)),
    ]
    baseline = {row: BlurredFrame(row, True, 2.0, (0, 0), 1.0, (2.0, 2.0, 2.0)) for row in (0, 1, 2, 5)} | {
        3: BlurredFrame(3, True, 2.0)
    }
    by_class = faithfulness(variant, baseline)
    certain = 1 / (1 + np.exp(-2.0))
    fake, real = by_class["fake"], by_class["real"]
    assert (fake.frames, fake.right) == (2, 1)
    assert fake.fall == pytest.approx((certain - 0.5) / 2)
    assert fake.fall_elsewhere == pytest.approx((certain - 0.5) / 3 / 2)
    assert fake.baseline is not None
    assert (fake.baseline.frames, fake.baseline.right, fake.baseline.baseline) == (2, 2, None)
    assert fake.baseline.fall == pytest.approx(certain - 1 / (1 + np.exp(-1.0)))
    assert (real.frames, real.right) == (1, 1)
    assert real.fall == pytest.approx(certain - 0.5)
    alone = faithfulness(variant, None)
    assert (alone["fake"].frames, alone["fake"].right, alone["fake"].baseline) == (4, 3, None)
    assert faithfulness([], None) == {}
    assert set(faithfulness(variant[:5], None)) == {"fake"}
