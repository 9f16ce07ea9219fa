"""Why something is due again: every value that an id or a key hangs on is named when it changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import cli, experiment, pipeline, provenance
from bench.pipeline import reasons, rendered, report_reasons
from bench.pipeline.build import build_context
from bench.pipeline.forecast import rows_of
from bench.pipeline.jobs import inputs
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Prepared, Setup
from bench.records import silent
from bench.variants import ids
from tests.conftest import write_workplace
from tests.support.command_line import bench

Change = Callable[[Path], object]


def prepare_in(folder: Path) -> Prepared:
    path = folder / "experiments.yaml"
    return prepare(experiment.read(path), path)


def explained(folder: Path) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Work and reasons by variant, of those that are due for more than one list of reasons the last."""
    prepared = prepare_in(folder)
    return {name: (group.work, group.reasons) for group in reasons.due(rows_of(prepared)) for name in group.variants}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workplace in which three variants have run; copied by tests, never changed."""
    return tmp_path_factory.mktemp("finished")


@pytest.fixture
def ran(workplace: Path, finished: Path) -> Path:
    if not (finished / "experiments.yaml").exists():
        write_workplace(finished)
        head = (workplace / "experiments.yaml").read_text().partition("      q32-p50")[0]
        pruned = "p50: [prune: {amount: 0.5, ranking: magnitude, repair: false}]"
        (finished / "experiments.yaml").write_text(f"{head}      {pruned}\n")
        pipeline.run(experiment.read(finished / "experiments.yaml"), finished / "experiments.yaml")
    shutil.rmtree(workplace)
    shutil.copytree(finished, workplace)
    return workplace


def edit(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / "experiments.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def test_nothing_is_said_of_what_was_never_made(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    assert set(explained(workplace).values()) == {(("build", "evaluate", "time"), (reasons.NEW,))}
    assert "why:" not in bench("plan")[1]


def test_nothing_is_due_after_a_run(ran: Path) -> None:
    assert explained(ran) == {}
    record = (ran / "results/first" / reasons.RECORD).read_bytes()
    pipeline.run(experiment.read(ran / "experiments.yaml"), ran / "experiments.yaml")
    assert (ran / "results/first" / reasons.RECORD).read_bytes() == record


@pytest.mark.parametrize(
    ("change", "variant", "reason"),
    [
        (edit("q8: [quantize: int8]", "q8: [quantize: {weights: int8}]"), "q8", "setting weights"),
        (edit("size: 32", "size: 64"), "q8", "preprocessing size 32 → 64"),
        (edit("amount: 0.5", "amount: 0.4"), "p50", "setting amount 0.5 → 0.4"),
        (edit("seconds: 0.02", "seconds: 0.03"), "baseline", "timing seconds 0.02 → 0.03"),
        (edit("q16: [cast: fp16]", "q16: [cast: bf16]"), "q16", "setting dtype"),
        (edit("q16: [cast: fp16]", "q16: [quantize: int8]"), "q16", "step cast → quantize"),
        (edit("q16: [cast: fp16]", "q16: [prune: 0.5, cast: fp16]"), "q16", "step cast → prune"),
        (lambda f: (f / "faces/calibration/real/000.png").unlink(), "q8", "15 calibration frames instead of 16"),
        (lambda f: (f / "faces/test/real/000.png").unlink(), "q8", "31 test frames instead of 32"),
        (lambda f: shutil.rmtree(f / "faces/validation"), "q8", "no validation frames, 12 before"),
        (
            lambda f: shutil.copy(f / "faces/calibration/real/000.png", f / "faces/calibration/real/001.png"),
            "q8",
            "other calibration frames (as many as before: 16)",
        ),
        (lambda f: shutil.rmtree(f / "results/first/q8"), "q8", "gone"),
    ],
)
def test_what_a_person_changes_is_named(change: Change, variant: str, reason: str, ran: Path) -> None:
    change(ran)
    reasons_by_variant = explained(ran)
    assert any(reason in text for text in reasons_by_variant[variant][1]), reasons_by_variant


def test_a_library_is_named_in_plan_and_by_the_run(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran)
    monkeypatch.setattr(ids, "versions", lambda names: dict.fromkeys(names, "99.0"))
    prepare_in(ran)  # frames are read once in each folder, and a plan reads none
    code, output = bench("plan")
    text = " ".join(output[output.index("why:") :].split())
    assert code == 0
    assert "q8 (build, evaluate, time): torch " in text
    assert "→ 99.0" in text
    code, output = bench("run", "--only", "q16")
    assert code == 0
    assert "note: due again: baseline, q16 (build, evaluate, time): torch " in output
    log = max((ran / "results/first").glob("run-*.log")).read_text()
    assert "note: due again: " in log
    assert "→ 99.0" in log


def test_times_that_are_asked_for_again_are_not_gone(ran: Path) -> None:
    prepared = Prepared((replace(prepare_in(ran).first, timing="again"),))
    (due,) = reasons.due(rows_of(prepared))
    assert (due.work, due.reasons) == (("time",), (reasons._ASKED,))
    prepared = Prepared((replace(prepare_in(ran).first, timing="none"),))
    assert reasons.due(rows_of(prepared)) == ()


def test_a_record_is_not_believed(ran: Path) -> None:
    record = ran / "results/first" / reasons.RECORD
    value = json.loads(record.read_text())
    value["variants"]["q8"]["links"][1]["settings.activations"] = "a\x1b[2J\n::error::b" + "x" * 500
    value["variants"]["q8"]["links"][1]["versions.\x1b[2J" + "x" * 500] = "1"
    value["variants"]["q8"]["predictions"]["frames.\x1b[2J" + "x" * 500] = "1"
    record.write_text(json.dumps(value))
    shutil.rmtree(ran / "variants")
    prepared = prepare_in(ran)
    texts = [group.text for group in reasons.due(rows_of(prepared))]
    assert all(text.isprintable() and len(text) < 1000 for text in texts)
    for damage in ("[]", "{", '{"variants": {"q8": 3}}'):
        record.write_text(damage)
        assert {explanation[1] for explanation in explained(ran).values()} == {(reasons._UNKNOWN,)}


# ------------------------------------------------------------------------- no ingredient is forgotten
def leaves(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = []
    for key, inner in value.items():
        paths += leaves(inner, (*path, key)) if isinstance(inner, Mapping) else [(*path, key)]
    return paths


def changed(value: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    key, *rest = path
    return {**value, key: changed(value[key], tuple(rest)) if rest else "something else"}


def all_inputs(setup: Setup) -> list[dict[str, Any]]:
    context = build_context(setup, silent)
    inputs_of_all: list[dict[str, Any]] = []
    for chain in setup.chains.values():
        lineage = ids.of_chain(setup.source, chain, context)
        inputs_of_all += ids.inputs(setup.source, chain, lineage, context)
        for device in ("cpu", "cuda"):
            on_device: Any = replace(setup, device=device)
            inputs_of_all += inputs(on_device, lineage[-1], "torch")[1:]
    return inputs_of_all


def test_each_value_that_an_id_or_a_key_hangs_on_is_named_when_it_changes(workplace: Path) -> None:
    setup = prepare_in(workplace).first
    for made_of in all_inputs(setup):
        before = reasons._flat(made_of, setup.frames)
        for path in leaves(made_of):
            name = ".".join(path)
            now = reasons._flat(changed(made_of, path), setup.frames)
            texts = reasons.differences(before, now)
            inherited = name in reasons._INHERITED
            assert bool(texts) != inherited, name
            assert all(text.strip() for text in texts)


def test_another_machine_is_one_reason() -> None:
    before = {"machine.cpu": "A", "machine.memory": "8 GiB", "machine.python": "3.11.2"}
    now = {"machine.cpu": "B", "machine.memory": "16 GiB", "machine.python": "3.12.0"}
    assert reasons.differences(before, now) == [
        "Python 3.11.2 → 3.12.0",
        "another machine: processor A → B, memory 8 GiB → 16 GiB",
    ]


def test_results_of_an_earlier_bench_are_no_new_ones(ran: Path) -> None:
    (ran / "results/first" / reasons.RECORD).unlink()
    shutil.rmtree(ran / "variants")
    assert {explanation[1] for explanation in explained(ran).values()} == {(reasons._UNKNOWN,)}
    assert CliRunner().invoke(cli.app, ["plan", "-f", str(ran / "experiments.yaml")]).exit_code == 0


# --------------------------------------------------------------------------------------- the report alone
def of_report(folder: Path) -> str:
    prepared = prepare_in(folder)
    rows = rows_of(prepared)
    assert reasons.due(rows) == ()
    return "; ".join(report_reasons.of_reports(prepared, rows))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (edit("device: cpu", "device: cpu\n    threshold: 0.7"), "threshold 0.5 → 0.7"),
        (edit("device: cpu", "device: cpu\n    margin: 0.02"), "margin 0.01 → 0.02"),
        (edit("device: cpu", "device: cpu\n    choose: {size_mib: 60}"), "choose size_mib 60.0, new"),
        (lambda f: (f / "results/first/run.json").unlink(), "run.json is gone or damaged"),
        (lambda f: shutil.rmtree(f / "reports"), "not rendered yet, or a file of it is gone"),
        (lambda f: (f / "reports/first/report.html").write_text("another"), "not those it was rendered with"),
    ],
)
def test_it_is_said_why_only_the_report_is_due(
    change: Change, reason: str, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of_report(ran) == ""
    change(ran)
    assert reason in of_report(ran)
    monkeypatch.chdir(ran)
    assert f"  report: {of_report(ran)}" in " ".join(bench("plan")[1].split("\n"))
    assert f"note: the report is due: {of_report(ran)}" in " ".join(bench("run")[1].split())
    assert of_report(ran) == ""
    assert "why:" not in bench("plan")[1]
    assert "the report is due" not in bench("run")[1]


def test_a_report_of_another_bench_is_due(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = provenance.version("bench")
    for module in (report_reasons, rendered):
        monkeypatch.setattr(module, "version", lambda _: "99.0")
    assert of_report(ran) == f"bench {before} → 99.0"


def test_variants_that_the_report_lacks_or_no_longer_has_are_named(ran: Path) -> None:
    file = ran / "results/first/run.json"
    run = json.loads(file.read_text())
    run["variants"][1]["id"], run["variants"][2]["name"] = "0" * 16, "q7"
    names = [variant["name"] for variant in run["variants"]]
    assert names[:3] == ["baseline", "q16", "q7"]
    file.write_text(json.dumps(run))
    assert of_report(ran) == "it lacks q8; it shows another q16; it shows the removed q7"
