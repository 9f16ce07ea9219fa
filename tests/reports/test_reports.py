"""The report from a made-up run: to the letter, with nasty names, and what becomes of its files.

After a wanted change of the report, renew the golden files and read their difference:
`RENEW_GOLDEN=1 python -m pytest tests/reports/test_reports.py && git diff tests/reports/golden`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from numpy.typing import NDArray
from PIL import Image

from bench.errors import UserError
from bench.files import write_atomically
from bench.records import (
    OUTCOMES,
    Auc,
    Candidate,
    Conditions,
    Constraints,
    Evaluation,
    Footprint,
    Interval,
    PredictionPass,
    Predictions,
    Requirement,
    RunRecord,
    Shift,
    Slice,
    ThresholdRule,
    VariantResult,
    VariantSpeed,
)
from bench.reports import bundle, is_whole, plain_warnings, read_scores, render, summary
from bench.reports.content import changes, insights, notes, plots, recommendation, variants
from bench.reports.content.cells import cell, columns, table
from bench.reports.content.report import gather
from bench.reports.content.text import about, change, difference, further, shortened, signed, within
from bench.reports.markdown import write
from bench.reports.markdown.write import escape, words
from bench.reports.pictures import figures
from bench.reports.pictures.gallery import Shown, galleries, overlay_path
from bench.reports.pictures.overlay import draw, supporting
from bench.reports.scores_json import as_json, as_text, scores, typed_scores
from bench.reports.terminal.plain import WIDTH, ascii_, wrapped
from bench.results.score.outcomes import outcomes
from bench.stored import DamagedError
from tests.support import ROOT
from tests.support.reports import (
    CPU,
    CUT_SHORT,
    DEGRADATIONS,
    FRAMES,
    NASTY,
    SIZE,
    TEST,
    Answers,
    blurred,
    degraded,
    judged,
    labelled,
    made_up,
    masked,
    pixels,
    rendered,
    with_faces,
)

GOLDEN = Path(__file__).parent / "golden"


def tokens(markdown: str) -> list[Token]:
    return [
        inner
        for token in MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
        for inner in token.children or [token]
    ]


def images(report: Path) -> list[str]:
    parsed = tokens((report / "report.md").read_text(encoding="utf-8"))
    return [str(token.attrs["src"]) for token in parsed if token.type == "image"]


def overview(run: RunRecord, judgement: Evaluation) -> str:
    return write.table(variants.overview(run, judgement))


def answer(run: RunRecord, judgement: Evaluation) -> str:
    return " ".join(map(words, recommendation.sentences(run, judgement)))


def overlays(results: Path) -> set[str]:
    return {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}


def leaves(numbers: str) -> dict[str, Any]:
    """What a JSON text holds, by where it stands."""

    def walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
        if not inside:
            yield path, value if inside is None else "empty"
        for key, child in inside or ():
            yield from walk(child, f"{path}/{key}")

    return dict(walk(json.loads(numbers), ""))


def nearly(golden: str) -> dict[str, Any]:
    """The leaves of a JSON text, whose last digits differ between processors, where a fit ends, and libraries."""
    return {
        path: pytest.approx(value, rel=1e-6, abs=1e-9) if isinstance(value, float) else value
        for path, value in leaves(golden).items()
    }


def well_formed(markdown: str) -> bool:
    """Whether a blank line stands around every heading."""
    lines = markdown.splitlines()
    headings = [index for index, line in enumerate(lines) if line.startswith("#") and index]
    return not any(lines[index - 1] or lines[index + 1] for index in headings)


def test_golden(tmp_path: Path) -> None:
    _, report = rendered(tmp_path, *made_up(FRAMES))
    rendered_files = {name: (report / name).read_text(encoding="utf-8") for name in ("report.md", "scores.json")}
    if os.environ.get("RENEW_GOLDEN"):
        for name, text in rendered_files.items():
            (GOLDEN / name).write_text(text, encoding="utf-8")
    golden = {name: (GOLDEN / name).read_text(encoding="utf-8") for name in rendered_files}
    assert rendered_files["report.md"] == golden["report.md"]
    assert leaves(rendered_files["scores.json"]) == nearly(golden["scores.json"])


@pytest.mark.figures
def test_figures_are_pictures_whose_names_can_be_read(tmp_path: Path) -> None:
    _, report = rendered(tmp_path, *made_up(FRAMES))
    for name in ("size_auc.png", "latency_auc.png", "roc.png", "reliability.png", "heatmap_colours.png"):
        with Image.open(report / name) as picture:
            assert picture.width > 500, name
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20, name


def test_each_evaluation_is_told_once_and_where_decoding_was_its_limit(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    first = PredictionPass(512, 12.3, 1.2, 4)
    starved = PredictionPass(1024, 100.0, 35.0, 1)
    passes = (first, first, starved, PredictionPass(0, 0.0, 0.0, 0), first)
    variants = tuple(
        dataclasses.replace(variant, evaluation=prediction_pass)
        for variant, prediction_pass in zip(run.variants, passes, strict=True)
    )
    _, report = rendered(tmp_path, dataclasses.replace(run, variants=variants), answers)
    markdown = (report / "report.md").read_text(encoding="utf-8")
    assert well_formed(markdown)
    sentences = (
        "Evaluating 512 frames with 4 variants, decoding included, took 12.3 s (41.6 frames/s through all of them, "
        "which is no variant's own speed).",
        "Evaluating 1,024 frames with 1 variant, decoding included, took 100.0 s (10.2 frames/s). Decoding was the "
        "limit: it gave 10.2 frames/s, and for 35 % of that time no decoded frame was ready; frames stored at the "
        "network's size, or more cores, help.",
    )
    assert [line for line in markdown.splitlines() if line.startswith("Evaluating")] == list(sentences)
    assert markdown.index(sentences[0]) > markdown.index("How it was measured")
    page = unescape((report / "report.html").read_text(encoding="utf-8"))
    assert all(page.count(sentence) == 1 for sentence in sentences)


def test_every_link_leads_to_a_file_whatever_frames_are_called(tmp_path: Path) -> None:
    frames = [*FRAMES]
    frames[0], frames[3] = NASTY, "../../../../../../../../outside/x.png"
    results, report = rendered(tmp_path, *made_up(frames))
    linked = images(report)
    assert len(linked) > 10
    for target in linked:
        assert (report / unquote(target)).is_file(), target
    assert not (tmp_path / "outside").exists()
    assert all(path.is_relative_to(tmp_path / "results") for path in results.rglob("*.jpg"))


@pytest.mark.parametrize(
    "name", [NASTY, "<script>alert(1)</script>", "a\\|b", "$x$ ~~y~~ **z** &lt;", "![x](y)", "\udcff"]
)
def test_names_are_data_and_never_markup(name: str) -> None:
    cell = tokens(f"| a | b |\n| --- | --- |\n| {escape(name)} | _{escape(name)}_ |\n")
    shown = [token.content for token in cell if token.type == "text"][2:]
    assert not {"code_inline", "link_open", "html_inline", "image", "s_open", "strong_open"} & {
        token.type for token in cell
    }
    expected = re.sub(r"\s+", " ", name).replace("\udcff", "\ufffd")
    joined = "".join(token.content for token in cell if token.type in ("text", "text_special"))
    assert joined == f"ab{expected}{expected}", shown


def test_galleries_rank_by_score_and_then_by_path(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    answers = answers.answering("baseline", {10: 0.99999, 5: 0.99999, 0: 0.99999, 3: 0.99998})
    _, report = rendered(tmp_path, run, answers)
    of_baseline = [target for target in images(report) if "/baseline/" in target]
    assert [target.rsplit("/", 1)[-1] for target in of_baseline[:2]] == ["0000.png.jpg", "0005.png.jpg"]
    falses = [target for target in of_baseline if "false_positives" in target]
    assert falses[0].endswith("real/0003.png.jpg")


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.7000001, 0.9]), st.booleans()), min_size=1, max_size=40),
    st.integers(0, 5),
)
def test_galleries_rank_as_sorting_everything_would(answered: list[tuple[float, bool]], top: int) -> None:
    run, answers = made_up(FRAMES)
    scores = np.array([score for score, _ in answered])
    labels = np.array([fake for _, fake in answered], np.int8)
    names = [f"{(7 * index) % 41:02}" for index in range(len(answered))]
    run = dataclasses.replace(run, gallery_top=top, variants=run.variants[:1])
    evaluation = judged(run, answers)
    decided = dataclasses.replace(evaluation.variants["baseline"], outcomes=outcomes(labels, scores, run.threshold))
    evaluation = dataclasses.replace(
        evaluation,
        test=labelled(names, labels),
        predictions={"baseline": Predictions(scores, None, None)},
        variants={"baseline": decided},
    )
    by_outcome = galleries(run, evaluation).outcomes["baseline"]
    for outcome in OUTCOMES:
        fake = outcome.endswith("positives")
        is_fake = fake == outcome.startswith("true")
        everything = [
            (-score if fake else score, name)
            for score, label, name in zip(scores, labels, names, strict=True)
            if (score >= run.threshold) == fake and (label == 1) == is_fake
        ]
        assert by_outcome[outcome].count == len(everything)
        assert [shown.frame for shown in by_outcome[outcome].first] == [name for _, name in sorted(everything)[:top]]


def test_galleries_count_as_the_confusion_does_also_at_the_threshold_itself() -> None:
    run, answers = made_up(FRAMES)
    evaluation = judged(run, answers.answering("baseline", {0: 0.5, 3: 0.5}))
    run = dataclasses.replace(run, gallery_heatmaps="all")
    outcomes, point = galleries(run, evaluation).outcomes["baseline"], evaluation.variants["baseline"].fixed
    assert tuple(outcomes[outcome].count for outcome in OUTCOMES) == (point.tp, point.fn, point.fp, point.tn)
    assert "real/0003.png" in {shown.frame for shown in outcomes["false_positives"].first}


def test_overlays_follow_the_threshold_and_unchanged_ones_are_kept(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    results, report = rendered(tmp_path, run, answers)
    before = {path: (results / path).stat().st_mtime_ns for path in overlays(results)}

    def unneeded(frame: str) -> NDArray[np.uint8]:
        raise AssertionError(f"{frame} was read again")

    render(run, masked(run, judged(run, answers)), unneeded, results, report)
    assert before == {path: (results / path).stat().st_mtime_ns for path in overlays(results)}
    strict = dataclasses.replace(run, threshold=1.0)
    render(strict, judged(strict, answers), pixels, results, report)
    assert {path.split("/")[2] for path in overlays(results)} == {"false_negatives", "true_negatives"}
    assert not (results / "baseline/result/true_positives/heatmap/fake").exists()
    assert "N/A | N/A" in (report / "report.md").read_text(encoding="utf-8")


def test_a_changed_map_is_drawn_again_and_a_failed_variant_keeps_none(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    results, report = rendered(tmp_path, run, answers)
    before = {path: (results / path).read_bytes() for path in overlays(results)}
    answers.predictions["q8"] = dataclasses.replace(answers.predictions["q8"], cam=None)
    failed = dataclasses.replace(run.variants[1], status="failed", reason="out of memory")
    run = dataclasses.replace(run, variants=(run.baseline, failed, *run.variants[2:]))
    render(run, judged(run, answers), pixels, results, report)
    of_q8 = {path for path in overlays(results) if path.startswith("q8/")}
    assert of_q8
    assert all((results / path).read_bytes() != before.get(path) for path in of_q8)
    assert not [path for path in overlays(results) if path.startswith("q16/")]


def test_heatmaps_for_all_frames(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    results, _ = rendered(tmp_path, dataclasses.replace(run, gallery_heatmaps="all"), answers)
    assert len(overlays(results)) == 4 * TEST


def test_flips_stand_in_the_ledger_and_as_pairs(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    _, report = rendered(tmp_path, run, answers)
    ledger = pd.read_csv(report / "flips.csv")
    scored = as_json(read_scores(report))["variants"]
    baseline = answers.predictions["baseline"].test >= run.threshold
    for name in ("q16", "q8", "q16-p50"):
        decided, right = answers.predictions[name].test >= run.threshold, answers.test.labels == 1
        lost, mended = (baseline == right) & (decided != right), (baseline != right) & (decided == right)
        rows = ledger[ledger["variant"] == name]
        assert set(rows["frame"][rows["flip"] == "worse"]) == set(answers.test.frames[lost])
        assert set(rows["frame"][rows["flip"] == "better"]) == set(answers.test.frames[mended])
        assert scored[name]["flips"]["worse"] == lost.sum()
        moved = (rows["variant_p_fake"] - rows["baseline_p_fake"]).abs().to_numpy()
        assert (np.diff(moved) <= 1e-12).all()
    pairs = (report / "report.md").read_text(encoding="utf-8").split("### Largest flips")[1]
    largest = ledger[ledger["variant"] == "q8"]["frame"].iloc[0]
    assert f"/q8/result/{'false_negatives' if largest.startswith('fake') else 'false_positives'}/" in pairs
    assert f"![{largest}](../../results/demo/baseline/" in pairs


def test_scores_from_elsewhere_have_no_galleries_and_no_empty_parts(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    bare = tuple(VariantResult(variant.name, variant.id, (), "ok", None) for variant in run.variants[:4])
    run = dataclasses.replace(
        run, detector="", architecture="", preprocessing=None, variants=bare, choose=None, provenance={"q8.csv": "7"}
    )
    answers = dataclasses.replace(
        answers,
        predictions={name: dataclasses.replace(variant, cam=None) for name, variant in answers.predictions.items()},
    )
    render(run, judged(run, answers), None, None, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Scores from elsewhere" in text
    assert not re.search(r"MiB|Latency|Heatmaps|Visual analysis|Timings|executed where|Size|speed", text)
    assert [line for line in text.splitlines() if line.startswith("## ")][-1].startswith("## 6.")
    for row in text.splitlines():
        assert "| – |" not in row or "baseline" in row or "q8" in row or "q16" in row
    assert is_whole(tmp_path)
    page = re.sub(
        r"<(style|script).*?</\1>", "", (tmp_path / "report.html").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert not re.search(r"Galleries|galler(y|ies)\b(?!-)|Pareto", re.sub(r"<[^>]*>", "", page))
    lines = summary(run, read_scores(tmp_path))
    assert "MiB" not in lines
    assert "q16: stable" in lines
    assert "can ship: q16" in lines
    assert "**q16** can be shipped: it is shown to lose less than 0.01 AUC" in text


def test_nothing_speaks_and_no_map_are_written_onto_the_picture() -> None:
    grey = np.full((96, 96, 3), 120, np.uint8)
    nothing = np.asarray(draw(grey, np.full((3, 3), -1.0), fake=True, scale=1.0))
    assert (nothing[:70] == 120).all()
    assert nothing[84:].max() > 200
    assert (np.asarray(draw(grey, None, fake=True, scale=0.0))[84:] != 120).any()


def test_what_is_drawn_speaks_for_the_verdict_on_the_given_scale() -> None:
    cam = np.array([[2.0, -4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(supporting(cam, fake=True), [[2, 0], [0, 0]])
    np.testing.assert_array_equal(supporting(cam, fake=False), [[0, 4], [0, 0]])
    grey = np.full((32, 32, 3), 120, np.uint8)
    for fake, column in ((True, 0), (False, -1)):
        changed = np.abs(np.asarray(draw(grey, cam, fake, 4.0)).astype(int) - 120).sum(axis=2)
        assert changed[0, column] > 50
        assert changed[0, -1 - column] == 0
    weak, strong = (np.abs(np.asarray(draw(grey, cam, True, scale)).astype(int) - 120).sum() for scale in (20.0, 2.0))
    assert weak < strong / 2


def test_a_baseline_below_chance_warns_at_the_top(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    swapped = (1 - answers.test.labels).astype(np.int8)
    _, report = rendered(tmp_path, run, answers.labelled(swapped))
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "swapped" in text.split("## Verdict")[0]
    assert "needs `classes: [fake, real]`" in text.split("## Verdict")[0]
    warned = plain_warnings(run, read_scores(report))
    assert "swapped" in warned[0]
    assert not any(mark in warned[0] for mark in ("**", "\\"))


def test_frames_of_one_class_only_are_still_a_report(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    _, report = rendered(tmp_path, run, answers.labelled(np.ones(TEST, np.int8)))
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "no variant has an AUC" in text
    q8 = read_scores(report).variants["q8"]
    assert (q8.auc_delta, q8.verdict, q8.auc_ci) == (None, None, None)
    assert "ship" not in summary(run, read_scores(report))


@pytest.mark.figures
def test_names_in_a_figure_do_not_overlap(tmp_path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    run, answers = made_up(FRAMES)
    box = judged(run, answers).variants["baseline"]
    crowd = [(index, f"variant-{index}", box) for index in range(6)]
    sizes = {name: 50 + 0.1 * index for index, name, _ in crowd}
    figure = figures.trade(plots.trade(("Sizes", "crowd.png", "size (MiB)"), sizes, crowd, (), 0))
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    boxes = [Text.get_window_extent(text, renderer) for text in figure.axes[0].texts if text.get_text()]
    assert len(boxes) == len(crowd)
    figure.savefig(tmp_path / "crowd.png")
    assert not any(box.overlaps(other) for box, other in itertools.combinations(boxes, 2))


@pytest.mark.figures
def test_points_in_a_figure_differ_where_colours_begin_anew() -> None:
    run, answers = made_up(FRAMES)
    scored = judged(run, answers).variants["baseline"]
    crowd = [(index, f"variant-{index}", scored) for index in range(11)]
    sizes = {name: 50.0 + index for index, name, _ in crowd}
    for front in ((), ("variant-0", "variant-1")):
        figure = figures.trade(plots.trade(("Sizes", "crowd.png", "size (MiB)"), sizes, crowd, front, 0))
        drawn = [line for line in figure.axes[0].lines if str(line.get_marker()) in figures.MARKERS]
        looks = {(line.get_color(), line.get_marker(), line.get_markerfacecolor()) for line in drawn}
        assert len(looks) == len(drawn) == 11
        assert [line.get_markerfacecolor() == "white" for line in drawn] == [False] * 7 + [True] * 4
        assert ("Pareto" in figure.axes[0].get_title()) == bool(front)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    file.write_text("old")

    def half(target: BinaryIO) -> None:
        target.write(b"new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, half)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.md", "old")]


def test_all_variants_failed_is_still_a_report(tmp_path: Path) -> None:
    run, _ = made_up(FRAMES)
    failed = tuple(
        dataclasses.replace(variant, status="failed", reason="no", executed=None, measurements=(), baseline=())
        for variant in run.variants
    )
    run = dataclasses.replace(run, variants=failed)
    nothing = labelled([], np.empty(0, np.int8))
    speeds = {variant.name: VariantSpeed() for variant in failed}
    results, report = tmp_path / "results" / "demo", tmp_path / "reports" / "demo"
    render(run, Evaluation(nothing, nothing, {}, {}, speeds, None), pixels, results, report)
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "**No variant can be recommended**: every variant failed." in text
    for number in (3, 6):
        assert "No variant was evaluated." in text.split(f"## {number}. ")[1].split("\n## ")[0]
    assert "None, since no variant was evaluated." in text
    assert well_formed(text)
    assert is_whole(report)
    (report / "report.html").unlink()
    assert not is_whole(report)
    row = json.loads((report / "scores.json").read_text())["variants"]["baseline"]
    assert (row["status"], row["size_mib"], row["confusion"]["tp"], row["measurements"]) == ("failed", None, None, [])
    assert "failed: no" in summary(run, read_scores(report))


def test_a_failed_baseline_leaves_the_others_without_a_verdict(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    failed = dataclasses.replace(run.baseline, status="failed", reason="no")
    run = dataclasses.replace(run, variants=(failed, *run.variants[1:]))
    _, report = rendered(tmp_path, run, answers)
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "**No variant can be recommended**: the baseline failed" in text.split("## 1.")[0]
    assert "The baseline failed: nothing here" in text
    assert "carried" not in text
    assert "*shifted" not in text
    assert "there is none to carry over from the baseline, which failed." in text
    assert well_formed(text)
    numbers = read_scores(report)
    assert (numbers.choice, numbers.variants["q16"].verdict, numbers.variants["q16"].flips) == (None, None, None)
    assert not (report / "flips.csv").exists()
    assert len(summary(run, numbers).splitlines()) == 1 + 5 + 2


def test_names_as_long_as_file_systems_allow_have_overlays(tmp_path: Path) -> None:
    """The overlay's name adds ".jpg", so frames whose names are longest need another."""
    names = [f"{letter}/{'ä' * 125}{number:03d}.png" for letter in "ab" for number in range(4)]
    assert len(names[0].split("/")[1].encode()) == 257, "over the limit even without .jpg"
    paths = {overlay_path(tmp_path, "q8", Shown(name, 0, 0.9, True, "true_positives")) for name in names}
    assert len(paths) == len(names)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    short = overlay_path(tmp_path, "q8", Shown("a/b.png", 0, 0.9, True, "true_positives"))
    assert short.name == "b.png.jpg"


def test_scores_json_is_read_back_as_the_record_that_was_written(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    _, report = rendered(tmp_path, run, answers)
    run = dataclasses.replace(run, degradations=DEGRADATIONS)
    written = scores(run, degraded(run, with_faces(run, masked(run, blurred(run, judged(run, answers))))))
    assert read_scores(report) == written
    assert (report / "scores.json").read_text(encoding="utf-8") == as_text(read_scores(report)) + "\n"
    golden = (GOLDEN / "scores.json").read_text(encoding="utf-8")
    assert as_json(typed_scores(json.loads(golden))) == json.loads(golden)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content.pop("schema"), "no schema version"),
        (lambda content: content.update(schema=2), "schema version 2, this bench reads version 1"),
        (lambda content: content.pop("margin"), "margin: is missing"),
        (lambda content: content.update(baseline="b9"), "baseline is none of its variants"),
        (lambda content: content["variants"]["q8"].pop("mode"), "variants.q8.mode: is missing"),
        (lambda content: content["variants"]["q8"].update(auc="high"), "variants.q8.auc: .*number"),
        (lambda content: content["variants"]["q8"].update(auc_ci=[0.5]), "variants.q8.auc_ci"),
        (lambda content: content["variants"]["q8"]["confusion"].update(tp=0.5), "variants.q8.confusion.tp"),
        (lambda content: content["variants"]["q8"].update(verdict="fine"), "variants.q8.verdict"),
    ],
)
def test_scores_json_that_lacks_a_key_or_has_it_wrong_is_damaged(
    damage: Callable[[dict[str, Any]], object], message: str
) -> None:
    content = json.loads((GOLDEN / "scores.json").read_text(encoding="utf-8"))
    assert typed_scores(content)
    damage(content)
    with pytest.raises(DamagedError, match=message):
        typed_scores(content)


def test_scores_json_has_every_key_of_the_interface_for_every_variant(tmp_path: Path) -> None:
    _, report = rendered(tmp_path, *made_up(FRAMES))
    scores = json.loads((report / "scores.json").read_text(encoding="utf-8"))
    documented = (ROOT / "reports" / "README.md").read_text(encoding="utf-8")
    rows = scores["variants"].values()
    assert all(row.keys() == scores["variants"]["baseline"].keys() for row in rows)
    for key in (*scores, *scores["variants"]["baseline"]):
        assert f"`{key}`" in documented, key
    assert scores["variants"]["q8"]["speedup"] is None
    assert scores["variants"]["q16"]["speedup"] == pytest.approx(1.25, rel=0.02)
    assert scores["variants"]["q16"]["latency_ms"]["p99"] is not None
    assert scores["variants"]["baseline"]["latency_ms"]["p99"] is None


@pytest.mark.figures
def test_bundle_is_whole_wherever_it_is_unpacked(tmp_path: Path) -> None:
    frames = [NASTY, *FRAMES[1:]]
    results, report = rendered(tmp_path, *made_up(frames))
    bundle(report, results, tmp_path / "demo.zip")
    with zipfile.ZipFile(tmp_path / "demo.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    unpacked = tmp_path / "elsewhere" / "demo"
    assert len(images(unpacked)) == len(images(report))
    for target in images(unpacked):
        assert Image.open(unpacked / unquote(target)).size[0] >= SIZE
        assert not target.startswith("..")
    assert (unpacked / "scores.json").is_file()
    assert (unpacked / "report.html").read_bytes() == (report / "report.html").read_bytes()
    next(results.rglob("*.jpg")).unlink()
    with pytest.raises(UserError, match="bench report demo"):
        bundle(report, results, tmp_path / "demo.zip")


FOREIGN = [
    "a:b.png", "a*b.png", "a?b.png", "CON.png", "nul.tar.jpg", "com1", "dot.", "blank ", "back\\slash.png",
    "line\nbreak.png", "Case.png", "case.png", "cafe\u0301.png", "caf\u00e9.png", "quote\".png", "AUX /x.png",
    "x/aux/y", "x/y", "X/y", "figures/report.md", "Report.MD", "\u202egnp.exe", "a|b<c>.png", "a_b.png",
]  # fmt: skip


def test_bundle_unpacks_on_every_system(tmp_path: Path) -> None:
    """No name that Windows cannot make or takes for another's; every link leads to the file it led to."""
    report, results = tmp_path / "reports/demo", tmp_path / "results/demo"
    lines = []
    for number, name in enumerate(FOREIGN):
        file = report / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(number))
        lines.append(f"[{number}]({quote(name, safe='/')}) and again [{number}]({quote(name, safe='/')})")
    (report / "report.md").write_text("\n\n".join(lines), encoding="utf-8")
    bundle(report, results, tmp_path / "demo.zip")
    with zipfile.ZipFile(tmp_path / "demo.zip") as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "elsewhere")
    assert len({unicodedata.normalize("NFC", name).casefold() for name in names}) == len(names) == len(FOREIGN) + 1
    for part in (part for name in names for part in name.split("/")):
        assert not re.search(r'[<>:"|?*\\\x00-\x1f\u202e]|[. ]$', part), part
        assert not PureWindowsPath(part).is_reserved(), part
    folders: dict[str, str] = {}
    for name in names:
        for folder in list(map(str, PurePosixPath(name).parents)):
            assert folders.setdefault(folder.casefold(), folder) == folder, "one of the two would swallow the other"
    text = (tmp_path / "elsewhere/demo/report.md").read_text(encoding="utf-8")
    links = re.findall(r"\[(\d+)\]\(([^)]+)\)", text)
    assert len(links) == 2 * len(FOREIGN)
    for number, target in links:
        assert (tmp_path / "elsewhere/demo" / unquote(target)).read_text() == number


def test_summary_fits_a_terminal(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    name = "a-very-long-variant-näme\x1b[31m"
    long = dataclasses.replace(run.variants[1], name=name)
    run = dataclasses.replace(run, variants=(run.baseline, long, *run.variants[2:]))
    answers.predictions[name] = answers.predictions.pop("q16")
    lines = summary(run, scores(run, judged(run, answers))).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert "+0.2%" in lines[3]
    assert "1.25x" in lines[2]
    summarised = "\n".join(lines)
    assert "loss is NaN" in summarised
    assert "stable (0.0000, 95 % -0.0003 to +0.0003)" in summarised.replace("\n ", "")
    assert lines[-1].startswith("ship: a-very-long-variant-n?me")


ON_A_GPU = Conditions(
    "2026-01-02T03:04:05+00:00", 61.0, 4, {"cpu": "Xeon"}, 0.01,
    gpu={"name": "NVIDIA H100, GPU 1 of 4 at 0000:1b:00.0"}, gpu_mhz=(1980.0, 1755.0), gpu_mhz_range=(1410.0, 1980.0),
)  # fmt: skip


def under(conditions: Conditions) -> RunRecord:
    """A made-up run whose second variant was timed under these conditions."""
    run, _ = made_up(FRAMES)
    second = dataclasses.replace(run.variants[1], conditions=conditions)
    return dataclasses.replace(run, variants=(run.baseline, second, *run.variants[2:]))


def test_a_gpu_that_was_slowed_down_is_told_and_warned_of(tmp_path: Path) -> None:
    slowed = under(dataclasses.replace(ON_A_GPU, gpu_throttling=("software power cap", "hardware thermal slowdown")))
    _, report = rendered(tmp_path, slowed, made_up(FRAMES)[1])
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "| 1,980 → 1,755 (1,410 to 1,980) | software power cap, hardware thermal slowdown | none |" in text
    assert "GPU 1 of 4 at 0000:1b:00.0" in text
    warned = "slowed its clock down (software power cap, hardware thermal slowdown): the speeds are those of a GPU that"
    assert f"⚠️ While times were taken (2026-01-02T03:04:05+00:00), the GPU {warned}" in text
    assert warned in " ".join(plain_warnings(slowed, read_scores(report)))
    assert not [line for line in plain_warnings(under(ON_A_GPU), read_scores(report)) if "While times" in line]


def test_a_quota_that_stopped_timed_calls_is_told_and_earns_no_speed_up(tmp_path: Path) -> None:
    stopped = under(dataclasses.replace(ON_A_GPU, gpu=None, throttled_seconds=24.4, throttled_share=0.395))
    _, report = rendered(tmp_path, stopped, made_up(FRAMES)[1])
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "| 24.4 s, in 40 % of its periods |" in text
    warned = "**the CPU quota stopped them** in 40 % of its periods, for 24.4 s in all"
    assert f"⚠️ While times were taken (2026-01-02T03:04:05+00:00), {warned}" in text
    name = stopped.variants[1].name
    assert read_scores(report).variants[name].speedup is None
    assert read_scores(report).variants[name].latency_ms.p50 is not None


def test_times_that_had_not_settled_are_warned_of(tmp_path: Path) -> None:
    """A variant's own, and the baseline's in a runtime that only a variant uses."""
    run, answers = made_up(FRAMES)
    restless = [
        tuple(dataclasses.replace(measurement, settled=measurement.batch_size == 1) for measurement in measurements)
        for measurements in (run.variants[1].measurements, run.variants[1].baseline)
    ]
    second = dataclasses.replace(run.variants[1], measurements=restless[0], baseline=restless[1])
    run = dataclasses.replace(run, variants=(run.baseline, second, *run.variants[2:]))
    _, report = rendered(tmp_path, run, answers)
    warned = "ended: **q16** (pytorch, batch 8), **baseline** (pytorch, batch 8). The calls"
    assert f"⚠️ Times had not settled when the warm-up {warned}" in (report / "report.md").read_text(encoding="utf-8")
    settled = [timing.settled for timing in read_scores(report).variants["q16"].measurements]
    assert settled == [True, False]


@pytest.mark.parametrize(
    ("changed", "short", "error"),
    [
        ({}, "recover took 14 of 160 steps (no more fitted into 0.2 minutes)", "0.05 before, 0.047 after"),
        ({"steps": 160, "best_step": 160, "cut_short": False}, "recover took 160 of 160 steps", "before"),
        ({"best_step": 0}, "minutes; no step brought it closer: batch norms alone were measured again)", "before"),
        (
            {"best_step": 0, "error_after": 0.05},
            "minutes; no step brought it closer: weights unchanged)",
            "0.05 before, 0.05 after",
        ),
        ({"best_step": 8}, "minutes; kept are the weights after step 8)", "before"),
        ({"ended": "no better"}, "steps (no better; the limit of time had cut it short)", "before"),
        (
            {"steps": 0, "best_step": 0, "ended": "close enough", "cut_short": False, "error_after": 0.05},
            "recover took none of 160 steps (close enough)",
            "on 80 train frames: 0.05\n",
        ),
        (
            {"steps": 0, "best_step": 0, "ended": "close enough", "cut_short": False},
            "recover measured batch norms again and took none of 160 steps (close enough)",
            "on 80 train frames: 0.05 before, 0.047 after\n",
        ),
    ],
)
def test_what_recover_did_is_told_in_the_report_and_on_the_terminal(
    changed: dict[str, Any], short: str, error: str, tmp_path: Path
) -> None:
    run, answers = made_up(FRAMES)
    trained = dataclasses.replace(run.variants[3], recovered=(dataclasses.replace(CUT_SHORT, **changed),))
    run = dataclasses.replace(run, variants=(*run.variants[:3], trained))
    assert short in row_of("q16-p50", run, answers)
    _, report = rendered(tmp_path, run, answers)
    notes = [line for line in (report / "report.md").read_text().splitlines() if line.startswith("- **q16-p50**: re")]
    assert short in notes[0]
    assert error in f"{notes[0]}\n"
    assert short in (report / "report.html").read_text(encoding="utf-8")
    assert short in " ".join(summary(run, read_scores(report)).split())


def test_a_note_on_several_variants_is_said_once(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    note = "prune: `speed: 2` is met as estimated"
    variants = [dataclasses.replace(each, notes=(note, f"{each.name} alone")) for each in run.variants[1:]]
    _, report = rendered(tmp_path, dataclasses.replace(run, variants=(run.variants[0], *variants)), answers)
    markdown, html = ((report / name).read_text(encoding="utf-8") for name in ("report.md", "report.html"))
    assert [line for line in markdown.splitlines() if "is met as estimated" in line] == [
        "- **q16**, **q8**, **q16-p50** and **q32-p50**: prune: `speed: 2` is met as estimated"
    ]
    assert html.count("prune: <code>speed: 2</code> is met as estimated") == 1
    assert markdown.count("- **q8**: q8 alone") == 1


def test_code_in_warnings_and_reasons_is_shown_as_code(tmp_path: Path) -> None:
    run, answers = made_up(FRAMES)
    failed = dataclasses.replace(run.variants[1], status="failed", reason="no memory; write `threads: 1`")
    run = dataclasses.replace(run, variants=(run.variants[0], failed), warnings=("run `bench run a` again, it`s late",))
    _, report = rendered(tmp_path, run, answers)
    markdown, html = ((report / name).read_text(encoding="utf-8") for name in ("report.md", "report.html"))
    assert "run <code>bench run a</code> again, it`s late" in html
    assert "> ⚠️ run `bench run a` again, it\\`s late" in markdown
    assert "no memory; write <code>threads: 1</code>" in html
    assert "no memory; write `threads: 1`" in markdown


@pytest.mark.parametrize(
    ("runtime", "stored", "computed", "shown"),
    [
        ("pytorch", "fp16", "fp32", "torch fp16 as fp32"),
        ("pytorch", "int4 weights", "fp32", "torch int4 weights"),
        ("onnxruntime", "int8 weights", "fp32", "ort int8 weights"),
        ("openvino", "bf16", "bf16", "ov bf16"),
        ("tensorrt", "fp32", "fp32 (TF32 allowed)", "trt fp32"),
        ("tensorrt", "fp16", "fp32 (TF32 and fp16 allowed)", "trt fp16 allowed"),
        ("tensorrt", "int8", "chosen by TensorRT", "trt int8 allowed"),
    ],
)
def test_how_a_variant_ran_is_whole_words_on_the_terminal(runtime: str, stored: str, computed: str, shown: str) -> None:
    run, answers = made_up(FRAMES)
    executed = dataclasses.replace(CPU, runtime=runtime, stored=stored, computed=computed)
    run = dataclasses.replace(
        run, variants=(run.baseline, dataclasses.replace(run.variants[1], executed=executed), *run.variants[2:])
    )
    line = summary(run, scores(run, judged(run, answers))).splitlines()[2]
    assert line.endswith(f" {shown}")
    assert len(line) <= WIDTH


def compared_as(run: RunRecord, answers: Answers, name: str, low: float, high: float, p_holm: float) -> Evaluation:
    """As judged, but for one variant's difference."""
    evaluation = judged(run, answers)
    variant = evaluation.variants[name]
    assert variant.comparison is not None
    delta = Auc((low + high) / 2, Interval(low, high))
    comparison = dataclasses.replace(variant.comparison, delta=delta, p_holm=p_holm)
    changed = dataclasses.replace(variant, comparison=comparison)
    return dataclasses.replace(evaluation, variants={**evaluation.variants, name: changed})


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "alone"),
    [(-0.2, -0.01, 0.152, True), (-0.2, -0.01, 0.049, False), (-0.2, 0.01, 0.152, False), (0.01, 0.2, 0.05, True)],
)
def test_a_loss_that_is_one_of_several_is_told_with_its_corrected_p(
    low: float, high: float, p_holm: float, alone: bool
) -> None:
    run, answers = made_up(FRAMES)
    evaluation = compared_as(run, answers, "q16-p50", low, high, p_holm)
    row = next(line for line in overview(run, evaluation).splitlines() if "**q16-p50**" in line)
    assert (f"but not after Holm's correction: p is {p_holm:.3f}" in row) == alone
    lost = next(
        text for text in map(words, insights.insights(run, evaluation)) if text.startswith("Significant losses of AUC")
    )
    corrected = "After Holm's correction for 3 comparisons, p is 0.152 for **q16-p50**, which is not significant."
    assert lost.endswith(corrected) == (alone and high < 0)


@pytest.mark.parametrize("qualifies", [True, False])
def test_only_who_qualifies_is_called_at_least_as_good(qualifies: bool) -> None:
    run, answers = made_up(FRAMES)
    evaluation = judged(run, answers)
    assert evaluation.choice is not None
    met = Requirement("auc_drop", 0.02, 0.0, 0.0, 0.02, met=True)
    good = Candidate("baseline", (met,), 50.0, 9.0, 0.99, beaten_by="q16-p50")
    better = dataclasses.replace(good, name="q16-p50", beaten_by=None)
    better = better if qualifies else dataclasses.replace(better, requirements=(dataclasses.replace(met, met=False),))
    choice = dataclasses.replace(evaluation.choice, candidates=(good, better), chosen="q16", runner_up=None)
    table = overview(run, dataclasses.replace(evaluation, choice=choice))
    assert ("**q16-p50** is no larger and no slower, and its AUC estimate is no lower" in table) == qualifies


@pytest.mark.parametrize(
    ("macs", "shown"), [(68_412_345, "0.0684"), (9_860_000_000, "9.86"), (123_456_000_000, "123.46"), (0, "0.00")]
)
def test_macs_of_small_networks_keep_three_digits(macs: int, shown: str) -> None:
    run, answers = made_up(FRAMES)
    small = dataclasses.replace(run.baseline, footprint=Footprint(1_000_000, 1_000_000, macs))
    run = dataclasses.replace(run, variants=(small, *run.variants[1:]))
    assert f"| 1.00 | {shown} |" in write.table(variants.performance(run, judged(run, answers)))


def answered(run: RunRecord, answers: Answers) -> str:
    return answer(run, judged(run, answers))


def test_the_answer_names_the_variant_its_margins_and_the_runner_up() -> None:
    run, answers = made_up(FRAMES)
    sentences = answered(run, answers)
    assert sentences.startswith("**Ship q16**, made by `cast: fp16` (54.36 MiB")
    assert "an AUC drop of at most 0.02 (at worst 0.0003, 0.0197 to spare)" in sentences
    assert "at most 60 MiB (54.36 MiB, 5.64 MiB to spare)" in sentences
    easy = dataclasses.replace(run, choose=Constraints(size_mib=200.0))
    assert "Runner-up: **" in answered(easy, answers)


def test_the_margin_is_not_called_what_was_asked_for() -> None:
    run, answers = made_up(FRAMES)
    sentences = answered(dataclasses.replace(run, choose=Constraints(size_mib=60.0)), answers)
    assert (
        "Asked for: at most 60 MiB (54.36 MiB, 5.64 MiB to spare). The margin: an AUC drop of at most 0.01" in sentences
    )
    for nothing in (None, Constraints()):
        sentences = answered(dataclasses.replace(run, choose=nothing), answers)
        assert "Nothing was asked for beyond the margin: an AUC drop of at most 0.01 (at worst 0.0003" in sentences


def test_what_was_missed_by_a_hair_does_not_look_met() -> None:
    run, answers = made_up(FRAMES)
    compared = judged(run, answers).variants["q16-p50"].comparison
    assert compared is not None
    worst = -compared.delta.interval.low
    missed = judged(dataclasses.replace(run, choose=Constraints(auc_drop=round(worst - 1e-5, 5))), answers)
    numbers = re.findall(r"may lose ([\d.]+) AUC, ([\d.]+) allowed", overview(run, missed))[-1]
    assert float(numbers[0]) > float(numbers[1])
    equal = judged(run, answers).variants["q16"].comparison
    assert equal is not None
    exact = judged(dataclasses.replace(run, choose=Constraints(auc_drop=1e-5 - equal.delta.interval.low)), answers)
    assert re.search(r"\(at worst 0\.000\d\d, 0\.00001 to spare\)", answer(run, exact))


def test_further_frames_are_told_only_for_the_margin_they_were_reckoned_for() -> None:
    run, answers = made_up(FRAMES)
    assert "cannot decide about **q16-p50**" in answered(without_q16(run, None), answers)
    assert "cannot decide about **q16-p50**" in answered(without_q16(run, Constraints(auc_drop=run.margin)), answers)
    assert "cannot decide" not in answered(without_q16(run, Constraints(auc_drop=0.002)), answers)


def without_q16(run: RunRecord, asked: Constraints | None) -> RunRecord:
    failed = dataclasses.replace(run.variants[1], status="failed", reason="no")
    return dataclasses.replace(run, choose=asked, variants=(run.baseline, failed, *run.variants[2:]))


@pytest.mark.parametrize(("high", "proven"), [(-0.01, True), (0.01, False)])
def test_only_a_proven_loss_in_a_slice_is_called_a_loss(high: float, proven: bool) -> None:
    run, answers = made_up(FRAMES)
    evaluation = judged(run, answers)
    delta = Auc(-0.5, Interval(-0.8, -0.2))
    part = Slice("quality", "low", 12, 12, None, Auc(0.5, Interval(0.4, 0.6)), delta, 0.01, Interval(-0.9, high))
    q8 = dataclasses.replace(evaluation.variants["q8"], slices=(part,))
    evaluation = dataclasses.replace(evaluation, variants={**evaluation.variants, "q8": q8})
    of_q8 = [text for text in map(words, changes.worst(evaluation)) if text.startswith("**q8**")]
    lost = "**q8** loses significantly where quality = low (24 frames): ΔAUC −0.5"
    assert [text.startswith(lost) for text in of_q8] == ([True] if proven else [])
    assert ("loses significantly where" in overview(run, evaluation)) == proven


@pytest.mark.parametrize(
    ("at_once", "ending"),
    [
        (Interval(-0.8, -0.2), "holds for all slices at once as well."),
        (Interval(-0.9, -0.1), "−0.9000 to −0.1000 for all slices at once."),
    ],
)
def test_one_interval_is_not_written_twice_for_a_slice(at_once: Interval, ending: str) -> None:
    run, answers = made_up(FRAMES)
    evaluation = judged(run, answers)
    delta = Auc(-0.5, Interval(-0.8, -0.2))
    part = Slice("quality", "low", 12, 12, None, Auc(0.5, Interval(0.4, 0.6)), delta, 0.01, at_once)
    q8 = dataclasses.replace(evaluation.variants["q8"], slices=(part,))
    assert ending in words(changes.worst(dataclasses.replace(evaluation, variants={"q8": q8}))[0])


def test_where_none_is_proven_the_smaller_ones_are_not_called_larger() -> None:
    run, answers = made_up(FRAMES)
    evaluation = judged(run, answers)
    by_name = dict(evaluation.variants)
    for name, scored in by_name.items():
        if scored.comparison:
            by_name[name] = dataclasses.replace(
                scored, comparison=dataclasses.replace(scored.comparison, verdict="inconclusive")
            )
    smallest = words(insights._smallest(run, dataclasses.replace(evaluation, variants=by_name))[0])
    assert "none. Smaller than the baseline, but not shown to: **q16**" in smallest
    assert "**q8**" not in smallest, "whose file is larger"
    larger = dataclasses.replace(run, variants=(run.baseline, run.variants[2]))
    assert "none is smaller than the baseline itself" in words(insights._smallest(larger, evaluation)[0])


def test_who_calls_nearly_all_frames_the_same_is_told() -> None:
    run, answers = made_up(FRAMES)
    assert "**q16**" not in " ".join(map(words, insights._one_sided(run, judged(run, answers))))
    same = answers.answering("q16", dict.fromkeys(range(TEST), 0.9))
    (insight,) = map(words, insights._one_sided(run, judged(run, same)))
    assert insight.startswith("At 0.5, **q16** and **q16-p50** each call nearly all")
    assert "frames fake (95 % or more)" in insight


def test_ties_in_flips_are_named_and_told_of_the_right_answers() -> None:
    run, answers = made_up(FRAMES)
    twin = dataclasses.replace(answers, predictions={**answers.predictions, "q16-p50": answers.predictions["q8"]})
    texts = list(map(words, insights.insights(run, judged(run, twin))))
    assert (
        "Most frames flipped to wrong at 0.5: **q8** and **q16-p50**, 31 of the baseline's 74 right answers each "
        "(41.9 %)." in texts
    )


def test_a_shift_that_leaves_it_open_whether_anything_is_lost_says_no_more() -> None:
    run, answers = made_up(FRAMES)
    evaluation = judged(run, answers)
    shift = Shift(0.3, Interval(0.2, 0.4), 0.05, Interval(-0.1, 0.2), "shifted")
    moved = dataclasses.replace(evaluation.variants["q16-p50"], shift=shift)
    evaluation = dataclasses.replace(evaluation, variants={**evaluation.variants, "q16-p50": moved})
    row = overview(run, evaluation)
    assert "**shifted**: accuracy 0.625 at 0.5, 0.925 at its own" in row
    assert "carried" not in row
    at_a_rate = dataclasses.replace(run, threshold_rule=ThresholdRule("fpr", 0.1))
    assert "**shifted**: accuracy 0.625 at 0.5, 0.800 at the carried" in overview(at_a_rate, evaluation)


def in_sources(answers: Answers, sources: list[str | None]) -> Answers:
    return dataclasses.replace(answers, test=dataclasses.replace(answers.test, sources=pd.Series(sources)))


def test_the_method_says_what_the_frames_are_and_what_they_may_not_show() -> None:
    run, answers = made_up(FRAMES)
    only_q16 = dataclasses.replace(run, variants=run.variants[:2])

    def method_of(sources: list[str | None]) -> str:
        return words(notes.method(only_q16, judged(only_q16, in_sources(answers, sources))))

    videos: list[str | None] = [f"video-{row // 2}" for row in range(TEST)]
    shared = method_of(videos)
    assert "no two frames are known to share a source" not in shared
    assert "fewer than about 3 in 24 sources of a class (12.5 %)" in shared
    for has_source in (False, True):
        alone = method_of([f"video-{row}" if has_source else None for row in range(TEST)])
        assert "no two frames are known to share a source" in alone
        assert "fewer than about 3 in 32 frames of a class (9.4 %)" in alone
    few = method_of([f"video-{row % 2}-{label}" for row, label in enumerate(answers.test.labels)])
    assert "with 2 sources of a class, any kind of loss can be absent from these frames." in few


@pytest.mark.parametrize(("label", "name"), [(1, "fakes"), (0, "reals")])
def test_a_class_from_one_source_is_named_as_what_keeps_from_a_choice(label: int, name: str) -> None:
    run, answers = made_up(FRAMES)
    sources: list[str | None] = [
        "one" if class_label == label else f"video-{row // 4}" for row, class_label in enumerate(answers.test.labels)
    ]
    reason = f"all {name} come from one source, which says nothing of others"
    assert answered(run, in_sources(answers, sources)) == f"**No variant can be recommended**: {reason}."


@pytest.mark.parametrize(
    ("turned", "remark"),
    [(lambda p: 1 - p, "**ranks real above fake**"), (lambda p: 0 * p + 0.3, "**all its scores are equal**")],
)
def test_answers_that_look_like_a_mistake_are_told_as_such(
    turned: Callable[[NDArray[np.float64]], NDArray[np.float64]], remark: str
) -> None:
    run, answers = made_up(FRAMES)
    wrong = turned(answers.predictions["q16"].test)
    mistaken = answers.answering("q16", dict(enumerate(wrong)))
    assert remark in row_of("q16", run, mistaken)
    assert remark.strip("*") in " ".join(summary(run, scores(run, judged(run, mistaken))).split())
    assert remark not in row_of("q16", run, answers)


def test_no_further_frames_are_asked_for_where_all_scores_are_equal() -> None:
    run, answers = made_up(FRAMES)
    run = dataclasses.replace(run, choose=None, margin=0.489)
    same = answers.answering("q16", dict.fromkeys(range(TEST), 0.3))
    evaluation = judged(run, same)
    comparison = evaluation.variants["q16"].comparison
    assert comparison is not None
    assert comparison.verdict == "inconclusive"
    remark = "it cannot distinguish frames, however many there are"
    row, lines = row_of("q16", run, same), " ".join(summary(run, scores(run, evaluation)).split())
    assert f"**all its scores are equal**: {remark}" in row
    assert f"; all its scores are equal: {remark}" in lines
    for text in (row, lines.split("q16: ")[1].split("q8: ")[0], answered(run, same)):
        assert "settle" not in text


def test_a_variant_that_ranks_as_well_but_answers_otherwise_is_told_with_what_it_loses() -> None:
    run, answers = made_up(FRAMES)
    same = answers.predictions["baseline"].test
    lower = answers.answering("q16", dict(enumerate(same * 0.5)))
    flips = judged(run, lower).variants["q16"].flips
    assert flips is not None
    assert flips.worse > 10
    assert f"wrong in {flips.worse} frames that the baseline gets right" in row_of("q16", run, lower)
    assert f"**At 0.5 it is wrong in {flips.worse} frames" in answered(run, lower)
    assert "At 0.5" not in answered(run, answers)


def row_of(name: str, run: RunRecord, answers: Answers) -> str:
    rows = overview(run, judged(run, answers)).splitlines()
    return next(row for row in rows if f"**{name}**" in row)


def test_plain_text_is_ascii_in_eighty_columns() -> None:
    text = f"note: Δ −0.5 → 2× “{'wörter ' * 30}”\x1b[31m\n" + "x" * 100
    lines = wrapped([text, "short"], indent="    ", first="  ")
    assert all(line.isascii() and line.isprintable() and len(line) <= WIDTH for line in lines)
    assert lines[0].startswith('  note: d -0.5 > 2x "w?rter')
    assert all(line.startswith("    ") for line in lines[1:-1])
    assert lines[-1] == "  short"
    assert ascii_("a – b…") == "a - b~"


def test_the_answer_keeps_the_baseline_or_says_what_to_loosen() -> None:
    run, answers = made_up(FRAMES)
    del answers.predictions["q16"]
    failed = dataclasses.replace(run.variants[1], status="failed", reason="no")
    run = dataclasses.replace(run, variants=(run.baseline, failed, *run.variants[2:]))
    default = dataclasses.replace(run, choose=None)
    assert answered(default, answers).startswith("**Keep the baseline**: no other variant")
    called = dataclasses.replace(run.baseline, name="b5")
    other = dataclasses.replace(default, variants=(called, *run.variants[1:]))
    renamed = dataclasses.replace(answers, predictions={**answers.predictions, "b5": answers.predictions["baseline"]})
    assert answered(other, renamed).startswith("**Keep the baseline**, **b5**: no other variant")
    impossible = dataclasses.replace(run, choose=Constraints(auc_drop=0.5, size_mib=20.0))
    sentences = answered(impossible, answers)
    assert "None qualifies" in sentences
    assert "Nearest: **q16-p50**, with `size_mib` loosened from 20 to 26.71 MiB" in sentences
    summarised = summary(impossible, scores(impossible, judged(impossible, answers)))
    assert summarised.splitlines()[-1] == "ship: none qualifies; q16-p50 needs size_mib 26.71 (limit: 20)"


def test_an_undecided_variant_is_told_with_the_frames_that_would_settle_it() -> None:
    run, answers = made_up(FRAMES)
    near = dataclasses.replace(answers.predictions["baseline"], test=answers.predictions["baseline"].test.copy())
    near.test[[0, 3]] = 0.5, 0.45
    answers = dataclasses.replace(answers, predictions={**answers.predictions, "q16": near})
    run = dataclasses.replace(run, choose=None, margin=0.001)
    evaluation = judged(run, answers)
    comparison = evaluation.variants["q16"].comparison
    assert comparison is not None
    assert (comparison.verdict, comparison.further_frames is not None) == ("inconclusive", True)
    assert f"about {about(comparison.further_frames or 0)} further frames would settle it" in answer(run, evaluation)
    assert "would settle it" in overview(run, evaluation)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (change(54.6, 108.79), "−49.8 %"),
        (change(108.99, 108.79), "+0.2 %"),
        (change(108.79, 108.79), "0.0 %"),
        (signed(-0.00001, 4), "0.0000"),
        (signed(-0.0215, 4), "−0.0215"),
        (within(Interval(0.84231, 0.84392), 2), "0.842–0.844"),
        (difference(Auc(-0.000012, Interval(-0.000014, -0.00001))), "−0.000012 (−0.000014 to −0.000010)"),
        (difference(Auc(0.0, Interval(0.0, 0.0))), "0.0000 (0.0000 to 0.0000)"),
        (difference(Auc(-0.004, Interval(-0.0079, -0.00002))), "−0.00400 (−0.00790 to −0.00002)"),
        (difference(Auc(-0.004, Interval(-0.0079, -1e-16))), "−0.0040 (−0.0079 to 0.0000)"),
        (further(1), "about 1 further frame"),
        (further(2862), "about 3,000 further frames"),
        (further(23_456_789), "more than a million further frames"),
        (about(93), "100"),
        (about(3241), "4,000"),
        (about(21), "30"),
        (about(1234), "1,500"),
        (write.table(table(columns("abc"), [list(map(cell, row)) for row in ("1–2", ("3", "", "4"))])).count("|"), 12),
        (shortened("real/portrait-of-somebody-0007.png"), "portrait-…ody-0007"),
        (shortened("a/b/id37_id3_0004.mp4.jpg"), "id37_id3_0004"),
        (shortened("frames/real/astronaut.webm/000004.png"), "astronaut/000004"),
        (shortened("fake/id0_id1_0001.mp4/000023-1.png"), "id0_…0001/000023-1"),
        (shortened("test/real/0001.png"), "0001"),
        (shortened("0001.png"), "0001"),
    ],
)
def test_numbers_and_names_as_a_reader_wants_them(written: object, expected: object) -> None:
    assert written == expected


def test_rendering_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules.update(torch=None, onnxruntime=None, timm=None, onnx=None); import bench.reports;"
        "heavy = {'matplotlib', 'pandas', 'sklearn', 'jinja2', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def headings(page: Path) -> set[str]:
    """The anchors of a page of the documentation."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_sections_that_a_report_names_are_in_the_documentation() -> None:
    """Each note around the tables is two sentences at most, and names one section."""
    run, answers = made_up(FRAMES)
    evaluation = with_faces(run, masked(run, judged(run, answers)))
    content = gather(run, evaluation, scores(run, evaluation), ledger=True)
    texts = [content.method, *content.notes.values()]
    sections = [span.text for text in texts for span in text.spans if span.style == "docs"]
    assert len(sections) >= len(texts) - 2
    for section in sections:
        page, _, anchor = section.partition("#")
        assert (ROOT / page).is_file(), section
        assert not anchor or anchor in headings(ROOT / page), section
    for text in texts:
        assert len(re.findall(r"\.(?= [A-Z“]|$)", str(text).split(" More: ")[0])) <= 2, text


def test_there_is_a_golden_gallery_for_every_outcome() -> None:
    golden = (GOLDEN / "report.md").read_text(encoding="utf-8")
    assert all(f"/{outcome}/heatmap/" in golden for outcome in OUTCOMES)
