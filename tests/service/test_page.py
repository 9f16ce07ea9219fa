"""The service's page as a person uses it: in a headless browser, with mouse, keyboard and a camera."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import browser, fake_service
from tests.support.fake_service import Behaviour, redness
from tests.support.pace import comes_true
from tests.support.uploads import CAMERA, Files, write_files

pytestmark = pytest.mark.skipif(browser.chromium() is None, reason=f"none of {', '.join(browser.NAMES)} is in PATH")

READY = "!document.querySelector('#work').hidden"
SEEN = "[...document.querySelectorAll('#previews li')].every((item) => / × |can't/.test(item.textContent))"
"""Every preview has its measures, or says that there is none: nothing on the page moves any more."""
RESULT = "!document.querySelector('#result').hidden && document.querySelector('#progress').hidden"
REFUSED = "Failed to load resource"
"""How the browser's console notes an answer that is an error."""


@dataclass(frozen=True)
class Shown:
    page: browser.Page
    service: Behaviour
    address: str
    files: Files

    def analyse(self, *files: Path) -> None:
        """Choose files, start, and wait for the result."""
        self.start(*files)
        self.page.wait(RESULT)

    def start(self, *files: Path) -> None:
        self.page.evaluate("document.querySelector('#result').hidden = true")
        self.page.give("#files", *files)
        self.page.wait(f"document.querySelectorAll('#previews li').length === {len(files)} && {SEEN}")
        self.page.click("#start")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("uploads"))


@pytest.fixture(scope="module")
def tab(files: Files) -> Iterator[browser.Page]:
    try:
        with browser.opened(*CAMERA, f"--use-file-for-fake-video-capture={files.camera}") as page:
            yield page
    except browser.NotStartedError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, Behaviour]]:
    behaviour = Behaviour()
    with fake_service.serving(fake_service.create(behaviour)) as address:
        yield address, behaviour


@pytest.fixture
def shown(tab: browser.Page, running: tuple[str, Behaviour], files: Files) -> Iterator[Shown]:
    """The page, freshly loaded; whatever a test does, nothing foreign is asked for and no policy is broken."""
    address, behaviour = running
    behaviour.__dict__.update(Behaviour().__dict__)
    tab.resize(1300)
    tab.prefer(color_scheme="light")
    tab.open(address)
    tab.evaluate("sessionStorage.clear()")
    tab.wait(READY)
    tab.requests.clear()
    tab.errors.clear()
    yield Shown(tab, behaviour, address, files)
    assert [error for error in tab.errors if REFUSED not in error] == []
    allowed = (address, "ws" + address.removeprefix("http"), "blob:" + address, "data:")
    assert [request for request in tab.requests if not request.startswith(allowed)] == []


def p_fake(path: Path, variant: str = "q8") -> float:
    """As the service of the tests judges it."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
    return redness(pixels) - (0.03 if variant == "baseline" else 0)


def test_nothing_is_uploaded_before_a_picture_is_seen_and_sent(shown: Shown) -> None:
    shown.page.give("#files", shown.files.fake)
    shown.page.wait("/320 × 240/.test(document.querySelector('#previews').textContent)")
    assert shown.page.texts("#start") == ["Analyse 1 picture"]
    assert shown.service.uploads == []
    shown.page.click("#start")
    shown.page.wait(RESULT)
    assert shown.service.uploads == [{"variant": "q8", "faces": "auto", "heatmap": True}]


def test_a_picture_gets_its_verdict_and_what_it_means(shown: Shown) -> None:
    shown.analyse(shown.files.fake)
    expected = p_fake(shown.files.fake)
    (text,) = shown.page.texts("#result .verdict")
    assert f"FAKE confidence {100 * expected:.1f} %" in text
    assert f"q8 gives P(fake) {expected:.3f}, which is not below its threshold 0.500, so it is called FAKE." in text
    assert f"Shipped with: {fake_service.SHIPPED}" in text
    assert "AUC was 0.9678" in text
    assert "Of 2 faces, the one in the box was judged." in text
    assert shown.page.texts("#result h2") == ["fake one.png"]
    assert shown.page.evaluate("document.activeElement.textContent") == "fake one.png"
    assert shown.page.texts("#announced") == ["fake one.png is called FAKE."]
    box = "['x', 'y', 'width', 'height'].map((name) => Number(document.querySelector('#result .box rect')"
    assert shown.page.evaluate(f"{box}.getAttribute(name)))") == [80, 60, 160, 120]


def test_the_heatmap_follows_the_slider_and_is_explained(shown: Shown) -> None:
    shown.analyse(shown.files.real)
    opacity = "getComputedStyle(document.querySelector('#result .heat')).opacity"
    assert shown.page.evaluate(opacity) == "0.7"
    shown.page.choose("#result input[type=range]", "25")
    assert shown.page.evaluate(opacity) == "0.25"
    assert shown.page.texts("#result .legend") == ["Speaks for REAL: weak strong"]
    loaded = "[...document.querySelectorAll('#result .pictures img')].every((image) => image.naturalWidth > 0)"
    shown.page.wait(loaded)


def test_a_batch_is_sent_in_portions_and_counted(shown: Shown) -> None:
    fakes = [shown.files.fake.with_name(f"fake {index}.png") for index in range(3)]
    for path in fakes:
        path.write_bytes(shown.files.fake.read_bytes())
    shown.analyse(*fakes, shown.files.real, shown.files.broken)
    sent = [upload["files"] for upload in shown.service.uploads]
    assert [len(names) for names in sent] == [3, 2]
    confidence = (3 * p_fake(fakes[0]) + 1 - p_fake(shown.files.real)) / 4
    assert shown.page.texts("#result .totals dd") == ["5", "3", "1", "1", f"{100 * confidence:.1f} %"]
    rows = shown.page.texts("#result tbody tr")
    assert ["FAKE" in row for row in rows] == [True, True, True, False, False]
    assert "the file is no picture" in rows[4]


def test_a_picture_of_a_batch_is_seen_by_itself_and_left_again(shown: Shown) -> None:
    shown.analyse(shown.files.fake, shown.files.real)
    shown.page.click("#result tbody tr:nth-child(2) button")
    shown.page.wait("!document.querySelector('#details').hidden")
    assert shown.page.texts("#details h2") == ["real.png"]
    assert shown.service.uploads[-1]["heatmap"]
    shown.page.click("#details > button")
    label = "document.activeElement.getAttribute('aria-label')"
    assert shown.page.evaluate(label) == "Details of real.png"


def test_a_busy_service_is_asked_again(shown: Shown) -> None:
    shown.service.failures["/batch"] = [(503, "The queue is full.", {"Retry-After": "1"})]
    shown.analyse(shown.files.fake, shown.files.real)
    assert shown.page.texts("#result .totals dd")[:4] == ["2", "1", "1", "0"]


def test_two_variants_are_compared_on_one_upload(shown: Shown) -> None:
    shown.page.choose("#other", "baseline")
    shown.analyse(shown.files.fake)
    first, second = p_fake(shown.files.fake), p_fake(shown.files.fake, "baseline")
    assert shown.page.texts("#result .answer") == [
        f"q8 and baseline both call it FAKE. P(fake) is {first:.3f} against {second:.3f}, a difference of 0.030."
    ]
    assert shown.page.texts("#result .verdict h3") == ["q8", "baseline"]
    shown.analyse(shown.files.fake, shown.files.real)
    assert shown.page.texts("#result .answer") == [
        "They agree on 2 of 2 pictures; P(fake) differs by 0.030 on average."
    ]


def test_a_video_is_watched_and_seen_along_its_time(shown: Shown) -> None:
    shown.page.choose("#frames", "12")
    shown.analyse(shown.files.video)
    assert shown.page.texts("#start") == ["Analyse the video"]
    assert len(shown.page.texts("#result details tbody tr")) == 0, "the table is closed"
    points = "document.querySelectorAll('#result .timeline .point').length"
    assert shown.page.evaluate(points) == 12
    scores = 0.5 + 0.4 * np.sin(np.arange(12) / 3)
    value = "document.querySelector('[role=slider]').getAttribute('aria-valuetext')"
    highest = int(np.argmax(scores))
    assert shown.page.evaluate(value) == f"{0.2 * highest:.2f} seconds: FAKE, P(fake) {scores[highest]:.3f}"
    shown.page.evaluate("document.querySelector('[role=slider]').focus()")
    shown.page.press("Home")
    shown.page.press("ArrowRight", 2)
    assert shown.page.evaluate(value) == f"0.40 seconds: FAKE, P(fake) {scores[2]:.3f}"
    shown.page.wait("document.querySelectorAll('#result .frame-shown img').length === 2")
    assert any(request.endswith("/frames/10/heatmap") for request in shown.page.requests)
    shown.page.click("#result .timeline")
    assert "frame 25 at 1.00 s" in shown.page.texts("#result .frame-shown")[0]


def test_turned_a_phone_shows_the_timeline_at_its_width(shown: Shown) -> None:
    shown.page.resize(375, 740)
    shown.analyse(shown.files.video)
    drawn = "(() => { const one = document.querySelector('#result .timeline'); return one.viewBox.baseVal.width; })()"
    last = "Number([...document.querySelectorAll('#result .timeline .point')].at(-1).getAttribute('cx'))"
    assert (shown.page.evaluate(drawn), shown.page.evaluate(last)) == (380, pytest.approx(368))
    cursor = "document.querySelector('#result .cursor').getAttribute('x1')"
    shown.page.evaluate("document.querySelector('[role=slider]').focus()")
    shown.page.press("End")
    shown.page.resize(740, 375)
    shown.page.wait(f"{drawn} === 760")
    assert shown.page.evaluate(last) == pytest.approx(748)
    assert float(shown.page.evaluate(cursor)) == pytest.approx(748)
    shown.page.resize(375, 740)
    shown.page.wait(f"{drawn} === 380")


def test_a_video_is_cancelled(shown: Shown) -> None:
    shown.service.job_steps = 10**6
    shown.start(shown.files.video)
    shown.page.wait("/of 30 frames/.test(document.querySelector('#progress').textContent)")
    shown.page.click("#progress button")
    shown.page.wait("document.querySelector('#progress').hidden && document.activeElement.id === 'start'")
    assert comes_true(lambda: len(shown.service.cancelled) == 1)
    assert shown.page.texts("#error p") == []


def test_the_camera_has_one_frame_in_flight_and_a_rate(shown: Shown) -> None:
    shown.page.click("#camera-toggle")
    judged = "Number([...document.querySelectorAll('#camera-output dd')].at(-1)?.textContent)"
    shown.page.wait(f"{judged} >= 5")
    assert "FAKE" in shown.page.texts("#camera-output .call")[0]
    facts = shown.page.texts("#camera-output dl div")
    assert float(next(fact for fact in facts if fact.startswith("Frames/s")).removeprefix("Frames/s")) > 0
    assert shown.page.evaluate("document.querySelector('#camera-stage .box rect') !== null")
    shown.page.click("#camera-toggle")
    assert shown.page.texts("#camera-toggle") == ["Start the camera"]
    assert shown.page.texts("#camera-output p") == []
    assert shown.service.most_frames_waiting == 0


def test_what_the_service_says_of_the_camera_is_shown(shown: Shown) -> None:
    shown.service.webcam_error = "The frame is no JPEG."
    shown.page.click("#camera-toggle")
    shown.page.wait("document.querySelector('#camera-problem').textContent !== ''")
    assert shown.page.texts("#camera-problem") == ["The frame is no JPEG."]
    shown.page.click("#camera-toggle")


def test_files_are_checked_before_the_upload(shown: Shown) -> None:
    shown.page.give("#files", shown.files.text, shown.files.large, shown.files.fake, shown.files.video)
    shown.page.wait("document.querySelectorAll('#problems li').length === 3")
    assert shown.page.texts("#problems li") == [
        "notes.txt is neither a picture nor a video.",
        "Pictures and videos are analysed apart: talk.webm was left out.",
        "large.png is 2000 × 1000 pixels (2.0 megapixels); this service takes up to 1 megapixel.",
    ]
    assert shown.page.texts("#previews .file") == ["fake one.png"]
    heavy = shown.files.fake.with_name("heavy.png")
    heavy.write_bytes(b"\0" * (3 * 2**20))
    shown.page.give("#files", heavy)
    assert shown.page.texts("#problems li") == ["heavy.png has 3.0 MiB; this service takes pictures of up to 2 MiB."]


def test_files_are_dropped_anywhere_and_pasted(shown: Shown) -> None:
    shown.page.drop("h1", shown.files.fake, shown.files.real)
    shown.page.wait("document.querySelectorAll('#previews li').length === 2")
    content = base64.b64encode(shown.files.real.read_bytes()).decode()
    shown.page.evaluate(
        f"(() => {{ const bytes = Uint8Array.from(atob({json.dumps(content)}), (letter) => letter.charCodeAt(0));"
        "const data = new DataTransfer(); data.items.add(new File([bytes], 'pasted.png', {type: 'image/png'}));"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true})); })()"
    )
    shown.page.wait("document.querySelectorAll('#previews li').length === 1")
    assert shown.page.texts("#previews .file") == ["pasted.png"]


def test_an_error_is_its_sentence_and_can_be_tried_again(shown: Shown) -> None:
    shown.service.failures["/image"] = [(507, "the disk is full", {})]
    shown.start(shown.files.fake)
    shown.page.wait("document.querySelector('#error p')")
    assert shown.page.texts("#error p") == ["Not done: the disk is full."]
    assert shown.page.evaluate("document.activeElement.textContent") == "Try again"
    shown.page.press("Enter")
    shown.page.wait(RESULT)
    assert shown.page.texts("#error p") == []


def test_what_a_file_really_is_the_service_says(shown: Shown) -> None:
    shown.start(shown.files.broken)
    shown.page.wait("document.querySelector('#error p')")
    assert shown.page.texts("#error p") == ["Not done: the file is no picture; expected JPEG or PNG."]


def test_a_key_is_asked_for_and_stays_in_the_tab(shown: Shown) -> None:
    shown.service.key = "secret"
    shown.page.open(shown.address)
    shown.page.wait("!document.querySelector('#key-form').hidden")
    assert shown.page.texts("#key-state") == ["This service wants an API key."]
    state = "document.querySelector('#key-state').textContent"
    for key, answer in (("wrong", "The service refused this key."), ("secret", "A key is kept in this tab")):
        shown.page.choose("#key", key)
        shown.page.click("#key-form button")
        shown.page.wait(f"{state}.startsWith({json.dumps(answer)})")
    assert shown.page.evaluate("[localStorage.length, document.cookie, Object.values(sessionStorage)]") == [
        0, "", ["secret"],
    ]  # fmt: skip
    shown.analyse(shown.files.video)
    shown.page.wait("document.querySelectorAll('#result .frame-shown img').length === 2")


def test_members_vote_with_their_weights(shown: Shown) -> None:
    shown.service.ensemble = True
    shown.page.open(shown.address)
    shown.page.wait(READY)
    shown.analyse(shown.files.fake)
    *rows, failed = shown.page.texts("#result tbody tr")
    expected = zip(rows, fake_service.MEMBERS.items(), strict=True)
    assert all(row.startswith(f"{name} q8{weight:.2f}") for row, (name, weight) in expected)
    assert failed == "effortgave no answer: it failed in the run"
    assert shown.page.texts("#result caption") == [
        "3 of 3 members say FAKE, as the ensemble does. P(fake) is the mean of theirs, each by its weight."
    ]
    captions = [f"{name}, weight {weight:.2f}" for name, weight in fake_service.MEMBERS.items()]
    assert shown.page.texts("#result .member figcaption") == captions
    assert shown.page.texts("#ensemble")[0].startswith("q8 is an ensemble of 3 members: xception, b4, f3net.")
    shown.analyse(shown.files.video)
    assert shown.page.texts("#result caption")[0].startswith("3 of 3 members say")


def test_the_keyboard_alone_is_enough(shown: Shown) -> None:
    shown.page.give("#files", shown.files.fake)
    shown.page.evaluate("document.body.focus()")
    visited = []
    for _ in range(30):
        shown.page.press("Tab")
        visited.append(shown.page.evaluate("document.activeElement.id || document.activeElement.className"))
        outlined = "getComputedStyle(document.activeElement.id === 'files' ? document.querySelector('.choose')"
        assert shown.page.evaluate(f"{outlined} : document.activeElement).outlineStyle") == "solid", visited[-1]
        if visited[-1] == "start":
            break
    assert visited[0] == "skip"
    assert "files" in visited
    assert visited[-1] == "start"
    shown.page.press("Enter")
    shown.page.wait(RESULT)
    assert shown.page.texts("#result .call") != []


def test_every_control_has_a_name(shown: Shown) -> None:
    shown.analyse(shown.files.fake)
    nodes = shown.page.send("Accessibility.getFullAXTree")["nodes"]
    controls = {"button", "checkbox", "combobox", "slider", "spinbutton", "textbox", "link", "image", "progressbar"}
    unnamed = [
        node["role"]["value"]
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in controls and not node.get("name", {}).get("value")
    ]
    assert unnamed == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_never_scrolls_sideways_and_texts_stand_out(shown: Shown, scheme: str) -> None:
    shown.page.resize(375, 740)
    shown.page.prefer(color_scheme=scheme)
    shown.page.choose("#other", "baseline")
    for files in ((shown.files.fake,), (shown.files.fake, shown.files.real), (shown.files.video,)):
        shown.analyse(*files)
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= 375
        assert weak_texts(shown.page) == []


def weak_texts(page: browser.Page) -> list[str]:
    """Texts whose contrast with what is behind them is under 4.5, after WCAG 2."""
    shades = page.evaluate(
        "[...document.querySelectorAll('body *')].filter((node) => node.checkVisibility() && !node.disabled"
        " && [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())).map((node) => {"
        "let behind = node; const clear = (colour) => /^rgba\\(.*, 0\\)$/.test(colour);"
        "while (behind.parentElement && clear(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;"
        "const style = getComputedStyle(node);"
        "const colour = node.ownerSVGElement ? style.fill : style.color;"
        "return [node.textContent.trim().slice(0, 40), colour, getComputedStyle(behind).backgroundColor]; })"
    )
    return [f"{text}: {colour} on {behind}" for text, colour, behind in shades if contrast(colour, behind) < 4.5]


def contrast(colour: str, behind: str) -> float:
    """The ratio of two colours of the browser's notation, after WCAG 2."""

    def luminance(text: str) -> float:
        parts = (int(part) / 255 for part in re.findall(r"\d+", text)[:3])
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(colour), luminance(behind)))
    return (high + 0.05) / (low + 0.05)


def test_the_policy_forbids_styles_that_are_no_file(shown: Shown) -> None:
    shown.page.evaluate("document.body.setAttribute('style', 'color: red')")

    def is_noted() -> bool:
        shown.page.evaluate("true")
        return any("Content Security Policy" in text for text in shown.page.errors)

    assert comes_true(is_noted)
    shown.page.errors.clear()


def test_a_service_that_is_gone_is_said(tab: browser.Page, files: Files) -> None:
    with fake_service.serving(fake_service.create(Behaviour())) as address:
        tab.open(address)
        tab.wait(READY)
        tab.give("#files", files.fake)
        tab.wait(SEEN)
    tab.click("#start")
    tab.wait("document.querySelector('#error p')")
    assert tab.texts("#error p") == [
        "Not done: No answer came: the service is not running, or it broke the upload off."
    ]
