"""The main tables beside a report: CSV holds what scores.json holds, LaTeX compiles whatever names hold."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.records import RunRecord
from bench.reports import is_whole
from bench.reports.latex.write import escape
from bench.reports.spreadsheet import no_formula
from tests.support import frame_sets as of_sets
from tests.support import side_by_side as of_detectors
from tests.support.reports import FRAMES, Answers, made_up, rendered

HOSTILE = r"=HYPERLINK(1) & \input{/etc/passwd} [x] *y* 100 % $a_b^c$ ~ # {z} --'' ?` é ł Ä 猫 <|> \\"


def read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, index_col="variant", engine="python")


def with_name(name: str) -> tuple[RunRecord, Answers]:
    """A run whose variant q8 is called otherwise."""
    run, answers = made_up(FRAMES)
    variants = tuple(dataclasses.replace(each, name=name) if each.name == "q8" else each for each in run.variants)
    predictions = {name if key == "q8" else key: value for key, value in answers.predictions.items()}
    return dataclasses.replace(run, variants=variants), dataclasses.replace(answers, predictions=predictions)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(tmp_path_factory.mktemp("tables"), *with_name(HOSTILE))[1]


def column_of(variant: dict[str, Any], column: str) -> Any:
    """What scores.json holds under a column's name."""
    for key in ("confusion", "latency_ms", "flips"):
        if column.startswith(f"{key}_"):
            inside = variant[key]
            return None if inside is None else inside[column.removeprefix(f"{key}_")]
    if ends := re.fullmatch(r"(.*)_(low|high)", column):
        interval = variant[ends[1]]
        return None if interval is None else interval[ends[2] == "high"]
    return variant[column]


@pytest.mark.parametrize("name", ["performance", "classification", "changes"])
def test_pandas_reads_what_scores_json_holds(report: Path, name: str) -> None:
    variants = json.loads((report / "scores.json").read_text(encoding="utf-8"))["variants"]
    table = read(report / "tables" / f"{name}.csv")
    assert list(table.index) == [f"'{key}" if key == HOSTILE else key for key in variants]
    compared = 0
    for row, variant in zip(table.to_dict("records"), variants.values(), strict=True):
        for column, value in row.items():
            expected = column_of(variant, str(column))
            assert value == expected or (expected is None and math.isnan(value)), (column, value, expected)
            compared += expected is not None
    assert compared > len(variants) * 5


def test_report_links_the_tables_and_misses_them(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    page = (report / "report.html").read_text(encoding="utf-8")
    files = sorted(f"tables/{path.name}" for path in (report / "tables").iterdir())
    assert files == sorted(f"tables/{name}.{end}" for name in ("performance", "classification", "changes")
                           for end in ("csv", "tex"))  # fmt: skip
    assert all(f"]({file})" in text and f'href="{file}"' in page for file in files)
    assert is_whole(report)
    moved = (report / "tables/changes.csv").rename(report / "elsewhere.csv")
    assert not is_whole(report)
    moved.rename(report / "tables/changes.csv")


def test_latex_shows_the_numbers_of_the_report(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| **q16** | stable |") and "MiB" not in line)
    latex = (report / "tables/changes.tex").read_text(encoding="utf-8")
    value, interval = row.split("|")[3].strip().replace("−", "$-$").split(" (")
    assert value
    stacked = rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{value} \\ ({interval}\end{{tabular}}"
    assert rf"\textbf{{q16}} & stable & {stacked} & " in latex


def test_latex_has_as_many_cells_in_each_row(report: Path, several: dict[str, Path]) -> None:
    for file in (each for folder in (report, *several.values()) for each in (folder / "tables").glob("*.tex")):
        _, *tables = file.read_text(encoding="ascii").split(r"\begin{table}")
        for text in tables:
            spec = re.search(r"\\begin\{tabular\}\{([lrc]+)\}", text)
            assert spec
            rows = [line for line in text.splitlines() if line.startswith("    ") and line.endswith(r" \\")]
            assert len(rows) >= 4
            for row in rows:
                assert len(re.findall(r"(?<!\\)&", row)) == len(spec[1]) - 1, row
            assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")


def test_latex_begins_a_table_where_a_page_is_full(several: dict[str, Path]) -> None:
    """Each variant of each detector stands on three frame sets: three rows, which stay together."""
    text = (several["both"] / "tables/variants.tex").read_text(encoding="ascii")
    _, *tables = text.split(r"\begin{table}")
    assert [f"({number} of {len(tables)})" in table for number, table in enumerate(tables, start=1)] == [True, True]
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:bench-variants", "tab:bench-variants-2"]
    rows = [[line for line in table.splitlines() if line.endswith(r" \\")][1:] for table in tables]
    assert [len(each) for each in rows] == [18, 9]
    assert all(each[0].strip().startswith(r"\textbf{") for each in rows)


@given(st.text())
def test_escaped_text_is_ascii_without_commands_of_its_own(text: str) -> None:
    shown = escape(text)
    assert shown.isascii()
    assert "\n" not in shown
    assert set(re.findall(r"\\([A-Za-z]+)", shown)) <= {
        "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar", "textasciigrave",
        "times", "approx", "Delta", "rightarrow", "pm", "leq", "geq", "mu", "ldots", "ss", "ae", "AE", "o", "O", "oe",
        "OE", "l", "L", "i", "u", "r", "H", "v", "c",
    }  # fmt: skip
    bare = re.sub(r"\\.", "", shown)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[%&#~]", re.sub(r"\\~\{[A-Za-z]\}", "", bare))


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of several detectors, of several frame sets, and of both."""
    root = tmp_path_factory.mktemp("several")
    return {
        "detectors": of_detectors.rendered(of_detectors.three(), root / "detectors"),
        "sets": of_sets.rendered(of_sets.three(), root / "sets"),
        "both": of_sets.rendered_detectors(of_sets.detectors_on_three(), root / "both"),
    }


def value_in(inside: Any, path: list[str], column: str) -> Any:
    """What scores.json holds below `path` under a column's name."""
    for key in path:
        inside = inside[key]
    return column_of(inside, column)


def test_pandas_reads_every_variant_of_every_detector_on_every_set(several: dict[str, Path]) -> None:
    index = {"detectors": ["detector", "variant"], "sets": ["frame_set", "variant"],
             "both": ["frame_set", "detector", "variant"]}  # fmt: skip
    for name, report in several.items():
        numbers = json.loads((report / "scores.json").read_text(encoding="utf-8"))
        table = pd.read_csv(report / "tables/variants.csv", index_col=index[name], engine="python")
        assert table.index.is_unique
        assert len(table) == {"detectors": 9, "sets": 9, "both": 27}[name]
        for key in table.index:
            of = dict(zip(index[name], key, strict=True))
            path = ["detectors", of["detector"]] if "detector" in of else []
            path += ["sets", of["frame_set"]] if "frame_set" in of else []
            for column in ("auc", "auc_delta_ci_low", "latency_ms_p50", "confusion_fp", "size_mib"):
                expected = value_in(numbers, [*path, "variants", of["variant"]], column)
                value = table.loc[key, column]
                assert value == expected or (expected is None and math.isnan(value)), (key, column)


def test_what_is_of_all_stands_in_the_row_of_each(several: dict[str, Path]) -> None:
    numbers = json.loads((several["both"] / "scores.json").read_text(encoding="utf-8"))
    table = pd.read_csv(several["both"] / "tables/variants.csv", index_col=["frame_set", "detector", "variant"])
    overall = numbers["detectors"]["b5"]["overall"]["q8"]
    assert overall["lost"] == ["ffpp_c40"]
    rows = table.loc[(slice(None), "b5", "q8"), :].droplevel(["detector", "variant"])
    assert set(rows["overall_verdict"]) == {overall["verdict"]}
    assert [name for name, is_lost in rows["overall_lost"].items() if is_lost] == overall["lost"]
    assert dict(rows["overall_p"]) == overall["p_sets"]
    assert set(rows["overall_compared_verdict"]) == {numbers["overall_compared"]["b5/q8"]["verdict"]}
    on_first = table["compared_auc_delta"].xs("celeb").dropna()
    against = {title: each["auc_delta"] for title, each in numbers["compared"].items() if each["auc_delta"] is not None}
    assert dict(zip(map("/".join, on_first.index), on_first, strict=True)) == against


def test_detectors_and_frame_sets_are_tables_too(several: dict[str, Path]) -> None:
    numbers = json.loads((several["detectors"] / "scores.json").read_text(encoding="utf-8"))
    detectors = pd.read_csv(several["detectors"] / "tables/detectors.csv", index_col="detector")
    for name, detector in numbers["detectors"].items():
        baseline = detector["variants"][detector["baseline"]]
        assert detectors.loc[name, "auc"] == baseline["auc"]
        assert detectors.loc[name, "auc_ci_high"] == baseline["auc_ci"][1]
        assert detectors.loc[name, "chosen"] == detector["choice"]["chosen"]
    assert detectors["auc_delta"].isna().sum() == 1, "that of the best has none"
    sets = pd.read_csv(several["sets"] / "tables/frame_sets.csv", index_col="frame_set")
    assert dict(sets["count"]) == of_sets.COUNTS
    assert set(sets["judge"]) == {"frame"}
    on_sets = pd.read_csv(several["both"] / "tables/detectors.csv", index_col=["frame_set", "detector"])
    assert len(on_sets) == 9


def test_tables_of_an_earlier_report_are_gone(tmp_path: Path) -> None:
    def tables() -> set[str]:
        return {path.stem for path in (tmp_path / "tables").iterdir()}

    of_detectors.rendered(of_detectors.three(), tmp_path)
    assert tables() == {"detectors", "variants"}
    of_sets.rendered(of_sets.three(), tmp_path)
    assert tables() == {"frame_sets", "variants"}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
@pytest.mark.parametrize("of", ["one", "detectors", "sets", "both"])
def test_pdflatex_compiles_all_tables(report: Path, several: dict[str, Path], tmp_path: Path, of: str) -> None:
    tables = sorted((several.get(of, report) / "tables").glob("*.tex"))
    inputs = "\n".join(rf"\input{{{file.stem}}}" for file in tables)
    for file in tables:
        shutil.copyfile(file, tmp_path / file.name)
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass{{article}}\\usepackage{{booktabs,graphicx}}\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-no-shell-escape", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
    log = (tmp_path / "paper.log").read_text(encoding="utf-8", errors="replace")
    assert not re.search("Overfull|too large for page", log), "a table does not fit on a page"


def test_cells_that_a_spreadsheet_would_compute_are_text() -> None:
    assert [no_formula(text) for text in ("=1", " +1", "@x", "a=1", -1.0)] == ["'=1", "' +1", "'@x", "a=1", -1.0]
