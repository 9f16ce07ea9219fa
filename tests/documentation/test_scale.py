"""The job files of docs/scale.md, run by a shell with the variables that Slurm and Kubernetes set."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import yaml

from bench.pipeline.sharding import part
from tests.support import ROOT

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


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
