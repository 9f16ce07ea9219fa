"""Weights & Biases offline: what lies in its files, and that nothing is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from bench.errors import UserError
from bench.tracking import wandb as tracker
from tests.support import ROOT

CODE = """
    import sys
    hosts = []
    sys.addaudithook(lambda event, args: hosts.append(str(args[1])) if event == "socket.connect"
                     and not str(args[1]).startswith(("('127.0.0.1'", "/", "b'")) else None)
    from pathlib import Path
    from bench.records import TrackedExperiment, TrackedRun
    from bench.tracking import wandb as tracker
    folder = Path(sys.argv[1])
    file = folder / "report.md"
    file.write_text("# A report")
    whole = TrackedRun("shop", "aaaa", {"margin": "0.01"}, artifacts={"report": (file,)})
    variant = TrackedRun("q8", "bbbb", {"step1.quantize.dtype": "int8"}, {"auc": 0.75, "auc_low": 0.5})
    for _ in range(2):
        tracker.log(tracker.address("offline", folder), TrackedExperiment(whole, {"q8": variant}))
    print("connected to", hosts)
"""


def test_runs_lie_in_files_and_are_replaced(tmp_path: Path) -> None:
    """In a process of its own: wandb starts a server, and hooks itself into the end of the process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_API_KEY": ""}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE), str(tmp_path)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("connected to []")
    folders = sorted(path.name.rpartition("-")[2] for path in (tmp_path / "wandb").glob("offline-run-*"))
    assert folders == ["aaaa", "bbbb"]
    (variant,) = (tmp_path / "wandb").glob("offline-run-*-bbbb")
    assert (variant / "run-bbbb.wandb").read_bytes().count(b"auc_low") >= 1
    files = variant / "files"
    if (files / "wandb-summary.json").exists():
        assert json.loads((files / "wandb-summary.json").read_text())["auc"] == 0.75
    if (files / "config.yaml").exists():
        assert yaml.safe_load((files / "config.yaml").read_text())["step1.quantize.dtype"]["value"] == "int8"


def test_only_offline(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected offline"):
        tracker.address("online", tmp_path)
    (tmp_path / "wandb").write_text("a file")
    with pytest.raises(UserError, match="is a file"):
        tracker.check(tracker.address("offline", tmp_path))
