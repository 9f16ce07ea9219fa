"""The pages of docs/: generated parts are current, every number is explained, links and names lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from bench.detectors.presets import PRESETS
from bench.experiment import read
from bench.schema import json_schema

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "CONTRIBUTING.md"]
NUMBERS = (DOCS / "numbers.md").read_text(encoding="utf-8")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------------------------- experiments.md
def test_reference_of_experiments_is_current() -> None:
    """`python tools/experiments_reference.py` writes it anew."""
    page = (DOCS / "experiments.md").read_text(encoding="utf-8")
    assert load(ROOT / "tools/experiments_reference.py").renewed(page) == page


def test_example_of_experiments_is_read(tmp_path: Path) -> None:
    page = (DOCS / "experiments.md").read_text(encoding="utf-8")
    (tmp_path / "experiments.yaml").write_text(block(page, "yaml"), encoding="utf-8")
    assert list(read(tmp_path / "experiments.yaml").experiments) == ["demo"]


def keys(node: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key of a schema with its field, those of steps among them."""
    if isinstance(node, list):
        for one in node:
            yield from keys(one, where)
    elif isinstance(node, dict):
        for name, field in node.get("properties", {}).items() if isinstance(node.get("properties"), dict) else ():
            yield f"{where}.{name}", field
        for name, inner in node.items():
            yield from keys(inner, f"{where}.{name}")


def test_every_key_says_what_it_means() -> None:
    # What stands for a step's name holds its settings; a condition is no key.
    found = [one for one in keys(json_schema()) if not re.search(r"\.items\.anyOf\.\w+$|\.if\.", one[0])]
    assert len(found) > 60
    assert [where for where, field in found if "description" not in field] == []


@pytest.mark.parametrize(
    ("old", "new", "fine"),
    [("prune: 0.5, recover]", "prune: {structure: 2of4}]", True), ("prune: 0.5, recover]", "prune]", False),
     ("auc: 0.8", "auc: 1.8", False), ("size_mib: 60", "size_mib: 0", False), ("size: 160", "size: 16", False),
     ("runtime: auto", "runtime: onnx", False), ("runtime: auto", "runtime: openvino", True)],
)  # fmt: skip
def test_schema_knows_limits_and_names(old: str, new: str, fine: bool) -> None:
    text = (ROOT / "experiments.yaml").read_text(encoding="utf-8")
    assert old in text
    found = yaml.safe_load(text.replace(old, new))
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(found) == fine


def test_presets_are_those_there_are() -> None:
    page = (DOCS / "experiments.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` | {preset.size} |" in page for name, preset in PRESETS.items())


# -------------------------------------------------------------------------------------- numbers.md
def paths(node: Any, where: str = "") -> Iterator[str]:
    """Dotted paths of all values; places in lists are left out."""
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from paths(inner, f"{where}.{key}" if where else key)
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        for one in node:
            yield from paths(one, where)
    else:
        yield where


def expanded(key: str) -> Iterator[str]:
    parts = [part.strip("{}").split(",") for part in re.split(r"(\{[^}]*\})", key) if part]
    return ("".join(chosen) for chosen in product(*parts))


def explained() -> set[str]:
    cells = re.findall(r"^\| (`[^|]+) \|", NUMBERS, flags=re.MULTILINE)
    return {path for cell in cells for key in re.findall(r"`([^`]+)`", cell) for path in expanded(key)}


def test_every_number_of_scores_is_explained() -> None:
    told = json.loads((ROOT / "tests/golden/scores.json").read_text(encoding="utf-8"))
    told["frames"] = list(told["frames"].values())
    there = {path for one in (*told.pop("variants").values(), told) for path in paths(one)}
    # What is empty or null for one variant is not for another.
    there = {path for path in there if not any(other.startswith(f"{path}.") for other in there)}
    assert len(there) > 120
    assert there - explained() == {"choice.loosen"}, "empty there, with its keys on the page"
    assert {path for path in explained() - there if not path.startswith("choice.loosen.")} == set()


def test_functions_that_compute_them_are_there() -> None:
    named = re.findall(r"`(?:bench/)?([\w/]+\.py): (\w+)`", NUMBERS)
    assert len(named) > 40
    for file, name in named:
        text = (ROOT / "bench" / file).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(?:def|class) {name}\b", text, flags=re.MULTILINE), f"{file} has no {name}"


# ----------------------------------------------------------------------------------------- all pages
def block(page: str, language: str, after: str = "") -> str:
    found = re.search(rf"```{language}\n(.*?)```", page[page.index(after) :], flags=re.DOTALL)
    assert found is not None
    return found[1]


def anchors(page: str) -> set[str]:
    """As GitHub makes them from titles."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), f"{page.name}: {target}"
