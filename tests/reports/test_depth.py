"""Where the loss sits, in reports: shares, costs, the proposal, and whether the forecast came true."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.records import (
    CalibrationShift,
    Evaluation,
    Fidelity,
    Forecast,
    Foretold,
    Latencies,
    MeasuredNoise,
    NarrowedChannels,
    Predictions,
    Proposal,
    RoundedLayer,
    RunRecord,
    SearchTrail,
    VariantSpeed,
)
from bench.reports import read_scores, summary
from bench.reports.content import depth, forecasts
from bench.reports.html.depth import pictures
from bench.results.score import noise
from tests.support.reports import Answers, judged, made_up, rendered

FRAMES = [f"{index}.png" for index in range(120)]
LAYERS = (
    RoundedLayer("conv_stem", 32, 32, 9e-3, 0, 100),
    *(RoundedLayer(f"blocks.{i // 3}.{i % 3}.conv", 8, 8, 1e-4 * (i + 1), 2**20, 300 * (i + 1)) for i in range(24)),
)
LINE = "quantize: {dtype: int8, float: [blocks.7.2.conv]}"
PROPOSAL = Proposal(LINE, ("blocks.7.2.conv",), 24 / 300, 2**20)
ROUNDED = Forecast("quantize: int8", "d" * 64, "b" * 64, Foretold(0.03, 32, 2.0, LAYERS), PROPOSAL)
CHANNELS = (
    NarrowedChannels("conv_stem", 32, 32, 0.0),
    NarrowedChannels("blocks.0.conv_pw", 96, 24, 3e-4),
    NarrowedChannels("blocks.1.attn.qkv", 12, 9, 1e-4, heads=True),
    NarrowedChannels("blocks.2.conv_pwl", 40, 32, None),
)
NARROWED = Forecast("prune: 0.5", "c" * 64, "b" * 64, Foretold(None, 64, 2.0, (), CHANNELS))


def foretold() -> tuple[RunRecord, Answers]:
    """The made-up run with forecasts: of q8, and of q16 as if it were pruned."""
    run, answers = made_up(FRAMES)
    by_name = {"q8": (ROUNDED,), "q16": (NARROWED,)}
    variants = [replace(variant, forecasts=by_name.get(variant.name, ())) for variant in run.variants]
    return replace(run, variants=tuple(variants)), answers


@cache
def evaluation() -> Evaluation:
    return judged(*foretold())


def drawn(name: str) -> depth.Depth:
    return next(of for of in depth.depths(foretold()[0], evaluation()) if of.name == name)


def test_shares_are_of_what_is_rounded_and_sum_to_one() -> None:
    bars = drawn("q8").bars
    assert [bar.name for bar in bars] == [layer.name for layer in LAYERS], "in the order in which they run"
    assert (bars[0].look, bars[0].share) == ("float", None)
    assert sum(bar.share or 0.0 for bar in bars) == pytest.approx(1)
    assert bars[-1].share == pytest.approx(24 / 300)


def test_the_table_has_the_noisiest_layers_the_others_in_one_row_and_those_in_float() -> None:
    rows = drawn("q8").table.rows
    assert [str(cells[0]) for cells in (rows[0], *rows[-2:])] == ["blocks.7.2.conv", "the other 4 layers", "conv_stem"]
    shares = [cells[2].value for cells in rows[:-1]]
    assert sum(share or 0.0 for share in shares) == pytest.approx(1)
    assert [str(cell) for cell in rows[0][1:4]] == ["8, input 8", "8.0 %", "1.000"]
    assert str(rows[-1][2]) == "30.0 % if rounded"


def test_time_is_shared_out_by_macs_only_where_the_variant_is_faster() -> None:
    run, _ = foretold()
    timing = evaluation().speeds["baseline"].single
    assert timing is not None

    def of_q8(ms: float) -> depth.Depth:
        """Where the variant takes so many ms, and the baseline 10."""
        speed = VariantSpeed(replace(timing, p50_ms=ms), reference=replace(timing, p50_ms=10.0))
        timed = replace(evaluation(), speeds={"q8": speed})
        return next(of for of in depth.depths(run, timed) if of.name == "q8")

    offer = "takes away 8 % of the foretold noise for 1.000 MiB"
    assert str(of_q8(11.0).offer) == offer
    assert str(of_q8(7.0).offer) == f"{offer} and about 0.24 ms a frame, estimated"
    times = [cells[4].value for cells in of_q8(7.0).table.rows[:-1]]
    assert sum(ms or 0.0 for ms in times) == pytest.approx(3.0)


def test_what_pruning_saved_is_not_what_float_costs() -> None:
    """Of a chain, rounding saved what it took less than what it was given."""
    run, _ = foretold()
    pruned = replace(run.variants[1], id="c" * 64)
    rounded = replace(run.variants[2], forecasts=(replace(ROUNDED, parent="c" * 64),))
    run = replace(run, variants=(run.variants[0], pruned, rounded))

    def of_q8(latencies: dict[str, float]) -> depth.Depth:
        timed = replace(evaluation(), latencies=Latencies(latencies, "onnxruntime", "cpu"))
        return next(of for of in depth.depths(run, timed) if of.step == "quantize: int8")

    times = [cells[4].value for cells in of_q8({"q16": 6.0, "q8": 5.0}).table.rows[:-1]]
    assert sum(ms or 0.0 for ms in times) == pytest.approx(1.0)
    for missing in ({"q16": 5.0, "q8": 6.0}, {"q8": 5.0}):
        assert {len(cells) for cells in of_q8(missing).table.rows} == {4}, "no column of times"


def test_of_prune_it_shows_the_channels_that_are_left() -> None:
    of_prune = drawn("q16")
    assert [bar.left for bar in of_prune.bars] == [1.0, 0.25, 0.75, 0.8]
    assert [bar.share for bar in of_prune.bars[:3]] == pytest.approx([0.0, 0.75, 0.25])
    assert of_prune.bars[3].share is None
    assert "9 of 12 heads and 88 of 168 channels are left" in str(of_prune.summary)
    left = ["32 of 32 channels", "24 of 96 channels", "9 of 12 heads", "32 of 40 channels"]
    assert [str(cells[1]) for cells in of_prune.table.rows] == left


def test_a_part_of_several_groups_has_their_sum() -> None:
    channels = (
        NarrowedChannels("blocks.0.attn.qkv", 12, 6, 1e-4, heads=True),
        NarrowedChannels("blocks.0.mlp.fc1", 64, 32, 1e-4),
        NarrowedChannels("blocks.1.0.conv_pw", 48, 24, 1e-4),
        NarrowedChannels("blocks.1.1.conv_pw", 16, 8, 1e-4),
    )
    run, _ = foretold()
    forecast = replace(NARROWED, foretold=replace(NARROWED.foretold, channels=channels))
    run = replace(run, variants=(replace(run.variants[1], forecasts=(forecast,)),))
    rows = [[str(cell) for cell in cells] for cells in depth.depths(run, evaluation())[0].table.rows]
    assert rows[0] == ["blocks.0", "6 of 12 heads and 32 of 64 channels", "–", "50.0 %"]
    assert rows[3] == ["blocks.1", "32 of 64 channels", "50 %", "50.0 %"]
    assert [row[0] for row in rows[4:]] == ["blocks.1.0.conv_pw", "blocks.1.1.conv_pw"]


def test_a_step_of_several_variants_is_drawn_once() -> None:
    run, _ = foretold()
    again = replace(run.variants[2], name="q8-again", forecasts=(ROUNDED,))
    run = replace(run, variants=(*run.variants, again))
    of_both = [of for of in depth.depths(run, evaluation()) if of.step == "quantize: int8"]
    assert [of.name for of in of_both] == ["q8"]
    assert "The same step is part of q8-again." in str(of_both[0].summary)


@pytest.mark.parametrize("name", ["q8", "q16"])
def test_pictures_are_well_formed_and_stay_within_their_frame(name: str) -> None:
    ((_, picture),) = pictures([drawn(name)])
    svg = ElementTree.fromstring(str(picture))
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    boxes = [rect.attrib for rect in svg.iter("rect")]
    assert len(boxes) > 4
    for box in boxes:
        assert 0 <= float(box["x"]) <= float(box["x"]) + float(box["width"]) <= width
        assert 0 <= float(box["y"]) <= float(box["y"]) + float(box["height"]) <= height


def test_report_and_page_have_the_line_to_paste(tmp_path: Path) -> None:
    _, report = rendered(tmp_path, *foretold())
    for name in ("report.md", "report.html"):
        text = (report / name).read_text(encoding="utf-8")
        assert "Where the loss sits" in text
        assert LINE in text


# ------------------------------------------------------------------------------------ foretold and measured
def answered(logit_diff: NDArray[np.float64]) -> Predictions:
    return Predictions(1 / (1 + np.exp(-logit_diff)), None, None, logit_diff)


def measured(run: RunRecord, errors: dict[str, NDArray[np.float64]]) -> dict[str, MeasuredNoise]:
    """The noises of variants that add these errors to the baseline's logit difference."""
    _, answers = made_up(FRAMES)
    before = np.random.default_rng(0).normal(0, 3, len(answers.test.labels))
    changed = {name: answered(before + error[: len(before)]) for name, error in errors.items()}
    return noise.measured(run, answers.test, {"baseline": answered(before), **changed})


def test_noise_is_measured_against_the_variant_that_the_steps_began_with() -> None:
    run, answers = foretold()
    rng, count = np.random.default_rng(1), len(answers.test.labels)
    error = rng.normal(0, 0.5, count)
    of_q8 = measured(run, {"q8": error})["q8"]
    before = np.random.default_rng(0).normal(0, 3, count)
    assert (of_q8.against, of_q8.count) == ("baseline", count)
    assert of_q8.measured == pytest.approx(np.mean(error**2) / np.var(before))
    assert of_q8.foretold == pytest.approx(0.03 * 2.0**2 / np.var(before)), "what varies otherwise is counted otherwise"
    assert of_q8.typical == pytest.approx(0.25 / 9, rel=0.5)
    assert measured(run, {"q16": error}) == {}, "of a residual sum nothing was foretold"


def test_noises_of_a_chain_add_up_to_the_nearest_variant_before() -> None:
    run, answers = foretold()
    pruned = replace(NARROWED, foretold=replace(NARROWED.foretold, noise=0.01))
    after = replace(ROUNDED, parent=pruned.id)
    q16, q8 = replace(run.variants[1], forecasts=(pruned,)), replace(run.variants[2], forecasts=(pruned, after))
    error = np.full(len(answers.test.labels), 0.5)
    both = measured(replace(run, variants=(run.variants[0], q16, q8)), {"q16": error, "q8": error})
    assert (both["q16"].against, both["q8"].against) == ("baseline", "q16")
    alone = measured(replace(run, variants=(run.variants[0], q8)), {"q8": error})["q8"]
    assert alone.against == "baseline"
    assert alone.foretold == pytest.approx(both["q16"].foretold + both["q8"].foretold)


def test_few_noisy_frames_raise_the_mean_and_not_the_typical_frame() -> None:
    rng = np.random.default_rng(2)
    before, error = rng.normal(0, 1, 1000), rng.normal(0, 0.1, 1000)
    error[:10] += 3.0
    average, typical, noisiest = noise.noise_of(before + error, before)
    assert average == pytest.approx(0.01 + 0.09, rel=0.2)
    assert typical == pytest.approx(0.01, rel=0.2)
    assert noisiest == pytest.approx(0.9, abs=0.05)
    assert noise.noise_of(before, before) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("noises", "changes", "sentence"),
    [
        (MeasuredNoise("baseline", 1e-4, 1.2e-4, 1e-4, 0.1, 80), {}, None),
        (
            MeasuredNoise("baseline", 1e-4, 9e-4, 9e-4, 0.1, 80),
            {},
            "q8 moves .* 3.0 times as far as .*; why is not known",
        ),
        (
            MeasuredNoise("baseline", 1e-4, 9e-4, 1e-4, 0.8, 80),
            {},
            "hundredth of the frames makes 80 % of the noise, .* 1.0 t",
        ),
        (
            MeasuredNoise("baseline", 1e-4, 9e-4, 1e-4, 0.1, 80),
            {"calibration_shift": CalibrationShift(8e-4, 4.9, None, None, 0.01, "a", 0.1, 48, True)},
            "beyond their calibrated ranges",
        ),
        (
            MeasuredNoise("baseline", 1e-4, 9e-4, 1e-4, 0.1, 80),
            {"fidelity": Fidelity(0.08, 0.3, 16, "calibration", False)},
            "computes something else than the file says",
        ),
        (
            MeasuredNoise("baseline", 9e-4, 1e-4, 1e-4, 0.1, 80),
            {},
            "q8 moves the logit difference 0.33 times as far as was foretold",
        ),
    ],
)
def test_a_forecast_that_was_far_off_is_said_with_its_reason(
    noises: MeasuredNoise, changes: dict[str, CalibrationShift | Fidelity], sentence: str | None
) -> None:
    run, _ = foretold()
    plain: dict[str, Any] = {"fidelity": None, "calibration_shift": None}
    q8 = replace(run.variants[2], **plain | changes)
    of_q8 = replace(evaluation(), noises={"q8": noises})
    misses = [str(miss) for miss in forecasts.misses(replace(run, variants=(q8,)), of_q8)]
    assert len(misses) == (sentence is not None)
    if sentence:
        assert re.search(sentence, misses[0])
    table = forecasts.forecasts(of_q8)
    assert table is not None
    assert table.rows[0][2].value == pytest.approx(math.sqrt(noises.foretold))


def test_channels_are_a_reason_too_where_rounding_came_after_them_and_not_before_the_variant_compared_with() -> None:
    run, _ = foretold()
    narrowed = Foretold(1e-4, 8, 1.0, channels=(NarrowedChannels("blocks.0", 64, 32, 1e-4),))
    chain = (
        Forecast("prune: 0.5", "pruned", "whole", narrowed),
        Forecast("quantize: int8", "rounded", "pruned", Foretold(1e-4, 8, 1.0)),
    )
    plain: dict[str, Any] = {"fidelity": None, "calibration_shift": None}
    variants = (
        replace(run.variants[0], name="baseline", id="whole"),
        replace(run.variants[1], name="p50", id="pruned", forecasts=chain[:1], **plain),
        replace(run.variants[2], name="q8-p50", id="rounded", forecasts=chain, **plain),
    )
    for against, expected in {"baseline": "counts each group of channels alone", "p50": "why is not known"}.items():
        noises = {"q8-p50": MeasuredNoise(against, 1e-4, 9e-4, 9e-4, 0.1, 80)}
        (miss,) = forecasts.misses(replace(run, variants=variants), replace(evaluation(), noises=noises))
        assert expected in str(miss)


def test_the_terminal_says_which_steps_a_search_found(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    _, report = rendered(tmp_path, run, answers)
    numbers = read_scores(report)
    assert "found by a search" not in summary(run, numbers)
    trail = SearchTrail("key", "smallest", 0.005, 100, 154, 2**20)
    searched = replace(numbers, searches={"q16": trail})
    assert "q16 is cast: fp16, found by a search" in summary(run, searched)
