"""Slices against AUCs worked out on selected rows alone."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from bench.records import Auc, Interval, LabelledFrames, Slice, VariantEvaluation
from bench.results.score import slices
from bench.results.score.auc import estimate
from bench.results.score.clusters import Clusters, clusters
from bench.results.score.differences import difference
from bench.results.score.placements import placements
from bench.results.score.slices import Slicing, evaluate
from tests.support.pace import limit

COUNT = 1200
LABELS = np.tile(np.array([0, 1], np.int8), COUNT // 2)
METHODS = np.where(LABELS == 1, np.array(["swap", "reenact", "blend"])[np.arange(COUNT) // 2 % 3], "original")
SIDES = np.array(["left", "right", "front", "back"])[np.arange(COUNT) * 4 // COUNT]


def slicing(test: LabelledFrames) -> Slicing:
    return slices.slicing(test, clusters(test.sources, test.labels))


def labelled(
    labels: NDArray[np.integer] = LABELS, sources: Sequence[str] | None = None, **attributes: Any
) -> LabelledFrames:
    names = pd.Series([f"{row}.png" for row in range(len(labels))])
    return LabelledFrames(
        names,
        labels.astype(np.int8),
        pd.Series(sources if sources is not None else pd.NA, index=names.index, dtype="string"),
        pd.DataFrame(attributes, index=names.index),
    )


def scores(seed: int, noise: float) -> NDArray[np.float64]:
    """Of one detector, the noisier the further from it; rounded, so that there are ties."""
    shared = np.random.default_rng(0).normal(size=COUNT) + LABELS
    return np.round(1 / (1 + np.exp(-shared - np.random.default_rng(seed).normal(scale=noise, size=COUNT))), 2)


BASELINE, VARIANT = scores(1, 0.1), scores(2, 0.7)


def judged(
    test: LabelledFrames, variant: NDArray[np.float64] = VARIANT, baseline: NDArray[np.float64] | None = BASELINE
) -> Any:
    other = None if baseline is None else placements(test.labels, baseline)
    by_slice = evaluate(slicing(test), placements(test.labels, variant), other, clusters(test.sources, test.labels))
    return {(part.column, part.value): part for part in by_slice}


def named(test: LabelledFrames) -> list[tuple[str, str]]:
    return [(group.column, group.value) for group in slicing(test).groups]


def test_a_slice_with_both_classes_is_judged_by_itself() -> None:
    by_slice = judged(labelled(side=SIDES))
    assert len(by_slice) == 4
    for side in np.unique(SIDES):
        rows, part = side == SIDES, by_slice["side", side]
        assert part.against is None
        assert (part.fake, part.real) == (150, 150)
        _agrees(part, rows)


def test_a_slice_of_one_class_is_judged_against_all_frames_of_the_other() -> None:
    by_slice = judged(labelled(method=METHODS))
    assert set(by_slice) == {("method", name) for name in ("swap", "reenact", "blend")}
    for (_, method), part in by_slice.items():
        assert part.against == "real"
        assert (part.fake, part.real) == (200, 0)
        _agrees(part, (method == METHODS) | (LABELS == 0))


def test_real_frames_are_judged_against_all_fakes() -> None:
    camera = pd.Series(SIDES).mask(LABELS == 1)
    part = judged(labelled(camera=camera))["camera", "left"]
    assert part.against == "fake"
    _agrees(part, (SIDES == "left") & (LABELS == 0) | (LABELS == 1))


def _agrees(part: Slice, rows: NDArray[np.bool_]) -> None:
    labels, variant, baseline = LABELS[rows], VARIANT[rows], BASELINE[rows]
    expected, _ = difference(placements(labels, variant), placements(labels, baseline), None)
    assert part.auc is not None
    assert part.delta is not None
    assert part.auc.value == pytest.approx(roc_auc_score(labels, variant))
    assert part.delta.value == pytest.approx(roc_auc_score(labels, variant) - roc_auc_score(labels, baseline))
    assert part.delta.interval.low == pytest.approx(expected.interval.low)
    assert part.delta.interval.high == pytest.approx(expected.interval.high)


def test_many_slices_are_allowed_for() -> None:
    """Holm's p-values against statsmodels, and intervals at Bonferroni's level."""
    by_slice = judged(labelled(method=METHODS, side=SIDES))
    assert len(by_slice) == 7
    raw = []
    for (column, value), part in by_slice.items():
        rows = value == SIDES if column == "side" else (value == METHODS) | (LABELS == 0)
        variant, baseline = placements(LABELS[rows], VARIANT[rows]), placements(LABELS[rows], BASELINE[rows])
        raw.append(difference(variant, baseline, None)[1])
        assert part.simultaneous == difference(variant, baseline, None, 1 - 0.05 / 7)[0].interval
        assert part.simultaneous.width > 1.3 * part.delta.interval.width
    expected = multipletests(raw, method="holm")[1]
    assert [part.p_holm for part in by_slice.values()] == pytest.approx(expected)
    assert any(p != q for p, q in zip(raw, expected, strict=True))


def test_the_baseline_has_no_difference() -> None:
    for part in judged(labelled(side=SIDES), BASELINE, None).values():
        assert part.auc is not None
        assert part.delta is part.p_holm is part.simultaneous is None


def test_a_variant_equal_to_the_baseline_differs_nowhere() -> None:
    for part in judged(labelled(side=SIDES), BASELINE, BASELINE).values():
        assert part.delta.value == 0
        assert part.delta.interval.low < 0 < part.delta.interval.high
        assert part.p_holm == 1


def test_slices_keep_sources_together() -> None:
    """Frames that are copies of each other say no more than one of them."""
    sources = rows = np.random.default_rng(6).permutation(np.repeat(np.arange(COUNT), 4))
    test = labelled(LABELS[rows], [str(row) for row in rows], side=SIDES[rows])
    variant, other = placements(LABELS[rows], VARIANT[rows]), placements(LABELS[rows], BASELINE[rows])
    alone = judged(labelled(side=SIDES))
    for part in evaluate(slicing(test), variant, other, Clusters.disjoint(sources)):
        assert part.delta is not None
        assert part.delta.clustered
        single = alone["side", part.value].delta
        # What rounding hides is hidden of each frame.
        width, of_single = (delta.interval.width - 2 * delta.unresolved for delta in (part.delta, single))
        assert width == pytest.approx(of_single, rel=0.02)


SITES = np.array([f"site {number}" for number in range(6)])[np.arange(COUNT) // 2 % 6]


def test_a_slice_that_is_one_source_is_judged_frame_by_frame_whatever_its_column_is_called() -> None:
    """How sources vary can't be told from one."""
    by_source = judged(labelled(sources=list(SITES)))
    by_person = judged(labelled(sources=list(SITES), person=SITES))
    by_two = judged(labelled(sources=list(SITES), side=SITES == "site 0"))
    assert set(by_source) == {("source", f"site {number}") for number in range(6)}
    for (_, site), part in by_source.items():
        _agrees(part, site == SITES)
        assert replace(part, column="person") == by_person["person", site]
    assert by_two["side", "True"].auc == by_source["source", "site 0"].auc
    assert by_two["side", "False"].auc.by_source is not None


def test_fakes_of_one_source_are_judged_against_real_frames_by_source() -> None:
    """Every video of fakes is one manipulation's; the real frames are copies in threes."""
    rows = np.concatenate([np.flatnonzero(LABELS == 1), np.repeat(np.flatnonzero(LABELS == 0)[:200], 3)])
    real = LABELS[rows] == 0
    sources = np.where(real, rows.astype(str), METHODS[rows])
    test = labelled(LABELS[rows], list(sources), method=METHODS[rows])
    by_slice = judged(test, VARIANT[rows], BASELINE[rows])
    assert len(by_slice) == 3
    for (_, method), part in by_slice.items():
        chosen = real | (METHODS[rows] == method)
        labels, variant, baseline = LABELS[rows][chosen], VARIANT[rows][chosen], BASELINE[rows][chosen]
        units = Clusters.disjoint(np.where(labels == 0, rows[chosen], COUNT + np.arange(len(labels))))
        assert part.auc == estimate(placements(labels, variant), units)
        assert part.delta == difference(placements(labels, variant), placements(labels, baseline), units)[0]
        assert 0 < part.auc.by_source.width < 0.5
        assert part.auc.clustered


@pytest.mark.parametrize(("fakes", "reals", "has_auc"), [(4, 5, False), (5, 4, False), (5, 5, True), (1, 5, True)])
def test_few_sources_of_a_class_have_no_auc(fakes: int, reals: int, has_auc: bool) -> None:
    pair = np.arange(COUNT) // 2
    is_few = pair < 200
    sources = [
        f"{label} {(index % (fakes if label else reals))} {few}" if few else f"{index // 3}"
        for label, index, few in zip(LABELS, pair, is_few, strict=True)
    ]
    by_slice = judged(labelled(sources=sources, group=np.where(is_few, "few", "many")))
    few, many = by_slice["group", "few"], by_slice["group", "many"]
    assert (few.auc is not None) is (few.delta is not None) is (few.p_holm is not None) is has_auc
    assert many.auc is not None
    # Allowed for are the slices that are judged: both, or one.
    assert (many.simultaneous.width > many.delta.interval.width) is has_auc


@pytest.mark.parametrize(("others", "has_auc"), [(1, False), (4, False), (5, True)])
@pytest.mark.parametrize("sliced", [1, 0])
def test_few_sources_to_be_judged_against_are_too_few(sliced: int, others: int, has_auc: bool) -> None:
    kinds = np.array(["one", "two", "three"])[np.arange(COUNT) // 2 % 3]
    group = np.where(sliced == LABELS, kinds, "rest")
    sources = np.where(sliced == LABELS, kinds, [f"other {row // 2 % others}" for row in range(COUNT)])
    by_slice = judged(labelled(sources=list(sources), group=group))
    assert {part.auc is not None for part in by_slice.values() if part.value in kinds and part.column == "group"} == {
        has_auc
    }


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        pytest.param([(-0.3, 0.1), (-0.1, -0.02), (-0.2, -0.01)], 1, id="of proven losses the one that ends lowest"),
        pytest.param([(-0.3, 0.1), (-0.1, 0.0), (-0.2, 0.05)], 0, id="none is proven: the lowest estimate"),
        pytest.param([None, (-0.1, 0.2)], 1, id="one has no AUC"),
        pytest.param([None], None, id="none has an AUC"),
    ],
)
def test_the_worst_slice_is_the_one_whose_loss_is_proven_best(
    ends: list[tuple[float, float] | None], expected: int | None
) -> None:
    """Pairs of the estimate and the upper end of the simultaneous interval."""
    slices = [
        Slice("group", str(row), 50, 50, None, None)
        if pair is None
        else Slice(
            "group",
            str(row),
            50,
            50,
            None,
            None,
            Auc(pair[0], Interval(2 * pair[0] - pair[1], pair[1])),
            0.5,
            Interval(2 * pair[0] - pair[1], pair[1]),
        )
        for row, pair in enumerate(ends)
    ]
    nothing: Any = None
    worst = VariantEvaluation(nothing, None, None, nothing, {}, slices=tuple(slices)).worst_slice
    assert (worst and worst.value) == (None if expected is None else str(expected))


@pytest.mark.parametrize(("fakes", "has_auc"), [(9, False), (10, True)])
def test_few_frames_of_a_class_have_no_auc(fakes: int, has_auc: bool) -> None:
    group = np.where((LABELS == 1) & (np.cumsum(LABELS) <= fakes), "few", "many")
    group[(LABELS == 0) & (np.arange(COUNT) < 100)] = "few"
    by_slice = judged(labelled(group=group))
    few, many = by_slice["group", "few"], by_slice["group", "many"]
    assert few.fake == fakes
    assert (few.auc is not None) is (few.delta is not None) is (few.p_holm is not None) is has_auc
    assert many.auc is not None
    # Allowed for are the slices that are judged: both, or one.
    assert (many.simultaneous.width > many.delta.interval.width) is has_auc


def test_few_fakes_of_a_method_have_no_auc() -> None:
    method = np.where((LABELS == 1) & (np.arange(COUNT) < 18), "rare", METHODS)
    by_slice = judged(labelled(method=method))
    assert by_slice["method", "rare"].fake == 9
    assert by_slice["method", "rare"].auc is None
    assert by_slice["method", "swap"].auc is not None


def test_many_numbers_are_cut_into_quartiles_named_by_what_is_in_them() -> None:
    quality = np.random.default_rng(3).permutation(np.arange(COUNT) % 20 + 75)
    groups = slicing(labelled(quality=quality)).groups
    assert [group.value for group in groups] == ["75 to 79", "80 to 84", "85 to 89", "90 to 94"]
    for group in groups:
        low, high = (int(number) for number in group.value.split(" to "))
        assert set(quality[group.rows]) == set(range(low, high + 1))
        assert len(group.rows) == 300


def test_numbers_of_which_most_are_equal_are_cut_where_they_can_be() -> None:
    blur = np.where(np.arange(COUNT) % 10 < 6, 0.0, np.arange(COUNT) / 8)
    low, high = slicing(labelled(blur=blur)).groups
    assert (low.value[:5], high.value[-11:]) == ("0 to ", " to 149.875"[-11:])
    assert (len(low.rows), len(high.rows)) == (900, 300)
    most = np.where(np.arange(COUNT) % 10 < 9, 0.0, np.arange(COUNT) / 8)
    result = slicing(labelled(blur=most))
    assert result.groups == ()
    assert result.left_out == ("`blur` has too many equal values for quartiles",)


def test_few_numbers_are_taken_one_by_one_in_their_order() -> None:
    level = np.array([0.0, 23.0, 40.0, 100.0])[np.arange(COUNT) // 2 % 4]
    assert named(labelled(level=level)) == [("level", "0"), ("level", "23"), ("level", "40"), ("level", "100")]


def test_truth_values_are_values() -> None:
    assert named(labelled(glasses=np.arange(COUNT) % 3 == 0)) == [("glasses", "False"), ("glasses", "True")]


def test_missing_values_are_no_slice() -> None:
    side = SIDES.astype(object)
    side[:10], side[600:605] = None, ""
    quality = np.arange(COUNT, dtype=float)
    quality[-3:] = np.nan
    test = labelled(side=side, quality=quality)
    result = slicing(test)
    assert sum(len(group.rows) for group in result.groups if group.column == "side") == COUNT - 15
    assert sum(len(group.rows) for group in result.groups if group.column == "quality") == COUNT - 3
    assert result.left_out == (
        "15 of 1,200 frames have no `side`",
        "3 of 1,200 frames have no `quality`",
    )


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ([f"camera {row % 312}" for row in range(COUNT)], "`camera` has 312 values, more than 50"),
        (["one"] * COUNT, "`camera` has one value only"),
        ([7] * COUNT, "`camera` has one value only"),
        ([None] * COUNT, "`camera` has no values"),
        (["fake" if label else "real" for label in LABELS], "`camera` tells only real from fake frames"),
    ],
)
def test_a_column_that_is_not_sliced_says_why(column: list[object], reason: str) -> None:
    result = slicing(labelled(camera=column))
    assert result.groups == ()
    assert result.left_out == (reason,)


def test_frames_are_not_divided_twice_the_same_way() -> None:
    other = pd.Series(SIDES).map({"left": "z", "right": "y", "front": "x", "back": "w"})
    result = slicing(labelled(side=SIDES, angle=other, sources=list(SIDES)))
    assert {group.column for group in result.groups} == {"side"}
    assert result.left_out == (
        "`angle` divides the frames as `side` does",
        "`source` divides the frames as `side` does",
    )


def test_fifty_values_are_sliced() -> None:
    assert len(named(labelled(camera=[f"{row // 2 % 50}" for row in range(COUNT)]))) == 50


def test_sources_are_sliced_where_they_are_groups() -> None:
    groups = [f"site {row // 2 % 3}" for row in range(COUNT)]
    assert named(labelled(sources=groups)) == [("source", f"site {number}") for number in range(3)]
    videos = [f"video {row // 24}" for row in range(COUNT)]
    assert len(named(labelled(sources=videos))) == 50
    assert len(named(labelled(LABELS[:200], sources=[f"video {row % 10}" for row in range(200)]))) == 10
    for short in ([f"video {row // 20}" for row in range(COUNT)], [f"v{row % 10}" for row in range(190)]):
        result = slicing(labelled(LABELS[: len(short)], sources=short))
        assert result.groups == ()
        assert result.left_out == ()


def test_permuted_frames_change_nothing() -> None:
    order = np.random.default_rng(4).permutation(COUNT)
    by_slice = judged(labelled(method=METHODS))
    variant, other = placements(LABELS[order], VARIANT[order]), placements(LABELS[order], BASELINE[order])
    for part in evaluate(slicing(labelled(LABELS[order], method=METHODS[order])), variant, other, None):
        before = by_slice[part.column, part.value]
        assert part.delta is not None
        assert part.delta.value == before.delta.value
        assert part.p_holm == pytest.approx(before.p_holm)


@pytest.mark.slow
def test_a_hundred_thousand_frames_take_moments() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 100_000)
    test = labelled(labels, method=np.where(labels == 1, rng.integers(0, 49, 100_000).astype(str), "original"))
    variant, other = (placements(labels, rng.random(100_000) / 2 + labels / 4) for _ in range(2))
    began = time.process_time()
    assert len(evaluate(slicing(test), variant, other, None)) == 49
    assert time.process_time() - began < limit(10)
