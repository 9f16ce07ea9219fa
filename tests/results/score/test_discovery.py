"""Slices that a search finds and confirms, on drawn scores."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bench.records import ConfirmedSlice, LabelledFrames
from bench.results.score import discovery
from bench.results.score.clusters import clusters
from bench.results.score.discovery import movement
from bench.results.score.discovery.candidates import columns
from bench.results.score.discovery.halves import Part, halves
from bench.results.score.discovery.screening import centred
from bench.results.score.placements import placements
from bench.results.score.swaps import placement_changes

COUNT = 2000
LABELS = np.tile(np.array([0, 1], np.int8), COUNT // 2)
APART = NormalDist().inv_cdf(0.92) * 2**0.5


def labelled(
    labels: NDArray[np.int8] = LABELS, sources: Sequence[str | None] | None = None, **attributes: Any
) -> LabelledFrames:
    names = pd.Series([f"{row:05}.png" for row in range(len(labels))])
    return LabelledFrames(
        names,
        labels,
        pd.Series(list[Any](sources or [None] * len(labels)), dtype="object"),
        pd.DataFrame(attributes, index=names.index),
    )


def confirmed(
    test: LabelledFrames, variant: NDArray[np.float64], baseline: NDArray[np.float64]
) -> tuple[ConfirmedSlice, ...]:
    of_sources = clusters(test.sources, test.labels)
    searched = discovery.search(test, of_sources)
    return discovery.confirmed(searched, placements(test.labels, variant), placements(test.labels, baseline))


def drawn(seed: int) -> tuple[LabelledFrames, NDArray[np.float64], NDArray[np.float64]]:
    """Frames with two columns that say nothing, and logits of a baseline and of a variant that loses nowhere."""
    draws = np.random.default_rng(seed)
    kinds = np.char.add("kind ", draws.integers(8, size=COUNT).astype(str))
    baseline = draws.normal(size=COUNT) + APART * LABELS
    test = labelled(kind=kinds, brightness=draws.normal(size=COUNT))
    return test, baseline, baseline + draws.normal(scale=0.05, size=COUNT)


def sunk(auc: float, loss: float) -> float:
    """By how much fakes' logits fall where the AUC falls by `loss`."""
    quantile = NormalDist().inv_cdf
    return (quantile(auc) - quantile(auc - loss)) * 2**0.5


@pytest.mark.parametrize("column", ["kind", "brightness"])
def test_a_planted_slice_is_confirmed(column: str) -> None:
    """An eighth of 2,000 frames, .05 of AUC: in every draw."""
    for seed in range(5):
        test, baseline, variant = drawn(seed)
        values = test.attributes[column].to_numpy()
        inside = values == "kind 3" if column == "kind" else values <= np.quantile(values, 1 / 8)
        variant = variant - sunk(0.92, 0.05) * inside * LABELS
        first = confirmed(test, variant, baseline)[0]
        assert first.column == column
        assert first.delta_ci.low <= -0.05 + 0.03
        assert first.delta_ci.high < 0 < -first.excess_ci.high
        assert abs(first.delta + 0.05) < 0.03
        assert abs(first.elsewhere) < 0.005


@pytest.mark.parametrize("setting", ["nothing", "a loss everywhere", "a weak baseline"])
def test_nothing_is_confirmed_where_nothing_is_planted(setting: str) -> None:
    """At most 5 % are aimed at: of 12 draws, more than 2 happen once in 50. benchmarks/14_slices.py has many more."""
    count = 0
    for seed in range(12):
        test, baseline, variant = drawn(seed)
        if setting == "a weak baseline":
            weaker = (
                (APART - NormalDist().inv_cdf(0.82) * 2**0.5)
                * LABELS
                * (test.attributes["kind"] == "kind 3").to_numpy()
            )
            baseline, variant = baseline - weaker, variant - weaker
        if setting == "a loss everywhere":
            variant = variant - sunk(0.92, 0.02) * LABELS
        count += bool(confirmed(test, variant, baseline))
    assert count <= 2


@pytest.mark.parametrize("column", ["kind", "brightness"])
def test_a_slice_that_gets_noisier_is_confirmed_on_all_frames(column: str) -> None:
    """It is found for sure by how much scores move. In nine draws of ten they lose surely enough to be confirmed."""
    count = 0
    for seed in range(5):
        test, baseline, variant = drawn(seed)
        values = test.attributes[column].to_numpy()
        inside = values == "kind 3" if column == "kind" else values <= np.quantile(values, 1 / 8)
        ratio = NormalDist().inv_cdf(0.92) / NormalDist().inv_cdf(0.87)
        noise = np.random.default_rng(seed + 100).normal(scale=(ratio**2 - 1) ** 0.5, size=COUNT)
        variant = variant + inside * noise
        for part in confirmed(test, variant, baseline)[:1]:
            count += 1
            assert part.basis == "all"
            assert part.column == column
            before, after = (roc_auc_score(LABELS[inside], scores[inside]) for scores in (baseline, variant))
            assert (part.baseline_auc, part.delta) == pytest.approx((before, after - before))
            assert part.fake + part.real == inside.sum()
    assert count >= 3


def test_what_moves_without_a_loss_is_not_confirmed() -> None:
    """All logits of a slice are shifted: its frames move most, and none of its pairs changes its order."""
    for seed in range(5):
        test, baseline, variant = drawn(seed)
        inside = (test.attributes["kind"] == "kind 3").to_numpy()
        assert not confirmed(test, np.where(inside, baseline + 0.5, variant), baseline)


def test_movement_says_nothing_of_a_loss() -> None:
    """Where one fake in fifty fails wholly, what moves most has lost most; what is left of movement has not."""
    draws = np.random.default_rng(0)
    _, baseline, variant = drawn(0)
    variant = np.where((draws.random(COUNT) < 0.02) & (LABELS == 1), -5.0, variant)
    change = placement_changes(placements(LABELS, variant), placements(LABELS, baseline))
    moves = np.array([centred(values, LABELS == 1) for values in (np.abs(change), change)])
    part, evidence, means = Part(np.arange(COUNT), LABELS, None), [], []
    for _ in range(20):
        [column] = columns({"name": pd.Series(draws.integers(20, size=COUNT).astype(str))})
        evidence.append(movement.evidence(column, moves, part))
        means.append([[row[column.rows(index)].mean() for index in range(20)] for row in moves])
    size, loss = np.transpose(means, (1, 0, 2)).reshape(2, -1)
    assert np.corrcoef(size, loss)[0, 1] < -0.9
    assert abs(np.corrcoef(np.ravel(evidence), loss)[0, 1]) < 0.2


def test_the_numbers_are_those_of_the_confirming_half() -> None:
    test, baseline, variant = drawn(0)
    inside = (test.attributes["kind"] == "kind 3").to_numpy()
    variant = variant - 0.6 * inside * LABELS
    [part] = confirmed(test, variant, baseline)
    by_half = []
    for rows in halves(test.frames, test.labels, None):
        slice_rows, others = rows[inside[rows]], rows[~inside[rows]]
        before, after = (roc_auc_score(LABELS[slice_rows], scores[slice_rows]) for scores in (baseline, variant))
        elsewhere = np.subtract(*(roc_auc_score(LABELS[others], scores[others]) for scores in (variant, baseline)))
        fakes = int(LABELS[slice_rows].sum())
        by_half.append((fakes, len(slice_rows) - fakes, before, after - before, elsewhere))
    numbers = part.fake, part.real, part.baseline_auc, part.delta, part.elsewhere
    assert any(numbers == pytest.approx(of_half) for of_half in by_half)
    # Elsewhere nothing is lost, so that nothing is taken off.
    assert part.excess == pytest.approx(part.delta - part.elsewhere, abs=2e-4)


def test_a_slice_of_one_class_is_compared_with_all_frames_of_the_other() -> None:
    _, baseline, variant = drawn(0)
    methods = np.where(LABELS == 1, np.array(["swap", "reenact", "blend"])[np.arange(COUNT) // 2 % 3], "original")
    variant = variant - 0.6 * (methods == "swap")
    [part] = confirmed(labelled(method=methods), variant, baseline)
    assert (part.column, part.value, part.against) == ("method", "swap", "real")
    assert part.real == 0


def test_a_slice_is_said_once_under_its_surest_name() -> None:
    test, baseline, variant = drawn(0)
    inside = (test.attributes["kind"] == "kind 3").to_numpy()
    alike = np.where(inside, "yes", "no")
    twins = labelled(kind=test.attributes["kind"], twin=alike, brightness=test.attributes["brightness"])
    parts = confirmed(twins, variant - 0.6 * inside * LABELS, baseline)
    assert len(parts) == 1


# ------------------------------------------------------------------------------------------------ halves
def test_halves_hold_whole_sources_and_both_classes_alike() -> None:
    sources = [f"video {row // 2 % 97}" for row in range(COUNT)]
    test = labelled(sources=sources)
    first, second = halves(test.frames, test.labels, clusters(test.sources, test.labels))
    assert sorted([*first, *second]) == list(range(COUNT))
    assert not {sources[row] for row in first} & {sources[row] for row in second}
    assert abs(int(LABELS[first].sum()) - int(LABELS[second].sum())) < 30


def test_halves_do_not_depend_on_the_order_of_frames() -> None:
    order = np.random.default_rng(0).permutation(COUNT)
    for sources in (None, [f"video {row // 20}" for row in range(COUNT)]):
        test = labelled(sources=sources)
        shuffled = LabelledFrames(
            test.frames.iloc[order].reset_index(drop=True),
            test.labels[order],
            test.sources.iloc[order].reset_index(drop=True),
            test.attributes.iloc[order].reset_index(drop=True),
        )
        names = [
            {frozenset(frames.frames.iloc[rows]) for rows in halves(frames.frames, frames.labels, of_sources)}
            for frames in (test, shuffled)
            for of_sources in [clusters(frames.sources, frames.labels)]
        ]
        assert names[0] == names[1]


def test_a_frame_of_sources_in_both_halves_is_in_neither() -> None:
    """As in Celeb-DF, where persons hang together by fakes of two."""
    draws = np.random.default_rng(0)
    persons = draws.integers(60, size=(COUNT, 2))
    sources = [
        f"id{a}" if label == 0 or a == b else f"id{a};id{b}" for (a, b), label in zip(persons, LABELS, strict=True)
    ]
    test = labelled(sources=sources, kind=draws.integers(3, size=COUNT).astype(str))
    of_sources = clusters(test.sources, test.labels)
    assert of_sources is not None
    assert of_sources.kind == "overlapping"
    first, second = halves(test.frames, test.labels, of_sources)
    persons_of = [{name for row in rows for name in sources[row].split(";")} for rows in (first, second)]
    assert not persons_of[0] & persons_of[1]
    searched = discovery.search(test, of_sources)
    assert searched.record.left_out == COUNT - len(first) - len(second) > 0
    baseline = draws.normal(size=COUNT) + APART * LABELS
    variant = baseline - 0.8 * LABELS * (test.attributes["kind"] == "1").to_numpy()
    assert [part.value for part in confirmed(test, variant, baseline)] == ["1"]


# ------------------------------------------------------------------------------------------------ candidates
def test_numbers_are_cut_into_eighths_quarters_and_halves() -> None:
    numbers = pd.Series(np.random.default_rng(0).permutation(800).astype(float))
    numbers[numbers == 5] = np.nan
    [column] = columns({"number": numbers})
    sizes = sorted(int(column.rows(index).sum()) for index in range(len(column.values)))
    assert sizes == sorted([100] * 7 + [99] + [200] * 3 + [199] + [400, 399])
    assert column.values[0] == "0 to 100"
    assert numbers[column.rows(0)].max() == 100


def test_columns_that_divide_frames_alike_are_searched_once() -> None:
    kinds = pd.Series(["a", "b", "c", "a"])
    names = [column.name for column in columns({"kind": kinds, "copy": kinds.str.upper(), "same": kinds * 0 + "x"})]
    assert names == ["kind"]


def test_the_size_of_faces_is_searched_in_place_of_their_boxes() -> None:
    draws = np.random.default_rng(0)
    left, size = draws.uniform(0, 50, COUNT), draws.uniform(20, 90, COUNT)
    boxes: dict[str, Any] = {"box_x0": left, "box_y0": left, "box_x1": left + size, "box_y1": left + size}
    searched = discovery.search(labelled(**boxes), None)
    assert searched.record.columns == ("face_px",)
    assert searched.record.candidates == 14


def test_too_few_frames_are_not_searched_and_it_is_said_why() -> None:
    few = labelled(LABELS[:30], kind=["a", "b", "c"] * 10)
    assert "each half has 10 of a class" in discovery.search(few, None).record.reason
    assert "nothing is known" in discovery.search(labelled(), None).record.reason


def test_the_hottest_part_is_that_which_speaks_most_for_the_called_class() -> None:
    cam = np.zeros((4, 6, 6), np.float32)
    cam[0, 0, 5], cam[1, 5, 0], cam[2, 2, 3] = 3, -2, np.nan
    cam[0, 0, 0] = -9
    called = np.array([True, False, True, True])
    assert discovery.hottest(cam, called).tolist() == ["top right", "bottom left", None, None]
