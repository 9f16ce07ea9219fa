"""tools/gpu_check.py, rehearsed without a GPU: every part on a small network, limits, and what is taken home."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import gpu_check
import numpy as np
import psutil
import pytest
import testbed
import torch
from gpu_parts import MOST_SECONDS, PARTS, Job, evaluation, luggage, record, sessions, supervision, tables, targets
from gpu_parts import demo as demo_part
from typer.testing import CliRunner

from bench import cli, runtimes
from bench.experiment import read
from bench.provenance import cpu_name
from bench.results import timing
from bench.runtimes.onnxruntime import kernels
from bench.runtimes.onnxruntime.lowering import EVERYWHERE
from tests.conftest import start_in_a_thread
from tests.support import ROOT, pace
from tests.support.scripts import script

Rehearse: TypeAlias = Callable[[str], dict[str, dict[str, Any]]]
REHEARSAL = ["--device", "cpu", "--small"]


def content(out: Path) -> dict[str, Any]:
    return record.read(out / record.JSON_FILE)


def finished(out: Path, *names: str, status: str = record.FINISHED) -> dict[str, Any]:
    """A result file in which these parts are done, as an earlier call leaves it."""
    part = {"status": status, "reason": "", "rows": {}, "notes": [], "gpu": "a card", "began": "", "command": "",
            "limit_s": 1}  # fmt: skip
    record_content = {"schema": 1, "device": "cpu", "small": True, "parts": dict.fromkeys(names, part)}
    out.mkdir(parents=True, exist_ok=True)
    record.write(out / record.JSON_FILE, record_content)
    return record_content


# ------------------------------------------------------------------------------------ every part
@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all parts of this file work: what one has built, the next uses."""
    return tmp_path_factory.mktemp("gpu-check")


@pytest.fixture
def one_core() -> Iterator[None]:
    """As gpu_check.py gives a rehearsal: threads of so small a network only wait for each other."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(cores)})
    torch.set_num_threads(1)
    yield
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(threads)


@pytest.fixture
def rehearse(one_core: None, shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Rehearse:
    """Runs a part as its own process would, in this one, which has the libraries imported; its rows."""
    monkeypatch.setattr(timing, "start", start_in_a_thread)
    # On so small a network the faster kernels are chosen by chance.
    monkeypatch.setattr(kernels, "fastest", lambda times: EVERYWHERE)
    monkeypatch.setattr(demo_part, "_bench", bench_here)
    monkeypatch.setattr(evaluation, "ask", benchmark_here)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(testbed, "save_weights", partial(weights_once, shared_folder, testbed.save_weights))

    def run(name: str) -> dict[str, dict[str, Any]]:
        import importlib

        (shared_folder / "work").mkdir(exist_ok=True)
        if not (shared_folder / record.JSON_FILE).exists():
            record.write(shared_folder / record.JSON_FILE, {"schema": 1, "device": "cpu", "small": True, "parts": {}})
        log = record.Record(shared_folder / record.JSON_FILE, name)
        log.about(rows={}, notes=[], status=record.FINISHED, gpu="none", command="here", began=record.now(), limit_s=1)
        part: Any = importlib.import_module(f"gpu_parts.{PARTS[name].module}")
        part.run(Job("cpu", True, shared_folder / "work", shared_folder, log))
        rows = log.rows()
        assert not [row for row in rows.values() if "failed" in row], rows
        assert all(row["at"].endswith("UTC") for row in rows.values())
        assert f"### {name}: " in tables.markdown(content(shared_folder))
        return rows

    return run


def weights_once(shared_folder: Path, save: Callable[..., None], path: Path, *network: Any) -> None:
    """Seconds of each part are for the same random weights."""
    saved_weights = shared_folder / f"{'-'.join(map(str, network))}.pth"
    if not saved_weights.exists():
        save(saved_weights, *network)
    shutil.copyfile(saved_weights, path)


def bench_here(file: Path, *arguments: str) -> int:
    result = CliRunner().invoke(cli.app, [*arguments, "-f", str(file)])
    print(result.output)
    return result.exit_code


def benchmark_here(command: Sequence[str]) -> tuple[int, str]:
    import contextlib
    import io

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        script(Path(command[1]).stem).main(command[2:])
    return 0, printed.getvalue()


@pytest.mark.slow
def test_large(rehearse: Rehearse) -> None:
    rows = rehearse("large")
    assert rows["fp16, CUDA graphs"]["answer"] == record.NEEDS_CUDA
    assert rows["timm, amp fp16"]["answer"] == record.NEEDS_CUDA
    for name in ("fp16, eager", "half of it in fp16, eager", "timm, fp32 with TF32"):
        assert rows[name]["frames/s, end to end"] > 0
        assert rows[name]["best batch"] in {1, 2}
        assert rows[name]["frames/s, device"] is None
    assert rows["half of it in fp16, eager"]["parameters, M"] <= rows["fp16, eager"]["parameters, M"] / 2


@pytest.mark.slow
def test_demo(rehearse: Rehearse, shared_folder: Path) -> None:
    rows = rehearse("demo")
    assert rows["bench run"]["answer"] == "exit code 0"
    assert rows["q16 in the report"]["size, MiB"] < rows["baseline in the report"]["size, MiB"]
    for name in ("baseline (fp32), Δp", "baseline (fp32, TF32), Δp", "q16 (fp16), Δp"):
        assert rows[name]["largest Δp"] == 0
        assert rows[name]["outcome"] == record.NEEDS_CUDA
    assert (shared_folder / demo_part.REPORT).stat().st_size > 1000


def test_variants_that_a_device_cannot_execute_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        runtimes, "unavailable_reason", lambda name, device: "no CUDA in it" if name == "onnxruntime" else None
    )
    job = Job("cuda", False, tmp_path, tmp_path, record.Record(tmp_path, "demo"))
    file, name = demo_part.experiment(job)
    chosen, left_out = demo_part.runnable(job, file, name)
    assert chosen == ["baseline", "q16", "q32-p50", "q16-p50", "bf16"]
    assert left_out == {"q8": "no CUDA in it", "q8-p50": "no CUDA in it"}
    settings = read(file).experiments["demo"]
    assert (settings.device, settings.timing.seconds) == ("cuda", demo_part.TIMING_SECONDS)


@pytest.mark.slow
def test_evaluation_and_the_usual_way(rehearse: Rehearse) -> None:
    rows = rehearse("evaluation")
    assert "pass / bare" in rows["1_evaluation, 1"]
    assert rows["Pillow, threads"]["frames/s"] > 0
    assert rows["nvJPEG, torchvision"]["answer"] == record.NEEDS_CUDA
    assert rehearse("usual-way")["2_usual_way, 3"]["way"] == "bench on pytorch"


@pytest.mark.slow
def test_recover(rehearse: Rehearse) -> None:
    rows = rehearse("recover")
    assert rows["fp32, 1 steps"]["all finite"]
    assert rows["fp32, 1 steps twice"]["weights differ by at most"] == 0
    assert rows["bf16, 1 steps"]["answer"] == record.NEEDS_CUDA


@pytest.mark.slow
def test_onnxruntime(rehearse: Rehearse) -> None:
    rows = rehearse("onnxruntime")
    assert rows["q8"]["providers"] == "CPUExecutionProvider"
    assert rows["q8"]["int8"] == "native"
    assert rows["q8"]["outcome"] == record.NEEDS_CUDA


@pytest.mark.slow
def test_compiled_and_int8(rehearse: Rehearse) -> None:
    rows = rehearse("compiled")
    assert rows["timm, fp16, compiled"]["answer"].startswith(record.NEEDS_CUDA)
    assert rows["pytorch, fp16"]["frames/s, end to end"] > 0
    rows = rehearse("int8")
    assert len(rows) == 4
    assert all(row.get("steps off at most", 0) <= 1 for row in rows.values())
    assert rows["batch 2, in all"]["whole network, times faster at most"] is None


# ------------------------------------------------------------------------------- the command itself
@pytest.mark.slow
def test_a_part_runs_in_its_own_process_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["tests", *REHEARSAL, "--out", str(tmp_path), "--work", str(tmp_path / "work")]
    given += ["--limit", f"tests={pace.limit(120):.0f}"] if pace.limit(120) < MOST_SECONDS else []
    assert gpu_check.main(given) == 0
    part = content(tmp_path)["parts"]["tests"]
    assert part["status"] == record.FINISHED
    assert "1 passed, 0 failed, 0 skipped" in part["notes"][0]
    assert (tmp_path / record.TABLE_FILE).read_text().startswith("### tests: ")
    assert "1 passed" in (tmp_path / record.LOG_FILE).read_text()
    capsys.readouterr()
    assert gpu_check.main(given) == 0
    assert "tests: finished in an earlier call" in capsys.readouterr().out
    assert gpu_check.main(["--table", str(tmp_path / record.JSON_FILE)]) == 0
    assert "| passed |" in capsys.readouterr().out


def test_a_part_that_reaches_its_limit_is_marked_and_the_next_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had is kept."""
    unfinished_part = {"rows": {"before": {"frames/s": 1.0, "at": ""}}, "notes": [], "gpu": f"no GPU, {cpu_name()}"}
    record_content = finished(tmp_path, "recover", status=record.STOPPED)
    record_content["parts"]["recover"] |= unfinished_part
    record.write(tmp_path / record.JSON_FILE, record_content)
    given = [*REHEARSAL, "--out", str(tmp_path), "--work", str(tmp_path / "work")]
    code = gpu_check.main(["recover", "int8", "--limit", "recover=0.3", "--limit", "int8=0.3", *given])
    parts = content(tmp_path)["parts"]
    assert code == 3
    assert [parts[name]["status"] for name in ("recover", "int8")] == [record.STOPPED] * 2
    assert "limit of 0.3 s" in parts["recover"]["reason"]
    assert parts["recover"]["rows"] == unfinished_part["rows"]
    assert "**stopped**: at its limit" in (tmp_path / record.TABLE_FILE).read_text()


def has_ended(process: int) -> bool:
    """Whether a process is gone, or only its parent has not asked for its exit code yet."""
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
def test_a_hang_ends_with_all_that_it_started(tmp_path: Path) -> None:
    program = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    log, began = tmp_path / "log.txt", time.monotonic()
    ended = supervision.supervise([sys.executable, "-c", program], 2, log, {})
    assert ended.code is None
    assert time.monotonic() - began < pace.limit(30)
    child = int(log.read_text())
    assert pace.comes_true(lambda: has_ended(child)), "a killed process may need a moment to be gone"


def test_a_crash_is_a_failed_part(tmp_path: Path) -> None:
    ended = supervision.supervise([sys.executable, "-c", "import os; os.abort()"], 60, tmp_path / "log.txt", {})
    finished(tmp_path, "demo", status=record.RUNNING)
    status, reason = gpu_check._status(ended, record.Record(tmp_path / record.JSON_FILE, "demo"), 60)
    assert (status, reason) == (record.FAILED, "ended with signal 6; log.txt has its output")


def test_more_than_a_call_has_time_for_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*REHEARSAL, "--out", str(tmp_path)]
    assert gpu_check.main(["onnxruntime", "compiled", "large", *given]) == 2
    assert "large, onnxruntime, compiled may take 600 s together, and a call 540" in capsys.readouterr().err
    assert not (tmp_path / record.JSON_FILE).exists()
    assert gpu_check.main(["lrge", *given]) == 2
    assert "unknown part 'lrge'; parts are: environment, " in capsys.readouterr().err


def test_without_names_what_fits_is_run_and_never_what_stands_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "WEIGHTS", ROOT / "README.md")
    limits = gpu_check._limits([])
    first = gpu_check._chosen([], {"parts": {}}, limits)
    assert first == ["environment", "tests", "large", "evaluation", "usual-way", "recover"]
    done = {"parts": {name: {"status": record.FINISHED} for name in first}}
    assert gpu_check._chosen([], done, limits) == ["demo"]
    monkeypatch.setattr(gpu_check, "WEIGHTS", ROOT / "no such file")
    without = gpu_check._chosen([], {"parts": {}}, limits)
    assert without == ["environment", "tests", "large", "evaluation", "usual-way", "recover"]
    assert sum(limits[name] for name in without) <= MOST_SECONDS


def test_results_of_an_earlier_call_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(tmp_path / "before", "large", "demo")
    given = ["large", "--earlier", str(tmp_path / "before" / record.JSON_FILE), "--out", str(tmp_path / "now")]
    assert gpu_check.main([*given, *REHEARSAL]) == 0
    assert set(content(tmp_path / "now")["parts"]) == {"large", "demo"}
    assert gpu_check.main([*given, "--device", "cpu"]) == 2
    assert "of another kind of run" in capsys.readouterr().err


def test_without_a_gpu_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "cuda_devices", tuple)
    monkeypatch.setattr(gpu_check, "why_no_cuda", lambda: "there is no NVIDIA driver")
    assert gpu_check.main(["tests", "--out", str(tmp_path)]) == 2
    assert "there is no NVIDIA driver: no CUDA device; `--device cpu --small` rehearses" in capsys.readouterr().err


# --------------------------------------------------------------------------- rows, verdicts, luggage
def test_a_row_that_fails_keeps_the_others_and_is_tried_again(tmp_path: Path) -> None:
    finished(tmp_path, "large")
    log = record.Record(tmp_path / record.JSON_FILE, "large")
    log.measure("good", lambda: {"frames/s": 1234.5678, "peak": float("nan")})
    log.measure("bad", lambda: {"frames/s": 1 / 0})
    assert log.rows()["good"] | {"at": ""} == {"frames/s": 1235.0, "peak": None, "at": ""}
    assert log.rows()["bad"]["failed"] == "ZeroDivisionError: division by zero"
    log.measure("good", lambda: {"frames/s": 0})
    log.measure("bad", lambda: {"frames/s": 2.0})
    assert [row["frames/s"] for row in log.rows().values()] == [1235.0, 2.0]


def test_verdicts() -> None:
    fps, ms = "frames/s, device", "batch 1, device ms"
    rows = {
        "fp16, CUDA graphs": {fps: 1500.0, ms: 2.5}, "fp16, eager": {fps: 1400.0, ms: 9.0},
        "timm, amp fp16": {fps: 900.0}, "timm, fp16": {fps: 1000.0},
        "half of it in fp16, CUDA graphs": {fps: 2000.0, ms: 2.0},
    }  # fmt: skip
    throughput, latency, half = targets.verdicts("large", rows)
    assert throughput.endswith("fp16, CUDA graphs (1500 frames/s) / timm, fp16 (1000) = 1.50, met.")
    assert latency == "Target, one frame in fp16 within 3 ms: fp16, CUDA graphs: 2.50 ms, met."
    assert half.endswith("= 1.33, NOT met.")
    assert targets.verdicts("large", {"fp16, eager": {"answer": record.NEEDS_CUDA}}) == []
    compiled = {"inductor, fp16": {fps: 1200.0}, "inductor, half": {fps: 9000.0}, "timm, fp16, compiled": {fps: 800.0}}
    assert targets.verdicts("compiled", compiled)[0].endswith("= 1.50, met.")
    [bound] = targets.verdicts("int8", {"batch 32, in all": {"whole network, times faster at most": 1.1}})
    assert bound.endswith("(>= 1.2 times: worth a runtime): not worth a runtime.")
    deviations = {"q16, Δp": {"outcome": "pass"}, "q32, Δp": {"outcome": "FAIL"}, "bf16, Δp": {"outcome": "measured"}}
    assert targets.verdicts("demo", deviations) == [
        "P(fake) against the CPU: 1 of 2 within their bounds; NOT: q32, Δp."
    ]


def test_bounds_on_a_device(tmp_path: Path) -> None:
    job = Job("cuda", False, tmp_path, tmp_path, record.Record(tmp_path, "demo"))
    bound = demo_part.BOUNDS["fp16", True]
    assert demo_part.judged(job, np.array([0.001, 0.009]), None) == "measured"
    assert demo_part.judged(job, np.array([0.0, 0.003]), bound) == "pass"
    assert demo_part.judged(job, np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.011]), bound) == "FAIL"
    assert demo_part.judged(job, np.array([np.nan, 0.0]), bound) == "FAIL"


def test_the_best_batch_counts_until_memory_ends() -> None:
    def step(batch: int) -> tuple[float | None, float]:
        if batch > 16:
            raise MemoryError
        return 0.001 * batch**0.5, 0.002 * batch**0.5

    best = sessions.fastest(step, (4, 16, 32, 64))
    assert (best.batch, best.tried, best.ended) == (16, "4, 16", "no memory for 32")
    assert best.device_fps == pytest.approx(4000)
    assert sessions.fastest(lambda batch: (None, 0.001 * max(batch, 4) ** 1.5), (1, 4, 8)).batch == 4
    with pytest.raises(MemoryError, match="no memory for 32"):
        sessions.fastest(step, (32,))


def test_only_what_may_travel_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luggage, "MOST_BYTES", 2**20)
    large, small, out = tmp_path / "large", tmp_path / "small", tmp_path / "out"
    large.write_bytes(bytes(2**20 + 1))
    small.write_bytes(bytes(10))
    out.mkdir()
    assert luggage.take(large, out, "report.zip") == "left out report.zip: 1.0 MiB are more than 1"
    assert luggage.take(small, out, "report.zip") is None
    assert luggage.problems(out) == []
    (out / "a/b/c").mkdir(parents=True)
    for name in ("a/b/c/deep", "odd name", *map(str, range(6))):
        (out / name).write_bytes(b"")
    deep, odd, many = luggage.problems(out)
    assert (deep, odd) == (
        "a/b/c/deep: more than 2 folders deep",
        "odd name: names may have letters, digits, '.', '_' and '-' only",
    )
    assert many == "9 files are more than 8"


def test_scripts_are_whole() -> None:
    """The shell reads them to the end, and the commands that the procedure gives fit into one call."""
    for name in ("gpu_run.sh", "gpu_wheels.sh"):
        subprocess.run(["bash", "-n", str(ROOT / "tools" / name)], check=True)
    procedure = (ROOT / "tools" / "README.md").read_text(encoding="utf-8")
    for name in PARTS:
        assert f"`{name}`" in procedure, name
    assert all(len(line) < 2000 for line in procedure.split("```")[1::2])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_rehearsal(tmp_path: Path) -> None:
    """Every part by the command line, each in a process of its own."""
    folders = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    for name, part in PARTS.items():
        # On two cores, where libraries are imported one after the other.
        limit = f"{name}={min(MOST_SECONDS, pace.limit(max(60, part.limit_s))):.0f}"
        command = [sys.executable, str(ROOT / "tools/gpu_check.py"), name, *REHEARSAL, "--limit", limit, *folders]
        subprocess.run(command, check=True)
    parts = json.loads((tmp_path / "out" / record.JSON_FILE).read_text(encoding="utf-8"))["parts"]
    assert {name: part["status"] for name, part in parts.items()} == dict.fromkeys(PARTS, record.FINISHED)
    assert luggage.problems(tmp_path / "out") == []
