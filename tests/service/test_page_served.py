"""The page before the real service, whose network calls bright pictures fake."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.support import browser
from tests.support.drawn_service import Brightness, application, member, served
from tests.support.fake_service import serving
from tests.support.uploads import CAMERA, Files, write_files

pytestmark = pytest.mark.skipif(browser.chromium() is None, reason=f"none of {', '.join(browser.NAMES)} is in PATH")

RESULT = "!document.querySelector('#result').hidden && document.querySelector('#progress').hidden"
KEY = "a key of more than sixteen"
GREY = {"bright.png": 150, "dark.png": 60}


@dataclass(frozen=True)
class Shown:
    page: browser.Page
    folder: Path
    files: Files

    def analyse(self, *files: Path) -> None:
        self.page.give("#files", *files)
        seen = "[...document.querySelectorAll('#previews li')].filter((item) => / × |can't/.test(item.textContent))"
        self.page.wait(f"{seen}.length === {len(files)}")
        self.page.click("#start")
        self.page.wait(RESULT)


def p_fake(grey: int) -> float:
    return 1 / (1 + math.exp((100 - grey) / 25))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("uploads")
    for name, grey in GREY.items():
        Image.new("RGB", (120, 90), (grey,) * 3).save(folder / name)
    return write_files(folder)


@pytest.fixture(scope="module")
def tab(files: Files) -> Iterator[browser.Page]:
    """The page of a service of two variants that wants a key, which it is given."""
    variants = [served(member(name, Brightness()), name=name) for name in ("q8", "baseline")]
    app = application(*variants, api_keys=KEY, allowed_hosts=("127.0.0.1",))
    try:
        with (
            serving(app) as address,
            browser.opened(*CAMERA, f"--use-file-for-fake-video-capture={files.camera}") as page,
        ):
            page.resize(1300)
            page.open(address)
            page.wait("!document.querySelector('#key-form').hidden")
            page.choose("#key", KEY)
            page.click("#key-form button")
            page.wait("/is kept/.test(document.querySelector('#key-state').textContent)")
            yield page
    except browser.NotStartedError as error:
        pytest.skip(str(error))


@pytest.fixture
def shown(tab: browser.Page, files: Files) -> Iterator[Shown]:
    tab.errors.clear()
    tab.evaluate("document.querySelector('#result').hidden = true")
    tab.choose("#other", "")
    yield Shown(tab, files.fake.parent, files)
    assert tab.errors == []


def test_a_picture(shown: Shown) -> None:
    shown.analyse(shown.folder / "bright.png")
    assert shown.page.texts("#result .call") == [f"FAKE confidence {100 * p_fake(150):.1f} %"]
    assert "Shipped with: stable: AUC 0.9000" in shown.page.texts("#result .verdict")[0]
    loaded = "[...document.querySelectorAll('#result .pictures img')].every((image) => image.naturalWidth > 0)"
    shown.page.wait(loaded)
    assert shown.page.evaluate("document.querySelectorAll('#result .heat').length") == 1


def test_a_batch_by_two_variants(shown: Shown) -> None:
    shown.page.choose("#other", "baseline")
    shown.analyse(shown.folder / "bright.png", shown.folder / "dark.png", shown.files.broken)
    assert shown.page.texts("#result .totals dd")[:4] == ["3", "1", "1", "1"]
    assert shown.page.texts("#result .answer") == [
        "They agree on 2 of 2 pictures; P(fake) differs by 0.000 on average."
    ]
    assert "no picture" in shown.page.texts("#result tbody tr")[2]


def test_a_video_along_its_time(shown: Shown) -> None:
    shown.analyse(shown.files.video)
    assert shown.page.evaluate("document.querySelectorAll('#result .timeline .point').length") == 10
    shown.page.evaluate("document.querySelector('[role=slider]').focus()")
    shown.page.press("Home")
    shown.page.press("ArrowRight", 3)
    assert "frame 3 at 0.60 s" in shown.page.texts("#result .frame-shown")[0]
    shown.page.wait("document.querySelectorAll('#result .frame-shown img').length === 2")


def test_the_camera(shown: Shown) -> None:
    shown.page.click("#camera-toggle")
    shown.page.wait("Number([...document.querySelectorAll('#camera-output dd')].at(-1)?.textContent) >= 3")
    shown.page.click("#camera-toggle")
    assert shown.page.texts("#camera-problem") == [""]


def test_the_addresses_are_described_without_a_network(shown: Shown) -> None:
    """Last of all: it leaves the page. Whatever was asked for elsewhere would break the policy, and be an error."""
    shown.page.open(shown.page.evaluate("location.origin") + "/docs")
    shown.page.wait("document.querySelectorAll('#schemas section').length > 5")
    addresses = shown.page.texts("#addresses h3")
    assert {"POST /api/detect/image", "GET /api/info", "POST /v2/models/{name}/infer"} <= set(addresses)
    (image,) = [text for text in shown.page.texts("#addresses section") if text.startswith("POST /api/detect/image")]
    for words in ("a picture, told by its content; required", '"auto" if left out', "Detection", "Refusals: 401, 413"):
        assert words in image
    assert shown.page.evaluate("document.querySelector('#Detection table') !== null")
    assert shown.page.evaluate("[...document.querySelectorAll('#addresses a')].every((each) =>"
                               " document.getElementById(each.hash.slice(1)))")  # fmt: skip
