"""The commands of docs/scale.md, and its job files with the variables that Slurm and Kubernetes set."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.pipeline.sharding import part
from tests.conftest import run_quickly, write_workplace
from tests.support import ROOT
from tests.support.command_line import bench

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_parts_from_zero_end_in_a_report(tmp_path: Path, tiny_family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tiny network in the place of the page's B5."""
    run_quickly(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_workplace(tmp_path)
    file = next(text for text in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL) if "detectors:" in text)
    for of_page, of_test in (("efficientnet_b5", "tiny"), ("size: 380", "size: 32")):
        assert of_page in file
        file = file.replace(of_page, of_test)
    Path("experiments.yaml").write_text(file)
    script = PAGE[PAGE.index("\n```\nbench run first --build-only") :]
    commands = [shlex.split(line, comments=True)[1:] for line in script.split("```")[1].strip().splitlines()]
    assert [arguments[0] for arguments in commands] == ["run", "run", "run", "run", "merge"]
    for arguments in commands:
        code, output = bench(*arguments)
        assert code == 0, output
    assert Path("reports/first/report.html").is_file()
    scores = json.loads(Path("reports/first/scores.json").read_text())
    assert list(scores["variants"]) == ["baseline", "q16", "q8"]


def calls(script: str, folder: Path, variables: dict[str, str]) -> list[str]:
    """The commands of `bench` and `sbatch` that a script gives, each a line; `sbatch` answers with a job's number."""
    log = folder / "calls.txt"
    for name in ("bench", "sbatch"):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> "{log}"\necho 4711\n')
        program.chmod(0o755)
    environment = os.environ | variables | {"PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", script], cwd=folder, env=environment, check=True, capture_output=True)
    return log.read_text().splitlines()


def test_slurm_array_evaluates_each_part_once(tmp_path: Path) -> None:
    array, order = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    count = re.search(r"--array=1-(\d+)", array)
    assert count
    variables = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": count[1]}
    (call,) = calls(array, tmp_path, variables)
    assert call == f"bench run first --shard 7/{count[1]}"
    (tmp_path / "calls.txt").unlink()
    build, jobs, merge = calls(order, tmp_path, {})
    assert build.endswith("--wrap bench run first --build-only")
    assert jobs == "sbatch --parsable bench.sbatch"
    assert "--dependency=afterok:4711" in merge
    assert merge.endswith("bench merge first")


def test_kubernetes_job_evaluates_each_part_once(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    job = yaml.safe_load(next(block for block in blocks if "kind: Job" in block))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["sh", "-c"]
    count, numbers = job["spec"]["completions"], []
    for index in (0, 7, count - 1):
        (call,) = calls(container["args"][0], tmp_path, {"JOB_COMPLETION_INDEX": str(index)})
        (tmp_path / "calls.txt").unlink()
        of = part.parse(call.removeprefix("bench run first --shard "))
        assert of.count == count
        numbers.append(of.number)
    assert numbers == [1, 8, count]
