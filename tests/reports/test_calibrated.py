"""What a report says of calibration: a row a variant, what was not fitted and why, and what holds of videos."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from bench.records import Calibration, CalibrationMethod, Estimate, Evaluation, Interval, RunRecord, Scaling
from bench.reports.content.calibrated import calibrated, note
from bench.reports.scores_json import as_json, scores
from tests.support import reports
from tests.support.videos import of_videos

RUN, ANSWERS = reports.made_up(reports.FRAMES)


def evaluation(**by_variant: Calibration) -> Evaluation:
    """The made-up evaluation with these calibrations; the other variants keep what was fitted to them."""
    of = reports.judged(RUN, ANSWERS)
    variants = {
        name: dataclasses.replace(scored, calibration=by_variant.get(name.replace("-", "_"), scored.calibration))
        for name, scored in of.variants.items()
    }
    return dataclasses.replace(of, variants=variants)


def scaling(method: CalibrationMethod, slope: Interval, threshold: float = 0.5) -> Scaling:
    shift = Estimate(0.5, Interval(-1.0, 2.0)) if method == "platt" else None
    return Scaling(method, Estimate(0.5, slope), shift, threshold, 0.1, 0.2)


def row(run: RunRecord, of: Evaluation, name: str) -> dict[str, str]:
    table = calibrated(run, of)
    assert table is not None
    (cells,) = (cells for cells in table.rows if cells[0].variant == name)
    return {column.title: str(cell) for column, cell in zip(table.columns, cells, strict=True)}


@pytest.mark.parametrize(
    ("slope", "text"),
    [
        (Interval(0.25, 1.0), "2.00 (1.00–4.00)"),
        (Interval(-0.1, 1.0), "2.00 (1.00 or more)"),
        (Interval(-math.inf, math.inf), "2.00 (unknown)"),
    ],
)
def test_an_interval_of_a_temperature_may_have_no_end(slope: Interval, text: str) -> None:
    of = evaluation(q16=Calibration(40, 20, 20, {"temperature": scaling("temperature", slope)}, {"platt": "few"}))
    cells = row(RUN, of, "q16")
    assert (cells["T"], cells["Platt a"], cells["with Platt"]) == (text, "–", "–")
    written = as_json(scores(RUN, of))["variants"]["q16"]["calibration"]
    assert written["temperature"]["temperature_ci"] == ([1.0, 4.0] if slope.low == 0.25 else None)
    assert written["platt"] is None
    assert written["reasons"] == {"platt": "few"}
    json.dumps(written, allow_nan=False)


def test_a_threshold_that_stays_has_no_column() -> None:
    assert [title for title in row(RUN, evaluation(), "q8") if title.startswith("0.5")] == ["0.5 becomes with Platt"]
    at = dataclasses.replace(RUN, threshold=0.3)
    assert {"0.3 becomes with T", "0.3 becomes with Platt"} <= set(row(at, reports.judged(at, ANSWERS), "q8"))


def test_what_was_not_fitted_stands_below() -> None:
    nothing = Calibration(40, 20, 20, {}, {"temperature": "too few", "platt": "too few"})
    text = str(note(RUN, evaluation(q8=nothing, q16=nothing)))
    assert "Not fitted: temperature and Platt scaling of q16 and q8 (too few)." in text
    assert "writes it into a file" in text
    of_none = evaluation(baseline=nothing, q16=nothing, q8=nothing, q16_p50=nothing)
    assert calibrated(RUN, of_none) is None
    assert str(note(RUN, of_none)).startswith(
        "P(fake) could not be calibrated on 40 validation frames (20 fake, 20 real)."
    )


def test_of_scores_from_elsewhere_nothing_can_be_exported() -> None:
    assert "export" not in str(note(dataclasses.replace(RUN, preprocessing=None), evaluation()))


def test_without_validation_frames_there_is_no_part() -> None:
    of = reports.judged(RUN, dataclasses.replace(ANSWERS, validation=None, predictions={
        name: dataclasses.replace(predicted, validation=None) for name, predicted in ANSWERS.predictions.items()
    }))  # fmt: skip
    assert (calibrated(RUN, of), bool(note(RUN, of))) == (None, False)
    assert scores(RUN, of).variants["q8"].calibration is None


def test_where_videos_are_judged_the_calibration_error_is_theirs() -> None:
    made = of_videos(RUN, ANSWERS)
    run, answers = dataclasses.replace(made[0], judge="video", threshold=0.3), made[1]
    of = reports.judged(run, answers)
    scaling, cells = of.variants["q16"].calibration, row(run, of, "q16")
    assert scaling is not None
    assert of.video is not None
    assert cells["ECE per video"] == f"{of.video.variants['q16'].reliability.ece:.3f}"
    assert cells["with T"] == f"{scaling.scalings['temperature'].video_ece:.3f}"
    assert not [title for title in cells if title.startswith("0.3")], "of videos, no threshold decides the same"
    text = str(note(run, of))
    assert "ECE is on test videos" in text
    assert "writes it into a file, for frames" in text
    written = as_json(scores(run, of))["variants"]["q16"]["calibration"]["temperature"]
    assert written["video_ece"] == scaling.scalings["temperature"].video_ece
    assert as_json(scores(RUN, evaluation()))["variants"]["q16"]["calibration"]["temperature"]["video_ece"] is None


def test_videos_are_told_that_it_is_of_frames() -> None:
    of = evaluation()
    assert "video" not in str(note(RUN, of))
    assert "no video's score is calibrated by it" in str(note(RUN, dataclasses.replace(of, video=of)))
