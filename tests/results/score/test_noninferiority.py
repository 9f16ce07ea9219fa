"""Verdicts against the truth table of docs/verdicts.md, and what compares variants."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.records import Auc, Comparison, Interval
from bench.results.score.clusters import Clusters
from bench.results.score.differences import difference
from bench.results.score.intervals import holm
from bench.results.score.noninferiority import compare, further_frames, small_but_real, verdict
from bench.results.score.placements import placements
from tests.support import ROOT

DOC = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (-?[\d.]+) \| (-?[\d.]+) \| (-?[\d.]+) \| ([\d.]+) \| (\w+) \| (yes|no) \|$", flags=re.MULTILINE)
TABLE = [(*map(float, row[:4]), row[4], row[5] == "yes") for row in ROW.findall(DOC)]

AREAS = st.integers(-300, 300).map(lambda thousandths: thousandths / 1000)
WIDTHS = st.integers(0, 300).map(lambda thousandths: thousandths / 1000)
MARGINS = st.integers(0, 50).map(lambda thousandths: thousandths / 1000)


@pytest.mark.parametrize(("delta", "low", "high", "margin", "expected", "small"), TABLE)
def test_truth_table(delta: float, low: float, high: float, margin: float, expected: str, small: bool) -> None:
    assert low <= delta <= high, "a row that no data can give"
    assert verdict(delta, Interval(low, high), margin) == expected
    assert small_but_real(Interval(low, high), margin) is small


def test_the_table_is_whole() -> None:
    section = DOC.split("The truth table")[1].split("\n\n")[1].splitlines()
    assert len(TABLE) == len(section) - 2
    assert {row[4] for row in TABLE} == {"improved", "stable", "degraded", "inconclusive"}


@given(AREAS, WIDTHS, WIDTHS, MARGINS)
def test_every_verdict_is_what_the_page_says(delta: float, below: float, above: float, margin: float) -> None:
    low, high = delta - below, delta + above
    holds = {
        "improved": low > 0 and delta > margin,
        "stable": low > -margin and not (low > 0 and delta > margin),
        "degraded": low <= -margin and high < 0 and delta < -margin,
    }
    verdicts = [name for name, true in holds.items() if true]
    assert len(verdicts) <= 1
    assert verdict(delta, Interval(low, high), margin) == (verdicts[0] if verdicts else "inconclusive")


@given(AREAS, WIDTHS, WIDTHS, MARGINS, st.integers(10, 100_000))
def test_further_frames_are_just_enough(delta: float, below: float, above: float, margin: float, count: int) -> None:
    interval = Interval(delta - below, delta + above)

    def after(frames: int) -> str:
        shrunk = math.sqrt(count / (count + frames))
        return verdict(delta, Interval(delta - below * shrunk, delta + above * shrunk), margin)

    more = further_frames(Auc(delta, interval), margin, count)
    if after(0) != "inconclusive":
        assert more is None
    elif more is None:
        assert delta == pytest.approx(-margin, abs=1e-9)
    else:
        # Decimal fractions that meet exactly may round either way.
        assume(abs(delta + margin) > 1e-9)
        assert after(math.ceil((more + count) * (1 + 1e-9)) + 1 - count) != "inconclusive"
        assert more == 1 or after(math.floor((more + count) * (1 - 1e-9)) - 2 - count) == "inconclusive"


@pytest.mark.parametrize(
    ("delta", "low", "high", "margin"),
    [(-0.01, -0.03, 0.01, 0.01), (0.0, -0.02, 0.02, 0.0), (0.0, -1.0, 1.0, 0.01), (0.0, 0.0, 0.0, 0.01)],
)
def test_no_number_of_frames_settles_these(delta: float, low: float, high: float, margin: float) -> None:
    assert further_frames(Auc(delta, Interval(low, high)), margin, 100) is None


def test_four_times_the_frames_halve_the_interval() -> None:
    assert further_frames(Auc(0.0, Interval(-0.02, 0.02)), 0.01, 100) == pytest.approx(300, abs=1)
    assert further_frames(Auc(-0.05, Interval(-0.2, 0.1)), 0.01, 100) == pytest.approx(800, abs=1)


def test_students_t_narrows_faster_and_one_frame_as_their_number() -> None:
    wide = Interval(-0.1, 0.1)
    assert further_frames(Auc(0.0, wide, freedom=2), 0.01, 100) == pytest.approx(0.25 * 9900, rel=0.2)


def test_so_many_more_of_the_same_frames_do_settle_it() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [40, 160])
    scored = rng.normal(size=200) + 2.5 * labels
    other = scored + 0.3 * rng.normal(size=200)

    def compared(times: int) -> Comparison:
        all_labels = np.tile(labels, times)
        placed = {
            name: placements(all_labels, np.tile(answers, times)) for name, answers in (("a", scored), ("b", other))
        }
        return compare(placed, "a", None, 0.01)["b"]

    once = compared(1)
    assert once.verdict == "inconclusive"
    assert once.further_frames is not None
    enough = math.ceil((200 + once.further_frames) / 200)
    assert compared(enough).verdict != "inconclusive"


# ------------------------------------------------------------------------------------ comparisons
def drawn() -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    baseline = 2 * labels + rng.normal(size=400)
    return labels, {
        "baseline": baseline,
        "twin": 3 * baseline + 1,
        "near": baseline + 0.01 * rng.normal(size=400),
        "broken": rng.normal(size=400),
    }


def test_every_variant_against_the_baseline() -> None:
    labels, scores = drawn()
    placed = {name: placements(labels, scored) for name, scored in scores.items()}
    compared = compare(placed, "baseline", None, 0.01)
    assert {name: comparison.verdict for name, comparison in compared.items()} == {
        "twin": "stable",
        "near": "stable",
        "broken": "degraded",
    }
    for name, comparison in compared.items():
        assert (comparison.delta, comparison.p) == difference(placed[name], placed["baseline"], None)
    assert [comparison.p_holm for comparison in compared.values()] == holm(
        [comparison.p for comparison in compared.values()]
    )
    assert compared["twin"].delta.value == 0.0
    assert compared["twin"].p == 1.0


def test_a_twin_is_stable_only_if_the_margin_allows_it() -> None:
    labels, scores = drawn()
    placed = {name: placements(labels, scores[name]) for name in ("baseline", "twin")}
    twin = compare(placed, "baseline", None, 0.0)["twin"]
    assert (twin.verdict, twin.further_frames, twin.small_but_real) == ("inconclusive", None, False)
    assert compare(placed, "baseline", None, 1e-3)["twin"].verdict == "stable"


def test_no_number_of_frames_settles_what_tells_none_apart() -> None:
    labels, scores = drawn()
    few = np.arange(0, 400, 16).repeat(2) + np.tile((0, 1), 25)
    placed = {name: placements(labels[few], scored[few]) for name, scored in scores.items()}
    placed["same"] = placements(labels[few], np.full(50, 0.3))
    margin = 0.001 - difference(placed["same"], placed["baseline"], None)[0].value
    compared = compare(placed, "baseline", None, margin)
    assert (compared["same"].verdict, compared["same"].further_frames) == ("inconclusive", None)
    assert compared["same"].all_equal
    assert not compared["broken"].all_equal
    assert further_frames(compared["same"].delta, margin, 50), "which one that told some apart would be told"


def test_the_interval_that_leads_makes_the_verdict() -> None:
    rng = np.random.default_rng(0)
    sources = np.arange(4000) // 200
    labels = sources % 2
    baseline = 2 * labels + rng.normal(size=4000)
    variant = baseline + 0.5 * rng.normal(size=20)[sources]
    placed = {"baseline": placements(labels, baseline), "variant": placements(labels, variant)}
    alone, together = (
        compare(placed, "baseline", codes, 0.02)["variant"] for codes in (None, Clusters.disjoint(sources))
    )
    assert together.delta.clustered
    assert together.delta.interval.width > 2 * alone.delta.interval.width
    assert together.p > alone.p
    assert together.verdict == verdict(together.delta.value, together.delta.interval, 0.02)


def test_without_the_baseline_nothing_is_compared() -> None:
    labels, scores = drawn()
    assert compare({"near": placements(labels, scores["near"])}, "baseline", None, 0.01) == {}
    assert compare({"baseline": placements(labels, scores["baseline"])}, "baseline", None, 0.01) == {}
    assert compare({}, "baseline", None, 0.01) == {}
