"""What Windows and macOS do otherwise, as far as a Linux without this and that can show it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from bench import files, provenance, seals
from bench.commands.doctor import libraries
from bench.datasets import demo
from tests.conftest import copy_source, write_workplace
from tests.support import ROOT


def on(system: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of bench where all is gone that this system lacks."""
    return subprocess.run(
        [sys.executable, "-m", "tests.support.other_system", system, *arguments],
        cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_commands_start_without_what_a_system_lacks(system: str, tmp_path: Path) -> None:
    done = on(system, tmp_path, "list")
    assert done.returncode == 0, done.stderr
    assert "layouts" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("system", ["windows", pytest.param("macos", marks=pytest.mark.slow)])
def test_a_run_reaches_its_report_without_what_a_system_lacks(system: str, tmp_path: Path) -> None:
    write_workplace(tmp_path)
    done = on(system, tmp_path, "run", "--only", "q16")
    assert done.returncode == 0, done.stderr
    variants = json.loads((tmp_path / "reports/first/scores.json").read_text(encoding="utf-8"))["variants"]
    assert [variants[name]["status"] for name in ("baseline", "q16")] == ["ok", "ok"]
    assert variants["q16"]["latency_ms"]["p50"] > 0
    planned = on(system, tmp_path, "plan", "--only", "q16")
    assert (planned.returncode, "nothing to do" in planned.stdout) == (0, True), planned.stderr


class _InUseError(PermissionError):
    winerror = 32


def test_a_file_that_a_scanner_has_open_is_renamed_once_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_RETRY_SECONDS", 0.0)
    replace, tries = Path.replace, []

    def refused_twice(path: Path, target: Path) -> Path:
        tries.append(path)
        if len(tries) < 3:
            raise _InUseError(13, "Permission denied", str(path))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refused_twice)
    files.write_text(tmp_path / "a.json", "{}")
    assert (tmp_path / "a.json").read_text() == "{}"
    assert len(tries) == 3
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", -1.0)
    tries.clear()
    with pytest.raises(files.NotWrittenError) as raised:
        files.write_text(tmp_path / "b.json", "{}")
    assert "permission denied" in str(files.advice(raised.value))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json"]


def test_what_may_not_be_renamed_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refused(path: Path, target: Path) -> Path:
        tries.append(path)
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(files.NotWrittenError):
        files.write_text(tmp_path / "a.json", "{}")
    assert len(tries) == 1


def test_a_path_that_is_too_long_for_windows_is_said() -> None:
    class NotThereError(FileNotFoundError):
        winerror = 3

    assert "LongPathsEnabled" in str(files.advice(NotThereError(2, "No such file", "C:\\" + "a" * 300)))
    assert files.advice(NotThereError(2, "No such file", "C:\\a")) is None


def test_a_secret_is_written_byte_by_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Windows has text files, a line feed in a secret would become two bytes."""
    flags = []
    opened = os.open
    monkeypatch.setattr(os, "O_BINARY", 1 << 40, raising=False)

    def noting(path: Path, flag: int, mode: int = 0o777) -> int:
        flags.append(flag)
        return opened(path, flag & ~(1 << 40), mode)

    monkeypatch.setattr(os, "open", noting)
    seals._write(tmp_path / "secret", b"\n" * 32)
    assert flags[0] & 1 << 40
    assert (tmp_path / "secret").read_bytes() == b"\n" * 32


# --------------------------------------------------------------------------------------- versions
def installed(site_packages: Path, name: str, version: str) -> None:
    folder = site_packages / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def imported(monkeypatch: pytest.MonkeyPatch, site_packages: Path, name: str, version: str) -> None:
    module = types.ModuleType(name)
    module.__file__ = str(site_packages / name / "__init__.py")
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)


def test_the_version_is_that_of_what_was_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    installed(first, "odd-lib", "1.0")
    installed(second, "odd-lib", "2.0.1")
    monkeypatch.syspath_prepend(first)
    assert provenance.version.__wrapped__("odd-lib") == "1.0", "nothing is imported: the first on the path"
    # The second says 2.0 of itself, as libraries do that forget it; what is written beside it stands.
    imported(monkeypatch, second, "odd_lib", "2.0")
    assert provenance.version.__wrapped__("odd-lib") == "2.0.1"
    imported(monkeypatch, tmp_path / "source", "odd_lib", "3.0")
    assert provenance.version.__wrapped__("odd-lib") == "3.0"


def test_of_two_onnxruntimes_in_one_place_it_is_the_one_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "onnxruntime", "1.22.0")
    installed(tmp_path, "onnxruntime-gpu", "1.23.0")
    imported(monkeypatch, tmp_path, "onnxruntime", "1.23.0")
    assert provenance.version.__wrapped__("onnxruntime") == "1.23.0"


# --------------------------------------------------------------------------- an install without CUDA
def test_the_requirements_without_cuda_are_bench_s_own() -> None:
    """All that bench requires, in the same versions, but the CPU build of onnxruntime."""
    lines = (ROOT / "requirements-cpu.txt").read_text(encoding="utf-8").splitlines()
    listed = {Requirement(line).name: Requirement(line) for line in lines if line and not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    due = {requirement.name: requirement for requirement in map(Requirement, project["dependencies"])}
    assert listed.keys() == due.keys() - {"onnxruntime-gpu"}
    assert all(listed[name].specifier == due[name].specifier for name in listed)


def in_a_shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", command], cwd=folder, capture_output=True, text=True, check=False
    )


SMALL = """
detectors:
  demo: {architecture: efficientnet_b5, weights: demo, preprocessing: {preset: fsbi, size: 160}}
datasets:
  faces: {path: faces}
experiments:
  small:
    detector: demo
    frames: faces
    device: cpu
    timing: {seconds: 0.2}
    variants: {baseline: [], q8: [quantize: int8], p50: [prune: 0.5]}
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.name != "posix", reason="bash follows README")
def test_an_install_without_cuda_works_as_readme_says(
    fresh_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the usual PyTorch in the place of its CPU build, which another index than the usual one has."""
    source, work = tmp_path / "source", tmp_path / "work"
    copy_source(source)
    (line,) = re.findall(
        r"^python -m pip install .*requirements-cpu\.txt.*$", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE
    )
    for command in ("python -m pip install -c constraints.txt torch torchvision", line):
        done = in_a_shell(command, source)
        assert done.returncode == 0, done.stdout + done.stderr
    listed = {package["name"] for package in json.loads(in_a_shell("python -m pip list --format json", source).stdout)}
    assert {"onnxruntime", "bench"} <= listed
    assert "onnxruntime-gpu" not in listed
    missed = in_a_shell("python -m pip check", source).stdout.splitlines()
    assert missed == ["bench 0.1.0 requires onnxruntime-gpu, which is not installed."], "README says that it misses it"

    counts = {"test": (12, 12), "validation": (6, 6), "calibration": (8, 8), "train": (4, 4)}
    monkeypatch.setattr(demo, "COUNTS", counts)
    demo.draw(work / "faces")
    (work / "experiments.yaml").write_text(SMALL)
    for command in ("bench doctor", "bench run --only q8", "bench export q8 --to out"):
        done = in_a_shell(command, work)
        assert done.returncode == 0, done.stdout + done.stderr
    variants = json.loads((work / "reports/small/scores.json").read_text(encoding="utf-8"))["variants"]
    assert [variants[name]["status"] for name in ("baseline", "q8")] == ["ok", "ok"]
    assert variants["q8"]["runtime"] == "onnxruntime"
    assert variants["q8"]["latency_ms"]["p50"] > 0
    assert in_a_shell("python out/predict.py faces/test/fake/*.jpg", work).returncode == 0


def test_doctor_is_content_with_onnxruntime_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"onnxruntime": "1.31.1"}
    monkeypatch.setattr(libraries, "version", lambda name: versions.get(name, "absent"))
    assert libraries._package(Requirement("onnxruntime-gpu[cuda,cudnn]>=1.22")) is None
    monkeypatch.setattr(libraries, "version", lambda name: "absent")
    assert libraries._package(Requirement("onnxruntime-gpu[cuda,cudnn]>=1.22"))


def test_the_workflow_names_the_pythons_of_pyproject() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert set(matrix["os"]) == {"ubuntu-latest", "windows-latest", "macos-latest"}
    classified = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert matrix["python"] == classified == ["3.11", "3.12", "3.13", "3.14"]
