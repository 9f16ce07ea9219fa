"""Pages of `bench inspect` as a person sees them: in a headless browser, on a phone, in the dark and on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import browser
from tests.support.command_line import bench
from tests.support.footage import portrait, write_video

pytestmark = pytest.mark.skipif(browser.chromium() is None, reason=f"none of {', '.join(browser.NAMES)} is in PATH")

GIVEN = {"picture": "wide.png", "video": "clip.mp4", "folder": "faces/test/fake"}
WIDER = """[...document.querySelectorAll("body *")].filter(one => {
    for (let box = one.parentElement; box; box = box.parentElement)
        if (getComputedStyle(box).overflowX !== "visible") return false;
    return one.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
}).map(one => one.outerHTML.slice(0, 120))"""
"""What sticks out of the window at its right, without what scrolls in a box of its own."""


@pytest.fixture(scope="module")
def pages(inspected: Path) -> dict[str, Path]:
    """The page that is opened first of each kind of input."""
    write_video(inspected / "clip.mp4", 4, draw=portrait)
    for kind, given in GIVEN.items():
        code, output = bench("inspect", given, "--variant", "q8", "--to", kind)
        assert code == 0, output
    return {
        "picture": inspected / "picture/wide/inspection.html",
        "video": inspected / "video/clip/inspection.html",
        "folder": inspected / "folder/gallery.html",
    }


@pytest.fixture(params=list(GIVEN))
def shown(tab: browser.Page, pages: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[browser.Page]:
    """A page, freshly loaded, which asks for nothing but what lies beside it and complains of nothing."""
    file = pages[request.param]
    tab.requests.clear()
    tab.errors.clear()
    tab.resize(1300)
    tab.prefer(color_scheme="light")
    tab.open(file)
    yield tab
    assert tab.errors == []
    assert all(each.startswith(("data:", file.parent.resolve().as_uri())) for each in tab.requests)


def test_pictures_are_drawn_and_named(shown: browser.Page) -> None:
    drawn = shown.evaluate(
        "Promise.all([...document.images].map(async one => { one.loading = 'eager'; await one.decode();"
        " return one.naturalWidth; }))"
    )
    assert drawn
    assert min(drawn) > 0
    assert shown.evaluate("[...document.images].filter(one => !one.hasAttribute('alt')).length") == 0


@pytest.mark.parametrize("width", [360, 768, 1300])
def test_the_page_never_scrolls_sideways(shown: browser.Page, width: int) -> None:
    shown.resize(width)
    shown.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.evaluate(WIDER) == []


def test_it_is_dark_where_the_system_is(shown: browser.Page) -> None:
    """Page and text change places, and what is written can be read: a contrast of 4.5 at least (WCAG 2)."""
    colours = "(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))"
    light = shown.evaluate(colours)
    shown.prefer(color_scheme="dark")
    dark = shown.evaluate(colours)
    assert brightness(light[0]) > 0.9
    assert brightness(dark[0]) < 0.05
    for page, text in (light, dark):
        lighter, darker = sorted((brightness(page), brightness(text)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) > 4.5


def brightness(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG 2 defines it."""
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_it_can_be_printed(shown: browser.Page) -> None:
    """On A4 upright, 210 mm without margins of 10 mm, at 96 pixels an inch."""
    assert shown.printed().startswith(b"%PDF")
    width = round((210 - 2 * 10) / 25.4 * 96)
    shown.resize(width)
    shown.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.evaluate(WIDER) == []
    finally:
        shown.send("Emulation.setEmulatedMedia", media="")
