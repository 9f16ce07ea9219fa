"""The report of several frame sets, from made-up runs: to the letter, its page, its terminal, and its scores."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.records import (
    Alone,
    Auc,
    Constraints,
    Degradation,
    DegradedScore,
    Interval,
    ScoresOnSets,
    SideBySideScoresOnSets,
)
from bench.reports import is_whole, read_scores, summary_on_sets
from bench.reports.content import frame_sets
from bench.reports.scores_json import as_json, scores, scores_side_by_side, typed_scores
from bench.reports.scores_of_sets import scores_on_sets, scores_side_by_side_on_sets
from bench.reports.terminal.plain import WIDTH
from bench.results.score import on_sets, side_by_side_on_sets
from bench.stored import DamagedError
from tests.reports.test_reports import leaves, nearly, well_formed
from tests.reports.test_side_by_side import Page
from tests.support.frame_sets import COUNTS, detectors_on_three, rendered, rendered_detectors, three

GOLDEN = Path(__file__).parent / "golden"
RENDERED: dict[str, Callable[[Path], Path]] = {
    "frame_sets": lambda report: rendered(three(choose=Constraints(auc_drop=0.01, size_mib=60)), report),
    "detectors_on_frame_sets": lambda report: rendered_detectors(detectors_on_three(), report),
}


@pytest.mark.parametrize("name", RENDERED)
def test_golden(name: str, tmp_path: Path) -> None:
    """`RENEW_GOLDEN=1` writes it anew."""
    report, golden = RENDERED[name](tmp_path), GOLDEN / name
    # Those of several detectors hold the same many times over, and other tests compare them with these.
    files = ("report.md", "scores.json") if name == "frame_sets" else ("report.md",)
    written = {file: (report / file).read_text(encoding="utf-8") for file in files}
    if os.environ.get("RENEW_GOLDEN"):
        golden.mkdir(exist_ok=True)
        for file, text in written.items():
            (golden / file).write_text(text, encoding="utf-8")
    assert written["report.md"] == (golden / "report.md").read_text(encoding="utf-8")
    assert well_formed(written["report.md"])
    if "scores.json" in written:
        assert leaves(written["scores.json"]) == nearly((golden / "scores.json").read_text(encoding="utf-8"))


def test_the_report_is_whole_with_those_of_its_sets(tmp_path: Path) -> None:
    report = rendered(three(), tmp_path)
    assert not is_whole(report), "it leads to reports that are not there"
    for name in COUNTS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.md").write_text("[the report of all](../report.md)")
    assert is_whole(report)


def test_a_report_is_whole_before_the_one_above_it(tmp_path: Path) -> None:
    """That is rendered last, and leads to this one."""
    for name in ("report.html", "scores.json"):
        (tmp_path / name).touch()
    (tmp_path / "report.md").write_text("[the report of all](../../report.md)")
    assert is_whole(tmp_path)
    (tmp_path / "report.md").write_text("[a figure](../figure.png)")
    assert not is_whole(tmp_path)


def test_scores_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    across = three()
    numbers = read_scores(rendered(across, tmp_path))
    assert isinstance(numbers, ScoresOnSets)
    assert as_json(numbers) == as_json(scores_on_sets(across))
    first = as_json(scores(*_first(across)))
    content = as_json(numbers)
    assert {key: content[key] for key in first if key != "choice"} == {
        key: value for key, value in first.items() if key != "choice"
    }
    assert content["choice"]["chosen"] == "q16"
    assert content["sets"]["celeb"]["choice"]["chosen"] == first["choice"]["chosen"] == "q8"
    assert content["overall"]["q8"]["lost"] == ["ffpp_c40"]
    assert content["overall"]["q8"]["keeps_at_home_only"] is True


def _first(across: Any) -> tuple[Any, Any]:
    alone = next(iter(across.sets.values()))
    return alone.run, alone.evaluation


def test_scores_of_detectors_have_the_sets_of_each(tmp_path: Path) -> None:
    together = detectors_on_three()
    numbers = read_scores(rendered_detectors(together, tmp_path))
    assert isinstance(numbers, SideBySideScoresOnSets)
    content = as_json(numbers)
    assert content == as_json(scores_side_by_side_on_sets(together))
    of_first = as_json(scores_side_by_side(together.first))
    for name, detector in content["detectors"].items():
        alone = as_json(scores_on_sets(together.detectors[name]))
        for key in ("sets", "overall", "choice", "variants"):
            assert detector[key] == alone[key]
        assert detector["auc_delta"] == of_first["detectors"][name]["auc_delta"]
    assert content["sets"] == content["detectors"]["b5"]["sets"]
    assert set(content["overall_compared"]) == set(together.first.titles) - {together.first.reference}


@pytest.mark.parametrize("change", [lambda content: content["sets"]["mine"].pop("frames"),
                                    lambda content: content["overall"].update({"q8": 3}),
                                    lambda content: content.pop("home")])  # fmt: skip
def test_damaged_scores_are_refused(change: Callable[[Any], object]) -> None:
    content = as_json(scores_on_sets(three()))
    change(content)
    with pytest.raises(DamagedError):
        typed_scores(json.loads(json.dumps(content)))


def test_the_page_needs_nothing_and_leads_to_each_set(tmp_path: Path) -> None:
    page = Page((rendered(three(), tmp_path) / "report.html").read_text(encoding="utf-8"))
    assert page.scripts == 0
    below = [f"{name}/report.html" for name in COUNTS]
    tables = [f"tables/{name}.{end}" for name in ("frame_sets", "variants") for end in ("csv", "tex")]
    assert page.targets == [*below, *below, "report.md", "scores.json", *tables]
    assert page.rows == [1 + 3, 1 + 3]


def test_the_page_of_detectors_leads_to_each_on_each_set(tmp_path: Path) -> None:
    text = (rendered_detectors(detectors_on_three(), tmp_path) / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    pairs = {f"{detector}/{name}/report.html" for detector in ("b5", "xception", "mobile") for name in COUNTS}
    assert pairs <= set(page.targets)
    assert page.scripts == 0
    assert page.rows[:2] == [1 + 9, 1 + 3]
    assert text.count("<details>") == len(COUNTS), "what is of one set alone is closed at first"


def test_pooled_verdicts_say_so(tmp_path: Path) -> None:
    report = rendered(three(pool=True), tmp_path)
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "as `pool: true` asks for" in text
    assert "by the scores of all sets together: degraded" in text
    assert "pool: true" not in (rendered(three(), tmp_path / "other") / "report.md").read_text(encoding="utf-8")
    pooled = scores_on_sets(three(pool=True))
    words = " ".join(summary_on_sets(pooled).split())
    assert "(verdicts: pooled scores)" in words
    of_q8 = pooled.overall["q8"].pooled
    assert of_q8 is not None
    assert of_q8.auc_delta is not None
    assert of_q8.auc_delta_ci is not None
    assert f"q8: degraded (pooled {of_q8.auc_delta:.4f} ({of_q8.auc_delta_ci[0]:.4f} to " in words


def test_pooled_scores_of_frames_and_videos_are_those_of_frames() -> None:
    words = "Since some sets are judged by frame, these are the scores of frames on every set."
    sets = dict(three().sets)
    celeb = sets["celeb"]
    by_video = dataclasses.replace(celeb.evaluation, unit="video")
    evaluation = dataclasses.replace(celeb.evaluation, video=by_video)
    sets["celeb"] = Alone(dataclasses.replace(celeb.run, judge="video"), evaluation)
    assert words in str(frame_sets.note(on_sets(sets, "celeb", pool=True)))
    assert words not in str(frame_sets.note(three(pool=True)))
    assert words not in str(frame_sets.note(on_sets(sets, "celeb")))


def test_losses_under_re_compression_are_told_for_all_sets(tmp_path: Path) -> None:
    """The variant that is chosen by its AUC loses more than the baseline on re-compressed frames of each set."""
    sets = three(lost={}, choose=Constraints(auc_drop=0.5)).sets
    report = rendered(on_sets(_re_compressed(sets), "celeb"), tmp_path / "one").joinpath("report.md")
    text = report.read_text(encoding="utf-8")
    for name in (each.replace("_", r"\_") for each in COUNTS):
        assert f"**Under re-compression it loses more than the baseline on {name}**: −0." in text
        assert f"**q8** on **{name}** −0." in text
    assert "**q16** on" not in text
    untouched = rendered(on_sets(sets, "celeb"), tmp_path / "none").joinpath("report.md")
    assert "re-compression" not in untouched.read_text(encoding="utf-8")
    fine = _re_compressed(sets, lost=0.0)
    text = rendered(on_sets(fine, "celeb"), tmp_path / "fine").joinpath("report.md").read_text(encoding="utf-8")
    assert "no variant loses significantly more than the baseline does on any of the frame sets" in text


def test_losses_under_re_compression_are_told_for_all_detectors(tmp_path: Path) -> None:
    of_detectors = detectors_on_three(Constraints(auc_drop=0.5)).detectors
    sets = {
        name: {detector: _re_compressed(across.sets)[name] for detector, across in of_detectors.items()}
        for name in COUNTS
    }
    together = side_by_side_on_sets(sets, "celeb")
    text = (rendered_detectors(together, tmp_path) / "report.md").read_text(encoding="utf-8")
    chosen = together.evaluation.choice and together.evaluation.choice.chosen
    detector, variant = together.first.titles[str(chosen)]
    assert variant == "q8"
    losses = f"**Under re-compression it loses more than {detector}/baseline"
    assert f"{losses} on mine**: −0." in text
    assert f"{losses}**: −0." in text, "the section of each set tells it too"
    assert "**xception/q8** on **ffpp\\_c40** −0." in text


def _re_compressed(sets: Mapping[str, Alone], lost: float = -0.2) -> dict[str, Alone]:
    """With scores on re-compressed frames, by which q8 loses so much, and q16 nothing."""
    level, area = Degradation("jpeg", 50), Auc(0.8, Interval(0.75, 0.85))
    q16, q8 = (
        DegradedScore(level, area, extra, extra, p_holm, "inconclusive", extra.interval)
        for extra, p_holm in ((_near(0.0), 1.0), (_near(lost), 0.001 if lost else 1.0))
    )
    scores = {"baseline": (DegradedScore(level, area),), "q16": (q16,), "q8": (q8,)}
    return {
        name: dataclasses.replace(alone, evaluation=dataclasses.replace(alone.evaluation, degraded=scores))
        for name, alone in sets.items()
    }


def _near(value: float) -> Auc:
    return Auc(value, Interval(value - 0.1, value + 0.1))


def test_the_terminal_names_the_worst_set_first() -> None:
    text = summary_on_sets(scores_on_sets(three()))
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= WIDTH
    words = " ".join(text.split())
    assert "q8: degraded (keeps its AUC on celeb, loses it elsewhere): ffpp_c40 degraded -0.0261" in words
    assert words.index("ffpp_c40 degraded") < words.rindex("celeb stable")
    assert "ship: q16" in words
    words = " ".join(summary_on_sets(scores_side_by_side_on_sets(detectors_on_three())).split())
    assert "mobile/q8: degraded" in words
    assert "(AUC against b5/baseline)" in words


def test_a_set_to_build_with_that_is_not_judged_is_named(tmp_path: Path) -> None:
    text = (rendered(three(built_with="ffpp"), tmp_path) / "report.md").read_text(encoding="utf-8")
    assert (
        "Variants are built with **ffpp**, which is not judged here: **celeb**, the first set, counts as home." in text
    )
