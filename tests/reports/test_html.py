"""report.html without a browser: what it holds, that data stay text, that its counts are exact."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sklearn.metrics import confusion_matrix
from statsmodels.stats.proportion import proportion_confint

from bench.records import OUTCOMES, Evaluation, Predictions, RunRecord, VariantResult
from bench.reports import html, render
from bench.reports.content import axes, plots
from bench.reports.content.spans import emphasis, sentence, strong
from bench.reports.content.text import plain
from bench.reports.html import chart
from bench.reports.html import plots as drawn_plots
from bench.reports.html.counts import counts
from bench.reports.html.pictures import ends
from bench.reports.html.write import words
from bench.reports.pictures import figures
from bench.reports.pictures.overlay import colour_bar, draw
from tests.support.pace import limit
from tests.support.pages import HOSTILE, many
from tests.support.reports import FRAMES, NASTY, TEST, Answers, judged, labelled, made_up, pixels

LOOKS = ("faint", "many")
VOID = {"meta", "link", "input", "br", "hr", "img"}


@dataclasses.dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    inside: list[Element | str]

    def all(self) -> list[Element]:
        return [self, *(deep for one in self.inside if isinstance(one, Element) for deep in one.all())]

    @property
    def text(self) -> str:
        if self.tag == "br":
            return " "
        return "".join(one if isinstance(one, str) else one.text for one in self.inside)


class Reader(HTMLParser):
    """A tree of what a page holds; what is not closed in order fails."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {}, [])
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = Element(tag, {name: value or "" for name, value in attrs}, [])
        self.open[-1].inside.append(found)
        if tag not in VOID:
            self.open.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Element(tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def read(report: Path) -> Element:
    reader = Reader()
    reader.feed((report / "report.html").read_text(encoding="utf-8"))
    assert reader.open == [reader.root]
    return reader.root


def rendered(folder: Path, run: RunRecord, evaluation: Evaluation, *, pictures: bool = True) -> Element:
    render(run, evaluation, pixels if pictures else None, folder / "results" if pictures else None, folder / "report")
    return read(folder / "report")


def cells(root: Element) -> set[str]:
    return {" ".join(one.text.split()) for one in root.all() if one.tag in ("td", "th")}


def one_class(run: RunRecord, answers: Answers) -> tuple[RunRecord, Evaluation]:
    return run, judged(run, answers.labelled(np.ones(TEST, np.int8)))


def no_baseline(run: RunRecord, answers: Answers) -> tuple[RunRecord, Evaluation]:
    failed = dataclasses.replace(run.baseline, status="failed", reason="no", executed=None)
    run = dataclasses.replace(run, variants=(failed, *run.variants[1:]))
    return run, judged(run, answers)


def from_elsewhere(run: RunRecord, answers: Answers) -> tuple[RunRecord, Evaluation]:
    bare = tuple(VariantResult(one.name, one.id, (), "ok", None) for one in run.variants[:4])
    run = dataclasses.replace(run, detector="", architecture="", preprocessing=None, variants=bare, choose=None)
    predictions = {name: dataclasses.replace(one, cam=None) for name, one in answers.predictions.items()}
    return run, judged(run, dataclasses.replace(answers, predictions=predictions))


def no_heatmaps(run: RunRecord, answers: Answers) -> tuple[RunRecord, Evaluation]:
    predictions = {name: dataclasses.replace(one, cam=None) for name, one in answers.predictions.items()}
    return run, judged(run, dataclasses.replace(answers, predictions=predictions))


def nothing(run: RunRecord, answers: Answers) -> tuple[RunRecord, Evaluation]:
    failed = tuple(dataclasses.replace(one, status="failed", reason="no", executed=None) for one in run.variants)
    whole = judged(run, answers)
    none = labelled([], np.empty(0, np.int8))
    run = dataclasses.replace(run, variants=failed)
    return run, Evaluation(none, None, {}, {}, whole.speeds, None)


def as_it_is(run: RunRecord, answers: Answers) -> tuple[RunRecord, Evaluation]:
    return run, judged(run, answers)


CASES = [as_it_is, one_class, no_baseline, from_elsewhere, no_heatmaps, nothing]


@pytest.mark.parametrize("case", CASES)
def test_structure(case: Any, tmp_path: Path) -> None:
    run, evaluation = case(*made_up(FRAMES))
    root = rendered(tmp_path, run, evaluation, pictures=case is not from_elsewhere)
    found = root.all()
    tags = [one.tag for one in found]
    assert (tags.count("h1"), tags.count("main"), tags.count("nav")) == (1, 1, 1)
    assert {"header", "footer"} <= set(tags)
    assert next(one for one in found if one.tag == "html").attributes["lang"] == "en"
    head = next(one for one in found if one.tag == "head")
    assert [one.text for one in head.all() if one.tag == "title"] == ["Compression report: demo"]
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [one.attributes["id"] for one in found if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    for one in found:
        for name in ("href", "aria-labelledby", "aria-describedby", "for"):
            value = one.attributes.get(name, "")
            if name != "href" or value.startswith("#"):
                assert not value or value.removeprefix("#") in ids, value


@pytest.mark.parametrize("case", CASES)
def test_tables_and_controls_are_told_to_a_screen_reader(case: Any, tmp_path: Path) -> None:
    run, evaluation = case(*made_up(FRAMES))
    found = rendered(tmp_path, run, evaluation, pictures=case is not from_elsewhere).all()
    labelled_by = {one.attributes.get("for") for one in found if one.tag == "label"}
    inside_labels = {id(deep) for one in found if one.tag == "label" for deep in one.all()}
    for one in found:
        if one.tag == "table":
            assert any(inner.tag == "caption" and inner.text.strip() for inner in one.all())
            assert all("scope" in inner.attributes for inner in one.all() if inner.tag == "th")
        if one.tag in ("input", "select"):
            named = "aria-label" in one.attributes or one.attributes.get("id") in labelled_by
            assert named or id(one) in inside_labels, one.attributes
        if one.tag == "button":
            assert one.text.strip()
        if one.tag == "svg" and "aria-hidden" not in one.attributes:
            named = bool(one.attributes.get("aria-label")) or any(inner.tag == "title" for inner in one.all())
            assert one.attributes["role"] == "img"
            assert named


def test_nothing_is_loaded_and_nothing_else_executed(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    found = rendered(tmp_path, run, judged(run, answers)).all()
    policy = next(one.attributes["content"] for one in found if "http-equiv" in one.attributes)
    for tag, key in (("style", "style-src"), ("script", "script-src")):
        inline_ = [one for one in found if one.tag == tag and one.attributes.get("type") != "application/json"]
        digest = base64.b64encode(hashlib.sha256(inline_[0].text.encode()).digest()).decode()
        assert len(inline_) == 1
        assert f"{key} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for one in found:
        assert "style" not in one.attributes
        assert not any(name.startswith("on") for name in one.attributes)
        target = one.attributes.get("href", one.attributes.get("src", "#"))
        assert target.startswith(("#", "data:image/", "data:,")) or target in ("report.md", "scores.json", "flips.csv")
    told = next(one.text for one in found if one.attributes.get("id") == "data")
    assert not set("<>&\u2028\u2029") & set(told)


def hostile(run: RunRecord, answers: Answers, names: list[str]) -> tuple[RunRecord, Evaluation]:
    """Those names wherever data come from: frames, sources, columns, slices, notes, reasons, warnings, provenance."""
    frames, sources = (one.astype(object) for one in (answers.test.frames, answers.test.sources))
    for place, name in enumerate(names):
        frames.iloc[place] = f"{name}/{place}.png"
        sources.iloc[[2 * place, 2 * place + 1]] = name
    quality = answers.test.attributes["quality"].astype(object).replace({"low": names[0], "high": names[-1]})
    attributes = pd.DataFrame({names[1]: quality.astype(object)})
    test = dataclasses.replace(answers.test, frames=frames, sources=sources, attributes=attributes)
    variants = tuple(
        dataclasses.replace(one, notes=tuple(names), reason="; ".join(names) if one.status == "failed" else None)
        for one in run.variants
    )
    run = dataclasses.replace(
        run,
        variants=variants,
        warnings=tuple(names),
        provenance={**run.provenance, **dict.fromkeys(names, "".join(names))},
        detector="".join(names),
    )
    return run, judge_without_validation(run, dataclasses.replace(answers, test=test, validation=None))


def judge_without_validation(run: RunRecord, answers: Answers) -> Evaluation:
    predictions = {name: dataclasses.replace(one, validation=None) for name, one in answers.predictions.items()}
    return judged(run, dataclasses.replace(answers, predictions=predictions))


def test_names_reasons_and_notes_are_text(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    shape = []
    harmless = [f"name-{place}" for place in range(len(HOSTILE))]
    for place, names in enumerate((harmless, HOSTILE)):
        root = rendered(tmp_path / str(place), *hostile(run, answers, names))
        shape.append([(one.tag, sorted(one.attributes)) for one in root.all()])
        shown = " ".join(root.text.split())
        for name in names:
            assert " ".join(plain(name).split()) in shown
    assert shape[0] == shape[1]
    assert "\u202e" not in (tmp_path / "1/report/report.html").read_text(encoding="utf-8")
    assert "\u202e" not in (tmp_path / "1/report/report.md").read_text(encoding="utf-8")


def test_hostile_names_are_text_in_markdown_too(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    kinds = []
    harmless = [f"name-{place}" for place in range(len(HOSTILE))]
    for place, names in enumerate((harmless, HOSTILE)):
        rendered(tmp_path / str(place), *hostile(run, answers, names))
        text = (tmp_path / str(place) / "report/report.md").read_text(encoding="utf-8")
        found = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
        deep = [inner for one in found for inner in (one.children or [one])]
        kinds.append([one.type for one in deep if not one.type.startswith(("text", "softbreak"))])
        links = [str(one.attrGet("href")) for one in deep if one.type == "link_open"]
        assert set(links) <= {"report.html", "flips.csv", "scores.json"}
        html_ = [one.content for one in deep if one.type.startswith("html")]
        assert set(html_) <= {"<br>"}
    assert kinds[0] == kinds[1]


@settings(deadline=None)
@given(st.text(max_size=40))
def test_data_in_a_sentence_stay_text(data: str) -> None:
    expected = plain(data)
    reader = Reader()
    reader.feed(words(sentence(strong(data), " is ", emphasis(data))))
    assert [one.tag for one in reader.root.all()][1:] == ["strong", "em"]
    assert reader.root.text == f"{expected} is {expected}"


def shown(markdown: str) -> str:
    """The words that a reader of Markdown shows of a line."""
    reader = Reader()
    reader.feed(MarkdownIt("commonmark", {"html": True}).renderInline(markdown))
    return " ".join(reader.root.text.split())


def test_the_page_says_what_the_text_says(tmp_path: Path) -> None:
    run, answers = made_up([NASTY, *FRAMES[1:]])
    run = dataclasses.replace(run, warnings=("look here",))
    root = rendered(tmp_path, run, judged(run, answers))
    text_of_page, inside = " ".join(root.text.split()), cells(root)
    text = (tmp_path / "report/report.md").read_text(encoding="utf-8")
    before, after = text.split("## 6. Visual analysis")[0], text.split("## 7. ")[1]
    rows = [line for line in (before + after).splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) > 50
    for row in rows:
        for content in row.strip("| ").split(" | "):
            # One narrower column of report.md is on the page a part of a wider.
            assert shown(content) in inside | {"Diff", "Frames/s"} or content in text_of_page, content
    compared = 0
    for line in (before + after).splitlines():
        if (
            line
            and not re.match(r"[#>|!]|\S+\]\(", line)
            and "](" not in line
            and "95 % intervals (Wilson)" not in line
        ):
            assert shown(line.removeprefix("- ")) in text_of_page
            compared += 1
    assert compared > 12


def test_decisions_stand_in_one_order_everywhere(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    root = rendered(tmp_path, run, judged(run, answers))
    heads = [[cell.text for cell in one.all() if cell.tag == "th"] for one in root.all() if one.tag == "thead"]
    found = [[title for title in titles if title in ("TP", "TN", "FP", "FN")] for titles in heads if "TP" in titles]
    assert found == [["TP", "TN", "FP", "FN"]] * 2


def test_every_picture_of_the_text_is_on_the_page(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    found = rendered(tmp_path, run, judged(run, answers)).all()
    told = {one.attributes.get("aria-label") for one in found if one.attributes.get("class") == "picture"}
    text = (tmp_path / "report/report.md").read_text(encoding="utf-8").split("## 6.")[1].split("## 7.")[0]
    pictures = re.findall(r"!\[([^\]]+)\]\(../results/([^/]+)/", text)
    assert {variant for _, variant in pictures} == set(answers.predictions)
    assert "Right for another reason" in text
    assert {f"{frame}, {variant}" for frame, variant in pictures} <= told


def test_no_variant_is_marked_where_none_is_recommended(tmp_path: Path) -> None:
    root = rendered(tmp_path, *from_elsewhere(*made_up(FRAMES)), pictures=False)
    classes = {name for one in root.all() for name in one.attributes.get("class", "").split()}
    assert not {"chosen", "badge", "facts"} & classes


SCORES = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.1 + 0.2, 0.35, 0.5, 0.5004, 0.516, np.float32(0.7).item(), 0.999, 1.0])


@settings(deadline=None)
@given(st.lists(st.tuples(SCORES, SCORES, st.booleans()), min_size=1, max_size=30), st.sampled_from([0.5, 0.3, 1 / 3]))
def test_counts_are_scikit_learns_at_every_threshold(told: list[tuple[float, float, bool]], fixed: float) -> None:
    first, other = (np.array([one[place] for one in told]) for place in (0, 1))
    labels = np.array([one[2] for one in told], np.int8)
    predictions = {"baseline": Predictions(first, None, None), "q16": Predictions(other, None, None)}
    run = dataclasses.replace(made_up(FRAMES)[0], threshold=fixed)
    evaluation = Evaluation(labelled([str(row) for row in range(len(told))], labels), None, predictions, {}, {}, None)
    found = counts(run, evaluation)
    thresholds = [*(place / 1000 for place in range(1001)), *found["extra"]]
    assert fixed in thresholds
    for place in (*range(0, 1001, 100), 35, 299, 301, 350, 351, 501, 516, 517, 700, 999, *range(1001, len(thresholds))):
        threshold = thresholds[place]
        for variant, scores in zip(found["variants"], (first, other), strict=True):
            tn, fp, fn, tp = confusion_matrix(labels, scores >= threshold, labels=[0, 1]).ravel()
            assert (variant["fake"][place], variant["real"][place]) == (tp, fp)
            assert (found["fakes"], found["reals"]) == (tp + fn, tn + fp)
        right, is_right = ((scores >= threshold) == (labels == 1) for scores in (first, other))
        assert found["variants"][1]["worse"][place] == (right & ~is_right).sum()
        assert found["variants"][1]["better"][place] == (~right & is_right).sum()


@settings(deadline=None)
@given(st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=30), st.floats(0, 1), st.integers(0, 6))
def test_galleries_are_right_at_any_threshold(told: list[tuple[float, bool]], threshold: float, most: int) -> None:
    scores, labels = np.array([one[0] for one in told]), np.array([one[1] for one in told], np.int8)
    names = [f"{(7 * place) % 31:02}" for place in range(len(told))]
    evaluation = Evaluation(labelled(names, labels), None, {"baseline": Predictions(scores, None, None)}, {}, {}, None)
    found = ends(evaluation, "baseline", most)
    for outcome in OUTCOMES:
        called_fake = outcome.endswith("positives")
        wanted_label = called_fake == outcome.startswith("true")
        sign = -1 if called_fake else 1
        everything = sorted(
            (sign * score, name)
            for score, label, name in zip(scores, labels, names, strict=True)
            if (score >= threshold) == called_fake and (label == 1) == wanted_label
        )
        shown = [names[row] for row in found[outcome] if (scores[row] >= threshold) == called_fake]
        assert shown == [name for _, name in everything][: len(shown)]
        assert len(shown) == min(len(everything), most)


def test_a_hundred_thousand_frames_are_a_small_page(tmp_path: Path) -> None:
    render(*many(100_000), None, None, tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 1.5e6
    root = read(tmp_path)
    ledger = next(one for one in root.all() if one.attributes.get("id") == "ledger")
    assert sum(one.tag == "tr" for one in ledger.all()) == 1 + 300
    assert "all of them are in flips.csv" in " ".join(root.text.split())


def test_thumbnails_that_are_not_shown_any_more_go(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    rendered(tmp_path, run, judged(run, answers))
    kept = set((tmp_path / "report/.thumbnails").iterdir())
    other = dataclasses.replace(run, frames={**run.frames, "test": dataclasses.replace(run.frames["test"], digest="9")})
    rendered(tmp_path, other, judged(other, answers))
    now = set((tmp_path / "report/.thumbnails").iterdir())
    assert len(now) == len(kept)
    assert not now & kept


def contrast(one: str, other: str) -> float:
    """The ratio of two colours, after WCAG 2."""

    def luminance(colour: str) -> float:
        parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_stand_out_in_both_themes(theme: int) -> None:
    css = (html.FOLDER / "report.css").read_text(encoding="utf-8")
    colours = {name: pair[theme] for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)}
    on_page = ["text", "quiet", "link", "worse", "better", "fake", "real"]
    on_page += [f"c{place}" for place in range(chart.COLOURS)]
    pairs = [*((name, "page") for name in on_page), *(("text", on) for on in ("panel", "ship", "warn"))]
    for text, behind in [*pairs, ("quiet", "panel"), ("page", "ship-line")]:
        assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)


def test_a_variant_has_one_colour_on_the_page_and_in_the_figures() -> None:
    css = (html.FOLDER / "report.css").read_text(encoding="utf-8")
    assert tuple(re.findall(r"--c\d: light-dark\((#\w{6}),", css)) == figures.COLOURS
    assert len(figures.COLOURS) == chart.COLOURS


def test_a_variant_keeps_its_colour_where_another_failed() -> None:
    run, answers = made_up(FRAMES)
    names = [one.name for one in run.variants]
    judgement = judged(run, answers)
    scored = [(names.index(name), name, one) for name, one in judgement.variants.items() if name != "baseline"]
    wanted = [figures.COLOURS[index] for index, *_ in scored]
    figure = figures.roc(plots.roc(scored))
    assert [[line.get_color() for line in axes.lines] for axes in figure.axes if axes.lines] == [
        [one] for one in wanted
    ]
    sizes = {name: 1.0 for _, name, _ in scored}
    trades = figures.trade(plots.trade(("Sizes", "", "MiB"), sizes, scored, (), run.margin))
    marks = [line.get_color() for line in trades.axes[0].lines if str(line.get_marker()) in figures.MARKERS]
    assert marks == wanted


def test_variants_differ_in_grey_too() -> None:
    looks = {(chart.dashes(place), str(chart.marker(place, 0, 0)).split(" class")[0]) for place in range(6)}
    assert len(looks) == 6


def test_points_differ_where_colours_begin_anew() -> None:
    marks = [str(chart.marker(place, 0, 0)) for place in range(98)]
    assert len(set(marks)) == 98
    assert [("hollow" in mark) for mark in marks[6:15]] == [False, *[True] * 7, False]


def test_long_names_run_over_nothing_in_figures() -> None:
    from matplotlib import rc_context
    from matplotlib.text import Text

    run, answers = made_up(FRAMES)
    variants = judged(run, answers).variants
    scored = [(index, f"{name}-{'W' * 50}", one) for index, (name, one) in enumerate(variants.items())]
    for is_roc in (True, False):
        with rc_context(fname=figures.STYLE):
            figure = figures.roc(plots.roc(scored)) if is_roc else figures.reliability(plots.calibration(scored))
            figure.draw_without_rendering()
        told = [
            text for axes in figure.axes for text in axes.get_children() if isinstance(text, Text) and text.get_text()
        ]
        boxes = [text.get_window_extent() for text in told]
        assert len(boxes) == 2 * len(scored)
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_roc_is_a_plot_a_variant_over_the_baseline() -> None:
    run, answers = made_up(FRAMES)
    scored = [(index, name, scores) for index, (name, scores) in enumerate(judged(run, answers).variants.items())]
    described = plots.roc(scored)
    assert described.side == plots.zoom(scores for *_, scores in scored) < 1
    drawn = drawn_plots.roc(described)
    assert [(panel.index, panel.name) for panel, _ in drawn] == [(index, name) for index, name, _ in scored]
    lines = []
    for (panel, picture), (index, _, scores) in zip(drawn, scored, strict=True):
        assert scores.auc is not None
        interval = scores.auc.interval
        assert panel.number == f"AUC {scores.auc.value:.4f} ({interval.low:.3f}–{interval.high:.3f})"
        reader = Reader()
        reader.feed(picture)
        curves = [element.attributes for element in reader.root.all() if element.tag == "polyline"]
        looks = [f"curve roc c{index}"] if index == 0 else ["curve behind", f"curve roc c{index}"]
        assert [curve["class"] for curve in curves] == 2 * looks
        lines.append([curve["points"] for curve in curves])
    for (behind, curve, *_), (_, name, _) in zip(lines[1:], scored[1:], strict=True):
        assert behind == lines[0][0]
        assert (curve == behind) == (name == "q16")
    assert not any("behind" in picture for _, picture in drawn_plots.roc(plots.roc(scored[1:])))


def test_reliability_is_a_plot_a_variant_with_intervals_and_counts() -> None:
    """Heights against the axis' numbers, read back from the drawing."""
    run, answers = made_up(FRAMES)
    scored = [(index, name, scores) for index, (name, scores) in enumerate(judged(run, answers).variants.items())]
    drawn = drawn_plots.reliability(plots.calibration(scored))
    assert [(panel.index, panel.name) for panel, _ in drawn] == [(index, name) for index, name, _ in scored]
    for (panel, picture), (_, _, scores) in zip(drawn, scored, strict=True):
        reader = Reader()
        reader.feed(picture)
        bins = scores.reliability
        assert panel.number == f"ECE {bins.ece:.3f}"
        numbers = {element.text: element.attributes for element in reader.root.all() if element.tag == "text"}
        top, bottom = (float(numbers[share]["y"]) - 4 for share in ("1", "0.5"))
        bars = [element for element in reader.root.all() if element.attributes.get("class", "").startswith("bar ")]
        ends = [[1 - (float(bar.attributes[y]) - top) / (bottom - top) / 2 for y in ("y1", "y2")] for bar in bars]
        filled = bins.counts > 0
        fakes = np.rint(bins.observed[filled] * bins.counts[filled])
        expected = np.transpose(proportion_confint(fakes, bins.counts[filled], method="wilson"))
        np.testing.assert_allclose(ends, expected, atol=2e-3)
        groups = [each.attributes["class"] for each in reader.root.all() if each.attributes.get("class") in LOOKS]
        assert groups == [LOOKS[bool(count >= 10)] for count in bins.counts[filled]]
        counted = [element.text for element in reader.root.all() if element.tag == "rect"]
        assert [int(text.split()[0]) for text in counted] == bins.counts.tolist()


@pytest.mark.parametrize(("front", "drawn"), [(("baseline", "q16"), True), (("q16",), False), ((), False)])
def test_a_front_is_told_of_where_one_is_drawn(front: tuple[str, ...], drawn: bool) -> None:
    run, answers = made_up(FRAMES)
    scored = [(place, name, one) for place, (name, one) in enumerate(judged(run, answers).variants.items())]
    sizes = {name: 10.0 * (place + 1) for place, name, _ in scored}
    described = plots.trade(("Sizes", "", "MiB"), sizes, scored, front, run.margin)
    assert ('class="front"' in drawn_plots.trade(described)) == drawn
    assert ("dashed: the Pareto front" in described.caption) == drawn


def test_ticks_are_round_and_inside() -> None:
    assert axes.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert axes.ticks(0, 108.9) == [0, 20, 40, 60, 80, 100]
    for low, high in ((0.948, 0.981), (0.0, 0.1), (3e-7, 4e-7)):
        found = axes.ticks(low, high)
        assert 3 <= len(found) <= 7
        assert all(low - 1e-9 <= one <= high + 1e-9 for one in found)


def test_factor_ticks_are_round_and_inside() -> None:
    assert axes.factor_ticks(3.8, 174) == [5, 10, 20, 50, 100]
    assert axes.factor_ticks(0.02, 0.3) == [0.02, 0.05, 0.1, 0.2]
    frame = chart.Frame(0, 0, 300, 1, axes.factor_axis("", 1, 1000), axes.axis("", 0, 1))
    assert [round(frame.x(value)) for value in (1, 10, 100, 1000)] == [0, 100, 200, 300]


def test_a_name_is_nearest_to_its_own_mark_or_has_a_line_to_it() -> None:
    """Points side by side, closer than their names are long."""
    run, answers = made_up(FRAMES)
    one = judged(run, answers).variants["q16"]
    scored = [(place, f"q{place}-p50", one) for place in range(4)]
    for step in (4, 9, 16, 30, 40, 45, 50):
        reader = Reader()
        sizes = {name: 100.0 + step * index for index, name, _ in scored}
        reader.feed(drawn_plots.trade(plots.trade(("Sizes", "", ""), sizes, scored, (), 0)))
        drawn = [told.attributes for told in reader.root.all()]
        marks = {told["class"][-2:]: centre(told) for told in drawn if told.get("class", "").startswith("mark ")}
        leaders = [(told["x1"], told["x2"]) for told in drawn if told.get("class") == "leader"]
        names = [told for told in drawn if told.get("class", "").startswith("name ")]
        assert len(names) == len(marks) == len(scored)
        for name in names:
            x, own = float(name["x"]), marks[name["class"][-2:]]
            ends = (x, x + 7 * 9.5) if name["text-anchor"] == "start" else (x - 7 * 9.5, x)
            away = {key: max(ends[0] - mark, 0, mark - ends[1]) for key, mark in marks.items()}
            nearest = min(far for key, far in away.items() if key != name["class"][-2:]) > 12
            led = any(abs(float(start) - own) < 1 and end == name["x"] for start, end in leaders)
            assert led or nearest, (step, name)


def centre(mark: dict[str, str]) -> float:
    """How far right a mark is."""
    if "cx" in mark:
        return float(mark["cx"])
    found = [float(point.split(",")[0]) for point in mark["points"].split()]
    return sum(found) / len(found)


@pytest.mark.parametrize("paired", [True, False])
def test_trades_show_what_is_told_of_a_variant(paired: bool) -> None:
    """Heights against the axis' own numbers, read back from the drawing."""
    run, answers = made_up(FRAMES)
    evaluation = judged(run, answers) if paired else no_baseline(run, answers)[1]
    scored = [(place, name, one) for place, (name, one) in enumerate(evaluation.variants.items()) if one.auc]
    sizes = {name: 10.0 * (place + 1) for place, name, _ in scored}
    reader = Reader()
    reader.feed(drawn_plots.trade(plots.trade(("Sizes", "", "MiB"), sizes, scored, (), run.margin)))
    texts = [one for one in reader.root.all() if one.tag == "text" and one.attributes.get("text-anchor") == "end"]
    ticks = [one for one in texts if re.fullmatch(r"[−+]?[0-9.]+", one.text)]
    (first, last) = (
        (float(one.text.replace("−", "-")), float(one.attributes["y"]) - 4) for one in (ticks[0], ticks[-1])
    )
    slope = (last[0] - first[0]) / (last[1] - first[1])
    bars = [one.attributes for one in reader.root.all() if one.attributes.get("class", "").startswith("bar ")]
    upright = [(float(one["y1"]), float(one["y2"])) for one in bars if one["x1"] == one["x2"]]
    told = [plots._height(one, paired) for *_, one in scored]
    wanted = [(low, high) for _, low, high in told if high > low]
    assert len(wanted) >= 2
    found = [(first[0] + slope * (low - first[1]), first[0] + slope * (high - first[1])) for low, high in upright]
    np.testing.assert_allclose(found, wanted, atol=2 * abs(slope) * 0.1)
    assert ("margin" in reader.root.text) == paired


def test_colour_bar_shows_what_heatmaps_are_drawn_with() -> None:
    """Over mid-grey frames whose map is everywhere as strong as the scale, or nothing."""
    bar, grey = colour_bar(9, 2), np.full((40, 40, 3), 128, np.uint8)
    assert bar.shape == (2, 9, 3)
    for column, value, fake in ((0, -1.0, False), (2, -0.5, False), (6, 0.5, True), (8, 1.0, True)):
        cam = np.full((5, 5), value, np.float32)
        inside = np.asarray(draw(grey, cam, fake, 1.0))[10:30, 10:30]
        assert (np.abs(inside.astype(int) - bar[0, column]) <= 1).all()
    assert (bar[:, 4] == 128).all()


def test_colours_are_explained_where_there_are_heatmaps(tmp_path: Path) -> None:
    for case, name in ((as_it_is, "maps"), (no_heatmaps, "none")):
        root = rendered(tmp_path / name, *case(*made_up(FRAMES)))
        classes = {one.attributes.get("class") for one in root.all()}
        text = (tmp_path / name / "report/report.md").read_text(encoding="utf-8")
        assert ("colours" in classes) == ("(heatmap_colours.png)" in text) == (name == "maps")
        assert (tmp_path / name / "report/heatmap_colours.png").exists() == (name == "maps")


SCRIPT = html.FOLDER / "report.js"


def test_the_script_writes_text_alone() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    code = re.sub(r"/\*\*.*?\*/", "", re.sub(r"(?m)^\s*//.*$", "", text), flags=re.DOTALL)
    assert code.lstrip().startswith('"use strict"')
    markup = r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function"
    outside = r"fetch|XMLHttp|WebSocket|\bimport\b|localStorage|cookie"
    assert not re.findall(rf"{markup}|{outside}|\bvar\b|[^=!]==[^=]", code)
    assert text.startswith("// @ts-check")
    assert not re.findall(r"(?m)(?<!\*/\n)^function (\w+)\([^)]", text), "parameters without types"


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
def test_the_script_parses() -> None:
    subprocess.run(["node", "--check", str(SCRIPT)], check=True, timeout=limit(60))


@pytest.mark.skipif(shutil.which("tsc") is None, reason="no TypeScript compiler on this machine")
def test_the_scripts_types_are_sound() -> None:
    options = [
        "--checkJs",
        "--allowJs",
        "--strict",
        "--noEmit",
        "--target",
        "es2022",
        "--lib",
        "es2022,dom,dom.iterable",
    ]
    command = ["tsc", *options, str(SCRIPT)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=limit(120), check=False)
    assert told.returncode == 0, told.stdout


def test_data_of_the_script_is_json(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    root = rendered(tmp_path, run, judged(run, answers))
    told = json.loads(next(one.text for one in root.all() if one.attributes.get("id") == "data"))
    assert [one["name"] for one in told["variants"]] == list(answers.predictions)
    assert all(len(one["fake"]) == 1001 + len(told["extra"]) for one in told["variants"])
