"""One detector on two frame sets, built with a third, after it was run on one of them: through every command."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import bench as library
from bench.datasets import decoding
from bench.errors import UserError
from bench.records import ScoresOnSets
from bench.reports.scores_json import read_scores
from bench.results import predict, store, timing
from tests.conftest import run_quickly, write_frames
from tests.support import tiny
from tests.support.command_line import bench
from tests.support.published_rules import check_verdicts

SETS, VARIANTS = ("near", "far"), ("baseline", "q16", "q8")

EXPERIMENT = """
detectors:
  tiny: {architecture: tiny, weights: tiny.tar, classes: [fake, real], preprocessing: {preset: fsbi, size: 32}}
datasets:
  near: {path: near}
  far: {path: far}
  home: {path: home}
experiments:
  first:
    detector: tiny
    frames: [near, far]
    build_frames: home
    device: cpu
    threads: 1
    timing: {seconds: 0.02}
    gallery: {top: 2}
    gates: {all: {size_mib: 10, auc_drop: 0.9}}
    variants:
      baseline: []
      q16: [cast: fp16]
      q8: [quantize: int8]
"""
ALONE = EXPERIMENT.replace("[near, far]", "near")


@dataclass(frozen=True)
class Ran:
    """What the commands said on the way from one set to two, and what the second run decoded and timed."""

    folder: Path
    plan: str
    clean: str
    output: str
    decoded: list[str]
    timed: int
    predictions: bytes


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Run on near alone, then on both."""
    folder = tmp_path_factory.mktemp("frame-sets")
    tiny.save_weights(folder / "tiny.tar")
    for seed, name in enumerate(("near", "far", "home")):
        write_frames(folder / name / "test", 14 + seed, 18, 10 * seed)
        write_frames(folder / name / "calibration", 8, 8, 10 * seed + 1)
    write_frames(folder / "near/validation", 6, 6, 99)
    with pytest.MonkeyPatch.context() as patch:
        _quickly(patch, folder)
        (folder / "experiments.yaml").write_text(ALONE)
        code, output = bench("run")
        assert code == 0, output
        predictions = (folder / "results/first/q8" / predict.PREDICTIONS).read_bytes()
        (folder / "experiments.yaml").write_text(EXPERIMENT)
        plan, clean = bench("plan")[1], bench("clean")[1]
        decoded, timed = _counted(patch)
        code, output = bench("run")
        assert code == 0, output
    return Ran(folder, plan, clean, output, decoded, len(timed), predictions)


def _quickly(patch: pytest.MonkeyPatch, folder: Path) -> None:
    run_quickly(patch)
    patch.chdir(folder)


def _counted(patch: pytest.MonkeyPatch) -> tuple[list[str], list[object]]:
    """The pictures that evaluations decode from now on, and the sessions that are timed."""
    pictures: list[str] = []
    passes: list[str] = []
    sessions: list[object] = []
    decoded, predicted, measured = decoding._decoded, predict.predict, timing.measure

    def one_picture(file: Path) -> Any:
        pictures.append(file.as_posix())
        return decoded(file)

    def one_pass(*given: Any) -> Any:
        pictures.clear()
        failed = predicted(*given)
        passes.extend(pictures)
        return failed

    def one_session(*given: Any) -> Any:
        sessions.append(given)
        return measured(*given)

    patch.setattr(decoding, "_decoded", one_picture)
    patch.setattr(predict, "predict", one_pass)
    patch.setattr(timing, "measure", one_session)
    return passes, sessions


@pytest.fixture
def folder(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where both have run, and commands can go on; tests leave it as it is."""
    _quickly(monkeypatch, ran.folder)
    return ran.folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which both have run, to be changed."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores(folder: Path, *below: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(folder, "reports/first", *below, "scores.json").read_text())
    return content


# --------------------------------------------------------------------------------------- from one set to two
def test_plan_and_clean_say_what_becomes_of_the_results_of_one(ran: Ran) -> None:
    """The results on near are found again; on far all is due, and nothing is timed or built."""
    words = " ".join(ran.plan.split())
    assert "3 results from before the experiment had these detectors or frame sets" in words
    assert "3 variants on 33 frames of far" in words
    assert "build nothing" in words
    assert "time nothing" in words
    assert "frames of near: 32 test" in words or "of near" in words
    assert "16 calibration of home (built with)" in words
    for name in VARIANTS:
        [line] = [line for line in ran.clean.splitlines() if line.startswith(f"results/first/{name} ")]
        assert "perhaps used by first: `bench run` moves it to its folder, or makes it again" in line
    assert "can go" not in ran.clean.replace("can go: `bench", "")


def test_nothing_of_the_first_set_is_made_again(ran: Ran) -> None:
    """Each labelled frame of far is decoded once for all variants, none of near, and nothing is timed."""
    judged = sorted(path.as_posix() for path in (ran.folder / "far/test").rglob("*.png"))
    assert sorted(Path(ran.folder, path).as_posix() for path in ran.decoded) == judged
    assert ran.timed == 0
    results = ran.folder / "results/first"
    assert (results / "near/q8" / predict.PREDICTIONS).read_bytes() == ran.predictions
    assert (results / "near/q8" / store.MEASUREMENTS).exists()
    left = {path.name for path in results.iterdir() if path.is_dir()}
    assert left == set(SETS)
    assert not (results / store.RUN).exists()


def test_nothing_is_due_afterwards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing to do" in bench("plan")[1]
    monkeypatch.setattr(predict, "predict", None)
    before = {path: path.stat().st_mtime_ns for path in (folder / "reports").rglob("*.html")}
    assert bench("run")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "reports").rglob("*.html")} == before


def test_back_to_one_set_moves_back(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "experiments.yaml").write_text(ALONE)
    monkeypatch.setattr(predict, "predict", None)
    code, output = bench("run")
    assert code == 0, output
    assert (copy / "results/first/q8" / predict.MARK).exists()
    assert not (copy / "results/first/near/q8").exists()
    assert "sets" not in scores(copy)
    code, output = bench("clean", "--yes")
    assert code == 0
    assert not (copy / "results/first/far/q8").exists(), "the set that is no longer judged can go"
    assert (copy / "results/first/q8").exists()


@pytest.mark.slow
def test_results_of_other_weights_are_not_taken_over(copy: Path) -> None:
    (copy / "experiments.yaml").write_text(ALONE)
    assert bench("run")[0] == 0
    tiny.save_weights(copy / "tiny.tar", seed=5)
    (copy / "experiments.yaml").write_text(EXPERIMENT)
    words = " ".join(bench("plan")[1].split())
    assert "lie where they were before" not in words
    assert "3 variants on 44 frames of near" in words


# --------------------------------------------------------------------------------------- what the files hold
def test_scores_have_the_first_set_on_top_and_each_below(folder: Path) -> None:
    together, alone = scores(folder), {name: scores(folder, name) for name in SETS}
    assert together["schema"] == 1
    for key in ("variants", "frames", "baseline", "machine", "detector"):
        assert together[key] == alone["near"][key]
    assert list(together["sets"]) == list(SETS)
    for name in SETS:
        for key in ("variants", "frames", "choice", "ablation", "not_sliced"):
            assert together["sets"][name][key] == alone[name][key]
        assert "sets" not in alone[name]
    assert together["home"] == "near", "the set that variants are built with is not judged"
    assert list(together["overall"]) == ["q16", "q8"]
    for overall in together["overall"].values():
        assert set(overall["worst_first"]) == set(SETS)
        assert overall["pooled"] is None
    assert isinstance(read_scores(folder / "reports/first"), ScoresOnSets)
    assert check_verdicts(together) == 2 * (1 + len(SETS))


def test_reports_lead_to_each_other(folder: Path) -> None:
    reports = folder / "reports/first"
    for form in ("md", "html"):
        above = (reports / f"report.{form}").read_text()
        for name in SETS:
            assert f"{name}/report.{form}" in above
            assert f"../report.{form}" in (reports / name / f"report.{form}").read_text()


def test_times_are_those_of_the_first_set(folder: Path) -> None:
    together = scores(folder)
    near, far = (together["sets"][name]["variants"]["q16"] for name in SETS)
    assert near["latency_ms"] == far["latency_ms"]
    assert not list((folder / "results/first/far").rglob(store.MEASUREMENTS))


def test_the_run_ends_with_all_sets(ran: Ran) -> None:
    words = " ".join(ran.output.split())
    assert "on all 2 frame sets, each by its AUC there" in words
    assert "near" in words.split("on all 2 frame sets")[1]
    assert "ship: " in words


def test_the_zip_holds_the_report_of_each_set(folder: Path, tmp_path: Path) -> None:
    assert bench("report", "--bundle")[0] == 0
    with zipfile.ZipFile(folder / "reports/first.zip") as archive:
        archive.extractall(tmp_path)
    for name in (".", *SETS):
        page = tmp_path / "first" / name / "report.md"
        links = [part.split(")")[0] for part in page.read_text().split("](")[1:]]
        assert links
        for link in links:
            assert (page.parent / link).exists(), link


# ------------------------------------------------------------------------------------------- other commands
def test_gates_hold_on_each_set(folder: Path) -> None:
    code, output = bench("check", "--no-timing")
    assert code == 0, output
    summary = (folder / "reports/first/check.md").read_text()
    for name in SETS:
        assert f"| q8 on {name} | `auc_drop`" in summary
    sizes = [line for line in summary.splitlines() if "size_mib" in line]
    assert len(sizes) == len(VARIANTS), "frames have no part in a size: it is checked once"
    (folder / "experiments.yaml").write_text(EXPERIMENT.replace("auc_drop: 0.9", "auc: 0.999, strict: true"))
    try:
        code, output = bench("check", "--no-timing")
        assert code == 1
        assert "q8 on far" in " ".join(output.split())
    finally:
        (folder / "experiments.yaml").write_text(EXPERIMENT)


def test_a_baseline_at_chance_falls_with_the_name_of_its_set(copy: Path) -> None:
    for name in ("real", "fake"):
        (copy / "far/test" / name).rename(copy / "far/test" / f"was-{name}")
    (copy / "far/test/was-real").rename(copy / "far/test/fake")
    (copy / "far/test/was-fake").rename(copy / "far/test/real")
    code, output = bench("check", "--no-timing")
    words = " ".join(output.split())
    assert code == 1
    assert "baseline on far" in words
    assert "baseline on near above_chance" not in words
    assert "above_chance" in words
    code, output = bench("accept")
    assert code == 2
    assert "test frames of far" in " ".join(output.split())
    report = " ".join((copy / "reports/first/report.md").read_text().split())
    assert "**No variant can be recommended**: on **far** even the baseline is not significantly better" in report


def test_scores_are_accepted_on_each_set(copy: Path) -> None:
    code, output = bench("accept")
    assert code == 0, output
    assert "on the test frames of near (32), far (33)" in " ".join(output.split())
    accepted = json.loads((copy / "accepted.json").read_text())
    assert (accepted["frame_set"], list(accepted["sets"])) == ("near", ["far"])
    code, output = bench("check", "--no-timing", "--against", "accepted.json")
    assert code == 0, output
    words = " ".join(output.split())
    for name, count in (("near", 32), ("far", 33)):
        assert f"{name}: Compared on {count} test frames with what was accepted" in words
    assert words.count("auc_change 0.0000") >= 2 * len(VARIANTS)
    before = (copy / "accepted.json").read_bytes()
    assert bench("accept")[0] == 0
    assert (copy / "accepted.json").read_bytes() == before


def test_a_set_that_is_gone_falls_a_new_one_is_told_and_one_alone_is_no_match(copy: Path) -> None:
    assert bench("accept")[0] == 0
    against = ("check", "--no-timing", "--against", "accepted.json")
    (copy / "experiments.yaml").write_text(EXPERIMENT.replace("[near, far]", "[near, home]"))
    code, output = bench(*against)
    words = " ".join(output.split())
    assert code == 1
    assert "q8 on far auc_change" in words
    assert "it is gone from the experiment" in words
    assert "the frame set home is new" in words
    (copy / "experiments.yaml").write_text(ALONE)
    code, output = bench(*against)
    assert code == 2
    assert "was accepted on near, far, and the experiment has near now" in " ".join(output.split())


def test_other_frames_of_a_further_set_are_no_match(copy: Path) -> None:
    assert bench("accept")[0] == 0
    next((copy / "far/test/real").glob("*.png")).unlink()
    code, output = bench("check", "--no-timing", "--against", "accepted.json")
    assert code == 2
    assert "was accepted on other test frames: 33" in " ".join(output.split())


def test_an_export_names_the_verdict_of_the_first_set_and_of_the_worst(folder: Path, tmp_path: Path) -> None:
    code, output = bench("export", "q8", "--to", str(tmp_path / "out"))
    assert code == 0, output
    words, overall = " ".join((tmp_path / "out/README.md").read_text().split()), scores(folder)["overall"]["q8"]
    assert f"On all 2 frame sets (near, far): {overall['verdict']}." in words
    assert "On near, the first" in words
    assert f"On {overall['worst_first'][0]}, the" in words
    model = json.loads((tmp_path / "out/model.json").read_text())
    assert list(model["verdicts"]) == overall["worst_first"]
    assert model["verdict_over_all"] == overall["verdict"]
    evidence = json.loads((tmp_path / "out/evidence.json").read_text())
    assert [on["frame_set"] for on in evidence["judged_on"]] == list(SETS)
    assert evidence["verdict_over_all"] == overall["verdict"]
    code, output = bench("verify", str(tmp_path / "out"), "--experiment", str(folder))
    assert code == 0, output
    assert all(f"  frames on {name}  ok: SHA-256 " in output for name in SETS)


def test_python_has_each_set(folder: Path) -> None:
    results = library.read("reports/first")
    assert list(results.sets) == list(SETS)
    assert results.overall == {name: each["verdict"] for name, each in scores(folder)["overall"].items()}
    for name in SETS:
        expected = pd.read_parquet(folder / "results/first" / name / "q8" / predict.PREDICTIONS)
        of_set = results.sets[name]
        pd.testing.assert_series_equal(of_set.predictions("q8")["p_fake"], expected["p_fake"])
        assert of_set.variants["q8"].auc == library.read(f"results/first/{name}").variants["q8"].auc
        assert of_set.folder == folder / "reports/first" / name
        assert of_set.sets == {}
    assert results.variants == results.sets["near"].variants
    with pytest.raises(UserError, match="holds the results of far, near; read the report of all"):
        library.read("results/first")
    with pytest.warns(UserWarning, match="another preprocessing"):
        run = library.run(file="experiments.yaml")
    assert run.sets["far"].verdicts == results.sets["far"].verdicts


def test_only_runs_a_variant_on_each_set(copy: Path) -> None:
    for name in SETS:
        (copy / "results/first" / name / "q16" / predict.MARK).unlink()
        (copy / "results/first" / name / "q8" / predict.MARK).unlink()
    assert bench("run", "--only", "q16", "--no-timing")[0] == 0
    for name in SETS:
        assert (copy / "results/first" / name / "q16" / predict.MARK).exists()
        assert not (copy / "results/first" / name / "q8" / predict.MARK).exists()


def test_pooled_scores_are_said_to_be_pooled(copy: Path) -> None:
    (copy / "experiments.yaml").write_text(EXPERIMENT.replace("    build_frames", "    pool: true\n    build_frames"))
    assert "report due" in " ".join(bench("plan")[1].split())
    assert bench("run")[0] == 0
    content = scores(copy)
    assert content["pool"] is True
    tables = {name: pd.read_parquet(copy / "results/first" / name / "q16" / predict.PREDICTIONS) for name in SETS}
    before = {name: pd.read_parquet(copy / "results/first" / name / "baseline" / predict.PREDICTIONS) for name in SETS}
    difference = _pooled_auc(tables) - _pooled_auc(before)
    assert content["overall"]["q16"]["pooled"]["auc_delta"] == pytest.approx(difference)
    assert "`pool: true`" in (copy / "reports/first/report.md").read_text()


def _pooled_auc(tables: dict[str, pd.DataFrame]) -> float:
    from sklearn.metrics import roc_auc_score

    test = pd.concat([table[table["split"] == "test"] for table in tables.values()])
    return float(roc_auc_score(test["label"], test["logit_fake"].astype(float) - test["logit_real"].astype(float)))


def test_frames_that_were_learned_from_are_refused_on_every_set(copy: Path) -> None:
    """Also on the first, where that is not the set that variants are built with."""
    shutil.copy(copy / "home/calibration/real/000.png", copy / "near/test/real/900.png")
    code, output = bench("run")
    words = " ".join(output.split())
    assert code == 2
    assert "datasets.near" in words
    assert "identical files on both sides" in words
