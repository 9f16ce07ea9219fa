"""Error rates by group, and the change of the gap between groups, against rates counted by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bench.records import Frame, GroupGap, LabelledFrames
from bench.results.groups import problem_of_frames
from bench.results.score.clusters import clusters
from bench.results.score.groups import gaps, groupings

COUNT = 1200
LABELS = np.tile(np.array([0, 1], np.int8), COUNT // 2)
TONES = np.array(["dark", "light", "mid"])[np.arange(COUNT) // 2 % 3]


def judged(
    wrong: NDArray[np.bool_],
    baseline: NDArray[np.bool_] | None,
    tones: Sequence[str | None] | NDArray[np.str_] = TONES,
    sources: Sequence[str] | None = None,
) -> dict[str, GroupGap]:
    """The gaps by rate."""
    test = LabelledFrames(
        pd.Series([f"{row}.png" for row in range(len(tones))]),
        LABELS[: len(tones)],
        pd.Series(sources if sources is not None else [None] * len(tones), dtype="object"),
        pd.DataFrame({"tone": pd.Series(list(tones), dtype="object")}),
    )
    of_sources = clusters(test.sources, test.labels)
    parts = gaps(groupings(["tone"], test, of_sources), wrong, baseline, of_sources)
    return {part.rate: part for part in parts}


def errors(seed: int, rate: float, more: float = 0.0) -> NDArray[np.bool_]:
    """Errors at this rate, and at a higher one on real frames of one group."""
    chance = np.random.default_rng(seed).random(COUNT)
    return np.asarray(chance < rate + more * ((TONES == "dark") & (LABELS == 0)))


def test_rates_and_gaps_are_those_of_a_table() -> None:
    before, after = errors(0, 0.1), errors(0, 0.1, 0.15)
    table = pd.DataFrame({"tone": TONES, "label": LABELS, "before": before, "after": after})
    rates = table.groupby(["label", "tone"])[["before", "after"]].mean()
    by_rate = judged(after, before)
    for label, rate in enumerate(("fpr", "fnr")):
        part, of_class = by_rate[rate], rates.loc[label]
        assert {group.value: group.rate for group in part.groups} == pytest.approx(of_class["after"].to_dict())
        assert part.gap == pytest.approx(np.ptp(of_class["after"]))
        assert part.before == pytest.approx(np.ptp(of_class["before"]))
        assert part.change == pytest.approx(np.ptp(of_class["after"]) - np.ptp(of_class["before"]))
        assert (part.highest, part.lowest) == (of_class["after"].idxmax(), of_class["after"].idxmin())


def test_a_gap_that_grows_is_told_from_one_that_stays() -> None:
    by_rate = judged(errors(0, 0.1, 0.15), errors(0, 0.1))
    fpr, fnr = by_rate["fpr"].change_ci, by_rate["fnr"].change_ci
    assert fpr is not None
    assert fnr is not None
    assert fpr.low > 0
    assert fnr.low < 0 < fnr.high


def test_intervals_hold_the_estimate_and_are_never_of_width_0() -> None:
    """Nothing changed: these frames still leave open what others would."""
    part = judged(errors(0, 0.1), errors(0, 0.1))["fpr"]
    assert part.change == 0
    assert part.change_ci is not None
    assert part.simultaneous is not None
    assert -0.1 < part.change_ci.low < 0 < part.change_ci.high < 0.1
    assert part.simultaneous.low <= part.change_ci.low
    assert part.simultaneous.high >= part.change_ci.high


def test_frames_that_share_sources_say_less() -> None:
    """Every source is wrong as a whole, or right."""
    sources = [f"video {row // 24}" for row in range(COUNT)]
    tones = np.array(["dark", "light"])[np.arange(COUNT) // 24 % 2]
    chance = np.random.default_rng(0).random(COUNT // 24)[np.arange(COUNT) // 24]
    after, before = chance < 0.3, chance < 0.1
    widths = []
    for of_frames in (None, sources):
        part = judged(after, before, tones, of_frames)["fpr"]
        assert part.change_ci is not None
        assert part.by_source == (of_frames is not None)
        widths.append(part.change_ci.width)
    assert widths[1] > 2 * widths[0]


def test_small_groups_are_left_out_of_the_gap_and_frames_without_a_value_out_of_groups() -> None:
    tones: list[str | None] = list(TONES)
    tones[:20] = ["rare"] * 20
    tones[20:40] = [None] * 20
    wrong = errors(0, 0.1)
    wrong[:20] = True
    part = judged(wrong, wrong, tones)["fpr"]
    assert {group.value: group.counts for group in part.groups} == {
        "dark": True, "light": True, "mid": True, "rare": False,
    }  # fmt: skip
    assert sum(group.count for group in part.groups) == COUNT // 2 - 10
    assert part.highest != "rare"


def test_without_two_groups_that_are_large_enough_there_is_no_gap() -> None:
    part = judged(errors(0, 0.1), errors(1, 0.1), ["dark"] * (COUNT - 10) + ["light"] * 10)["fpr"]
    assert part.gap is None
    assert part.change_ci is None
    assert [group.value for group in part.groups] == ["dark", "light"]


def test_the_baseline_has_a_gap_and_no_change() -> None:
    part = judged(errors(0, 0.1), None)["fpr"]
    assert part.gap is not None
    assert part.change is None


def test_a_column_of_many_values_is_refused_but_of_numbers_cut_into_ranges() -> None:
    names = [(f"n{index}", str(index)) for index in range(51)]
    frames = [Frame(name, Path(name), 1, None, "", (("name", name), ("age", age))) for name, age in names]
    assert problem_of_frames(["age"], frames) == ""
    assert "'name' has 51 values in the test frames, more than 50" in problem_of_frames(["age", "name"], frames)
    assert problem_of_frames(["name"], frames[1:]) == ""


def test_a_gap_between_groups_that_were_alike_is_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, they have a gap by chance alone: what it hides of the growth, the interval has to allow for."""
    monkeypatch.setattr("bench.results.score.groups.DRAWS", 1000)
    random, held, of_group = np.random.default_rng(0), 0, np.repeat(np.arange(5), 200)
    frames = LabelledFrames(
        pd.Series([f"{row}.png" for row in range(1000)]),
        np.zeros(1000, np.int8),
        pd.Series([None] * 1000, dtype="object"),
        pd.DataFrame({"group": np.char.add("group ", of_group.astype(str))}),
    )
    grouped = groupings(["group"], frames, None)
    for _ in range(150):
        before = random.random(1000) < 0.1
        after = before | ((of_group == 4) & (random.random(1000) < 1 / 9))
        part = gaps(grouped, after, before, None)[0]
        assert part.change_ci is not None
        held += part.change_ci.low <= 0.1 <= part.change_ci.high
    assert held >= 0.9 * 150
