"""`bench run demo` on CUDA with its report, and P(fake) of every artifact on CUDA against the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import testbed
import yaml

from bench import runtimes
from bench.commands.report import zip_report
from bench.experiment import read
from bench.pipeline.build import build_artifacts
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Prepared, Setup
from bench.records import Built, silent
from bench.variants.chain import kind_of
from gpu_parts import Job, luggage, sessions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.records import Session

ROOT = Path(__file__).resolve().parents[2]
REPORT = "demo-report.zip"
TIMING_SECONDS = 0.3
FRAMES = 64
SMALL_VARIANTS = {"baseline": "[]", "q16": "[cast: fp16]"}
# Stored type, whether float32 may be rounded to TF32: mean and largest |Δp| that are allowed.
BOUNDS: Mapping[tuple[str, bool], tuple[float, float]] = {("fp32", False): (2e-4, 2e-4), ("fp16", True): (2e-3, 1e-2)}


def run(job: Job) -> None:
    file, name = experiment(job)
    chosen, left_out = runnable(job, file, name)
    for variant, reason in left_out.items():
        job.record.note(f"{variant} was left out: {reason}")
    job.record.measure("bench run", lambda: _run(file, name, job.device, chosen))
    for variant, cells in _figures(file.parent / "reports" / name / "scores.json").items():
        job.record.measure(f"{variant} in the report", lambda cells=cells: cells)  # type: ignore[misc]
    job.record.measure("report", lambda: {"answer": _report(job, file, name)})
    compare(job, prepare_variants(job, file, name, chosen))


# ----------------------------------------------------------------------------------- the experiment
def experiment(job: Job) -> tuple[Path, str]:
    """The demo, with short timings and a variant in bf16; a small network's in the rehearsal."""
    if job.small:
        return small(job, "demo", SMALL_VARIANTS, "pytorch")
    folder = job.work / "demo"
    file = folder / "experiments.yaml"
    content = yaml.safe_load((ROOT / "experiments.yaml").read_text(encoding="utf-8"))
    demo = content["experiments"]["demo"]
    demo |= {"device": job.device, "timing": {"seconds": TIMING_SECONDS}}
    demo["variants"]["bf16"] = [{"cast": "bf16"}]
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file, "demo"


def small(job: Job, folder: str, variants: Mapping[str, str], runtime: str) -> tuple[Path, str]:
    """An experiment of a rehearsal."""
    counts = {"test": 8, "calibration": 16}
    setup = testbed.Workplace(job.architecture, job.size, job.size, job.size, counts, variants, job.device, runtime)
    sessions.furnished(job.work / folder, setup)
    return job.work / folder / "experiments.yaml", testbed.NAME


def runnable(job: Job, file: Path, name: str) -> tuple[list[str], dict[str, str]]:
    """The variants that this machine can execute on the device, and why the others are left out."""
    chosen, left_out = [], {}
    for variant, chain in read(file).experiments[name].chains.items():
        trouble = runtimes.unavailable_reason(runtimes.choose("auto", kind_of(chain), job.device), job.device)
        if trouble:
            left_out[variant] = trouble
        else:
            chosen.append(variant)
    return chosen, left_out


def prepare_variants(job: Job, file: Path, name: str, chosen: Sequence[str]) -> Setup:
    return prepare(read(file), file, name, only=chosen, device=job.device, for_run=True).first


# -------------------------------------------------------------------------------------- the command
def _run(file: Path, name: str, device: str, chosen: Sequence[str]) -> dict[str, Any]:
    began = time.monotonic()
    code = _bench(file, "run", name, "--device", device, "--only", ",".join(chosen))
    if code:
        raise RuntimeError(f"`bench run` ended with exit code {code}; the log has its output")
    return {"answer": f"exit code {code}", "s": time.monotonic() - began}


def _bench(file: Path, *arguments: str) -> int:
    command = [sys.executable, "-c", "from bench.cli import main; main()", *arguments, "-f", str(file)]
    return subprocess.run(command, check=False).returncode


def _report(job: Job, file: Path, name: str) -> str:
    # What `bench report --bundle` does once it has rendered the report, which `bench run` has just done.
    zipped = zip_report(file.parent, name)
    return luggage.take(zipped, job.out, REPORT) or f"{REPORT}, {zipped.stat().st_size / 2**20:.1f} MiB"


def _figures(scores: Path) -> dict[str, dict[str, Any]]:
    """What scores.json says of each variant that came through."""
    if not scores.exists():
        return {}
    figures = {}
    for name, variant in json.loads(scores.read_text(encoding="utf-8"))["variants"].items():
        if variant["status"] == "ok":
            figures[name] = {
                "ROC AUC": variant["auc"], "ΔAUC": variant["auc_delta"], "size, MiB": variant["size_mib"],
                "runtime": variant["runtime"], "batch 1, ms": (variant["latency_ms"] or {}).get("p50"),
                "frames/s": variant["throughput_fps"], "speed-up": variant["speedup"],
                "peak, MiB": variant["peak_memory_mib"],
            }  # fmt: skip
    return figures


# ------------------------------------------------------------------------------- against the CPU
def compare(job: Job, prepared: Setup) -> None:
    """|Δ P(fake)| of each float artifact between the device and the CPU, on the same test frames."""
    built = build_artifacts(Prepared((prepared,)), silent)
    for (_, variant), reason in built.failed.items():
        job.record.note(f"{variant} could not be built: {reason}")
    pictures = test_frames(prepared)
    for (_, variant), artifact in built.artifacts.items():
        if artifact.kind == "torch":
            for tf32 in (False, True) if artifact.stored == "fp32" else (True,):
                name = f"{variant} ({artifact.stored}{', TF32' if tf32 and artifact.stored == 'fp32' else ''}), Δp"
                job.record.measure(name, partial(_compared, job, artifact, pictures, tf32))


def test_frames(prepared: Setup) -> NDArray[np.uint8]:
    """At most 64 test frames, evenly spread, uint8 RGB [n, 3, size, size]."""
    frames = prepared.frames["test"]
    chosen = [frames.frames[index] for index in frames.sample_evenly(FRAMES)]
    return np.concatenate(list(prepared.read(chosen, prepared.spec, FRAMES)))


def _compared(job: Job, artifact: Built, pictures: NDArray[np.uint8], tf32: bool) -> dict[str, Any]:
    expected = p_fake(runtimes.find("pytorch").load(artifact, "cpu", sessions.threads()), pictures)
    with sessions.session(artifact, job, tf32=tf32) as session:
        difference = np.abs(p_fake(session, pictures) - expected)
        computed = session.executed.computed
    bound = BOUNDS.get((artifact.stored, tf32))
    return {
        "frames": len(pictures), "computed": computed, "mean Δp": float(difference.mean()),
        "largest Δp": float(difference.max()), "bounds": f"{bound[0]:g} and {bound[1]:g}" if bound else "",
        "outcome": judged(job, difference, bound),
    }  # fmt: skip


def judged(job: Job, difference: NDArray[np.float64], bound: tuple[float, float] | None) -> str:
    if job.device != "cuda":
        return "needs CUDA"
    if bound is None:
        return "measured"
    return "pass" if difference.mean() <= bound[0] and difference.max() <= bound[1] else "FAIL"


def p_fake(session: Session, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """P(fake) [n]; a value that is not a number stays one, and passes no bound."""
    logits = np.concatenate(
        [session.predict(part)[0] for part in np.array_split(pictures, max(len(pictures) // 16, 1))]
    )
    logit_diff = logits[:, 1].astype(np.float64) - logits[:, 0]
    p_fakes: NDArray[np.float64] = 1 / (1 + np.exp(-logit_diff))
    return p_fakes
