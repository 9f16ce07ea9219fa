"""The report of several detectors, from made-up runs: to the letter, its page, its terminal, and its scores."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.records import Alone, Constraints, Filters, Preprocessing, SideBySide, SideBySideScores
from bench.reports import is_whole, plain_warnings, read_scores, summary_of_all
from bench.reports.content.inputs import networks_and_inputs
from bench.reports.content.side_by_side import overall
from bench.reports.content.spans import code
from bench.reports.scores_json import as_json, scores, scores_side_by_side, typed_scores
from bench.reports.terminal.plain import WIDTH
from bench.results.score import side_by_side
from bench.stored import DamagedError
from tests.reports.test_reports import leaves, nearly, well_formed
from tests.support.reports import FRAMES, judged, made_up
from tests.support.side_by_side import B5, LATER, MOBILE, XCEPTION, all_failed, alone, rendered, three
from tests.support.videos import of_videos

GOLDEN = Path(__file__).parent / "golden/side_by_side"
BUDGET = Constraints(latency_ms=35)


def test_golden(tmp_path: Path) -> None:
    """`RENEW_GOLDEN=1` writes it anew."""
    report = rendered(three(BUDGET), tmp_path)
    written = {name: (report / name).read_text(encoding="utf-8") for name in ("report.md", "scores.json")}
    if os.environ.get("RENEW_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        for name, text in written.items():
            (GOLDEN / name).write_text(text, encoding="utf-8")
    assert written["report.md"] == (GOLDEN / "report.md").read_text(encoding="utf-8")
    assert well_formed(written["report.md"])
    assert leaves(written["scores.json"]) == nearly((GOLDEN / "scores.json").read_text(encoding="utf-8"))


def test_preprocessing_is_shown_where_detectors_differ(tmp_path: Path) -> None:
    """And not where it is the same."""
    by_name = {
        "a": Preprocessing(size=224, fit="crop", interpolation="pil-bicubic", crop_pct=0.875),
        "b": Preprocessing(size=224, fit="pad", pad="centre", interpolation=Filters("area", "bicubic")),
        "c": Preprocessing(size=224, interpolation="pil-bicubic", crop="dfdc"),
    }
    runs = {name: dataclasses.replace(alone("b5", B5).run, preprocessing=given) for name, given in by_name.items()}
    network = "efficientnet_b5, 224 × 224 px RGB"
    assert networks_and_inputs(runs) == {
        "a": f"{network}, centre crop of 87.5 %, pil-bicubic, whole frames",
        "b": f"{network}, padded (centre), area down, bicubic up, whole frames",
        "c": f"{network}, stretched, pil-bicubic, faces cut as dfdc",
    }
    assert networks_and_inputs({"a": runs["a"]}) == {"a": network}
    page = (rendered(three(), tmp_path) / "report.html").read_text(encoding="utf-8")
    assert "xception, 256 × 256 px RGB, bicubic, mean 0.5, std 0.5" in page
    assert "mobilenetv3_large_100, 224 × 224 px RGB, area down, bicubic up, mean 0, std 1" in page
    assert "stretched" not in page


def test_the_report_is_whole_with_those_of_its_detectors(tmp_path: Path) -> None:
    report = rendered(three(), tmp_path)
    assert not is_whole(report), "it leads to reports that are not there"
    for name in ("b5", "xception", "mobile"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.md").touch()
    assert is_whole(report)


def test_scores_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    together = three()
    numbers = read_scores(rendered(together, tmp_path))
    assert isinstance(numbers, SideBySideScores)
    assert as_json(numbers) == as_json(scores_side_by_side(together))
    alone_scores = scores(together.detectors["b5"].run, together.detectors["b5"].evaluation)
    content, of_first = as_json(numbers), as_json(alone_scores)
    assert {key: content[key] for key in of_first if key != "choice"} == {
        key: value for key, value in of_first.items() if key != "choice"
    }
    assert content["choice"]["chosen"] == "b5/q8"
    assert (
        content["detectors"]["xception"]["choice"]
        == as_json(scores(together.detectors["xception"].run, together.detectors["xception"].evaluation))["choice"]
    )


@pytest.mark.parametrize("change", [lambda content: content["detectors"]["b5"].pop("variants"),
                                    lambda content: content["compared"].update({"b5/q8": 3}),
                                    lambda content: content.pop("reference")])  # fmt: skip
def test_damaged_scores_are_refused(change: Callable[[Any], object]) -> None:
    content = as_json(scores_side_by_side(three()))
    change(content)
    with pytest.raises(DamagedError):
        typed_scores(json.loads(json.dumps(content)))


class Page(HTMLParser):
    """What a browser would load, execute or follow, and the rows of each table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.targets, self.rows = 0, list[str](), list[int]()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.scripts += tag == "script"
        self.targets += [str(given["href"])] if tag == "a" else []
        assert "src" not in given
        if tag == "table":
            self.rows.append(0)
        elif tag == "tr":
            self.rows[-1] += 1


def test_the_page_needs_nothing_and_leads_to_each_detector(tmp_path: Path) -> None:
    together = three(BUDGET)
    page = Page((rendered(together, tmp_path) / "report.html").read_text(encoding="utf-8"))
    assert page.scripts == 0
    below = [f"{name}/report.html" for name in together.detectors]
    tables = [f"tables/{name}.{end}" for name in ("detectors", "variants") for end in ("csv", "tex")]
    assert page.targets == [*below, *below, "report.md", "scores.json", *tables]
    assert page.rows == [1 + 3, 1 + 9]


def test_a_detector_looks_the_same_everywhere(tmp_path: Path) -> None:
    """By its colour and shape: in the table of detectors, in that of variants, and in the plots."""
    text = (rendered(three(), tmp_path) / "report.html").read_text(encoding="utf-8")
    looks = {
        name: set(re.findall(rf'class="mark (c\d)"></\w+></svg> <bdi><strong>(?:<a [^>]*>)?{name}', text))
        for name in ("b5", "xception", "mobile")
    }
    assert looks == {"b5": {"c0"}, "xception": {"c1"}, "mobile": {"c2"}}
    for name, [look] in looks.items():
        assert set(re.findall(rf'class="name (c\d)">{name}/', text)) == {look}


def test_what_failed_is_a_row_that_says_why(tmp_path: Path) -> None:
    gone = {"p50": "prune: nothing | left <i>"}
    together = side_by_side(
        {
            "b5": alone("b5", B5, failed=gone),
            "xception": alone("xception", XCEPTION),
            "mobile": all_failed("mobile", MOBILE),
        }
    )
    report = rendered(together, tmp_path)
    markdown = (report / "report.md").read_text(encoding="utf-8")
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "failed: prune: nothing &#124; left &lt;i>" in markdown.replace("&gt;", ">")
    assert "failed: prune: nothing | left &lt;i&gt;" in page
    assert "**mobile**: The **baseline** failed" in markdown or "**mobile**: The baseline failed" in markdown
    assert "<b>" not in page
    numbers = scores_side_by_side(together)
    assert numbers.compared["mobile/q8"].auc_delta is None
    assert "mobile: its baseline failed" in summary_of_all(numbers)


def test_times_of_several_sessions_are_warned_of(tmp_path: Path) -> None:
    together = side_by_side({"b5": alone("b5", B5), "xception": alone("xception", XCEPTION, session=LATER)})
    text = (rendered(together, tmp_path) / "report.md").read_text(encoding="utf-8")
    assert "> ⚠️ Times were taken in 2 sessions" in text
    assert "bench run first --time-again" in text
    assert (
        "Latencies that do not compare with its own (another runtime, device or session): **xception/baseline**" in text
    )


def test_a_warning_of_all_is_said_once() -> None:
    together = three()
    names = list(together.detectors)
    warnings = overall({"faces": together}, {name: ["busy", *(["odd"] if name == "b5" else [])] for name in names},
                   "report.md", {name: name for name in names}).warnings  # fmt: skip
    assert list(map(str, warnings)) == ["busy", "b5: odd"]


def test_code_in_warnings_of_detectors_is_code() -> None:
    run, answers = made_up(FRAMES)
    evaluation = judged(run, answers)
    texts = plain_warnings(run, scores(run, evaluation))
    [inexact] = [text for text in texts if "inexact" in text]
    assert "Choose another `runtime:`, or" in inexact
    together = side_by_side({name: Alone(run, evaluation) for name in ("b5", "small")})
    report = overall({"faces": together}, {"b5": texts, "small": texts}, "report.md", {"b5": "b5", "small": "small"})
    assert code("runtime:") in [span for warning in report.warnings for span in warning.spans]


def test_the_most_accurate_is_that_of_videos_where_these_are_judged() -> None:
    run, answers = of_videos(*made_up(FRAMES))
    run, evaluation = dataclasses.replace(run, judge="video"), judged(run, answers)
    assert evaluation.video is not None
    frames, videos = (each.variants["baseline"].auc for each in (evaluation, evaluation.video))
    assert frames is not None
    assert videos is not None
    assert videos.value < frames.value
    together = side_by_side({name: Alone(run, evaluation) for name in ("b5", "small")})
    report = overall({"": together}, {}, "report.md", {name: name for name in together.detectors})
    assert str(report.sections[0].detectors.rows[0][3].text) == "most accurate"


def test_each_frame_set_has_a_section_and_files_of_its_own() -> None:
    together = three()
    names = {name: name for name in together.detectors}
    report = overall({"near": together, "far": together}, {}, "report.md", names)
    assert [section.frame_set for section in report.sections] == ["near", "far"]
    files = [trade.file for section in report.sections for trade in section.plots.trades]
    assert len(set(files)) == len(files) == 4


def test_without_an_accurate_baseline_nothing_is_recommended() -> None:
    together = three()
    nothing = dataclasses.replace(together, evaluation=dataclasses.replace(together.evaluation, choice=None))
    report = overall({"faces": nothing}, {}, "report.md", {name: name for name in together.detectors})
    assert str(report.sections[0].answer[0]).startswith("No variant can be recommended")
    assert report.sections[0].fronts == []


@pytest.mark.parametrize("together", [three(), three(BUDGET), three(Constraints(size_mib=4))])
def test_the_terminal_says_which_to_ship(together: SideBySide) -> None:
    text = summary_of_all(scores_side_by_side(together))
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= WIDTH
    words = " ".join(text.split())
    assert "xception: AUC 0.9827" in words
    choice = together.evaluation.choice
    assert choice is not None
    assert f"ship: {choice.chosen or 'none qualifies'}" in words
    assert f"(AUC against {together.reference})" in words
