"""The page's files: they share the report's look and the program's lists, and are sound by themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bench.datasets.layouts import SUFFIXES
from bench.records import VIDEO_SUFFIXES
from bench.reports import html
from bench.reports.pictures.overlay import colour_bar
from tests.support import ROOT
from tests.support.pace import limit

PAGE = ROOT / "bench" / "service" / "page"
CSS = (PAGE / "style.css").read_text(encoding="utf-8")
MODULES = sorted(PAGE.glob("*.js"))
TOKEN = r"--([\w-]+): (light-dark\([^)]+\)|[\d.]+);"
OPTIONS = (
    "--checkJs", "--allowJs", "--strict", "--noEmit", "--noUnusedLocals", "--target", "es2022", "--module", "es2022",
    "--moduleResolution", "bundler", "--lib", "es2022,dom,dom.iterable",
)  # fmt: skip


def compiler() -> str | None:
    """TypeScript's, where it is in PATH or npm's packages lie in the repository."""
    return shutil.which("tsc") or shutil.which("tsc", path=str(ROOT / "node_modules" / ".bin"))


def test_the_tokens_are_the_reports() -> None:
    report = (html.FOLDER / "report.css").read_text(encoding="utf-8")
    tokens, of_report = dict(re.findall(TOKEN, CSS)), dict(re.findall(TOKEN, report))
    assert {name: of_report.get(name) for name in tokens} == tokens
    assert set(re.findall(r"var\(--([\w-]+)\)", CSS)) - {"variant"} <= set(tokens)


def test_the_legend_has_the_heatmaps_colours() -> None:
    bar = colour_bar(9, 1)[0].astype(int)
    expected = {"real": bar[4::-1], "fake": bar[4:]}
    for side, colours in expected.items():
        (ramp,) = re.findall(rf"\.ramp\.{side} {{ background: linear-gradient\(to right, ([^)]+)\)", CSS)
        drawn = [[int(shade[index : index + 2], 16) for index in (1, 3, 5)] for shade in ramp.split(", ")]
        assert np.array_equal(drawn, colours)


@pytest.mark.parametrize(("name", "endings"), [("PICTURES", SUFFIXES), ("VIDEOS", VIDEO_SUFFIXES)])
def test_the_page_takes_the_endings_that_the_program_reads(name: str, endings: tuple[str, ...]) -> None:
    source = (PAGE / "files.js").read_text(encoding="utf-8")
    (listed,) = re.findall(rf"const {name} = new Set\(\s*`([^`]+)`", source)
    assert set(listed.split()) == set(endings)


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    ("name", "links"),
    [
        ("index.html", {"ui/style.css", "ui/main.js", "data:,", "#main", "docs"}),
        ("docs.html", {"ui/style.css", "ui/docs.js", "data:,", "#main", "openapi.json", "ui"}),
    ],
)
def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(name: str, links: set[str]) -> None:
    tags = Tags((PAGE / name).read_text(encoding="utf-8")).tags
    assert [tag for tag, _ in tags if tag == "style"] == []
    assert all("src" in attributes for tag, attributes in tags if tag == "script")
    named = {name for _, attributes in tags for name in attributes}
    assert {name for name in named if name == "style" or name.startswith("on")} == set()
    addresses = {value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")}
    assert addresses == links
    assert "://" not in CSS + "".join(
        path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "") for path in MODULES
    )


def test_text_goes_in_as_text_alone() -> None:
    sinks = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(")
    assert {path.name: sinks.findall(path.read_text(encoding="utf-8")) for path in MODULES} == {
        path.name: [] for path in MODULES
    }


def test_every_import_and_every_id_is_there() -> None:
    by_page = {
        name: [attributes["id"] for _, attributes in Tags((PAGE / name).read_text(encoding="utf-8")).tags
               if "id" in attributes]
        for name in ("index.html", "docs.html")
    }  # fmt: skip
    for identifiers in by_page.values():
        assert len(identifiers) == len(set(identifiers))
    for path in MODULES:
        identifiers = by_page["docs.html" if path.name == "docs.js" else "index.html"]
        text = path.read_text(encoding="utf-8")
        assert all((PAGE / name).is_file() for name in re.findall(r'from "\./([^"]+)"', text)), path
        assert set(re.findall(r'element\("([^"]+)"', text)) <= set(identifiers), path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.skipif(compiler() is None, reason="no TypeScript compiler here; `npm install typescript` brings one")
def test_the_types_are_sound() -> None:
    program = compiler()
    assert program is not None
    command = [program, *OPTIONS, *map(str, MODULES)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=limit(120), check=False)
    assert checked.returncode == 0, checked.stdout
