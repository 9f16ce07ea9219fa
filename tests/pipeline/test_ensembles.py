"""An ensemble in an experiment: built, predicted and timed as its members are, joined, judged, and reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench import pipeline
from bench.experiment import read
from bench.pipeline.tracked import tracked
from bench.records import Choice, Constraints
from bench.results import store
from bench.results.score import members
from tests.conftest import run_quickly
from tests.support import tiny
from tests.support.command_line import bench
from tests.support.ensembles import EXPERIMENT, FAMILIES, write_trio

MEMBERS = ("small", "again", "branched")
WEIGHTS = np.array([0.5, 0.3, 0.2])


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which the ensemble has run, and what the command said."""
    folder = tmp_path_factory.mktemp("ensemble")
    write_trio(folder)
    with pytest.MonkeyPatch.context() as patch:
        run_quickly(patch, FAMILIES)
        patch.chdir(folder)
        code, output = bench("run")
        assert code == 0, output
    return folder, output


@pytest.fixture
def folder(ran: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it has run, and commands can go on; tests leave it as it is."""
    run_quickly(monkeypatch, FAMILIES)
    monkeypatch.chdir(ran[0])
    return ran[0]


def table(folder: Path, detector: str, variant: str) -> pd.DataFrame:
    return pd.read_parquet(folder / "results/first" / detector / variant / "predictions.parquet")


def of_frame(folder: Path, detector: str, variant: str, frame: str = "fake/003.png") -> float:
    rows = table(folder, detector, variant)
    return float(rows[(rows["frame"] == frame) & (rows["split"] == "test")]["p_fake"].iloc[0])


def scores(folder: Path, *below: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(folder, "reports/first", *below, "scores.json").read_text())
    return content


def test_the_ensembles_scores_are_the_weighted_means_of_its_members(folder: Path) -> None:
    for variant, parts in {
        "baseline": ("baseline", "baseline", "baseline"),
        "q16": ("q16", "q16", "q16"),
        "p50": ("p50", "p50", "baseline"),
    }.items():
        members = [table(folder, name, part) for name, part in zip(MEMBERS, parts, strict=True)]
        joined = table(folder, "trio", variant)
        expected = np.average([each["p_fake"] for each in members], axis=0, weights=WEIGHTS)
        assert joined["p_fake"].to_numpy() == pytest.approx(expected, abs=1e-6)
        assert joined["frame"].tolist() == members[0]["frame"].tolist()
        difference = joined["logit_fake"] - joined["logit_real"]
        assert difference.rank().tolist() == joined["p_fake"].rank().tolist()


def test_a_mix_has_the_variants_that_it_names(folder: Path) -> None:
    small, branched = table(folder, "small", "q16"), table(folder, "branched", "baseline")
    expected = np.average([small["p_fake"], branched["p_fake"]], axis=0, weights=WEIGHTS[[0, 2]])
    assert table(folder, "trio", "mixed")["p_fake"].to_numpy() == pytest.approx(expected, abs=1e-6)
    assert scores(folder, "trio")["variants"]["mixed"]["steps"] == ["small: q16, without again"]


def test_a_member_that_does_not_allow_a_chain_stays_as_it_is_and_is_named(folder: Path) -> None:
    ensemble = scores(folder, "trio")["ensemble"]
    assert ensemble["unchanged"] == {"p50": ["branched"]}
    assert ensemble["parts"]["p50"] == {"small": "p50", "again": "p50", "branched": "baseline"}
    assert not (folder / "results/first/branched/p50").exists()
    assert "branched stays as it is" in (folder / "reports/first/trio/report.md").read_text()
    assert "trio/p50: branched as baseline, not allowing these steps" in " ".join(bench("plan")[1].split())


def test_size_and_latency_are_sums(folder: Path) -> None:
    runs = {name: store.read_run(folder / "results/first" / name) for name in ("trio", *MEMBERS)}
    for variant in ("baseline", "q16"):
        rows = {name: next(row for row in run.variants if row.name == variant) for name, run in runs.items()}
        sizes = {name: row.footprint.size_bytes for name, row in rows.items() if row.footprint}
        assert sizes["trio"] == sum(sizes[name] for name in MEMBERS)
        [times] = rows["trio"].measurements
        assert times.batch_size == 1
        first_calls = [rows[name].measurements[0].rounds_ms[0][0] for name in MEMBERS]
        assert times.rounds_ms[0][0] == pytest.approx(sum(first_calls))
        assert rows["trio"].conditions is not None
    assert scores(folder, "trio")["variants"]["q16"]["speedup"] is not None
    # A mix without a member is compared with the whole: its reference has all three.
    run = runs["trio"]
    mixed = next(row for row in run.variants if row.name == "mixed")
    assert mixed.baseline[0].rounds_ms == run.baseline.measurements[0].rounds_ms


def test_every_member_is_left_out_and_compressed_alone(folder: Path) -> None:
    sets = scores(folder, "trio")["ensemble"]["sets"]
    assert list(sets)[:7] == [
        "all members", *(f"without {name}" for name in MEMBERS), *(f"{name} alone" for name in MEMBERS),
    ]  # fmt: skip
    assert {"small as q16", "again as p50", "branched as q16"} <= set(sets)
    whole = sets["all members"]
    assert (whole["auc"], whole["auc_delta"]) == (scores(folder, "trio")["variants"]["baseline"]["auc"], None)
    for title, each in sets.items():
        if title != "all members":
            assert each["auc_delta"] == pytest.approx(each["auc"] - whole["auc"])
            assert each["auc_delta_ci"][0] <= each["auc_delta"] <= each["auc_delta_ci"][1]
    for name in MEMBERS:
        alone = scores(folder, name)["variants"]["baseline"]["auc"]
        assert sets[f"{name} alone"]["auc"] == pytest.approx(alone, abs=1e-6)


def test_trackers_get_no_model_of_an_ensemble(folder: Path) -> None:
    path = folder / "experiments.yaml"
    experiments = read(path)
    finished = pipeline.run(experiments, path)
    chosen: Any = SimpleNamespace(
        **{name: getattr(finished, name) for name in ("run", "parts", "together", "failed")},
        whole=SimpleNamespace(scores=SimpleNamespace(choice=Choice(Constraints(), False, (), "trio/q16", None)),
                              report=finished.whole.report),
    )  # fmt: skip
    given = tracked(chosen, experiments.experiments["first"], pytest.fail)
    assert (given.chosen, given.artifact, given.model) == ("trio/q16", "", None)
    assert given.variants["trio/q16"].tags["bench.chosen"] == "True"


def test_of_many_sets_the_cheapest_are_tried(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scores(folder, "trio")["ensemble"]
    monkeypatch.setattr(members, "MOST_SETS", 3)
    monkeypatch.setattr("bench.reports.content.members.MOST_SETS", 3)
    assert bench("report")[0] == 0
    try:
        few = scores(folder, "trio")["ensemble"]
        assert few["tried"] == 3
        if whole["chosen"] and few["chosen"]:
            assert few["chosen"]["size_mib"] <= whole["chosen"]["size_mib"]
        assert "the 3 cheapest sets of members" in (folder / "reports/first/trio/report.md").read_text()
    finally:
        monkeypatch.undo()
        monkeypatch.chdir(folder)
        run_quickly(monkeypatch, FAMILIES)
        assert bench("report")[0] == 0


def test_the_chosen_set_is_the_smallest_that_keeps_the_verdict(folder: Path) -> None:
    ensemble = scores(folder, "trio")["ensemble"]
    # Two or three members must take part; small and again have three variants each, branched has two.
    assert ensemble["tried"] == 3 * 3 * 2 + 3 * 3 + 2 * 3 * 2
    if ensemble["chosen"]:
        assert len(ensemble["chosen"]["parts"]) >= 2
        assert ensemble["chosen"]["auc_delta_ci"][0] > -0.01


def test_the_report_shows_members(folder: Path) -> None:
    for ending in ("md", "html"):
        text = (folder / "reports/first/trio" / f"report.{ending}").read_text()
        assert "Members" in text
        assert "without again" in text
        assert "small (0.5), again (0.3) and branched (0.2)" in text.replace(", and", " and") or "small (0.5)" in text


def test_the_ensemble_stands_beside_its_members(folder: Path) -> None:
    together = scores(folder)
    assert list(together["detectors"]) == ["trio", *MEMBERS]
    assert "trio/mixed" in together["compared"]
    assert "small/mixed" not in together["compared"]


def test_nothing_is_done_again(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "results/first/trio").rglob("*") if path.is_file()}
    assert bench("run")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "nothing to do" in bench("plan")[1]


def test_one_of_its_variants_can_be_asked_for(folder: Path) -> None:
    words = " ".join(bench("plan", "--only", "trio/mixed")[1].split())
    assert "left as they are: small/p50, again/q16, again/p50, branched/q16" in words


def test_members_maps_stand_below_the_joint_ones_in_galleries(folder: Path) -> None:
    results = folder / "results/first/trio/baseline/result"
    overlays = list(results.rglob("*.jpg"))
    assert overlays
    for path in overlays:
        with Image.open(path) as sheet:
            assert sheet.height == sheet.width + sheet.width // 3, "three members in a row below a square"
    page = (folder / "reports/first/trio/report.html").read_text()
    assert page.count('class="of-members"') >= len(overlays)
    assert 'class="of-members"' not in (folder / "reports/first/small/report.html").read_text()
    assert "below it are those of each, on a scale of their own" in " ".join(page.split())


def test_a_picture_is_looked_into_by_all_members_together(folder: Path, tmp_path: Path) -> None:
    arguments = ("--variant", "trio/mixed", "--to", str(tmp_path))
    code, output = bench("inspect", "faces/test/fake/003.png", *arguments)
    assert code == 0, output
    assert "members agree" in output
    inside = tmp_path / "003"
    content = json.loads((inside / "inspection.json").read_text())
    assert list(content["variants"]) == ["baseline", "mixed"]
    for variant, parts in {"baseline": dict.fromkeys(MEMBERS, "baseline"),
                           "mixed": {"small": "q16", "branched": "baseline"}}.items():  # fmt: skip
        answers = content["variants"][variant]
        assert answers["p_fake"] == pytest.approx(of_frame(folder, "trio", variant), abs=1e-5)
        assert {name: each["variant"] for name, each in answers["members"].items()} == parts
        for name, each in answers["members"].items():
            assert each["p_fake"] == pytest.approx(of_frame(folder, name, parts[name]), abs=1e-5)
            assert (inside / each["inspection"]).is_file()
        assert sum(each["weight"] for each in answers["members"].values()) == pytest.approx(1)
        pictures = {path.stem for path in (inside / "maps" / variant).iterdir()}
        assert pictures == {"joint", *parts}
    for ending in ("md", "html"):
        assert "small, weight 0.714" in (inside / f"inspection.{ending}").read_text()


def test_a_folder_is_looked_into_from_a_score_on(folder: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for label in ("real", "fake"):
        shutil.copy(folder / f"faces/test/{label}/001.png", given / f"{label}.png")
    scores_of = {label: of_frame(folder, "trio", "baseline", f"{label}/001.png") for label in ("real", "fake")}
    above = str(np.mean(list(scores_of.values())))
    code, output = bench("inspect", str(given), "--variant", "trio/baseline", "--above", above, "--to",
                         str(tmp_path / "out"))  # fmt: skip
    assert code == 0, output
    rows = pd.read_parquet(tmp_path / "out/explanations.parquet").set_index("frame")
    assert rows["p_fake"].to_dict() == pytest.approx(scores_of, abs=1e-5)
    highest = max(scores_of, key=lambda label: scores_of[label])
    assert [path.parent.name for path in (tmp_path / "out").glob("*/inspection.html")] == [highest]
    assert rows["explained"].to_dict() == {label: label == highest for label in scores_of}
    assert rows.loc[highest, "target"] in {"real", "fake"}
    content = json.loads((tmp_path / f"out/{highest}/inspection.json").read_text())["variants"]["baseline"]
    real, fake = content["logits"]
    assert 1 / (1 + np.exp(real - fake)) == pytest.approx(content["p_fake"], abs=1e-6)
    assert "1 of 2 pictures explained" in output


@pytest.mark.parametrize(
    ("below", "folder_named"), [("maps", "maps/mine.png"), ("members/branched/steps", "members/branched")]
)
def test_folders_of_others_are_not_replaced_by_what_members_see(
    folder: Path, tmp_path: Path, below: str, folder_named: str
) -> None:
    (tmp_path / "003" / below).mkdir(parents=True)
    (tmp_path / "003" / below / "mine.png").touch()
    code, output = bench("inspect", "faces/test/fake/003.png", "--variant", "trio/baseline", "--to", str(tmp_path))
    assert code == 2
    assert f"{folder_named}: was not written by bench" in " ".join(output.split())
    assert [path.name for path in (tmp_path / "003").rglob("*.png")] == ["mine.png"]


def test_an_ensemble_has_no_file_to_export(folder: Path, tmp_path: Path) -> None:
    code, output = bench("export", "trio/q16", "--to", str(tmp_path / "out"))
    assert code == 2
    assert "is of an ensemble, which has no network of its own; name one of: small/q16" in " ".join(output.split())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{small: 0.5, again: 0.3, branched: 0.2}", "{small: 0.5, agian: 0.5}", "there is no 'agian' under"),
        ("branched: 0.2}", "trio: 0.2}", "'trio' is an ensemble itself"),
        ("small: 0.5, again", "small: 0, again", "small: a weight is a number above 0, found 0"),
        ("minimum: 2", "minimum: 4", "minimum is 4, and the ensemble has 3 members"),
        ("minimum: 2", "minimun: 2", "unknown key 'minimun' (did you mean 'minimum'?)"),
        ("minimum: 2", "combine: max", "with `combine: max`, weights change nothing"),
        ("minimum: 2", "weights: fit", "with `weights: fit`, weights are found: name the members alone"),
        ("{small: q16}", "{smal: q16}", "'smal' is no member of trio"),
        ("{small: q16}", "{small: q61}", "small has no variant 'q61'"),
        ("without: [again]", "without: [again, branched]", "leaves fewer members than trio needs"),
        ("p50: [prune: 0.5]", "trio/p50: [prune: 0.5]", "'trio' is an ensemble: write `p50:`"),
        ("detector: trio", "detectors: [small, again]", "`members` are those of an ensemble, and the"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_once(folder: Path, old: str, new: str, words: str) -> None:
    assert old in EXPERIMENT
    (folder / "wrong.yaml").write_text(EXPERIMENT.replace(old, new))
    code, output = bench("plan", "--file", "wrong.yaml")
    (folder / "wrong.yaml").unlink()
    assert code == 2, output
    assert words in " ".join(output.split())


def test_a_mix_of_one_ensemble_is_accepted(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments.yaml").write_text(EXPERIMENT.replace("mixed: {members", "trio/mixed: {members"))
    code, output = bench("run", "--no-timing")
    assert code == 0, output
    code, output = bench("accept", "--anyway")
    assert code == 0, output


def test_what_is_accepted_and_checked_of_an_ensemble(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are those of its members; with other rules than those of the run nothing is accepted."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert bench("accept", "--anyway")[0] == 0
    then = json.loads((tmp_path / "accepted.json").read_text())["detectors"]["trio"]
    assert "those of small, again, branched, and the rule (SHA-256 " in then
    file = tmp_path / "experiments.yaml"
    for other, words in (
        (EXPERIMENT.replace("small: 0.5", "small: 0.9"), "other members, weights or rules"),
        (EXPERIMENT.replace("without: [again]", "without: [branched]"), "other variants of its members"),
    ):
        file.write_text(other)
        code, output = bench("accept", "--anyway")
        assert code == 2
        assert words in output
    file.write_text(EXPERIMENT)
    tiny.save_weights(tmp_path / "small.tar", seed=8)
    code, output = bench("check", "--against", "accepted.json", "--anyway", "--no-timing")
    assert code in (0, 1), output
    assert "though the weights are the same" not in output
    history = json.loads((tmp_path / "results/first/history.jsonl").read_text().splitlines()[-1])
    assert len(history["weights"]["trio"]) == 64
    assert history["weights"]["trio"] not in then
