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
from hypothesis import given
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
from bench.reports.pictures import figures, panels
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
        return [self, *(deep for inside in self.inside if isinstance(inside, Element) for deep in inside.all())]

    @property
    def text(self) -> str:
        if self.tag == "br":
            return " "
        return "".join(inside if isinstance(inside, str) else inside.text for inside in self.inside)


class Reader(HTMLParser):
    """A tree of what a page holds; what is not closed in order fails."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {}, [])
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Element(tag, {name: value or "" for name, value in attrs}, [])
        self.open[-1].inside.append(node)
        if tag not in VOID:
            self.open.append(node)

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
    return {" ".join(node.text.split()) for node in root.all() if node.tag in ("td", "th")}


def one_class(run: RunRecord, answers: Answers) -> tuple[RunRecord, Evaluation]:
    return run, judged(run, answers.labelled(np.ones(TEST, np.int8)))


def no_baseline(run: RunRecord, answers: Answers) -> tuple[RunRecord, Evaluation]:
    failed = dataclasses.replace(run.baseline, status="failed", reason="no", executed=None)
    run = dataclasses.replace(run, variants=(failed, *run.variants[1:]))
    return run, judged(run, answers)


def from_elsewhere(run: RunRecord, answers: Answers) -> tuple[RunRecord, Evaluation]:
    bare = tuple(VariantResult(variant.name, variant.id, (), "ok", None) for variant in run.variants[:4])
    run = dataclasses.replace(run, detector="", architecture="", preprocessing=None, variants=bare, choose=None)
    predictions = {name: dataclasses.replace(predicted, cam=None) for name, predicted in answers.predictions.items()}
    return run, judged(run, dataclasses.replace(answers, predictions=predictions))


def no_heatmaps(run: RunRecord, answers: Answers) -> tuple[RunRecord, Evaluation]:
    predictions = {name: dataclasses.replace(predicted, cam=None) for name, predicted in answers.predictions.items()}
    return run, judged(run, dataclasses.replace(answers, predictions=predictions))


def nothing(run: RunRecord, answers: Answers) -> tuple[RunRecord, Evaluation]:
    failed = tuple(
        dataclasses.replace(variant, status="failed", reason="no", executed=None) for variant in run.variants
    )
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
    nodes = root.all()
    tags = [node.tag for node in nodes]
    assert (tags.count("h1"), tags.count("main"), tags.count("nav")) == (1, 1, 1)
    assert {"header", "footer"} <= set(tags)
    assert next(node for node in nodes if node.tag == "html").attributes["lang"] == "en"
    head = next(node for node in nodes if node.tag == "head")
    assert [node.text for node in head.all() if node.tag == "title"] == ["Compression report: demo"]
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [node.attributes["id"] for node in nodes if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in nodes:
        for name in ("href", "aria-labelledby", "aria-describedby", "for"):
            value = node.attributes.get(name, "")
            if name != "href" or value.startswith("#"):
                assert not value or value.removeprefix("#") in ids, value


@pytest.mark.parametrize("case", CASES)
def test_tables_and_controls_are_told_to_a_screen_reader(case: Any, tmp_path: Path) -> None:
    run, evaluation = case(*made_up(FRAMES))
    nodes = rendered(tmp_path, run, evaluation, pictures=case is not from_elsewhere).all()
    labelled_by = {node.attributes.get("for") for node in nodes if node.tag == "label"}
    inside_labels = {id(deep) for node in nodes if node.tag == "label" for deep in node.all()}
    for node in nodes:
        if node.tag == "table":
            assert any(inner.tag == "caption" and inner.text.strip() for inner in node.all())
            assert all("scope" in inner.attributes for inner in node.all() if inner.tag == "th")
        if node.tag in ("input", "select"):
            named = "aria-label" in node.attributes or node.attributes.get("id") in labelled_by
            assert named or id(node) in inside_labels, node.attributes
        if node.tag == "button":
            assert node.text.strip()
        if node.tag == "svg" and "aria-hidden" not in node.attributes:
            named = bool(node.attributes.get("aria-label")) or any(inner.tag == "title" for inner in node.all())
            assert node.attributes["role"] == "img"
            assert named


def test_nothing_is_loaded_and_nothing_else_executed(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    nodes = rendered(tmp_path, run, judged(run, answers)).all()
    policy = next(node.attributes["content"] for node in nodes if "http-equiv" in node.attributes)
    for tag, key in (("style", "style-src"), ("script", "script-src")):
        inline_ = [node for node in nodes if node.tag == tag and node.attributes.get("type") != "application/json"]
        digest = base64.b64encode(hashlib.sha256(inline_[0].text.encode()).digest()).decode()
        assert len(inline_) == 1
        assert f"{key} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for node in nodes:
        assert "style" not in node.attributes
        assert not any(name.startswith("on") for name in node.attributes)
        target = node.attributes.get("href", node.attributes.get("src", "#"))
        beside = ("report.md", "scores.json", "flips.csv")
        assert target.startswith(("#", "data:image/", "data:,", "tables/")) or target in beside
    text = next(node.text for node in nodes if node.attributes.get("id") == "data")
    assert not set("<>&\u2028\u2029") & set(text)


def hostile(run: RunRecord, answers: Answers, names: list[str]) -> tuple[RunRecord, Evaluation]:
    """Those names wherever data come from: frames, sources, columns, slices, notes, reasons, warnings, provenance.

    Sentences have names in quotes.
    """
    frames, sources = (part.astype(object) for part in (answers.test.frames, answers.test.sources))
    for index, name in enumerate(names):
        frames.iloc[index] = f"{name}/{index}.png"
        sources.iloc[[2 * index, 2 * index + 1]] = name
    quality = answers.test.attributes["quality"].astype(object).replace({"low": names[0], "high": names[-1]})
    attributes = pd.DataFrame({names[1]: quality.astype(object)})
    test = dataclasses.replace(answers.test, frames=frames, sources=sources, attributes=attributes)
    in_quotes = tuple(f"'{name}'" for name in names)
    variants = tuple(
        dataclasses.replace(part, notes=in_quotes, reason="; ".join(in_quotes) if part.status == "failed" else None)
        for part in run.variants
    )
    run = dataclasses.replace(
        run,
        variants=variants,
        warnings=in_quotes,
        provenance={**run.provenance, **dict.fromkeys(names, "".join(names))},
        detector="".join(names),
    )
    return run, judge_without_validation(run, dataclasses.replace(answers, test=test, validation=None))


def judge_without_validation(run: RunRecord, answers: Answers) -> Evaluation:
    predictions = {
        name: dataclasses.replace(predicted, validation=None) for name, predicted in answers.predictions.items()
    }
    return judged(run, dataclasses.replace(answers, predictions=predictions))


def test_names_reasons_and_notes_are_text(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    shape = []
    harmless = [f"name-{index}" for index in range(len(HOSTILE))]
    for index, names in enumerate((harmless, HOSTILE)):
        root = rendered(tmp_path / str(index), *hostile(run, answers, names))
        shape.append([(node.tag, sorted(node.attributes)) for node in root.all()])
        shown = " ".join(root.text.split())
        for name in names:
            assert " ".join(plain(name).split()) in shown
    assert shape[0] == shape[1]
    assert "\u202e" not in (tmp_path / "1/report/report.html").read_text(encoding="utf-8")
    assert "\u202e" not in (tmp_path / "1/report/report.md").read_text(encoding="utf-8")


def test_hostile_names_are_text_in_markdown_too(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    kinds = []
    harmless = [f"name-{index}" for index in range(len(HOSTILE))]
    for index, names in enumerate((harmless, HOSTILE)):
        rendered(tmp_path / str(index), *hostile(run, answers, names))
        text = (tmp_path / str(index) / "report/report.md").read_text(encoding="utf-8")
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
        deep = [inner for token in tokens for inner in (token.children or [token])]
        kinds.append([token.type for token in deep if not token.type.startswith(("text", "softbreak"))])
        links = [str(token.attrGet("href")) for token in deep if token.type == "link_open"]
        assert {link for link in links if not link.startswith("tables/")} <= {"report.html", "flips.csv", "scores.json"}
        html_ = [token.content for token in deep if token.type.startswith("html")]
        assert set(html_) <= {"<br>"}
    assert kinds[0] == kinds[1]


@given(st.text(max_size=40))
def test_data_in_a_sentence_stay_text(data: str) -> None:
    expected = plain(data)
    reader = Reader()
    reader.feed(words(sentence(strong(data), " is ", emphasis(data))))
    assert [node.tag for node in reader.root.all()][1:] == ["strong", "em"]
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
    heads = [[cell.text for cell in node.all() if cell.tag == "th"] for node in root.all() if node.tag == "thead"]
    orders = [[title for title in titles if title in ("TP", "TN", "FP", "FN")] for titles in heads if "TP" in titles]
    assert orders == [["TP", "TN", "FP", "FN"]] * 2


def test_every_picture_of_the_text_is_on_the_page(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    nodes = rendered(tmp_path, run, judged(run, answers)).all()
    labels = {node.attributes.get("aria-label") for node in nodes if node.attributes.get("class") == "picture"}
    text = (tmp_path / "report/report.md").read_text(encoding="utf-8").split("## 6.")[1].split("## 7.")[0]
    pictures = re.findall(r"!\[([^\]]+)\]\(../results/([^/]+)/", text)
    assert {variant for _, variant in pictures} == set(answers.predictions)
    assert "Right for another reason" in text
    assert {f"{frame}, {variant}" for frame, variant in pictures} <= labels


def test_no_variant_is_marked_where_none_is_recommended(tmp_path: Path) -> None:
    root = rendered(tmp_path, *from_elsewhere(*made_up(FRAMES)), pictures=False)
    classes = {name for node in root.all() for name in node.attributes.get("class", "").split()}
    assert not {"chosen", "badge", "facts"} & classes


SCORES = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.1 + 0.2, 0.35, 0.5, 0.5004, 0.516, np.float32(0.7).item(), 0.999, 1.0])


@given(st.lists(st.tuples(SCORES, SCORES, st.booleans()), min_size=1, max_size=30), st.sampled_from([0.5, 0.3, 1 / 3]))
def test_counts_are_scikit_learns_at_every_threshold(scored: list[tuple[float, float, bool]], fixed: float) -> None:
    first, other = (np.array([triple[index] for triple in scored]) for index in (0, 1))
    labels = np.array([triple[2] for triple in scored], np.int8)
    predictions = {"baseline": Predictions(first, None, None), "q16": Predictions(other, None, None)}
    run = dataclasses.replace(made_up(FRAMES)[0], threshold=fixed)
    evaluation = Evaluation(labelled([str(row) for row in range(len(scored))], labels), None, predictions, {}, {}, None)
    counted = counts(run, evaluation)
    thresholds = [*(index / 1000 for index in range(1001)), *counted["extra"]]
    assert fixed in thresholds
    for index in (*range(0, 1001, 100), 35, 299, 301, 350, 351, 501, 516, 517, 700, 999, *range(1001, len(thresholds))):
        threshold = thresholds[index]
        for variant, scores in zip(counted["variants"], (first, other), strict=True):
            tn, fp, fn, tp = confusion_matrix(labels, scores >= threshold, labels=[0, 1]).ravel()
            assert (variant["fake"][index], variant["real"][index]) == (tp, fp)
            assert (counted["fakes"], counted["reals"]) == (tp + fn, tn + fp)
        right, is_right = ((scores >= threshold) == (labels == 1) for scores in (first, other))
        assert counted["variants"][1]["worse"][index] == (right & ~is_right).sum()
        assert counted["variants"][1]["better"][index] == (~right & is_right).sum()


@given(st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=30), st.floats(0, 1), st.integers(0, 6))
def test_galleries_are_right_at_any_threshold(scored: list[tuple[float, bool]], threshold: float, most: int) -> None:
    scores, labels = np.array([pair[0] for pair in scored]), np.array([pair[1] for pair in scored], np.int8)
    names = [f"{(7 * index) % 31:02}" for index in range(len(scored))]
    evaluation = Evaluation(labelled(names, labels), None, {"baseline": Predictions(scores, None, None)}, {}, {}, None)
    by_outcome = ends(evaluation, "baseline", most)
    for outcome in OUTCOMES:
        called_fake = outcome.endswith("positives")
        wanted_label = called_fake == outcome.startswith("true")
        sign = -1 if called_fake else 1
        everything = sorted(
            (sign * score, name)
            for score, label, name in zip(scores, labels, names, strict=True)
            if (score >= threshold) == called_fake and (label == 1) == wanted_label
        )
        shown = [names[row] for row in by_outcome[outcome] if (scores[row] >= threshold) == called_fake]
        assert shown == [name for _, name in everything][: len(shown)]
        assert len(shown) == min(len(everything), most)


@pytest.mark.slow
def test_a_hundred_thousand_frames_are_a_small_page(tmp_path: Path) -> None:
    render(*many(100_000), None, None, tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 1.5e6
    root = read(tmp_path)
    ledger = next(node for node in root.all() if node.attributes.get("id") == "ledger")
    assert sum(node.tag == "tr" for node in ledger.all()) == 1 + 300
    assert "all of them are in flips.csv" in " ".join(root.text.split())


def test_thumbnails_that_are_not_shown_any_more_go(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    rendered(tmp_path, run, judged(run, answers))
    before = set((tmp_path / "report/.thumbnails").iterdir())
    other = dataclasses.replace(run, frames={**run.frames, "test": dataclasses.replace(run.frames["test"], digest="9")})
    rendered(tmp_path, other, judged(other, answers))
    now = set((tmp_path / "report/.thumbnails").iterdir())
    assert len(now) == len(before)
    assert not now & before


def contrast(foreground: str, other: str) -> float:
    """The ratio of two colours, after WCAG 2."""

    def luminance(colour: str) -> float:
        parts = (int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(foreground), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_stand_out_in_both_themes(theme: int) -> None:
    css = (html.FOLDER / "report.css").read_text(encoding="utf-8")
    colours = {name: pair[theme] for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)}
    on_page = ["text", "quiet", "link", "worse", "better", "fake", "real"]
    on_page += [f"c{index}" for index in range(chart.COLOURS)]
    pairs = [*((name, "page") for name in on_page), *(("text", on) for on in ("panel", "ship", "warn"))]
    for text, behind in [*pairs, ("quiet", "panel"), ("page", "ship-line")]:
        assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)


def test_a_variant_has_one_colour_on_the_page_and_in_the_figures() -> None:
    css = (html.FOLDER / "report.css").read_text(encoding="utf-8")
    assert tuple(re.findall(r"--c\d: light-dark\((#\w{6}),", css)) == panels.COLOURS
    assert len(panels.COLOURS) == chart.COLOURS


@pytest.mark.figures
def test_a_variant_keeps_its_colour_where_another_failed() -> None:
    run, answers = made_up(FRAMES)
    names = [variant.name for variant in run.variants]
    judgement = judged(run, answers)
    scored = [
        (names.index(name), name, judged_variant)
        for name, judged_variant in judgement.variants.items()
        if name != "baseline"
    ]
    colours = [panels.COLOURS[index] for index, *_ in scored]
    figure = figures.roc(plots.roc(scored))
    assert [[line.get_color() for line in axes.lines] for axes in figure.axes if axes.lines] == [
        [colour] for colour in colours
    ]
    sizes = {name: 1.0 for _, name, _ in scored}
    trades = figures.trade(plots.trade(("Sizes", "", "MiB"), sizes, scored, (), run.margin))
    marks = [line.get_color() for line in trades.axes[0].lines if str(line.get_marker()) in figures.MARKERS]
    assert marks == colours


def test_variants_differ_in_grey_too() -> None:
    looks = {(chart.dashes(index), str(chart.marker(index, 0, 0)).split(" class")[0]) for index in range(6)}
    assert len(looks) == 6


def test_points_differ_where_colours_begin_anew() -> None:
    marks = [str(chart.marker(index, 0, 0)) for index in range(98)]
    assert len(set(marks)) == 98
    assert [("hollow" in mark) for mark in marks[6:15]] == [False, *[True] * 7, False]


@pytest.mark.figures
def test_long_names_run_over_nothing_in_figures() -> None:
    from matplotlib import rc_context
    from matplotlib.text import Text

    run, answers = made_up(FRAMES)
    variants = judged(run, answers).variants
    scored = [
        (index, f"{name}-{'W' * 50}", judged_variant) for index, (name, judged_variant) in enumerate(variants.items())
    ]
    for is_roc in (True, False):
        with rc_context(fname=figures.STYLE):
            figure = figures.roc(plots.roc(scored)) if is_roc else figures.reliability(plots.calibration(scored))
            figure.draw_without_rendering()
        texts = [
            text for axes in figure.axes for text in axes.get_children() if isinstance(text, Text) and text.get_text()
        ]
        boxes = [text.get_window_extent() for text in texts]
        assert len(boxes) == 2 * len(scored)
        assert not any(box.overlaps(other) for box, other in itertools.combinations(boxes, 2))


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
    scored = [
        (index, name, judged_variant)
        for index, (name, judged_variant) in enumerate(judged(run, answers).variants.items())
    ]
    sizes = {name: 10.0 * (index + 1) for index, name, _ in scored}
    described = plots.trade(("Sizes", "", "MiB"), sizes, scored, front, run.margin)
    assert ('class="front"' in drawn_plots.trade(described)) == drawn
    assert ("dashed: the Pareto front" in described.caption) == drawn


def test_ticks_are_round_and_inside() -> None:
    assert axes.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert axes.ticks(0, 108.9) == [0, 20, 40, 60, 80, 100]
    for low, high in ((0.948, 0.981), (0.0, 0.1), (3e-7, 4e-7)):
        values = axes.ticks(low, high)
        assert 3 <= len(values) <= 7
        assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)


def test_factor_ticks_are_round_and_inside() -> None:
    assert axes.factor_ticks(3.8, 174) == [5, 10, 20, 50, 100]
    assert axes.factor_ticks(0.02, 0.3) == [0.02, 0.05, 0.1, 0.2]
    frame = chart.Frame(0, 0, 300, 1, axes.factor_axis("", 1, 1000), axes.axis("", 0, 1))
    assert [round(frame.x(value)) for value in (1, 10, 100, 1000)] == [0, 100, 200, 300]


def test_a_name_is_nearest_to_its_own_mark_or_has_a_line_to_it() -> None:
    """Points side by side, closer than their names are long."""
    run, answers = made_up(FRAMES)
    judged_variant = judged(run, answers).variants["q16"]
    scored = [(index, f"q{index}-p50", judged_variant) for index in range(4)]
    for step in (4, 9, 16, 30, 40, 45, 50):
        reader = Reader()
        sizes = {name: 100.0 + step * index for index, name, _ in scored}
        reader.feed(drawn_plots.trade(plots.trade(("Sizes", "", ""), sizes, scored, (), 0)))
        drawn = [node.attributes for node in reader.root.all()]
        marks = {node["class"][-2:]: centre(node) for node in drawn if node.get("class", "").startswith("mark ")}
        leaders = [(node["x1"], node["x2"]) for node in drawn if node.get("class") == "leader"]
        names = [node for node in drawn if node.get("class", "").startswith("name ")]
        assert len(names) == len(marks) == len(scored)
        for name in names:
            x, x_of_mark = float(name["x"]), marks[name["class"][-2:]]
            ends = (x, x + 7 * 9.5) if name["text-anchor"] == "start" else (x - 7 * 9.5, x)
            away = {key: max(ends[0] - mark, 0, mark - ends[1]) for key, mark in marks.items()}
            nearest = min(far for key, far in away.items() if key != name["class"][-2:]) > 12
            led = any(abs(float(start) - x_of_mark) < 1 and end == name["x"] for start, end in leaders)
            assert led or nearest, (step, name)


def centre(mark: dict[str, str]) -> float:
    """How far right a mark is."""
    if "cx" in mark:
        return float(mark["cx"])
    xs = [float(point.split(",")[0]) for point in mark["points"].split()]
    return sum(xs) / len(xs)


@pytest.mark.parametrize("paired", [True, False])
def test_trades_show_what_is_told_of_a_variant(paired: bool) -> None:
    """Heights against the axis' own numbers, read back from the drawing."""
    run, answers = made_up(FRAMES)
    evaluation = judged(run, answers) if paired else no_baseline(run, answers)[1]
    scored = [(index, name, scores) for index, (name, scores) in enumerate(evaluation.variants.items()) if scores.auc]
    sizes = {name: 10.0 * (index + 1) for index, name, _ in scored}
    reader = Reader()
    reader.feed(drawn_plots.trade(plots.trade(("Sizes", "", "MiB"), sizes, scored, (), run.margin)))
    texts = [node for node in reader.root.all() if node.tag == "text" and node.attributes.get("text-anchor") == "end"]
    ticks = [node for node in texts if re.fullmatch(r"[−+]?[0-9.]+", node.text)]
    (first, last) = (
        (float(node.text.replace("−", "-")), float(node.attributes["y"]) - 4) for node in (ticks[0], ticks[-1])
    )
    slope = (last[0] - first[0]) / (last[1] - first[1])
    bars = [node.attributes for node in reader.root.all() if node.attributes.get("class", "").startswith("bar ")]
    upright = [(float(node["y1"]), float(node["y2"])) for node in bars if node["x1"] == node["x2"]]
    heights = [plots._height(scores, paired) for *_, scores in scored]
    expected = [(low, high) for _, low, high in heights if high > low]
    assert len(expected) >= 2
    ends = [(first[0] + slope * (low - first[1]), first[0] + slope * (high - first[1])) for low, high in upright]
    np.testing.assert_allclose(ends, expected, atol=2 * abs(slope) * 0.1)
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
        classes = {node.attributes.get("class") for node in root.all()}
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
    checked = subprocess.run(command, capture_output=True, text=True, timeout=limit(120), check=False)
    assert checked.returncode == 0, checked.stdout


def test_data_of_the_script_is_json(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    root = rendered(tmp_path, run, judged(run, answers))
    data = json.loads(next(node.text for node in root.all() if node.attributes.get("id") == "data"))
    assert [counted["name"] for counted in data["variants"]] == list(answers.predictions)
    assert all(len(counted["fake"]) == 1001 + len(data["extra"]) for counted in data["variants"])
