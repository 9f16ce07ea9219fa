"""A search for the smallest or fastest variant, from the experiment file to the report."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import pipeline
from bench.commands.plan import forecast
from bench.commands.plan.text import describe
from bench.experiment import read
from bench.pipeline import Finished, estimates
from bench.pipeline.search import judging_candidates
from bench.records import Event
from bench.variants import build
from bench.variants.steps import Cost, cast, prune, quantize, recover
from tests.conftest import quick_folder, write_workplace
from tests.support.command_line import bench

VARIANTS = "    variants:"
LOSES_ANYTHING = "{find: smallest, keep: {auc_drop: 0.9}}"
"""With such limits the smallest file is right: all that can go, in half the bytes."""
FASTEST = "{find: fastest, keep: {auc_drop: 0.9}}"
MOVES_NOTHING = "{find: smallest, keep: {auc_drop: 0.9, mean_dp: 1.0e-9}}"


@pytest.fixture(autouse=True)
def _few_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    few_chains(monkeypatch)


def few_chains(patch: pytest.MonkeyPatch) -> None:
    """Those that take no seconds: two amounts, and half the bits."""
    patch.setattr(prune, "TRIED", (0.2, 0.5))
    for step in (recover, quantize):
        patch.setattr(step, "TRIED", ())
    assert cast.TRIED == ("fp16",)


def set_variants(folder: Path, **variants: str) -> Path:
    """Write these variants into the experiment file, beside the baseline."""
    path = folder / "experiments.yaml"
    head, _, _ = path.read_text().partition(VARIANTS)
    lines = [f"      {name}: {variant}" for name, variant in {"baseline": "[]", **variants}.items()]
    path.write_text("\n".join([f"{head}{VARIANTS}", *lines, ""]))
    return path


def run(path: Path, events: list[Event] | None = None, **options: Any) -> Finished:
    listen = events.append if events is not None else lambda event: None
    return pipeline.run(read(path), path, on_event=listen, **{"timing": "none", **options})


def trail_of(folder: Path, variant: str = "best") -> dict[str, Any]:
    trail: dict[str, Any] = json.loads((folder / "results/first" / variant / "search/trail.json").read_text())
    return trail


def built_links(events: list[Event]) -> list[str]:
    """What was built, of all variants."""
    return list(dict.fromkeys(event.work for event in events if event.work.startswith("building")))


@pytest.fixture(scope="module")
def searched_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with quick_folder(tmp_path_factory, "found") as folder, pytest.MonkeyPatch.context() as patch:
        few_chains(patch)
        write_workplace(folder)
        set_variants(folder, best=LOSES_ANYTHING)
        code, output = bench("run", "--no-timing")
        assert code == 0, output
        yield folder


@pytest.fixture
def searched(workplace: Path, searched_once: Path) -> Path:
    """A folder of one's own in which a search has run."""
    shutil.copytree(searched_once, workplace, dirs_exist_ok=True)
    return workplace


def test_the_smallest_is_found_and_judged_like_any_other(searched: Path) -> None:
    trail = trail_of(searched)
    taken = trail["candidates"][trail["chosen"]]
    assert taken["steps"] == ["prune: 0.5", "cast: fp16"]
    assert taken["outcome"] == "keeps"
    assert trail["chains"] == 5
    scores = json.loads((searched / "reports/first/scores.json").read_text())
    variant = scores["variants"]["best"]
    assert (variant["status"], variant["id"], variant["steps"]) == ("ok", taken["id"], taken["steps"])
    assert variant["size_mib"] * 2**20 == pytest.approx(taken["size_bytes"])
    assert variant["auc_delta"] is not None
    assert scores["searches"] == {"best": trail}


def test_the_report_has_the_trail(searched: Path) -> None:
    for name in ("report.md", "report.html"):
        report = (searched / "reports/first" / name).read_text()
        assert "How best was found" in report
        assert "prune: 0.5, cast: fp16" in report
    assert "makes the same" in (searched / "reports/first/report.md").read_text()


def test_no_test_frame_is_looked_at(searched: Path) -> None:
    """What candidates answered is of the validation frames alone."""
    import pandas as pd

    answers = list((searched / "results/first/best/search").glob("*/predictions.parquet"))
    assert len(answers) == 1 + len(trail_of(searched)["candidates"])
    for file in answers:
        assert set(pd.read_parquet(file)["split"]) == {"validation"}


def test_a_second_run_searches_and_builds_nothing(searched: Path) -> None:
    path, events = searched / "experiments.yaml", list[Event]()
    finished = run(path, events)
    assert not finished.failed
    assert not [event.work for event in events if event.work.startswith(("searching", "foretelling", "building"))]
    assert [stage.name for stage in forecast(read(path), path, timing="none").stages if stage.name == "search"] == []


def test_the_same_chain_by_hand_is_there_already(searched: Path) -> None:
    path, events = set_variants(searched, hand="[prune: 0.5, cast: fp16]"), list[Event]()
    finished = run(path, events)
    assert finished.run.variants[1].id == trail_of(searched)["candidates"][trail_of(searched)["chosen"]]["id"]
    assert not built_links(events)


def test_other_limits_are_another_search_with_what_was_built(searched: Path) -> None:
    """P(fake) may move by half of what it moved: then less is taken away."""
    moved = trail_of(searched)["candidates"][0]["judged"]["mean_dp"]
    keep = f"{{auc_drop: 0.9, mean_dp: {moved / 2:.8f}}}"
    path, events = set_variants(searched, best=f"{{find: smallest, keep: {keep}}}"), list[Event]()
    finished = run(path, events)
    first, *others = trail_of(searched)["candidates"]
    assert first["outcome"] == "loses"
    taken = next(each for each in others if each["outcome"] == "keeps")
    assert taken["judged"]["mean_dp"] <= moved / 2
    assert finished.run.variants[1].steps != ("prune: 0.5", "cast: fp16")
    assert not any("prune: 0.5" in work for work in built_links(events))


def test_where_nothing_keeps_the_verdict_the_nearest_is_shown_and_said(searched: Path) -> None:
    finished = run(set_variants(searched, best=MOVES_NOTHING))
    assert not finished.failed
    assert any("best: nothing that its search built keeps the verdict" in warning for warning in finished.warnings)
    report = finished.report.read_text()
    assert "Nothing that was built keeps the verdict there: what comes nearest was taken." in report


@pytest.fixture
def slow_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp16 is slow, as on a CPU that has to convert: the network alone, pruned as far as it goes, is fastest."""
    speeds = {"fp32": 2.0, "fp16": 0.5}

    def speedup(setup: Any, variant: str, baseline: Any, built: Any, on_event: Any) -> float:
        return speeds[built.stored]

    monkeypatch.setattr(judging_candidates, "speedup", speedup)


@pytest.mark.usefixtures("slow_halves")
def test_an_interrupted_search_goes_on_with_what_it_has_judged(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = set_variants(workplace, best=FASTEST)
    make, count = build.build, list[str]()

    def interrupted(name: str, source: Any, chain: Any, context: Any, **options: Any) -> Any:
        count.append(", ".join(use.text for use in chain))
        if len(count) == 3:
            raise KeyboardInterrupt
        return make(name, source, chain, context, **options)

    with monkeypatch.context() as patch:
        patch.setattr(build, "build", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(path, timing="due")
    assert [", ".join(each["steps"]) for each in trail_of(workplace)["candidates"]] == count[1:2]
    assert not trail_of(workplace)["ended"]
    assert "find: fastest" in describe(forecast(read(path), path))
    events: list[Event] = []
    assert run(path, events, timing="due").run.variants[1].steps == ("prune: 0.5",)
    assert [", ".join(each["steps"]) for each in trail_of(workplace)["candidates"]] == count[1:]
    assert "building best: prune: 0.5" not in built_links(events)


def test_a_chain_that_cannot_be_built_is_named_and_another_one_taken(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no such type here")

    monkeypatch.setattr(cast, "apply", fails)
    finished = run(set_variants(workplace, best=LOSES_ANYTHING))
    assert finished.run.variants[1].steps == ("prune: 0.5",)
    failed = [each for each in trail_of(workplace)["candidates"] if each["outcome"] == "failed"]
    assert failed
    assert all(each["reason"] == "ValueError: no such type here" for each in failed)
    assert "failed: ValueError: no such type here" in finished.report.read_text()


def test_a_search_that_builds_nothing_is_a_variant_that_failed_and_begins_again(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no")

    path = set_variants(workplace, best=LOSES_ANYTHING, q16="[cast: bf16]")
    with monkeypatch.context() as patch:
        for step in (cast, prune):
            patch.setattr(step, "apply", fails)
        finished = run(path)
    assert finished.failed["best"] == "no chain could be built: ValueError: no"
    row = next(variant for variant in finished.run.variants if variant.name == "best")
    assert (row.status, row.steps) == ("failed", ("find: smallest",))
    assert run(path).run.variants[1].status == "ok"
    assert all(each["outcome"] != "failed" for each in trail_of(workplace)["candidates"])


def test_the_report_holds_what_was_found_against_the_limits_on_test_frames(workplace: Path) -> None:
    strict = "{find: smallest, keep: {auc_drop: 0.5, mean_dp: 0.0000001}}"
    text = run(set_variants(workplace, best=strict)).report.read_text()
    assert "the limit of 0.5 is kept" in text
    assert re.search(r"P\(fake\) moves by [\d.]+ there: the limit of 1e-07 \*\*is missed\*\*", text)


@pytest.mark.usefixtures("slow_halves")
def test_the_fastest_is_found_by_its_times(workplace: Path) -> None:
    finished = run(set_variants(workplace, best=FASTEST), timing="due")
    assert finished.run.variants[1].steps == ("prune: 0.5",)
    assert trail_of(workplace)["candidates"][0]["speedup"] == 2.0
    assert "Times as fast" in finished.report.read_text()


def test_times_are_taken_in_turns_with_the_baseline(searched: Path) -> None:
    finished = run(set_variants(searched, best=FASTEST), timing="due")
    speedups = [each["speedup"] for each in trail_of(searched)["candidates"]]
    assert all(0.1 < speedup < 10 for speedup in speedups)
    assert finished.run.variants[1].measurements


def test_the_plan_says_what_will_be_searched(workplace: Path) -> None:
    path = set_variants(workplace, best="{find: smallest, keep: {auc_drop: 0.02}, within: {minutes: 3}}")
    plan = describe(forecast(read(path), path))
    assert "find: smallest  of 5 chains" in plan
    assert "best: at most 5 chains built" in plan
    assert "at most 0.02 of AUC lost, begun within 3 minutes" in " ".join(plan.split())


def test_reading_the_weights_is_planned_once(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The baseline's build has it, and no candidate of the search."""
    path = set_variants(workplace, best=LOSES_ANYTHING)
    monkeypatch.setattr(estimates, "WEIGHTS", Cost(1e6))
    takes = {stage.name: stage.estimate.high_s for stage in forecast(read(path), path, timing="none").stages}
    assert takes["build"] > 1e5
    assert takes["search"] < 1e4


def test_others_may_be_run_without_the_search(workplace: Path) -> None:
    path = set_variants(workplace, best=LOSES_ANYTHING, q16="[cast: fp16]")
    finished = run(path, only=["q16"])
    assert [variant.name for variant in finished.run.variants] == ["baseline", "q16"]
    assert not (workplace / "results/first/best").exists()
    assert any("best" in warning for warning in finished.run.warnings)
    assert run(path, only=["best"]).run.variants[1].steps == ("prune: 0.5", "cast: fp16")


def test_what_was_found_is_cleaned_by_nobody(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a machine that executes it in another runtime."""
    monkeypatch.chdir(searched)
    path = searched / "experiments.yaml"
    path.write_text(path.read_text().replace("    device: cpu\n", "    device: cpu\n    runtime: onnxruntime\n"))
    bench("clean", "--yes")
    trail = trail_of(searched)
    for variant in trail["candidates"][trail["chosen"]]["lineage"]:
        assert (searched / "variants" / variant / "variant.json").exists()
