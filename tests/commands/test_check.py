"""`bench check` and `bench accept`: what a CI job sees, and what it is refused."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from sklearn.metrics import roc_auc_score

from bench.commands import check as checking
from bench.commands.check import regression
from bench.errors import UserError
from bench.files import NotWrittenError
from bench.records import Auc, Checked, Conditions, Flips, GateOutcome, Interval, Verdict
from bench.reports import checked
from bench.results import store, timing
from bench.results.score.against import Change, against, answers
from bench.variants import build
from tests.conftest import copy_source, quick_folder, write_workplace
from tests.support import ROOT, tiny
from tests.support.command_line import bench

GATES = "    gates: {baseline: {auc: 0.0}, all: {auc: 0.0, latency_ratio: 1000}, q16: {size_mib: 5, flips: 32}}\n"


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def packed(margins: np.ndarray[Any, Any]) -> dict[str, str]:
    data = margins.astype("<f4").tobytes()
    return {"margins": base64.b64encode(zlib.compress(data)).decode(), "digest": hashlib.sha256(data).hexdigest()}


# --------------------------------------------------------------------------------- what it says of outcomes
OUTCOMES = (
    GateOutcome("baseline", "auc", 0.91, Interval(0.88, 0.94), 0.85, 0.06, fell=False, proven=True),
    GateOutcome("q8", "auc_drop", 0.03, Interval(0.02, 0.04), 0.01, -0.02, fell=True, proven=False),
    GateOutcome("q8", "latency_ratio", 0.5, Interval(0.4, 1.5), 1.2, 0.7, fell=False, proven=False),
    GateOutcome("q8", "flips", 7, None, 10, 3, fell=False, proven=True),
    GateOutcome(
        "q8", "worst_slice_auc_drop", -0.012345, Interval(-0.12, -0.001), 0.1, 0.112345, False, True, "a|b=<i>"
    ),
    GateOutcome("gone", "auc", None, None, 0.5, None, fell=True, proven=False, note="it failed: \x1b no\n<room> & …"),
)
CHECKED = Checked("first", OUTCOMES, {"gone": "\x1b no\n<room> & …"}, ("q8: improved | a lot",), ("Compared.",))


def test_junit_holds_every_gate_and_every_failed_variant() -> None:
    suites = ElementTree.fromstring(checked.junit(CHECKED))
    (suite,) = suites
    cases = suite.findall("testcase")
    assert [(case.get("classname"), case.get("name")) for case in cases] == [
        *((f"first.{outcome.variant}", outcome.gate) for outcome in OUTCOMES), ("first.gone", "status"),
    ]  # fmt: skip
    failed = {(case.get("classname"), case.get("name")) for case in cases if case.find("failure") is not None}
    assert failed == {("first.q8", "auc_drop"), ("first.gone", "auc")}
    assert [case.get("name") for case in cases if case.find("error") is not None] == ["status"]
    assert not suite.findall(".//skipped")
    for counted in (suites, suite):
        assert [counted.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["7", "2", "1", "0"]
    message = suite.findall(".//failure")[0].get("message") or ""
    assert "0.0300 [0.0200, 0.0400], limit 0.01, headroom -0.0200" in message
    assert "no <room> & " in (suite.findall(".//error")[0].get("message") or "")
    assert suite.findtext("system-out") == "WARNING: q8: improved | a lot"


def test_terminal_is_ascii_of_eighty_columns() -> None:
    text = checked.terminal(CHECKED)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"auc_drop +0\.0300 \[0\.0200, 0\.0400\] +0\.01 +-0\.0200 FELL", text)
    assert re.search(r"latency_ratio +0\.50 \[0\.40, 1\.50\] +1\.2 +0\.70 not proven", text)
    assert re.search(r"flips +7 +10 +3 ok", text)
    assert text.splitlines()[0].startswith("WARNING: q8: improved")
    assert text.splitlines()[-1] == "2 of 6 gates fell, 1 variant failed"


def test_names_and_numbers_of_any_length_keep_to_eighty_columns() -> None:
    odd = GateOutcome(
        "ж" * 60 + " 頭" * 20, "auc_change", -12e-7, Interval(-14e-7, -11e-7), -1e-6, -2e-7, True, False, "é" * 200
    )
    text = checked.terminal(Checked("x", (odd,), {"頭" * 90: "→ ж"}, remarks=("é " * 90,)))
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert "-0.0000012 [-0.0000014, -0.0000011], -0.000001, -0.0000002 FELL" in " ".join(text.split())


@pytest.mark.parametrize(
    ("gate", "value", "ends", "limit", "cells"),
    [
        ("auc_drop", 0.00004, (0.00003, 0.00006), 0.00002, ("0.00004 (0.00003, 0.00006)", "0.00002", "−0.00002")),
        ("size_mib", 30.0004, (), 30.0, ("30.0004", "30", "−0.0004")),
        ("size_mib", 30.0, (), 30.0, ("30.00", "30", "0.00")),
        ("flips", 1234568, (), 1234567, ("1,234,568", "1234567", "−1")),
        ("size_change", 0.01004, (), 0.01, ("+1.004 %", "+1 %", "−0.004 %")),
        ("auc_change", 0.0, (0.0, 0.0), -0.01, ("0.0000 (0.0000, 0.0000)", "−0.01", "+0.0100")),
    ],
)  # fmt: skip
def test_what_differs_looks_different(
    gate: str, value: float, ends: tuple[float, ...], limit: float, cells: tuple[str, str, str]
) -> None:
    room = value - limit if gate == "auc_change" else limit - value
    outcome = GateOutcome("q8", gate, value, Interval(*ends) if ends else None, limit, room, True, False)
    assert f"| {' | '.join(cells)} |" in checked.markdown(Checked("x", (outcome,), {}))


def test_footnote_of_the_comparison_stands_with_a_comparison_only() -> None:
    compared = GateOutcome("q8", "auc_change", 0.0, None, -0.01, 0.01, False, True)
    assert "`auc_change` falls where" in checked.markdown(Checked("x", (compared,), {}))
    assert "`auc_change`" not in checked.markdown(CHECKED)


def test_headlines() -> None:
    assert checked.headline(Checked("x", OUTCOMES[:1], {})) == "1 gate passed"
    assert checked.headline(Checked("x", (), {})) == "no gate to judge"
    assert checked.headline(Checked("x", OUTCOMES[2:4], {})) == "2 gates passed, 1 of them not proven"


def test_markdown_escapes_names_and_puts_falls_first() -> None:
    html = MarkdownIt("commonmark").enable("table").render(checked.markdown(CHECKED))
    rows = re.findall(r"<tr>\n(.*?)</tr>", html, flags=re.DOTALL)[1:]
    assert len(rows) == len(OUTCOMES)
    assert ["fell" in row for row in rows] == [True, True, False, False, False, False]
    assert "a|b=&lt;i&gt;" in html
    assert "<room>" not in html
    assert "\x1b" not in html
    assert html.index("improved | a lot") < html.index("2 of 6 gates fell") < html.index("<table>")


def test_github_page_is_appended_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    checked.write(CHECKED, tmp_path / "a/check.xml", tmp_path / "a/check.md")
    assert checked.append_to_page(CHECKED) is None
    assert page.read_text(encoding="utf-8") == "before\n" + (tmp_path / "a/check.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["check.md", "check.xml"]


def test_nobody_is_called_by_a_summary() -> None:
    text = checked.markdown(replace(CHECKED, failed={"q16": "RuntimeError: @torch.jit is refused"}))
    assert "@torch" not in text
    assert "@\u200btorch" in text


def test_what_check_did_not_write_is_kept(tmp_path: Path) -> None:
    junit, summary, of_user = (tmp_path / name for name in ("check.xml", "check.md", "mine.txt"))
    checked.refuse_unwritable(junit, summary)
    junit.touch()
    checked.refuse_unwritable(junit, summary)
    checked.write(CHECKED, junit, summary)
    checked.refuse_unwritable(junit, summary)
    of_user.write_bytes(b"\xff mine")
    for pair, option in (
        ((of_user, summary), "--junit"), ((junit, of_user), "--summary"), ((summary, junit), "--junit"),
        ((junit, tmp_path / "a/../check.xml"), "both are"), ((of_user / "a/check.xml", summary), "--junit"),
        ((tmp_path, summary), "expected a file"), ((Path("/dev/null"), summary), "--junit"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=option):
            checked.refuse_unwritable(*pair)


# ----------------------------------------------------------------------------------------- the comparison
def test_against_itself_and_against_worse_and_better() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200).astype(np.int8)
    good = (rng.normal(size=400) + 3 * labels).astype(np.float32)
    bad = (good + 2 * rng.normal(size=400)).astype(np.float32)
    accepted, other = answers(good), answers(bad)
    same = against(labels, None, accepted, accepted, 0.5, 0.01)
    assert same
    assert (same.delta.value, same.verdict, same.flips.worse, same.flips.better) == (0.0, "stable", 0, 0)
    worse, better = against(labels, None, accepted, other, 0.5, 0.01), against(labels, None, other, accepted, 0.5, 0.01)
    assert worse
    assert better
    assert (worse.verdict, better.verdict) == ("degraded", "improved")
    assert worse.delta.value == pytest.approx(roc_auc_score(labels, bad) - roc_auc_score(labels, good))
    wrong = [(margins >= 0) != labels for margins in (good, bad)]
    assert worse.flips.worse == better.flips.better == int((wrong[1] & ~wrong[0]).sum())
    assert against(np.ones(400, dtype=np.int8), None, accepted, other, 0.5, 0.01) is None


# ------------------------------------------------------------------------------------------- whole commands
@pytest.fixture(scope="module")
def accepted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two variants were run and accepted."""
    with quick_folder(tmp_path_factory, "accepted") as folder:
        write_workplace(folder)
        file = folder / "experiments.yaml"
        text = re.sub(r"      q8: .*", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        file.write_text(text.replace("    device: cpu\n", f"    device: cpu\n{GATES}"), encoding="utf-8")
        code, output = bench("run")
        assert code == 0, output
        code, output = bench("accept")
        assert code == 0, output
        assert "KiB" in output
    return folder


@pytest.fixture
def accepted(workplace: Path, accepted_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(accepted_once, workplace, dirs_exist_ok=True)
    monkeypatch.chdir(workplace)
    return workplace


def settle(folder: Path, old: str, new: str) -> None:
    file = folder / "experiments.yaml"
    assert old in file.read_text(encoding="utf-8")
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_check_passes_and_a_gate_that_fell_is_exit_code_1(accepted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(build, "_build", fail)
    monkeypatch.setattr(timing, "measure", fail)
    code, output = bench("check")
    assert code == 0, output
    settle(accepted, "size_mib: 5", "size_mib: 0.001")
    code, output = bench("check", "--junit", "ci/out.xml", "--summary", "ci/out.md")
    assert code == 1, output
    assert re.search(r"size_mib .* FELL", output)
    failures = ElementTree.parse(accepted / "ci/out.xml").findall(".//failure")
    assert len(failures) == 1
    assert "❌" in (accepted / "ci/out.md").read_text(encoding="utf-8")
    assert not ElementTree.parse(accepted / "reports/first/check.xml").findall(".//failure"), "that of the run before"


def test_a_failed_variant_is_exit_code_3_and_falls(accepted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(accepted, "[cast: fp16]", "[cast: bf16]")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such arithmetic")

    monkeypatch.setattr("bench.variants.steps.cast.apply", fail)
    code, output = bench("check", "--against", "accepted.json")
    assert code == 3, output
    cases = ElementTree.parse(accepted / "reports/first/check.xml").findall(".//testcase")
    q16 = {case.get("name"): [part.tag for part in case] for case in cases if case.get("classname") == "first.q16"}
    assert q16["status"] == ["error"]
    assert set(q16) == {"auc", "latency_ratio", "size_mib", "flips", "auc_change", "status"}
    assert all(tags == ["failure"] for name, tags in q16.items() if name != "status")


@pytest.fixture
def all_failed(accepted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run in which no variant can be timed."""

    def fail(subjects: Any, *_: Any) -> timing.Timings[Any]:
        return timing.Timings({}, dict.fromkeys(subjects, RuntimeError("no clock")), Conditions("", 0.0, 2, {}))

    monkeypatch.setattr(timing, "measure", fail)
    settle(accepted, "seconds: 0.02", "seconds: 0.03")
    return accepted


def test_where_every_variant_fails_there_is_a_report_all_the_same(all_failed: Path) -> None:
    for command in ("run", "report"):
        code, output = bench(command)
        assert code == 3, output
        assert "no clock" in output
    assert "no clock" in (all_failed / "reports/first/report.md").read_text(encoding="utf-8")
    for arguments in ((), ("--against", "accepted.json")):
        code, output = bench("check", *arguments)
        assert code == 3, output
        assert re.search(r"log, with what failed: results/first/run-.*\.log", output)
        suites = ElementTree.parse(all_failed / "reports/first/check.xml").getroot()
        assert (suites.get("errors"), suites.get("failures")) == ("2", "7" if arguments else "5")
    assert "no clock" in (all_failed / "reports/first/check.md").read_text(encoding="utf-8")
    code, output = bench("accept")
    assert code == 2, output
    assert "every variant failed" in output


def test_what_must_be_read_first_is_in_the_summary(accepted: Path) -> None:
    assert bench("check")[0] == 0
    mark, *lines = (accepted / "reports/first/check.md").read_text(encoding="utf-8").splitlines()
    assert mark == "<!-- bench: first -->"
    assert lines[0].startswith("### ")
    assert "The baseline's AUC is" in lines[2]
    assert "The baseline's AUC is" in (accepted / "reports/first/check.xml").read_text(encoding="utf-8")


def test_each_check_is_noted_and_drawn(accepted: Path) -> None:
    assert bench("check")[0] == 0
    settle(accepted, "size_mib: 5", "size_mib: 0.001")
    code, output = bench("check")
    assert (code, "could not be noted" in output) == (1, False), output
    file = accepted / "results/first/history.jsonl"
    then, now = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    scores = json.loads((accepted / "reports/first/scores.json").read_text(encoding="utf-8"))
    q16 = scores["variants"]["q16"]
    assert (then["outcome"], now["outcome"]) == ("passed", "fell")
    assert now["variants"]["q16"] == {
        **{key: q16[key] for key in ("auc", "auc_delta", "auc_delta_ci", "verdict", "size_mib")},
        "latency_ms": q16["latency_ms"]["p50"], "fell": ["size_mib"],
    }  # fmt: skip
    assert now["frames"] == {"": scores["frames"]["test"]["digest"]}
    assert now["weights"] == {"mine": hashlib.sha256((accepted / "best_model.tar").read_bytes()).hexdigest()}
    code, output = bench("history")
    assert code == 0
    assert "FELL: size_mib" in output
    assert (accepted / "reports/first/history.png").exists()
    assert bench("check", "--history", "kept.jsonl")[0] == 1
    assert len((accepted / "kept.jsonl").read_text().splitlines()) == 1
    code, output = bench("check", "--history", "experiments.yaml")
    assert (code, "--history: experiments.yaml was not written by `bench check`" in output) == (2, True)
    assert len(file.read_text().splitlines()) == 2


def test_other_test_frames_are_told_in_the_history(accepted: Path) -> None:
    assert bench("check")[0] == 0
    (accepted / "faces/test/real/000.png").unlink()
    assert bench("check")[0] in (0, 1)
    code, output = bench("history", "--to", "picture.svg")
    assert code == 0
    first, rest = output.split("other test frames from here on")
    assert (first.count("\n20"), rest.partition("baseline:")[0].count("\n20")) == (1, 1)
    assert "other frames" not in output


def test_files_of_the_user_are_not_written_over(accepted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "run", lambda *_, **__: pytest.fail("work before the refusal"))
    for arguments in (
        ("--junit", "experiments.yaml"), ("--summary", "best_model.tar"), ("--junit", "accepted.json"),
        ("--junit", "out", "--summary", "out"), ("--summary", "reports/first/check.xml"),
        ("--junit", "best_model.tar/out.xml"), ("--summary", "reports"),
    ):  # fmt: skip
        code, output = bench("check", *arguments)
        assert (code, output.startswith("error: --")) == (2, True), output


def test_a_page_that_cannot_be_written_to_leaves_the_verdict(accepted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(accepted / "not/there.md"))
    code, output = bench("check")
    assert code == 0, output
    assert "warning: GITHUB_STEP_SUMMARY" in output


def test_a_disk_that_fills_up_does_not_swallow_the_verdict(accepted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise NotWrittenError(errno.ENOSPC, "No space left on device", "check.xml")

    monkeypatch.setattr(checked, "write_text", full)
    code, output = bench("check")
    assert code == 2, output
    assert "gates passed" in output


@pytest.mark.parametrize("gates", ["{all: {auc: }}", "{q16: {size_mib: null}}", "{all: {latency_ratio: .inf}}"])
def test_limits_that_guard_nothing_are_refused(gates: str, accepted: Path) -> None:
    settle(accepted, GATES, f"    gates: {gates}\n")
    code, output = bench("check")
    assert code == 2, output
    assert re.search(r"line 1[12]: experiments\.first\.gates", output), output


def test_a_check_of_nothing_is_refused(accepted: Path) -> None:
    settle(accepted, GATES, "    gates: {q16: {size_mib: 5}}\n")
    code, output = bench("check", "--only", "baseline")
    assert code == 2, output
    assert "no gate holds for baseline" in output
    assert bench("check", "--anyway", "--only", "baseline", "--against", "accepted.json")[0] == 0


def test_without_gates_it_shows_how_to_add_one(accepted: Path) -> None:
    settle(accepted, GATES, "")
    code, output = bench("check")
    assert code == 2
    assert "gates:" in output
    assert "auc_drop: 0.01" in output
    assert bench("check", "--anyway", "--against", "accepted.json")[0] == 0


def test_the_baseline_asked_to_be_compared_with_itself(accepted: Path) -> None:
    settle(accepted, "baseline: {auc: 0.0}", "baseline: {auc_drop: 0.1, size_mib: 9}")
    code, output = bench("check")
    assert code == 2
    assert "line 11: experiments.first.gates.baseline.auc_drop" in output
    assert "with itself" in output


def test_only_judges_what_it_names(accepted: Path) -> None:
    settle(accepted, "size_mib: 5", "size_mib: 0.001")
    assert bench("check", "--only", "q16", "--against", "accepted.json")[0] == 1
    code, output = bench("check", "--only", "baseline", "--against", "accepted.json")
    assert code == 0, output
    assert "Not judged, since --only leaves them out: q16" in output


def test_accepting_again_changes_nothing(accepted: Path) -> None:
    path = accepted / "accepted.json"
    edit(path, lambda content: content.update(accepted="2001-02-03"))
    before = path.read_bytes()
    code, output = bench("accept")
    assert code == 0, output
    assert path.read_bytes() == before
    edit(path, lambda content: content.update(threshold=0.25))
    assert bench("accept")[0] == 0
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["threshold"] == 0.5
    assert content["accepted"] != "2001-02-03"


def test_accepted_file_is_small_and_tells_no_frame(accepted: Path) -> None:
    text = (accepted / "accepted.json").read_text(encoding="utf-8")
    content = json.loads(text)
    assert len(text) < 5000
    assert ".png" not in text
    assert content["frames"]["test"]["count"] == 32
    logits = store.read_logits(accepted / "results/first/q16")[:32]
    repacked = packed(logits[:, 1] - logits[:, 0])
    assert content["variants"]["q16"]["digest"] == repacked["digest"]
    assert zlib.decompress(base64.b64decode(content["variants"]["q16"]["margins"])) == zlib.decompress(
        base64.b64decode(repacked["margins"])
    )


def test_the_same_weights_change_nothing(accepted: Path) -> None:
    code, output = bench("check", "--against", "accepted.json")
    assert code == 0, output
    assert len(re.findall(r"auc_change +0\.0000 \[-0\.0020, \+?0\.0020\] +-0\.01 +\+0\.0100 ok", output)) == 2
    assert output.count("stable; 0 frames worse, 0 better") == 2
    assert len(re.findall(r"size_change +0\.0 % +\+1 % +\+1\.0 % ok", output)) == 2
    assert "the same weights" in " ".join(output.split())


def perfect(folder: Path) -> np.ndarray[Any, Any]:
    """Margins of the test frames that tell every fake from every real one."""
    labels = store.read_labelled(folder / "results/first", "q16")[0].labels
    return 4.0 * labels - 2 + np.random.default_rng(1).normal(size=32) / 10


def test_degraded_falls(accepted: Path) -> None:
    edit(accepted / "accepted.json", lambda content: content["variants"]["q16"].update(packed(perfect(accepted))))
    code, output = bench("check", "--against", "accepted.json")
    assert code == 1, output
    loss = r"-[01]\.\d{4}"
    assert re.search(rf"auc_change +{loss} \[{loss}, {loss}\] +-0\.01 +{loss} FELL\n +degraded; \d+", output), output


@pytest.mark.parametrize(
    ("weights", "strict", "code"),
    [("other", False, 0), ("other", True, 1), ("the same", False, 1)],
)
def test_improvement_without_a_reason(
    weights: str, strict: bool, code: int, accepted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regression, "logit_diffs", lambda *_: perfect(accepted).astype("<f4"))
    if weights == "other":
        edit(accepted / "accepted.json", lambda text: text.update(weights="older.tar (SHA-256 0123)"))
    if strict:
        settle(accepted, "q16: {size_mib: 5,", "q16: {strict: true, size_mib: 5,")
    exit_code, output = bench("check", "--against", "accepted.json")
    assert exit_code == code, output
    text = " ".join(output.split())
    assert "WARNING: The baseline's AUC is" in text
    assert "q16: unexplained improvement" in text
    assert ("though the weights are the same" in text) == (weights == "the same")
    assert "usual sign of a leak" in (accepted / "reports/first/check.md").read_text(encoding="utf-8")


def change_of(delta: float, low: float, high: float, verdict: Verdict, further: int | None = None) -> Change:
    counts = np.zeros(1, np.int64)
    return Change(Auc(delta, Interval(low, high)), 0.5, verdict, further, Flips(1, 0, 1.0, counts, counts == 0))


def test_strict_asks_for_the_estimate_of_a_change_too() -> None:
    """Not proven, but beyond the limit."""
    loss = change_of(-0.02, -0.05, 0.01, "inconclusive", 2862)
    outcomes = {strict: regression._auc("q8", loss, 0.01, strict, False) for strict in (False, True)}
    assert (outcomes[False].fell, outcomes[True].fell) == (False, True)
    assert outcomes[True].note == "inconclusive: about 3,000 further frames would settle it; 1 frame worse, 0 better"
    assert "1 further frame would" in regression._auc("q8", replace(loss, further_frames=1), 0.01, True, False).note
    within = change_of(-0.005, -0.05, 0.01, "inconclusive")
    assert not regression._auc("q8", within, 0.01, True, False).fell


@pytest.mark.parametrize(("low", "same_weights", "fell"), [(0.0009, True, False), (0.0011, True, True)])
def test_what_rounding_gains_is_no_leak(low: float, same_weights: bool, fell: bool) -> None:
    gain = change_of(0.002, low, 0.003, "stable")
    for strict in (False, True):
        outcome = regression._auc("q8", gain, 0.01, strict, same_weights)
        assert (outcome.fell, "unexplained" in outcome.note) == (fell, fell)


def test_settings_that_changed_since_are_told(accepted: Path) -> None:
    edit(accepted / "accepted.json", lambda content: content.update(margin=0.02, threshold=0.25))
    content = " ".join(bench("check", "--against", "accepted.json")[1].split())
    assert "The margin was 0.02 when the scores were accepted and is 0.01 now" in content
    assert "The threshold was 0.25 when" in content


def test_variants_that_are_gone_or_new_or_larger(accepted: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["variants"]["q4"] = content["variants"].pop("q16")
        content["variants"]["baseline"]["size_mib"] *= 0.9
        content["variants"]["baseline"]["steps"] = ["cast: bf16"]

    edit(accepted / "accepted.json", change)
    code, output = bench("check", "--against", "accepted.json")
    assert code == 1
    text = " ".join(output.split())
    assert "but it is gone from the experiment" in text
    assert "q16 is new" in text
    assert "accepted as cast: bf16, now no steps" in text
    assert re.search(r"size_change +\+11\.1 % +\+1 % +-10\.1 % FELL", output)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "damaged"),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not UTF-8"),
    "not there": (lambda path: path.unlink(), "no such file"),
    "a folder": (lambda path: [path.unlink(), path.mkdir()], "it is a folder"),  # type: ignore[func-returns-value]
    "a list": (lambda path: path.write_text("[]"), "no schema version"),
    "another schema": (lambda path: edit(path, lambda root: root.update(schema=2)), "schema version 2"),
    "another experiment": (
        lambda path: edit(path, lambda root: root.update(experiment="other")), "'other', not 'first'"),
    "other frames": (
        lambda path: edit(path, lambda root: root["frames"]["test"].update(digest="0" * 64)), "other test frames"),
    "another count": (
        lambda path: edit(path, lambda root: root["frames"]["test"].update(count=31)), "other test frames"),
    "no frames": (lambda path: edit(path, lambda root: root["frames"].clear()), "damaged"),
    "a count beyond reason": (
        lambda path: edit(path, lambda root: root["frames"]["test"].update(count=10**30)), "damaged"),
    "a count that would fill the memory": (
        lambda path: edit(path, lambda root: root["frames"]["test"].update(count=200_000_000)), "other test frames"),
    "a size of nothing": (
        lambda path: edit(path, lambda root: root["variants"]["q16"].update(size_mib=0)), "variants.q16.size_mib"),
    "a size that is no number": (
        lambda path: edit(path, lambda root: root["variants"]["q16"].update(size_mib=float("nan"))), "holds NaN"),
    "an AUC of 7": (lambda path: edit(path, lambda root: root["variants"]["q16"].update(auc=7)), "variants.q16.auc"),
    "a margin of infinity": (lambda path: edit(path, lambda root: root.update(margin=float("inf"))), "holds Infinity"),
    "an unknown key": (lambda path: edit(path, lambda root: root.update(note="mine")), "note"),
    "an unknown key of a variant": (
        lambda path: edit(path, lambda root: root["variants"]["q16"].update(note="mine")), "variants.q16.note"),
    "no variants": (lambda path: edit(path, lambda root: root["variants"].clear()), "no variant"),
    "other margins": (
        lambda path: edit(path, lambda root: root["variants"]["q16"].update(margins=packed(np.zeros(32))["margins"])),
        "do not match their digest"),
    "not finite": (
        lambda path: edit(path, lambda root: root["variants"]["q16"].update(packed(np.full(32, np.nan)))),
        "not finite"),
    "a bomb": (
        lambda path: edit(path, lambda root: root["variants"]["q16"].update(packed(np.zeros(10**6)))),
        "margins of 32 frames"),
    "no base64": (
        lambda path: edit(path, lambda root: root["variants"]["q16"].update(margins="ä!")), "variant 'q16'"),
    "a key missing": (lambda path: edit(path, lambda root: root["variants"]["q16"].pop("digest")), "digest"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_accepted_scores_that_are_refused(what: str, accepted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any work, with exit code 2; written is only that nothing was judged, over what an earlier check said."""
    change, message = REFUSED[what]
    change(accepted / "accepted.json")
    monkeypatch.setattr(checking, "run", lambda *_, **__: pytest.fail("work before the refusal"))

    def written() -> dict[Path, int]:
        rooms = (accepted / room for room in ("variants", "results", "reports"))
        paths = (path for room in rooms for path in room.rglob("*") if path.is_file() and path not in (summary, junit))
        return {path: path.stat().st_mtime_ns for path in paths}

    summary, junit = accepted / "reports/first/check.md", accepted / "reports/first/check.xml"
    before = written()
    code, output = bench("check", "--against", "accepted.json")
    assert code == 2, output
    assert "\nerror: accepted.json: " in f"\n{output}", output
    assert message in output
    assert len(output) < 800
    assert before == written()
    assert "### ❌ bench check: first\n\n**could not be judged**" in summary.read_text(encoding="utf-8")
    (error,) = ElementTree.parse(junit).findall(".//testcase/error")
    assert message in str(error.text)


def test_new_frames_are_refused(accepted: Path) -> None:
    (accepted / "faces/test/real/000.png").unlink()
    code, output = bench("check", "--against", "accepted.json")
    assert code == 2
    assert "32 with digest" in output
    assert "31 with digest" in output
    assert "`bench accept`" in output


def test_accept_is_refused(accepted: Path) -> None:
    """Into another experiment's file, over a file of another kind, from results that are stale or not there."""
    path = accepted / "accepted.json"
    edit(path, lambda content: content.update(experiment="other"))
    before = path.read_bytes()
    code, output = bench("accept")
    assert (code, path.read_bytes()) == (2, before)
    assert "--to accepted-first.json" in output
    before = (accepted / "experiments.yaml").read_bytes()
    assert bench("accept", "--to", "experiments.yaml")[0] == 2
    assert (accepted / "experiments.yaml").read_bytes() == before
    settle(accepted, "[cast: fp16]", "[cast: bf16]")
    code, output = bench("accept", "--to", "new.json")
    assert code == 2
    assert "`bench run` brings them up to date" in output
    shutil.rmtree(accepted / "results")
    code, output = bench("accept", "--to", "new.json")
    assert code == 2
    assert "`bench run` makes them" in output
    assert not (accepted / "new.json").exists()


def test_a_variant_that_is_guarded_is_not_lost_by_accepting(accepted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(accepted, "[cast: fp16]", "[cast: bf16]")
    with monkeypatch.context() as patch:
        patch.setattr("bench.variants.steps.cast.apply", lambda *_, **__: 1 / 0)
        assert bench("run", "--no-timing")[0] == 3
    before = (accepted / "accepted.json").read_bytes()
    code, output = bench("accept")
    assert code == 2
    assert "accepted.json: holds q16 (failed (" in output
    assert (accepted / "accepted.json").read_bytes() == before
    code, output = bench("accept", "--anyway")
    assert code == 0
    assert "left out q16: failed" in output
    assert list(json.loads((accepted / "accepted.json").read_text())["variants"]) == ["baseline"]
    assert bench("accept")[0] == 0, "what is not guarded is not lost"


def test_an_earlier_verdict_does_not_stand_for_a_check_that_ended(
    accepted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = accepted / "reports/first/check.md"
    assert bench("check")[0] == 0
    assert "bench check: first" in summary.read_text(encoding="utf-8")
    assert re.search(r"\(20\d\d-\d\d-\d\d \d\d:\d\d UTC", summary.read_text(encoding="utf-8"))
    monkeypatch.setattr(checking, "run", lambda *_, **__: 1 / 0)
    assert bench("check")[0] == 70
    assert "- ZeroDivisionError: division by zero" in summary.read_text(encoding="utf-8")


def test_predictions_of_another_run_are_not_judged(accepted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with other weights has ended between the evaluation and the comparison."""
    from bench.pipeline import run

    def and_another(*given: Any, **settings: Any) -> Any:
        finished = run(*given, **settings)
        with monkeypatch.context() as patch:
            patch.setattr(checking, "run", run)
            tiny.save_weights(accepted / "best_model.tar", seed=1)
            assert bench("run", "--no-timing")[0] == 0
        return finished

    monkeypatch.setattr(checking, "run", and_another)
    code, output = bench("check", "--against", "accepted.json", "--no-timing")
    assert code == 2
    assert "another run, with other settings, frames or weights, wrote its results here" in output


@pytest.mark.parametrize("what", ["weights", "frames", "seed", "steps", "runtime"])
def test_stale_results_are_not_accepted(what: str, accepted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if what == "weights":
        tiny.save_weights(accepted / "best_model.tar", seed=1)
    elif what == "frames":
        (accepted / "faces/test/real/000.png").unlink()
    elif what == "steps":
        settle(accepted, "[cast: fp16]", "[cast: bf16]")
    elif what == "runtime":
        settle(accepted, "    device: cpu\n", "    device: cpu\n    runtime: openvino\n")
    else:
        monkeypatch.setattr("bench.variants.steps.cast.SEEDED", True)
        assert bench("run")[0] == 0
        assert bench("accept")[0] == 0
        settle(accepted, "    device: cpu\n", "    device: cpu\n    seed: 1\n")
    before = (accepted / "accepted.json").read_bytes()
    code, output = bench("accept")
    assert code == 2, output
    assert "`bench run` brings them up to date" in output
    reasons = {"weights": "other weights", "frames": "other test frames", "runtime": "another runtime than openvino"}
    reason = reasons.get(what, "(q16)")
    assert reason in output
    assert (accepted / "accepted.json").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "is_replaced"),
    [
        ("accepted.json", b"{\n", False), ("accepted-notes.txt", b"my notes", False),
        ("accepted.zip", b"PK\x03\xff", False),
        ("other.json", b'{\n "schema": 1,\n "bench": "0.1.0",\n "exp', True), ("empty.json", b"", True),
        ("reports/first/scores.json", None, False), ("results/first/run.json", None, False),
    ],
)  # fmt: skip
def test_only_a_reference_is_replaced(name: str, content: bytes | None, is_replaced: bool, accepted: Path) -> None:
    path = accepted / name
    if content is not None:
        path.write_bytes(content)
    before = path.read_bytes()
    code, output = bench("accept", "--to", name)
    assert (code == 0, path.read_bytes() != before) == (is_replaced, is_replaced), output


def test_margins_that_are_damaged_are_written_anew(accepted: Path) -> None:
    path = accepted / "accepted.json"
    before = path.read_bytes()
    edit(path, lambda content: content["variants"]["q16"].update(margins="AAAA"))
    assert bench("accept")[0] == 0
    assert path.read_bytes() == before


def test_a_damaged_reference_can_be_written_anew(accepted: Path) -> None:
    path = accepted / "accepted.json"
    path.write_bytes(path.read_bytes()[:-40])
    assert bench("accept")[0] == 0
    assert bench("check", "--against", "accepted.json")[0] == 0


# ------------------------------------------------------------------------------------------- the workflow
TEMPLATE = ROOT / "bench/commands/init/github-workflow.yml"
COMMENT = "Comment on the pull request"


def test_page_shows_the_template() -> None:
    page = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    shown = page.split("<!-- workflow -->\n```yaml\n")[1].split("```\n<!-- /workflow -->")[0]
    assert shown == TEMPLATE.read_text(encoding="utf-8")


def test_workflow_is_one() -> None:
    workflow = yaml.load(TEMPLATE.read_text(encoding="utf-8"), yaml.BaseLoader)
    assert set(workflow) == {"name", "on", "permissions", "concurrency", "env", "jobs"}
    assert workflow["on"]["push"] == {"branches": ["main", "master"]}, "whose caches every pull request sees"
    (job,) = workflow["jobs"].values()
    (cache,) = [step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/cache")]
    assert "github.run_id" in cache["key"]
    assert cache["key"].startswith(cache["restore-keys"])
    assert set(job) == {"runs-on", "timeout-minutes", "steps"}
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write"}
    (comment,) = [step for step in job["steps"] if step.get("name") == COMMENT]
    assert "github.event_name == 'pull_request'" in comment["if"]
    assert "head.repo.full_name == github.repository" in comment["if"], "a fork's token may not write"
    assert comment.pop("continue-on-error") == "true"
    for step in job["steps"]:
        assert set(step) <= {"uses", "with", "name", "run", "if", "env"}
        assert ("uses" in step) != ("run" in step)
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/checkout@v6"))


@pytest.fixture
def fresh_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with nothing but bench's source in tools/bench and what `bench init --github` writes."""
    repository, programs = tmp_path / "repository", tmp_path / "bin"
    (repository / "tools").mkdir(parents=True)
    programs.mkdir()
    (repository / "tools/bench").symlink_to(ROOT, target_is_directory=True)
    assert bench("init", str(repository), "--github")[0] == 0
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return repository


def program(repository: Path, name: str, script: str) -> None:
    path = repository.parent / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def steps_of(repository: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Each `run:` of the workflow as it lies there, with the environment that it gets."""
    workflow = yaml.load((repository / ".github/workflows/bench.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    (job,) = workflow["jobs"].values()
    page = {"GITHUB_STEP_SUMMARY": str(repository.parent / "page.md"), **workflow["env"]}
    # What no secret was set for is an empty text.
    return {
        step["name"]: (step["run"], page | dict.fromkeys(step.get("env", {}), ""))
        for step in job["steps"]
        if "run" in step
    }


def step(repository: Path, name: str) -> subprocess.CompletedProcess[str]:
    """A step of the workflow in the shell that GitHub takes."""
    script, environment = steps_of(repository)[name]
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(
        command, cwd=repository, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_steps_of_the_workflow_in_a_shell(fresh_repository: Path) -> None:
    record = fresh_repository.parent / "called.txt"
    for name in ("python", "bench"):
        program(fresh_repository, name, f'echo {name} "$@" >> {record}; exit ${{ENDS:-0}}')
    assert list(steps_of(fresh_repository)) == ["Install bench", "Check", COMMENT], "another step is rehearsed too"
    for file in ("constraints.txt", "pyproject.toml"):
        assert (fresh_repository / "tools/bench" / file).exists()
    assert step(fresh_repository, "Install bench").returncode == 0
    assert step(fresh_repository, "Check").returncode == 0
    (fresh_repository / "accepted.json").write_text("{}")
    assert step(fresh_repository, "Check").returncode == 0
    assert record.read_text(encoding="utf-8").splitlines() == [
        "python -m pip install -c tools/bench/constraints.txt tools/bench",
        "bench check demo",
        "bench check demo --against accepted.json",
    ]
    program(fresh_repository, "bench", "exit 1")
    assert step(fresh_repository, "Check").returncode == 1, "a gate that fell must end the job"


GH = """
import json, os, pathlib, subprocess, sys
folder = pathlib.Path(os.environ["RECORDS"])
arguments = sys.argv[1:]
path = next(each for each in arguments if each.startswith("repos/"))
if "--jq" in arguments:
    assert "--paginate" in arguments
    for page in sorted(folder.glob("page-*.json")):
        expression = arguments[arguments.index("--jq") + 1]
        subprocess.run(["jq", "--raw-output", expression, str(page)], check=True)
else:
    method = arguments[arguments.index("--method") + 1]
    body = arguments[arguments.index("-F") + 1].removeprefix("body=@")
    record = {"method": method, "path": path, "body": pathlib.Path(body).read_text(encoding="utf-8")}
    (folder / "sent.json").write_text(json.dumps(record))
"""


def commented(repository: Path, comments: list[list[dict[str, Any]]], summary: str | None) -> dict[str, str] | None:
    """What the step of the workflow sends to GitHub where a pull request has these comments, page by page."""
    records = repository.parent / "records"
    records.mkdir(exist_ok=True)
    (records / "sent.json").unlink(missing_ok=True)
    (records / "gh.py").write_text(GH, encoding="utf-8")
    program(repository, "gh", f'exec {sys.executable} {records / "gh.py"} "$@"')
    for number, page in enumerate(comments):
        (records / f"page-{number}.json").write_text(json.dumps(page), encoding="utf-8")
    (repository / "reports/demo").mkdir(parents=True, exist_ok=True)
    (repository / "reports/demo/check.md").unlink(missing_ok=True)
    if summary is not None:
        (repository / "reports/demo/check.md").write_text(summary, encoding="utf-8")
    script, environment = steps_of(repository)[COMMENT]
    environment |= {"RECORDS": str(records), "RUNNER_TEMP": str(records), "GITHUB_REPOSITORY": "owner/name",
                    "PULL_REQUEST": "7", "GH_TOKEN": "secret"}  # fmt: skip
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=repository, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sent = records / "sent.json"
    return json.loads(sent.read_text(encoding="utf-8")) if sent.exists() else None


@pytest.mark.skipif(shutil.which("jq") is None, reason="no jq")
def test_summary_is_a_single_comment_that_is_updated(fresh_repository: Path) -> None:
    def comment(number: int, body: str, login: str = "github-actions[bot]") -> dict[str, Any]:
        return {"id": number, "body": body, "user": {"login": login}}

    summary, other = (checked.markdown(replace(CHECKED, experiment=name)) for name in ("demo", "demo-2"))
    elsewhere = [
        comment(1, "Looks good"),
        comment(2, other),
        comment(3, summary, "mallory"),
        comment(4, f"> {summary}"),
    ]
    assert commented(fresh_repository, [elsewhere], summary) == {
        "method": "POST", "path": "repos/owner/name/issues/7/comments", "body": summary
    }  # fmt: skip
    pages = [
        elsewhere,
        [comment(5, checked.markdown(replace(CHECKED, experiment="demo", outcomes=()))), comment(6, "x")],
    ]
    assert commented(fresh_repository, pages, summary) == {
        "method": "PATCH", "path": "repos/owner/name/issues/comments/5", "body": summary
    }  # fmt: skip
    assert commented(fresh_repository, pages, None) is None, "nothing was judged"
    long = commented(fresh_repository, pages, summary + "é" * 100_000)
    assert long is not None
    assert summary < long["body"]
    assert len(long["body"].encode()) <= 60_000


def test_ids_of_comments_are_hidden_and_tell_experiments_apart() -> None:
    names = ["demo", "demo-2", "a--b", "a-b", "x-->", "<!--", "é"]
    ids = [checked.comment_id(name) for name in names]
    assert len(set(ids)) == len(ids)
    assert not any(first != second and first.startswith(second) for first in ids for second in ids)
    for each in ids:
        (token,) = MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(each)
        assert token.type == "html_block"
        assert each.count("--") == 2
    assert checked.markdown(CHECKED).startswith(f"{checked.comment_id('first')}\n### ❌ bench check: first\n")


def git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), "-c", "user.name=tests", "-c", "user.email=tests@localhost", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def cached(repository: Path) -> list[Path]:
    """What the workflow carries from one job to the next."""
    workflow = yaml.load((repository / ".github/workflows/bench.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    (job,) = workflow["jobs"].values()
    (cache,) = [step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/cache")]
    return [Path(line) for line in cache["path"].split()]


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_workflow_runs_unedited_in_a_fresh_repository(
    fresh_repository: Path, fresh_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real installation and the demo; then the next job, on a machine that is new but for what the cache keeps."""
    (fresh_repository / "tools/bench").unlink()
    copy_source(fresh_repository / "tools/bench")
    git(fresh_repository, "add", "--all")
    git(fresh_repository, "commit", "--quiet", "--message", "bench")
    for name in ("Install bench", "Check"):
        done = step(fresh_repository, name)
        assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "`bench accept demo` writes accepted.json" in page.replace("\\", "")
    assert git(fresh_repository, "status", "--porcelain") == "", "git ignores all that a job makes"
    subprocess.run(["bench", "accept", "demo"], cwd=fresh_repository, check=True)
    git(fresh_repository, "add", "accepted.json")
    git(fresh_repository, "commit", "--quiet", "--message", "accepted")

    next_job = tmp_path / "next"
    git(tmp_path, "clone", "--quiet", str(fresh_repository), str(next_job))
    for path in cached(next_job):
        shutil.copytree(fresh_repository / path, next_job / path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another runner"))
    before = {path: path.read_bytes() for path in next_job.glob("variants/*/variant.json")}
    done = step(next_job, "Check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "auc_change" in done.stdout
    assert {path: path.read_bytes() for path in next_job.glob("variants/*/variant.json")} == before, (
        "none is built anew"
    )
    assert git(next_job, "status", "--porcelain") == ""


def test_page_names_every_gate() -> None:
    from bench.results.limits import GateSettings

    page = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    assert all(f"| `{gate}` |" in page for gate in GateSettings.gate_names())


def test_init_writes_the_workflow(tmp_path: Path) -> None:
    code, output = bench("init", str(tmp_path), "--github")
    assert code == 0
    target = tmp_path / ".github/workflows/bench.yml"
    assert target.read_text(encoding="utf-8") == TEMPLATE.read_text(encoding="utf-8")
    assert (tmp_path / "experiments.yaml").exists()
    code, output = bench("init", str(tmp_path), "--github")
    assert code == 2
    assert "exists already" in output
    target.unlink()
    (tmp_path / "experiments.yaml").write_text("mine: 1\n")
    assert bench("init", str(tmp_path), "--github")[0] == 0
    assert (tmp_path / "experiments.yaml").read_text() == "mine: 1\n"


def test_init_leaves_a_gitignore_that_is_there_and_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\nvariants/\n")
    code, output = bench("init", str(tmp_path), "--github")
    assert code == 0
    assert (tmp_path / ".gitignore").read_text() == "mine\nvariants/\n"
    assert "add to it: /datasets/.cache/ /datasets/demo/ /datasets/.demo.* /results/ /reports/" in output
    (tmp_path / ".github/workflows/bench.yml").unlink()
    (tmp_path / ".gitignore").unlink()
    code, output = bench("init", str(tmp_path), "--github")
    assert ".gitignore" in output
    assert "was left as it is" not in output


def test_a_baseline_at_chance_neither_passes_nor_is_accepted(accepted: Path) -> None:
    (accepted / "accepted.json").unlink()
    settle(accepted, "baseline: {auc: 0.0}, ", "")
    code, output = bench("check")
    assert code == 1, output
    assert re.search(r"above_chance .* FELL", output)
    failure = ElementTree.parse(accepted / "reports/first/check.xml").find(".//failure")
    assert failure is not None
    assert "above_chance" in (failure.get("message") or "")
    text = (accepted / "reports/first/check.md").read_text(encoding="utf-8")
    assert text.splitlines()[1].startswith("### ❌")
    assert "| `above_chance` |" in text
    assert bench("check", "--anyway")[0] == 0
    code, output = bench("accept")
    assert code == 2
    assert "not proven to be better than chance" in output
    assert "--anyway" in output
    assert not (accepted / "accepted.json").exists()
    code, output = bench("accept", "--anyway")
    assert code == 0, output
    assert bench("check", "--anyway", "--against", "accepted.json")[0] == 0


def test_an_auc_gate_of_the_baseline_decides_about_chance(accepted: Path) -> None:
    (accepted / "accepted.json").unlink()
    settle(accepted, "baseline: {auc: 0.0}", "baseline: {auc: 1.0, strict: true}")
    code, output = bench("check")
    assert code == 1, output
    assert "above_chance" not in output
    code, output = bench("accept")
    assert code == 2
    assert "its own gate `auc: 1`" in output
    assert not (accepted / "accepted.json").exists()


def test_a_gate_that_is_not_proven_has_a_sign_of_its_own() -> None:
    proven = GateOutcome("q8", "flips", 7, None, 10, 3, fell=False, proven=True)
    unproven = replace(OUTCOMES[2])
    text = checked.markdown(Checked("x", (proven, unproven), {}))
    assert text.splitlines()[1] == "### 🟡 bench check: x"
    assert [row.count("✅") for row in text.splitlines() if row.startswith("| q8")] == [1, 0]
    assert checked.markdown(Checked("x", (proven,), {})).splitlines()[1].startswith("### ✅")


def test_without_accepted_scores_the_summary_says_how_to_accept(accepted: Path) -> None:
    (accepted / "accepted.json").unlink()
    code, output = bench("check")
    assert code == 0, output
    assert "bench accept first" in " ".join(output.split())
