"""Bad input gets one clear message and exit code 2 before any work, and loses nothing."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from bench import provenance, runtimes
from bench.errors import UserError
from bench.experiment import read
from bench.pipeline.prepare import prepare
from tests.support import ROOT
from tests.support.bad_input_cases import CASES, ENDINGS, ODD, Case, yaml
from tests.support.bad_requests import BAD_REQUESTS
from tests.support.command_line import bench

DOCS = ROOT / "docs" / "bad-input.md"
ALL = [case for cases in CASES.values() for case in cases]


def made(workplace: Path) -> set[Path]:
    """What evaluating leaves."""
    files = (path for path in workplace.glob("results/**/*") if path.is_file())
    return {path for path in files if path.suffix != ".log" and not path.name.startswith(".lock")}


@pytest.mark.parametrize("case", ALL, ids=[case.what for case in ALL])
def test_bad_input(case: Case, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    case.change(workplace)
    case.patch(monkeypatch)
    before = made(workplace)
    code, output = bench(case.command, *case.arguments)
    assert code == 2, output
    assert output.lower().count("error: ") == 1 or "Usage:" in output, output
    for part in case.message_parts:
        assert part in output, output
    assert "Traceback" not in output
    assert not re.search(r"^\s*::|[^\n -\uffff]|[\x7f-\x9f\u2028\u2029]", output, re.MULTILINE), output
    assert len(output) < 6000
    assert made(workplace) <= before, "nothing may be evaluated"
    assert not list(workplace.glob("variants/*/variant.json")), "nothing may be built"


def test_in_a_process_of_its_own(workplace: Path) -> None:
    """As a person starts it: the message on standard error, nothing on standard output, exit code 2."""
    (workplace / "faces/test/real/000.png").write_bytes(b"oops")
    (workplace / "experiments.yaml").write_text(
        (workplace / "experiments.yaml").read_text().replace("architecture: tiny", "architecture: efficientnet_b0")
        .replace("weights: best_model.tar", "weights: demo").replace("baseline: []", "baseline: [cast: fp16]")
    )  # fmt: skip
    command = [sys.executable, "-c", "from bench.cli import main; main()", "run"]
    ran = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: experiments.yaml, line 13: ")
    assert "exactly one variant must have no steps" in ran.stderr


def table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> str:
    cells = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells)


def spelled(words: str) -> str:
    return words if "`" in words else f"`{' '.join(words.split())}`"


def documentation() -> str:
    parts = []
    for title, cases in CASES.items():
        rows = [(case.what, case.example, " … ".join(map(spelled, case.message_parts))) for case in cases]
        parts.append(f"## {title}\n{table(rows, ('what is wrong', 'example', 'what bench says'))}")
    refused = [(bad.what, bad.example, str(bad.status), spelled(bad.words)) for bad in BAD_REQUESTS]
    requests = table(refused, ("what is wrong", "example", "status", "what the service says"))
    parts.append(f"## Requests to a service\n{requests}")
    odd = table([(odd.what, odd.becomes) for odd in ODD], ("what looks odd", "what becomes of it"))
    shells = [
        (end.what, f"`{end.shell}`", str(end.code), f"`{end.stderr_text}`" if end.stderr_text else "")
        for end in ENDINGS
    ]
    ends = table(shells, ("what is not as usual", "example", "exit code", "on standard error"))
    endings = f"## Who starts it, and who reads\n{ends}"
    return "\n\n".join([*parts, f"## What is not wrong\n{odd}", endings]) + "\n"


def test_documentation_says_the_same() -> None:
    """`RENEW_GOLDEN=1` writes the tables anew."""
    before, mark, _ = DOCS.read_text(encoding="utf-8").partition("<!-- tables -->\n")
    assert mark
    if os.environ.get("RENEW_GOLDEN"):
        DOCS.write_text(before + mark + documentation(), encoding="utf-8")
    assert DOCS.read_text(encoding="utf-8") == before + mark + documentation()
    assert len(ALL) == len({case.what for case in ALL}) >= 40


def test_several_problems_are_said_at_once(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, chains and the runtime in one message, a line each, with the lines of the file."""
    monkeypatch.chdir(workplace)
    text = (workplace / "experiments.yaml").read_text()
    text = text.replace("q16: [cast: fp16]", "q16: [cast: fp16, cast: bf16]").replace("best_model.tar", "faces")
    (workplace / "experiments.yaml").write_text(text.replace("q8: [quantize: int8]", "q8: [recover]"))
    code, output = bench("run")
    assert code == 2
    lines = output.splitlines()
    assert len(lines) == 3
    for line, start in zip(
        lines,
        (
            "error: experiments.yaml, line 3: detectors.mine.weights: ",
            "experiments.yaml, line 15: experiments.first.variants.q16: ",
            "experiments.yaml, line 16: experiments.first.variants.q8: ",
        ),
        strict=True,
    ):
        assert line.startswith(start)


def test_weights_are_refused_before_frames_are_read(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    (workplace / "best_model.tar").write_bytes((workplace / "best_model.tar").read_bytes()[:-300])
    assert bench("run")[0] == 2
    assert not (workplace / "datasets/.cache").exists()


def test_what_is_not_wrong(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All oddities in one run, which ends well."""
    monkeypatch.chdir(workplace)
    for odd in ODD:
        odd.change(workplace)
    yaml("gallery: {top: 2}", "gallery: {top: 100}")(workplace)
    code, output = bench("run", "first", "--only", "baseline")
    assert code == 0, output
    predictions = pd.read_parquet(workplace / "results/first/baseline/predictions.parquet")
    assert (predictions["split"] == "test").sum() == 32 + sum(odd.adds for odd in ODD)
    assert "Warning" not in output
    report = (workplace / "reports/first/report.md").read_text(encoding="utf-8")
    assert "&lt;b&gt;" in report
    assert "<b>" not in report


@pytest.mark.parametrize("device", ["auto", "cuda"], ids=["found", "asked for"])
def test_cuda_that_cannot_be_used(device: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for, it is an error; found, the CPU is used and the report says why."""
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("bench.pipeline.device.cuda_devices", lambda: ("A GPU",))
    monkeypatch.setattr("bench.runtimes.pytorch.CUDA_FILES", ("none",))
    code, output = bench("run", "--device", device, "--only", "baseline")
    assert code == (2 if device == "cuda" else 0), output
    assert "the torch in this Python is built without CUDA" in " ".join(output.split())


def test_a_device_given_from_python_is_checked_too(workplace: Path) -> None:
    file = workplace / "experiments.yaml"
    with pytest.raises(UserError, match="device: 'cuda:1' is no device here"):
        prepare(read(file), file, device="cuda:1")


def test_the_device_is_one_that_every_wanted_chain_can_use(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch for CUDA beside an onnxruntime without, which only the int8 chains need."""
    monkeypatch.setattr("bench.pipeline.device.cuda_devices", lambda: ("A GPU",))
    monkeypatch.setattr("bench.runtimes.cuda_version", lambda: None)
    monkeypatch.setattr("bench.runtimes.pytorch.CUDA_FILES", ("__init__.py",))
    monkeypatch.setattr("bench.runtimes.onnxruntime.CUDA_FILES", ("none",))
    file = workplace / "experiments.yaml"
    for only, device in ((["q16"], "cuda"), (["q16", "q8"], "cpu"), ([], "cpu")):
        prepared = prepare(read(file), file, only=only, device="auto").first
        assert prepared.device == device
        remark = "but the CPU was used: runtime 'onnxruntime': the onnxruntime in this Python is built without CUDA"
        assert (remark in " ".join(prepared.remarks)) == (device == "cpu")
    with pytest.raises(UserError, match="built without CUDA"):
        prepare(read(file), file, device="cuda")


def test_report_and_export_without_results(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    for command in (["report"], ["export", "q8", "--to", "out"]):
        code, output = bench(*command)
        assert code == 2
        assert "`bench run` makes them" in output
    assert not (workplace / "out").exists()


def test_init_overwrites_nothing(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    before = (workplace / "experiments.yaml").read_bytes()
    code, output = bench("init")
    assert code == 2
    assert "exists already" in output
    assert (workplace / "experiments.yaml").read_bytes() == before


def test_usage_errors_have_the_code_of_bad_input() -> None:
    assert bench("run", "--no-such-option")[0] == 2
    assert bench("no-such-command")[0] == 2


def test_bug_is_told_from_bad_input(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.chdir(workplace)
    monkeypatch.setattr("bench.pipeline.run", broken)
    code, output = bench("run")
    assert code == 70
    assert "bug in bench" in output


def test_baseline_below_chance_is_warned_about(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swapping the folders of the test set turns whatever AUC there is around 0.5."""
    monkeypatch.chdir(workplace)
    assert bench("run", "--only", "baseline")[0] == 0
    warned = []
    for _ in range(2):
        warned.append("swapped" in (workplace / "reports/first/report.md").read_text())
        test = workplace / "faces/test"
        (test / "real").rename(test / "tmp")
        (test / "fake").rename(test / "real")
        (test / "tmp").rename(test / "fake")
        assert bench("run", "--only", "baseline")[0] == 0
    assert sorted(warned) == [False, True]


@pytest.mark.parametrize("name", runtimes.names())
def test_what_runtimes_need_is_what_they_import(name: str) -> None:
    """Here everything is installed, so nothing may be missed; and a version that is read is the right one."""
    import torch

    without_compiler = name == "inductor" and shutil.which("g++") is None
    assert (runtimes.unavailable_reason(name, "cpu") is None) == (
        "cpu" in runtimes.devices(name) and not without_compiler
    )
    package = Path(importlib.import_module(runtimes.find(name).PACKAGE).__path__[0])
    if "cuda" not in runtimes.devices(name):
        assert runtimes._cuda_of(package) is None
        return
    import onnxruntime
    from onnxruntime.capi import build_and_package_info

    with_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    cuda_version = (
        torch.version.cuda if name in ("pytorch", "inductor") else getattr(build_and_package_info, "cuda_version", "")
    )
    assert runtimes._cuda_of(package) == (int(cuda_version.split(".")[0]) if cuda_version else None)
    if torch.version.cuda if name in ("pytorch", "inductor") else with_cuda:
        assert any((package / file).exists() for file in runtimes.find(name).CUDA_FILES) or sys.platform == "darwin"


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("pytorch", "version.py", "from typing import Optional\ncuda: Optional[str] = '13.2'\nhip = None\n"),
        ("pytorch", "version.py", "debug = False\ncuda = '13.0'\n"),
        ("onnxruntime", "capi/build_and_package_info.py", "__version__ = '1.31.1'\ncuda_version = '13.0'\n"),
    ],
)
def test_libraries_newer_than_the_driver_are_noticed(
    name: str, file: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stands in here but the package and the driver."""
    package = tmp_path / "stand_in_package"
    for part in ("__init__.py", "cuda.so", file):
        (package / part).parent.mkdir(parents=True, exist_ok=True)
        (package / part).write_text(text if part == file else "")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(f"bench.runtimes.{name}.PACKAGE", package.name)
    monkeypatch.setattr(f"bench.runtimes.{name}.CUDA_FILES", ("cuda.so",))
    monkeypatch.setattr(runtimes, "cuda_version", lambda: (12, 8))
    assert "is built for CUDA 13, the NVIDIA driver only knows CUDA 12.8" in str(
        runtimes.unavailable_reason(name, "cuda")
    )
    monkeypatch.setattr(runtimes, "cuda_version", lambda: (13, 0))
    assert runtimes.unavailable_reason(name, "cuda") is None
    (package / file).write_text("cuda = None\ncuda_version = ''\n")
    assert runtimes._cuda_of(package) is None


@pytest.mark.parametrize(
    ("code", "expected"), [(803, "does not start (error 803"), (100, "shows no device"), (0, "shows no device")]
)
def test_a_driver_says_why_there_is_no_cuda(code: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's own name
            return code

    monkeypatch.setattr("ctypes.CDLL", lambda name: Driver())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    reason = provenance.why_no_cuda()
    assert expected in reason
    assert ("'7'" in reason) == (code != 803)


def test_driver_library_that_is_absent_means_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    provenance.cuda_devices.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", absent)
    assert provenance.cuda_devices() == ()
    assert provenance.why_no_cuda() == "there is no NVIDIA driver"
    provenance.cuda_devices.cache_clear()
