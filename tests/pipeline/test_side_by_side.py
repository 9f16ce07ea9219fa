"""Two detectors of different size and preprocessing in one experiment, through every command."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import bench as library
from bench.detectors.families import efficientnet
from bench.errors import UserError
from bench.experiment import read
from bench.records import SideBySideScores
from bench.reports.scores_json import read_scores
from bench.results import predict, store, timing
from tests.conftest import run_quickly, write_frames
from tests.support import other_heads, tiny
from tests.support.command_line import bench

FAMILIES = (other_heads.two_branches, tiny, efficientnet)
TITLES = ["small/baseline", "small/q16", "small/p50", "branched/baseline", "branched/q16"]

EXPERIMENT = """
detectors:
  small: {architecture: tiny, weights: small.tar, preprocessing: {preset: fsbi, size: 32}}
  branched: {architecture: two_branches, weights: branched.pth, preprocessing: {preset: imagenet, size: 48}}
datasets:
  faces: {path: faces}
experiments:
  first:
    detectors: [small, branched]
    frames: faces
    device: cpu
    threads: 1
    timing: {seconds: 0.02}
    gallery: {top: 2}
    gates: {all: {size_mib: 10}, q16: {size_mib: 9}, branched/q16: {flips: 0}}
    variants:
      baseline: []
      q16: [cast: fp16]
      small/p50: [prune: 0.5]
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which both have run, and what the command said."""
    folder = tmp_path_factory.mktemp("side-by-side")
    tiny.save_weights(folder / "small.tar")
    torch.save(other_heads.lively(other_heads.two_branches).state_dict(), folder / "branched.pth")
    for seed, (split, real, fake) in enumerate([("test", 14, 18), ("calibration", 8, 8)]):
        write_frames(folder / "faces" / split, real, fake, seed)
    (folder / "experiments.yaml").write_text(EXPERIMENT)
    with pytest.MonkeyPatch.context() as patch:
        _quickly(patch, folder)
        code, output = bench("run")
        assert code == 0, output
    return folder, output


def _quickly(patch: pytest.MonkeyPatch, folder: Path) -> None:
    run_quickly(patch, FAMILIES)
    patch.chdir(folder)


@pytest.fixture
def folder(ran: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where both have run, and commands can go on; tests leave it as it is."""
    _quickly(monkeypatch, ran[0])
    return ran[0]


def scores(folder: Path, *below: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(folder, "reports/first", *below, "scores.json").read_text())
    return content


def test_the_run_ends_with_the_comparison(ran: tuple[Path, str]) -> None:
    _, output = ran
    words = " ".join(output.split())
    assert "side by side" in words
    last = output.splitlines()[-2:]
    assert last == [f"report: {Path('reports/first/report.html')}", f"text: {Path('reports/first/report.md')}"]


def test_results_and_reports_lie_in_a_folder_of_each(folder: Path) -> None:
    results = folder / "results/first"
    assert {path.parent.relative_to(results).as_posix() for path in results.rglob(store.MEASUREMENTS)} == set(TITLES)
    assert not (results / store.RUN).exists()
    for name in ("report.md", "report.html", "scores.json"):
        for part in ("", "small", "branched"):
            assert (folder / "reports/first" / part / name).is_file()
    page = (folder / "reports/first/branched/report.html").read_text()
    assert 'href="../report.html"' in page
    assert "two_branches" in page


def test_the_file_of_scores_has_each_detector_as_alone(folder: Path) -> None:
    together = scores(folder)
    assert list(together["detectors"]) == ["small", "branched"]
    for name, detector in together["detectors"].items():
        alone = scores(folder, name)
        assert "detectors" not in alone
        for key in ("variants", "choice", "ablation", "baseline", "architecture"):
            assert detector[key] == alone[key]
    assert together["variants"] == together["detectors"]["small"]["variants"]
    assert (together["detector"], together["baseline"]) == ("small", "baseline")
    assert list(together["compared"]) == TITLES
    assert isinstance(read_scores(folder / "reports/first"), SideBySideScores)


def test_differences_across_detectors_are_of_the_same_frames(folder: Path) -> None:
    together = scores(folder)
    aucs = {
        f"{detector}/{name}": variant["auc"]
        for detector, content in together["detectors"].items()
        for name, variant in content["variants"].items()
    }
    best = max(("small", "branched"), key=lambda name: aucs[f"{name}/baseline"])
    assert (together["best"], together["reference"]) == (best, f"{best}/baseline")
    for title, compared in together["compared"].items():
        if title == together["reference"]:
            assert compared["auc_delta"] is None
        else:
            assert compared["auc_delta"] == pytest.approx(aucs[title] - aucs[together["reference"]])
            assert compared["auc_delta_ci"][0] <= compared["auc_delta"] <= compared["auc_delta_ci"][1]
    other = next(name for name in together["detectors"] if name != best)
    assert together["detectors"][best]["auc_delta"] is None
    assert together["detectors"][other]["auc_delta"] == together["compared"][f"{other}/baseline"]["auc_delta"]


def test_speeds_across_detectors_are_those_of_one_session(folder: Path) -> None:
    """All were timed side by side, in one runtime."""
    together = scores(folder)
    for title, compared in together["compared"].items():
        assert (compared["speedup"] is None) == (title == together["reference"])


def test_nothing_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "predict", None)
    monkeypatch.setattr(timing, "measure", None)
    before = {path: path.stat().st_mtime_ns for path in (folder / "reports").rglob("*.html")}
    assert bench("run")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "reports").rglob("*.html")} == before


def test_a_report_that_is_gone_is_due_and_rendered_again(folder: Path) -> None:
    page = folder / "reports/first/report.html"
    text = page.read_text()
    page.unlink()
    assert "not rendered yet, or a file of it is gone" in " ".join(bench("plan")[1].split())
    assert bench("run")[0] == 0
    assert page.read_text() == text


def test_json_is_what_the_file_holds(folder: Path) -> None:
    output = bench("report", "--json")[1]
    assert json.loads(output[output.index("{\n") : output.index("\n}") + 2]) == scores(folder)
    assert "note: small: The baseline's AUC is" in " ".join(output.split())


def test_plan_says_how_long_each_takes(folder: Path) -> None:
    code, output = bench("plan", "--only", "branched/q16")
    words = " ".join(output.split())
    assert code == 0
    assert "3 variants of small (tiny at 32 px) and branched (two_branches at 48 px)" in words
    assert "left as they are: small/q16, small/p50" in words
    assert "nothing to do" in words
    (folder / "results/first/branched/q16" / predict.MARK).rename(folder / "mark")
    try:
        words = " ".join(bench("plan")[1].split())
        assert "branched/q16 (evaluate): what was made is gone" in words
        assert "small alone nothing" in words or "small alone" in words
        assert "branched alone" in words
    finally:
        (folder / "mark").rename(folder / "results/first/branched/q16" / predict.MARK)


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ("branched/p50", "there is no variant 'branched/p50'"),
        ("branched/q61", "did you mean 'branched/q16'"),
        ("q61", "variants are: baseline, q16, p50, small/baseline"),
    ],
)
def test_only_knows_whose_variants_there_are(only: str, words: str, folder: Path) -> None:
    code, output = bench("run", "--only", only)
    assert code == 2
    assert words in " ".join(output.split())


def test_a_chain_that_a_detector_cannot_take_is_refused_with_the_way_out(folder: Path) -> None:
    file = folder / "shared.yaml"
    file.write_text(EXPERIMENT.replace("small/p50:", "p50:"))
    code, output = bench("plan", "--file", str(file))
    words = " ".join(output.split())
    assert code == 2
    assert "experiments.first.variants.p50: branched: prune: 0.5 needs of a detector" in words
    assert "or write it for the detectors that it suits alone, as in `small/p50:`" in words
    file.unlink()


def test_what_is_wrong_with_a_variant_of_both_is_said_once(folder: Path) -> None:
    file = folder / "broken.yaml"
    (folder / "broken.onnx").write_bytes(b"no graph")
    file.write_text(EXPERIMENT.replace("q16: [cast: fp16]", "q16: [import: broken.onnx]"))
    code, output = bench("plan", "--file", str(file))
    assert code == 2
    assert output.count("experiments.first.variants.q16") == 1
    file.unlink()


def test_gates_are_each_detectors(folder: Path) -> None:
    code, output = bench("check", "--anyway", "--no-timing")
    assert code == 0, output
    summary = (folder / "reports/first/check.md").read_text()
    for title in TITLES:
        assert f"| {title} | `size_mib`" in summary
    assert "| branched/q16 | `flips`" in summary
    assert "| small/q16 | `flips`" not in summary
    rows = [line.split(" | ") for line in summary.splitlines() if "size_mib" in line]
    limits = {row[0].strip("| "): row[3] for row in rows}
    assert limits == {title: "9" if title.endswith("q16") else "10" for title in TITLES}
    assert 'classname="first.branched/q16"' in (folder / "reports/first/check.xml").read_text()


def test_accepted_scores_are_each_detectors(folder: Path) -> None:
    code, output = bench("accept", "--anyway")
    assert code == 0, output
    assert "accepted: small/baseline, small/q16, small/p50, branched/baseline, branched/q16" in " ".join(output.split())
    accepted = json.loads((folder / "accepted.json").read_text())
    assert list(accepted["variants"]) == TITLES
    assert {name: weights.split(" ")[0] for name, weights in accepted["detectors"].items()} == {
        "small": "small.tar", "branched": "branched.pth",
    }  # fmt: skip
    code, output = bench("check", "--anyway", "--no-timing", "--against", "accepted.json")
    assert code == 0, output
    words = " ".join(output.split())
    assert "branched: Compared on 32 test frames with what was accepted" in words
    assert words.count("auc_change 0.0000") >= len(TITLES)


@pytest.fixture
def copy(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which both have run, to be changed."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changed(folder: Path, *changes: tuple[str, str]) -> None:
    """The experiment file with these words in place of others."""
    text = EXPERIMENT.replace(", branched/q16: {flips: 0}", "")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "experiments.yaml").write_text(text)


def test_a_detector_that_is_gone_falls_and_one_alone_is_no_match(copy: Path) -> None:
    assert bench("accept", "--anyway")[0] == 0
    changed(copy, ("  branched:", "  other:"), ("branched]", "other]"))
    code, output = bench("check", "--anyway", "--no-timing", "--against", "accepted.json")
    words = " ".join(output.split())
    assert code == 1, output
    assert "branched/q16 auc_change" in words
    assert "it is gone from the experiment" in words
    assert "other: q16 is new" in words
    changed(copy, ("detectors: [small, branched]", "detector: small"), ("small/p50", "p50"))
    code, output = bench("check", "--anyway", "--no-timing", "--against", "accepted.json")
    assert code == 2
    assert "was accepted of small, branched, and the experiment has small now" in " ".join(output.split())


def test_a_former_detector_can_go_and_a_copy_of_it_cannot(copy: Path) -> None:
    shutil.copytree(copy / "results/first/branched", copy / "results/first/before")
    changed(copy, ("[small, branched]", "[small, other]"), ("  branched:", "  other:"))
    code, output = bench("clean", "--yes")
    assert code == 0, output
    assert not (copy / "results/first/branched").exists()
    assert (copy / "results/first/before/q16").is_dir()
    assert (copy / "results/first/small/q16").is_dir()


def test_another_order_is_another_report(copy: Path) -> None:
    """The first detector's numbers are those at the top of scores.json."""
    changed(copy, ("[small, branched]", "[branched, small]"))
    assert bench("run")[0] == 0
    together = scores(copy)
    assert (together["detector"], list(together["detectors"])) == ("branched", ["branched", "small"])


def test_one_in_a_list_lies_where_one_alone_does(copy: Path) -> None:
    changed(copy, ("[small, branched]", "[branched]"), ("      small/p50: [prune: 0.5]\n", ""))
    settings = read(copy / "experiments.yaml").experiments["first"]
    assert settings.folders == (Path(),)
    assert list(settings.titles) == ["baseline", "q16"]
    assert settings.of("branched") is settings


def test_a_variant_of_one_takes_the_place_of_that_of_all(copy: Path) -> None:
    """For that detector, where the other one stood; gates of either come key by key."""
    changed(copy, ("small/p50: [prune: 0.5]", "branched/q16: [cast: bf16]"), ("q16: {size_mib: 9}",
            "q16: {size_mib: 9, auc: 0.1}, small/q16: {size_mib: 8}"))  # fmt: skip
    settings = read(copy / "experiments.yaml").experiments["first"]
    small, branched = (settings.of(name) for name in ("small", "branched"))
    assert [use.text for use in small.chains["q16"]] == ["cast: fp16"]
    assert [use.text for use in branched.chains["q16"]] == ["cast: bf16"]
    assert list(branched.variants) == ["baseline", "q16"]
    assert small.gates["q16"].limits == {"auc": 0.1, "size_mib": 8}
    assert branched.gates["q16"].limits == {"auc": 0.1, "size_mib": 9}
    assert (small.is_side_by_side, small.detector_names) == (False, ("small",))


def test_what_was_run_alone_before_is_not_read_any_more(copy: Path) -> None:
    """The record of an earlier run of one detector lies where nobody looks for it now."""
    record = copy / "results/first" / store.RUN
    shutil.copy(copy / "results/first/small" / store.RUN, record)
    for name in ("flips.csv", "report.html"):
        shutil.copy(copy / "reports/first/small" / name, copy / "reports/first" / name)
    assert bench("run")[0] == 0
    assert not record.exists()
    assert not (copy / "reports/first/flips.csv").exists()


def test_a_variant_is_exported_by_both_names(folder: Path, tmp_path: Path) -> None:
    code, output = bench("export", "branched/q16", "--to", str(tmp_path / "out"))
    assert code == 0, output
    model = json.loads((tmp_path / "out/model.json").read_text())
    assert (model["detector"], model["variant"]) == ("branched", "q16")
    code, output = bench("export", "q16", "--to", str(tmp_path / "other"))
    assert code == 2
    assert "several have one: name it as in small/q16" in " ".join(output.split())


def test_the_zip_holds_the_report_of_each(folder: Path, tmp_path: Path) -> None:
    assert bench("report", "--bundle")[0] == 0
    with zipfile.ZipFile(folder / "reports/first.zip") as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path)
    assert {"first/report.md", "first/report.html", "first/size_auc.png", "first/branched/report.html"} <= names
    text = (tmp_path / "first/branched/report.md").read_text()
    links = [part.split(")")[0] for part in text.split("](")[1:] if "docs/" not in part.split(")")[0]]
    assert any("overlays" in link for link in links)
    for link in links:
        assert (tmp_path / "first/branched" / link).exists(), link


def test_python_names_variants_by_both_names(folder: Path) -> None:
    results = library.read("reports/first")
    assert list(results.variants) == TITLES
    assert results.baseline == "small/baseline"
    assert list(results.frame()["variant"]) == TITLES
    expected = pd.read_parquet(folder / "results/first/branched/q16" / predict.PREDICTIONS)
    pd.testing.assert_series_equal(results.predictions("branched/q16")["p_fake"], expected["p_fake"])
    alone = library.read("results/first/branched")
    assert alone.variants["q16"].auc == results.variants["branched/q16"].auc
    assert alone.folder == folder / "reports/first/branched"
    with pytest.raises(UserError, match="holds the results of branched, small; read the report of all"):
        library.read("results/first")


def test_clean_keeps_what_is_in_use(folder: Path) -> None:
    code, output = bench("clean")
    assert code == 0
    assert "can go" not in output.replace("can go: `bench", "")
    (folder / "experiments.yaml").write_text(EXPERIMENT.replace("      small/p50: [prune: 0.5]\n", ""))
    try:
        gone = [line.split()[0] for line in bench("clean")[1].splitlines() if line.endswith("can go")]
        assert str(Path("results/first/small/p50")) in gone
        assert not [path for path in gone if "branched" in path]
    finally:
        (folder / "experiments.yaml").write_text(EXPERIMENT)
