"""report.html as a person uses it: in a headless browser, from the disk, with mouse and keyboard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, matthews_corrcoef

from bench.records import Evaluation, RunRecord
from bench.reports import render
from tests.support import browser
from tests.support.pages import HOSTILE
from tests.support.reports import FRAMES, TEST, Answers, judged, made_up, pixels
from tests.support.videos import of_videos

pytestmark = pytest.mark.skipif(browser.chromium() is None, reason=f"none of {', '.join(browser.NAMES)} is in PATH")

FIXED = 0.3337
LONG = {"q16": "fp16-" + 59 * "W", "q8": "-".join(["int8", *["after_everything"] * 3, "W" * 8])}
"""Names as long as any may be, without and with places to break."""
VARIANTS = ("baseline", "q16", "q8", "q16-p50")


@dataclasses.dataclass(frozen=True)
class Shown:
    page: browser.Page
    run: RunRecord
    evaluation: Evaluation
    file: Path

    def scores(self, name: str) -> Any:
        return self.evaluation.predictions[name].test


def hostile_frames(run: RunRecord, answers: Answers) -> tuple[RunRecord, Answers]:
    """Frames with the worst of names, scores on thresholds of the slider, and a threshold that is no step of it."""
    frames = answers.test.frames.astype(object)
    for index, name in enumerate(HOSTILE):
        frames.iloc[index] = f"{name}/{index}.png"
    answers = dataclasses.replace(answers, test=dataclasses.replace(answers.test, frames=frames))
    exact = {10: 0.3, 11: 0.1 + 0.2, 12: 0.516, 13: 0.0, 14: 1.0, 15: float(np.float32(0.7)), 16: 0.7}
    beside = {17: FIXED, 18: FIXED + 1e-6, 19: FIXED - 1e-6, 20: 0.3339}
    return dataclasses.replace(run, threshold=FIXED), answers.answering("q8", exact | beside)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Evaluation, Path]:
    folder = tmp_path_factory.mktemp("page")
    run, answers = hostile_frames(*made_up(FRAMES))
    evaluation = judged(run, answers)
    render(run, evaluation, pixels, folder / "results", folder / "report")
    return run, evaluation, folder / "report" / "report.html"


@pytest.fixture
def shown(tab: browser.Page, report: tuple[RunRecord, Evaluation, Path]) -> Iterator[Shown]:
    """The page, freshly loaded; whatever a test does to it, nothing may be complained of or asked for."""
    run, evaluation, file = report
    tab.requests.clear()
    tab.errors.clear()
    tab.resize(1300)
    tab.prefer(color_scheme="light")
    tab.open(file)
    yield Shown(tab, run, evaluation, file)
    assert tab.errors == []
    assert {request for request in tab.requests if not request.startswith("data:")} == {file.resolve().as_uri()}


def number(text: str) -> float | None:
    return None if text == "–" else float(text.replace(",", "").replace("−", "-"))


def decided(page: browser.Page, variant: int) -> list[float | None]:
    """The row of a variant in the table of decisions."""
    return [number(text) for text in page.texts(f"#points tr[data-variant='{variant}'] td")]


def expected(shown: Shown, name: str, threshold: float) -> list[float | None]:
    """The same by scikit-learn, rounded as printed; None where it is undefined."""
    labels, called = shown.evaluation.test.labels, shown.scores(name) >= threshold
    tn, fp, fn, tp = (int(count) for count in confusion_matrix(labels, called, labels=[0, 1]).ravel())
    rates: list[float | None] = [
        tp / (tp + fn),
        tn / (tn + fp),
        tp / (tp + fp) if tp + fp else None,
        float(f1_score(labels, called)),
        (tp + tn) / TEST,
        float(balanced_accuracy_score(labels, called)),
        float(matthews_corrcoef(labels, called)) if 0 < called.sum() < TEST else None,
    ]
    right, base = called == (labels == 1), (shown.scores("baseline") >= threshold) == (labels == 1)
    flips: list[float | None] = [int((base & ~right).sum()), int((~base & right).sum())]
    shares = [None if count is None else float(f"{count:.3f}") for count in rates]
    return [tp, tn, fp, fn, *shares, *(flips if name != "baseline" else [None, None])]


def check(shown: Shown, threshold: float) -> None:
    for index, name in enumerate(VARIANTS):
        assert decided(shown.page, index) == expected(shown, name, threshold), (name, threshold)
        cells = [number(text) for text in shown.page.texts(f".card[data-variant='{index}'] [data-cell]")]
        tp, tn, fp, fn, *_ = expected(shown, name, threshold)
        assert cells == [tp, fn, fp, tn]
        texts = shown.page.texts(f".card[data-variant='{index}'] td small")
        counts = np.array(cells, float).reshape(2, 2)  # a row for fakes, one for reals
        of_class = (100 * counts / counts.sum(axis=1, keepdims=True)).ravel().tolist()
        assert [number(text.removesuffix(" %")) for text in texts] == pytest.approx(of_class, abs=0.051)


def test_the_numbers_before_anything_is_moved(shown: Shown) -> None:
    check(shown, shown.run.threshold)


def test_every_number_follows_the_slider(shown: Shown) -> None:
    for text in ("0", "0.001", "0.3", "0.301", "0.35", "0.516", "0.7", "0.701", "0.999", "1"):
        shown.page.choose("#slide", text)
        assert shown.page.evaluate("document.querySelector('#typed').value") == text
        check(shown, float(text))


def test_videos_are_counted_where_these_are_judged(tab: browser.Page, tmp_path: Path) -> None:
    run, answers = of_videos(*made_up(FRAMES))
    run = dataclasses.replace(run, judge="video")
    render(run, judged(run, answers), pixels, tmp_path / "results", tmp_path / "report")
    tab.errors.clear()
    tab.resize(1300)
    tab.open(tmp_path / "report" / "report.html")
    scores = {name: predicted.test for name, predicted in answers.predictions.items()}
    table = pd.DataFrame({"video": answers.test.videos, "label": answers.test.labels} | scores)
    by_video = table.groupby("video").mean()
    assert len(by_video) < TEST / 2
    tab.click("#unfold")
    for text in ("0", "0.35", "0.5", "0.516", "0.8", "1"):
        tab.choose("#slide", text)
        for index, name in enumerate(scores):
            tp, tn, fp, fn = _outcomes(by_video["label"], by_video[name] >= float(text))
            assert decided(tab, index)[:4] == [tp, tn, fp, fn], (name, text)
            assert [number(cell) for cell in tab.texts(f".card[data-variant='{index}'] [data-cell]")] == [
                tp,
                fn,
                fp,
                tn,
            ]
            tp, tn, fp, fn = _outcomes(table["label"], table[name] >= float(text))
            in_galleries = tab.texts(f".gallery[data-variant='{index}'] [data-count]")
            assert [number(count) for count in in_galleries] == [tp, fn, fp, tn], "galleries are of frames"
    assert tab.errors == []


def _outcomes(labels: pd.Series[float], called: pd.Series[bool]) -> list[int]:
    """True and false positives and negatives: tp, tn, fp, fn."""
    tn, fp, fn, tp = (int(count) for count in confusion_matrix(labels, called, labels=[0, 1]).ravel())
    return [tp, tn, fp, fn]


def test_the_line_in_each_plot_follows_the_slider(shown: Shown) -> None:
    def lines() -> list[list[float]]:
        ends: list[list[float]] = shown.page.evaluate(
            "[...document.querySelectorAll('.cut')].map(one => [one.x1, one.x2].map(end => end.baseVal.value))"
        )
        return ends

    assert {round(x) for ends in lines() for x in ends} == {round(8 + 344 * FIXED)}
    shown.page.choose("#slide", "1")
    assert lines() == [[352, 352]] * len(VARIANTS)


def test_every_number_follows_the_field_and_the_menu(shown: Shown) -> None:
    shown.page.choose("#typed", "0.25")
    check(shown, 0.25)
    shown.page.choose("#typed", "7")
    check(shown, 0.25)
    marks = shown.page.evaluate("[...document.querySelectorAll('#jump option')].map(one => one.value).filter(Boolean)")
    assert len(marks) == 1 + 2 * len(VARIANTS)
    for text in marks:
        shown.page.choose("#jump", text)
        check(shown, float(text))


def test_galleries_follow_the_slider(shown: Shown) -> None:
    shown.page.click("#unfold")
    labels, frames = shown.evaluation.test.labels, shown.evaluation.test.frames
    for threshold in (0.2, 0.5, 0.9, 1.0):
        shown.page.choose("#slide", str(threshold))
        for index, name in enumerate(VARIANTS):
            scores = shown.scores(name)
            lists = shown.page.evaluate(
                f"[...document.querySelectorAll('.gallery[data-variant=\"{index}\"] ol')].map(list =>"
                "[...list.querySelectorAll('li:not([hidden]) bdi')].map(one => one.title))"
            )
            kinds = [(True, 1), (False, 1), (True, 0), (False, 0)]
            for titles, (called_fake, label) in zip(lists, kinds, strict=True):
                rows = np.flatnonzero(((scores >= threshold) == called_fake) & (labels == label))
                order = sorted(rows, key=lambda row: (-scores[row] if called_fake else scores[row], frames.iloc[row]))
                in_order = [" ".join(str(frames.iloc[row]).split()) for row in order[: shown.run.gallery_top]]
                assert len(titles) == len(in_order)
                assert all(
                    len(shown_title) <= 12 or shown_title[-8:] == other[-8:]
                    for shown_title, other in zip(titles, in_order, strict=True)
                )


def test_baseline_beside_shows_what_it_calls_the_frame_at_the_threshold(shown: Shown) -> None:
    shown.page.click("#unfold")
    for threshold in ("0.1", "0.5", "0.9"):
        shown.page.choose("#slide", threshold)
        wrong = shown.page.evaluate(
            "[...document.querySelectorAll('li[data-baseline]')].flatMap(item =>"
            "[...item.querySelectorAll('.beside [data-for]')].filter(heat => heat.classList.contains('off') ==="
            f"(heat.dataset.for === (Number(item.dataset.baseline) >= {threshold} ? 'fake' : 'real')))).length"
        )
        assert wrong == 0


def test_heatmaps_go_fade_and_come_back(shown: Shown) -> None:
    opacity = "getComputedStyle(document.querySelector('details[open] .heat:not(.off)')).opacity"
    display = "getComputedStyle(document.querySelector('details[open] .heat:not(.off)')).display"
    assert shown.page.evaluate(opacity) == "0.7"
    shown.page.choose("#opacity", "40")
    assert shown.page.evaluate(opacity) == "0.4"
    shown.page.click("#heat")
    assert shown.page.evaluate(display) == "none"
    shown.page.click("#heat")
    assert shown.page.evaluate(display) != "none"
    beside = "details[open] li:not([hidden]) .pair > .beside"
    before = len(shown.page.texts(beside))
    shown.page.click("#beside")
    assert (before > 0, shown.page.texts(beside)) == (True, [])


def test_pictures_are_really_drawn(shown: Shown) -> None:
    sizes = shown.page.evaluate(
        "Promise.all([...document.querySelectorAll('.store image')].map(one => { const image = new Image();"
        "image.src = one.getAttribute('href'); return image.decode().then(() => image.naturalWidth); }))"
    )
    assert len(sizes) > 20
    assert min(sizes) >= 32


def test_columns_sort_both_ways_and_what_is_unknown_stays_last(shown: Shown) -> None:
    titles = shown.page.texts("#compared thead th")
    for title, key in (("ΔAUC", "auc"), ("Size (MiB)", "size"), ("Model", "name"), ("Speed-up", "speed")):
        column = next(index for index, text in enumerate(titles) if text.startswith(title))
        orders = []
        for direction in ("ascending", "descending"):
            shown.page.click(f"#compared thead th:nth-child({column + 1}) button")
            head = f"document.querySelector('#compared thead th:nth-child({column + 1})').getAttribute('aria-sort')"
            assert shown.page.evaluate(head) == direction
            assert shown.page.evaluate("document.querySelectorAll('#compared [aria-sort]').length") == 1
            rows = "[...document.querySelectorAll('#compared tbody tr')]"
            orders.append(shown.page.evaluate(f"{rows}.map(row => row.cells[{column}].dataset.value)"))
        filled = [[entry for entry in order if entry is not None] for order in orders]
        for order, numbers in zip(orders, filled, strict=True):
            assert order == [*numbers, *[None] * (len(order) - len(numbers))]
        values = [[entry if key == "name" else float(entry) for entry in numbers] for numbers in filled]
        assert values[0] == sorted(values[0]) == values[1][::-1]
        assert len(values[0]) > 1


def test_what_stays_at_the_experiments_threshold_says_so(shown: Shown) -> None:
    shown.page.choose("#slide", "0.9")
    assert shown.page.texts("#at") == ["0.9"]
    assert f"At the experiment's threshold a frame counts as fake where P(fake) ≥ {FIXED}" in "".join(
        shown.page.texts("#threshold > .note")
    )
    over = "document.querySelector('#ledger-title').nextElementSibling.innerText"
    assert shown.page.evaluate(over).startswith(
        f"These are the flips at the experiment's threshold, {FIXED}, wherever the slider stands."
    )


def test_what_to_know_comes_early_and_a_table_that_goes_on_fades(shown: Shown) -> None:
    titles = [text.split(" ↕")[0].strip() for text in shown.page.texts("#compared thead th")]
    assert titles[4:6] == ["Speed-up", "What to know"]
    shown.page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    assert "Ran as" in [text.split(" ↕")[0].strip() for text in shown.page.texts("#figures thead th")]
    shown.page.resize(600)
    box = "document.querySelector('#compared').parentElement"
    fades = f"getComputedStyle({box}).maskImage !== 'none'"
    assert shown.page.evaluate(_within_seconds(fades))
    assert shown.page.evaluate(_within_seconds(f"({box}.scrollLeft = 9999) && !({fades})"))


def _within_seconds(condition: str) -> str:
    """Whether a condition comes true; layout and events of a busy browser take their time."""
    return (
        "new Promise(done => { const began = performance.now(); const ask = () => { const is = Boolean("
        + condition
        + "); if (is || performance.now() - began > 20000) done(is); else setTimeout(ask, 20); }; ask(); })"
    )


def test_the_ledger_is_searched_and_filtered(shown: Shown) -> None:
    flips = {name: judged.flips for name, judged in shown.evaluation.variants.items() if judged.flips}
    rows = "#ledger tbody tr"
    total = len(shown.page.texts(rows))
    assert total == sum(len(judged.rows) for judged in flips.values())
    indices = {variant.name: index for index, variant in enumerate(shown.run.variants)}
    for name, flipped in flips.items():
        shown.page.choose("#of-variant", str(indices[name]))
        for direction, count in (("worse", flipped.worse), ("better", flipped.better)):
            shown.page.choose("#of-direction", direction)
            assert len(shown.page.texts(rows)) == count
            assert shown.page.texts("#matches") == [f"{count} of {total} shown"]
    shown.page.choose("#of-variant", "")
    shown.page.choose("#of-direction", "")
    shown.page.choose("#of-class", "real")
    assert set(shown.page.texts("#ledger tbody tr td:nth-child(4)")) == {"real"}
    shown.page.choose("#of-class", "")
    shown.page.choose("#search", "FAKE/00")
    assert all("fake/00" in text for text in shown.page.texts("#ledger tbody th"))
    assert shown.page.texts("#ledger tbody th")
    shown.page.choose("#search", "q8")
    assert shown.page.texts(rows) == []
    shown.page.choose("#search", "no such frame")
    assert shown.page.texts(rows) == []


def test_the_ledger_is_searched_by_source_and_sorts_as_it_shows(shown: Shown) -> None:
    titles = shown.page.texts("#ledger thead th")
    source, moved = (
        next(i + 1 for i, text in enumerate(titles) if text.startswith(title)) for title in ("Source", "Moved")
    )
    expected = next(text for text in shown.page.texts(f"#ledger tbody td:nth-child({source})") if text != "–")
    shown.page.choose("#search", expected)
    assert {expected} == set(shown.page.texts(f"#ledger tbody td:nth-child({source})"))
    shown.page.choose("#search", "")
    shown.page.click(f"#ledger thead th:nth-child({moved}) button")
    values = [number(text) or 0.0 for text in shown.page.texts(f"#ledger tbody td:nth-child({moved})")]
    assert values == sorted(values)
    assert values[0] < 0 < values[-1]


def test_the_keyboard_is_enough(shown: Shown) -> None:
    page = shown.page
    page.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.press("Enter")
    assert page.evaluate("location.hash") == "#verdict"
    reached = []
    for _ in range(80):
        page.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
        if reached[-1] == "slide":
            break
        if reached[-1] == "sorter" and reached.count("sorter") == 1:
            page.press("Enter")
            assert page.evaluate("document.querySelector('#compared th').getAttribute('aria-sort')") == "ascending"
    assert reached[-1] == "slide"
    assert "typed" in reached
    page.press("ArrowRight", 3)
    check(shown, 0.337)
    page.press("Home")
    check(shown, 0.0)
    for _ in range(20):
        page.press("Tab")
        if page.evaluate("document.activeElement.id") == "heat":
            break
    page.press(" ")
    assert page.evaluate("document.documentElement.classList.contains('no-heat')")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"


def test_what_moves_is_told_once_it_rests(shown: Shown) -> None:
    shown.page.evaluate("new Promise(done => setTimeout(done, 700))")
    shown.page.evaluate(
        "window.said = 0; new MutationObserver(() => { window.said += 1; })"
        ".observe(document.querySelector('#announced'), {childList: true}); 0"
    )
    for step in range(5):
        shown.page.choose("#slide", f"0.{step + 2}")
    shown.page.evaluate("new Promise(done => setTimeout(done, 700))")
    announced = shown.page.texts("#announced")[0]
    assert announced.startswith("At 0.6: ")
    assert shown.page.evaluate("window.said") == 1
    assert shown.page.evaluate("document.querySelector('#announced').getAttribute('aria-live')") == "polite"
    name = announced.removeprefix("At 0.6: ").split(" finds ")[0]
    tp, fp = (expected(shown, name, 0.6)[index] for index in (0, 2))
    assert f"{name} finds {tp} of 48 fakes and calls {fp} of 32 reals fake" in announced


@pytest.mark.parametrize("width", [380, 768, 1600])
def test_the_page_never_scrolls_sideways(shown: Shown, width: int) -> None:
    shown.page.resize(width)
    shown.page.click("#unfold")
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    # The name of a row stays where it is while the numbers move beside it.
    shown.page.evaluate("document.querySelector('#compared').parentElement.scrollLeft = 300")
    lefts = "[table.parentElement, table, table.querySelector('tbody th')].map(one => one.getBoundingClientRect().left)"
    box, table, name = shown.page.evaluate(f"(table => {lefts})(document.querySelector('#compared'))")
    assert box <= name < box + 2
    assert (table < box) == (width < 1600), "the first table is whole in a wide window"


@pytest.fixture(scope="module")
def long_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    run, answers = made_up(FRAMES)
    variants = tuple(
        dataclasses.replace(variant, name=LONG.get(variant.name, variant.name)) for variant in run.variants
    )
    run = dataclasses.replace(run, variants=variants)
    predictions = {LONG.get(name, name): variant for name, variant in answers.predictions.items()}
    render(run, judged(run, dataclasses.replace(answers, predictions=predictions)), pixels, folder, folder / "report")
    return folder / "report" / "report.html"


@pytest.mark.parametrize("width", [380, 1300])
def test_long_names_stay_in_their_places(tab: browser.Page, long_names: Path, width: int) -> None:
    assert {len(name) for name in LONG.values()} == {64}
    tab.resize(width)
    tab.open(long_names)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # 1 pixel for rounding: no name reaches beyond the cell or the title that holds it.
    beyond = (
        "[...document.querySelectorAll('th bdi, h4 bdi, figcaption bdi')].filter(one => one.offsetParent &&"
        "one.getBoundingClientRect().right > one.parentElement.getBoundingClientRect().right + 1)"
        ".map(one => one.closest('table')?.id + one.innerText)"
    )
    assert tab.evaluate(beyond) == []


@pytest.mark.parametrize("width", [1280, 1920])
def test_first_table_fits_the_window(shown: Shown, width: int) -> None:
    shown.page.resize(width)
    box = "document.querySelector('#compared').closest('.scroll')"
    assert shown.page.evaluate(f"{box}.scrollWidth - {box}.clientWidth") <= 1
    assert shown.page.evaluate(f"innerWidth - {box}.getBoundingClientRect().right") <= 40


OVERFLOWING = (
    "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1)"
    ".map(box => box.querySelector('caption').textContent)"
)


@pytest.mark.parametrize("width", [1200, 1280, 1600])
def test_no_table_scrolls_sideways_in_a_wide_window(shown: Shown, width: int) -> None:
    shown.page.resize(width)
    shown.page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    assert shown.page.evaluate(OVERFLOWING) == []


def test_a_printed_page_is_as_wide_as_a4(shown: Shown) -> None:
    """A4 across, 297 mm without margins of 12 mm, at 96 pixels an inch."""
    width = round((297 - 2 * 12) / 25.4 * 96)
    shown.page.resize(width)
    shown.page.send("Emulation.setEmulatedMedia", media="print")
    try:
        shown.page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.page.evaluate(OVERFLOWING) == []
    finally:
        shown.page.send("Emulation.setEmulatedMedia", media="")


def test_dark_and_light(shown: Shown) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = shown.page.evaluate(background)
    shown.page.prefer(color_scheme="dark")
    dark = shown.page.evaluate(background)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 23, 26)")
    shown.page.click("#theme", 2)
    assert shown.page.texts("#theme") == ["Theme: light"]
    assert shown.page.evaluate(background) == light


def test_printing_opens_everything_but_closed_galleries(shown: Shown) -> None:
    printed = shown.page.printed()
    assert printed.startswith(b"%PDF")
    shown.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert shown.page.evaluate("[...document.querySelectorAll('details:not(.gallery)')].every(one => one.open)")
    assert not shown.page.evaluate("[...document.querySelectorAll('.gallery')].every(one => one.open)")
    shown.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert not shown.page.evaluate("[...document.querySelectorAll('details:not(.gallery)')].every(one => one.open)")


def test_without_the_script_the_numbers_are_there(shown: Shown) -> None:
    page = shown.page
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    page.open(shown.file)
    page.send("Emulation.setScriptExecutionDisabled", value=False)
    assert len(page.texts("#compared tbody tr")) == 5
    check(shown, shown.run.threshold)
    assert page.texts(".needs-script") == []


@pytest.mark.slow
def test_a_hundred_thousand_frames_open_within_a_second(tab: browser.Page, tmp_path: Path) -> None:
    from tests.support.pages import many

    run, evaluation = many(100_000)
    render(run, evaluation, None, None, tmp_path)
    assert min(tab.open(tmp_path / "report.html") for _ in range(3)) < 1.0
    assert len(tab.texts("#ledger tbody tr")) == 300
    row = [number(text) for text in tab.texts("#points tr[data-variant='0'] td")]
    assert sum(count for count in row[:4] if count is not None) == 100_000
