"""The history of checks: appended whole or not at all, read line by line, drawn; and which commit it was."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from bench.commands import history
from bench.commands.history.commit import commit_of
from bench.commands.history.text import describe
from bench.errors import UserError
from bench.records.history import Check, VariantThen
from tests.support.command_line import bench

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def check(number: int = 0, experiment: str = "first", **others: Any) -> Check:
    """A made-up check; every third one fell."""
    delta, fell = -0.001 * number, ("auc_drop",) if number % 3 == 2 else ()
    variants = {
        "baseline": VariantThen(0.98, 0.0, None, "baseline", 4.0, 10.0),
        "q8": VariantThen(0.98 + delta, delta, (delta - 0.002, delta + 0.002), "stable", 1.25, 5.0, fell),
    }
    made = Check(1, experiment, f"2026-01-{number % 28 + 1:02}T03:04:05+00:00", COMMIT, "fell" if fell else "passed",
                 variants=variants)  # fmt: skip
    return dataclasses.replace(made, **others)


def workplace_of(folder: Path, name: str = "first") -> Path:
    """A folder with an experiment of which nothing was ever run."""
    (folder / "experiments.yaml").write_text(
        "detectors:\n  demo: {architecture: efficientnet_b5, weights: demo, preprocessing: fsbi}\n"
        "datasets:\n  demo: {path: datasets/demo}\n"
        f"experiments:\n  {name}: {{detector: demo, frames: demo, variants: {{baseline: [], q16: [cast: fp16]}}}}\n"
    )
    return folder


def test_lines_come_back_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "below" / "history.jsonl"
    checks = [check(0), check(1, outcome="not proven", commit=None), check(2)]
    for each in checks:
        history.append(file, each)
    history.append(file, check(3, "second"))
    assert history.read(file, "first") == (checks, [])
    lines = file.read_text().splitlines()
    assert len(lines) == 4
    assert json.loads(lines[0])["variants"]["q8"]["auc_delta_ci"] == [-0.002, 0.002]


def test_damaged_lines_are_named_and_the_others_read(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    for number in range(2):
        history.append(file, check(number))
    whole = file.read_bytes()
    first, second = whole.splitlines()
    worse = first.replace(b'"2026-01-01', b'"someday-01')
    nan = first.replace(b"0.98,", b"NaN,", 1)
    file.write_bytes(b"\n".join([first, first[:50], b"\xff\xfe", b"[]", worse, nan, b"", second, b"["]) + b"\n")
    checks, damages = history.read(file, "first")
    assert checks == [check(0), check(1)]
    assert [damage.line for damage in damages] == [2, 3, 4, 5, 6, 9]


@pytest.mark.parametrize("left", [1, 40, 300])
def test_an_interrupted_line_does_not_take_the_next_one_with_it(left: int, tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    history.append(file, check(0))
    file.write_bytes(file.read_bytes()[:-left])
    history.refuse_other_file(file)
    history.append(file, check(1))
    checks, damages = history.read(file, "first")
    # Without its line feed alone, a line is whole.
    assert checks == ([check(0)] if left == 1 else []) + [check(1)]
    assert [damage.line for damage in damages] == ([] if left == 1 else [1])


def _append_many(file: Path, experiment: str) -> None:
    for number in range(20):
        history.append(file, check(number, experiment))


def test_several_processes_append_at_once(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    processes = [
        multiprocessing.get_context("fork").Process(target=_append_many, args=(file, f"e{number}"))
        for number in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    for number in range(4):
        checks, damages = history.read(file, f"e{number}")
        assert (len(checks), damages) == (20, [])


def test_a_disk_that_fills_up_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    file = tmp_path / "history.jsonl"
    history.append(file, check(0))
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        problem = history.note(file, check(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert problem is not None
    assert "could not be noted" in problem
    assert file.read_bytes() == before


def test_other_files_and_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.jsonl").symlink_to("notes.txt")
    for name, message in (
        ("notes.txt", "was not written by `bench check`"),
        ("folder", "it is a folder"),
        ("link.jsonl", "it is a link"),
        ("notes.txt/history.jsonl", "cannot be"),
    ):
        with pytest.raises(UserError, match=message):
            history.refuse_other_file(tmp_path / name)
    for name in ("new.jsonl", "some/where/new.jsonl"):
        history.refuse_other_file(tmp_path / name)
    with pytest.raises(OSError, match="symbolic link"):
        history.append(tmp_path / "link.jsonl", check(0))
    assert (tmp_path / "notes.txt").read_text() == "mine\n"


# ------------------------------------------------------------------------------------------------- bench history
def test_table_is_ascii_of_eighty_columns_with_the_last_checks() -> None:
    long = {"a" * 64 + "/q8 on faces": VariantThen(0.5, -0.1, (-0.2, 0.3), "inconclusive", None, None, ("auc",) * 9)}
    text = describe([check(number) for number in range(5)] + [check(5, variants=long, commit=None)], 2)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("6 checks, the last 2:\n2026-01-05 03:04 01234567 passed\n")
    assert "2026-01-05 03:04 01234567 -0.0040 (-0.0060, -0.0020) 0.9760 1.25 stable" in text
    assert "2026-01-04" not in text


@pytest.mark.figures
def test_it_is_drawn_in_colours_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace_of(tmp_path))
    file = tmp_path / "results/first/history.jsonl"
    for number in range(4):
        history.append(file, check(number, commit=None if number == 1 else COMMIT))
    with file.open("ab") as target:
        target.write(b"{half\n")
    code, output = bench("history")
    assert code == 0, output
    assert "line 5: damaged" in output
    assert "picture: reports/first/history.png" in output
    assert Image.open(tmp_path / "reports/first/history.png").size[0] > 600
    first = (tmp_path / "reports/first/history.png").read_bytes()
    assert bench("history", "--to", "again.svg")[0] == bench("history")[0] == 0
    assert (tmp_path / "reports/first/history.png").read_bytes() == first
    # matplotlib draws text as paths, each behind a comment with its words.
    picture = (tmp_path / "again.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert "<!-- 2026-01-01 01234567 -->" in picture
    assert "<!-- 2026-01-02 03:04 -->" in picture


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, (), "no history yet; every `bench check` appends a line"),
        ("{}\n", (), "has no check of 'first', and 1 lines are damaged"),
        ("{}\n", ("--to", "x.pdf"), "expected .png or .svg"),
    ],
)
def test_without_a_history_it_says_what_makes_one(
    content: str | None, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace_of(tmp_path))
    if content is not None:
        (tmp_path / "results/first").mkdir(parents=True)
        (tmp_path / "results/first/history.jsonl").write_text(content)
    code, output = bench("history", *arguments)
    assert code == 2
    assert message in " ".join(output.split())


# ---------------------------------------------------------------------------------------------------- the commit
def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=tests", "-c", "user.email=tests@localhost", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=clean).stdout.strip()


def test_commit_is_that_of_git_in_every_kind_of_repository(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    assert commit_of(tmp_path / "none") is None
    git(tmp_path, "init", "--quiet", "--initial-branch", "a/b", str(repository))
    assert commit_of(repository) is None, "nothing is committed yet"
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "x")
    head = git(repository, "rev-parse", "HEAD")
    (repository / "deep/er").mkdir(parents=True)
    assert commit_of(repository) == commit_of(repository / "deep/er") == head
    git(repository, "pack-refs", "--all")
    assert commit_of(repository) == head
    git(repository, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "other"))
    git(tmp_path / "other", "commit", "--quiet", "--allow-empty", "--message", "y")
    assert commit_of(tmp_path / "other") == git(tmp_path / "other", "rev-parse", "HEAD") != head
    git(repository, "checkout", "--quiet", "--detach")
    assert commit_of(repository) == head


def test_nothing_of_a_strangers_repository_is_executed(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", str(tmp_path))
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "x")
    head = git(tmp_path, "rev-parse", "HEAD")
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\ntouch executed\n")
    hook.chmod(0o755)
    with (tmp_path / ".git/config").open("a") as file:
        file.write(f"[core]\n\tfsmonitor = {hook}\n[alias]\n\trev-parse = !{hook}\n")
    assert commit_of(tmp_path) == head
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "head", ["ref: refs/../../../secret", "ref: /etc/passwd", "ref: refs/heads/absent", "x" * 10_000, "", "\udcff"]
)
def test_what_is_no_commit_is_none(head: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("f" * 40)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_bytes(head.encode("utf-8", "surrogateescape"))
    assert commit_of(tmp_path) is None


def test_every_gate_that_fell_is_named_on_lines_of_80() -> None:
    fell = ("auc_drop", "min_balanced_accuracy", "fpr_by_skin_tone", "latency_ms")
    variant = VariantThen(0.949, -0.031, (-0.035, -0.027), "degraded", 1234.25, 5.0, fell)
    lines = describe([check(2, variants={"q8": variant})], 10).splitlines()
    assert all(name in "\n".join(lines) for name in fell)
    assert max(map(len, lines)) <= 80
