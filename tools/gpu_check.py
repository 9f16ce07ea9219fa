"""Prove what bench does on a CUDA device, within minutes of one: tests, the demo, speed, memory, training.

    python tools/gpu_check.py                             # the parts that are not finished yet, as many as fit one call
    python tools/gpu_check.py environment tests large     # these
    python tools/gpu_check.py --table gpu-check/gpu-check.json
    python tools/gpu_check.py --device cpu --small        # a rehearsal without a GPU

Each part runs in a process of its own with a limit of time. Results are in `gpu-check.json` in the folder `--out`
as they come, and as tables in `gpu-check.md`; the same command again goes on from there. tools/README.md has the
whole procedure.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT, ROOT / "benchmarks", ROOT / "tools"):  # bench need not be installed
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from gpu_parts import MOST_SECONDS, PARTS, Job, luggage, record, supervision, tables, targets  # noqa: E402

from bench.provenance import cpu_name, cuda_devices, why_no_cuda  # noqa: E402

WEIGHTS = ROOT / "bench" / "detectors" / "demo.safetensors"


class RefusedError(Exception):
    """What was asked for cannot be done; says why, before anything starts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for, or print a table; the exit code."""
    given = _options().parse_args(arguments)
    try:
        if given.table:
            print(tables.markdown(record.read(given.table)))
            return 0
        if given.inside:
            return _inside(given)
        return _check(given)
    except (RefusedError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _options() -> argparse.ArgumentParser:
    """The options of the command line."""
    about, _, usage = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="a small network and few frames, to rehearse")
    parser.add_argument("--out", type=Path, default=ROOT / "gpu-check", help="where results go")
    parser.add_argument("--work", type=Path, help="frames and artifacts, kept for later calls; build/gpu-check")
    parser.add_argument("--earlier", type=Path, metavar="FILE", help="results of an earlier call, to go on from")
    parser.add_argument("--limit", action="append", default=[], metavar="PART=SECONDS", help="another limit")
    parser.add_argument("--table", type=Path, metavar="FILE", help="only print a result file as Markdown")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser


# ------------------------------------------------------------------------------------ the call itself
def _check(given: argparse.Namespace) -> int:
    """Run the chosen parts one after another, each in a process of its own; the exit code."""
    given.out.mkdir(parents=True, exist_ok=True)
    file, limits = given.out / record.JSON_FILE, _limits(given.limit)
    unknown = [name for name in given.parts if name not in PARTS]
    if unknown:
        raise RefusedError(f"unknown part {unknown[0]!r}; parts are: {', '.join(PARTS)}")
    if given.device == "cuda" and not cuda_devices():
        raise RefusedError(f"{why_no_cuda()}: no CUDA device; `--device cpu --small` rehearses without one")
    content = _content(given, file)
    chosen = _chosen(given.parts, content, limits)
    record.write(file, content)
    for name in chosen:
        _run(name, limits[name], given)
    return _close(given.out, chosen)


def _limits(given: Sequence[str]) -> dict[str, float]:
    limits: dict[str, float] = {name: part.limit_s for name, part in PARTS.items()}
    for text in given:
        name, _, seconds = text.partition("=")
        if name not in limits:
            raise RefusedError(f"--limit: unknown part {name!r}; parts are: {', '.join(PARTS)}")
        limits[name] = float(seconds)
    return limits


def _content(given: argparse.Namespace, file: Path) -> dict[str, Any]:
    """The results so far: of the folder, else of an earlier call. They must be of the same kind."""
    kind = {"device": given.device, "small": given.small}
    content: dict[str, Any] = {"schema": record.SCHEMA, **kind, "parts": {}}
    for source in (file, given.earlier):
        if source is None or (source == file and not file.exists()):
            continue
        before = record.read(source)
        if any(before[key] != value for key, value in kind.items()):
            raise RefusedError(f"{source} is of another kind of run; name another folder with --out")
        content["parts"] = before["parts"] | content["parts"]
    return content


def _chosen(asked: Sequence[str], content: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    """The parts to run now. Asked for none, as many of the others' company as one call has time for."""
    done = {name for name, part in content["parts"].items() if part["status"] == record.FINISHED}
    for name in done & set(asked):
        print(f"{name}: finished in an earlier call")
    pending = [name for name in PARTS if name in asked and name not in done]
    if asked:
        total = sum(limits[name] for name in pending)
        if total > MOST_SECONDS:
            raise RefusedError(
                f"{', '.join(pending)} may take {total:g} s together, and a call {MOST_SECONDS}: ask for fewer parts, "
                "and for the others in a second call, which goes on from these results"
            )
        return pending
    chosen: list[str] = []
    for name, part in PARTS.items():
        if part.apart or name in done:
            continue
        if part.needs_weights and not WEIGHTS.exists():
            print(f"{name}: left out, {WEIGHTS.relative_to(ROOT)} is not there")
        elif sum(limits[other] for other in chosen) + limits[name] > MOST_SECONDS:
            print(f"{name}: for the next call")
        else:
            chosen.append(name)
    return chosen


def _run(name: str, limit_s: float, given: argparse.Namespace) -> None:
    """Run one part under its limit of time, and write down how it ended."""
    part, log = record.Record(given.out / record.JSON_FILE, name), given.out / record.LOG_FILE
    gpu = ", ".join(cuda_devices()) if given.device == "cuda" else f"no GPU, {cpu_name()}"
    before = record.read(part.path)["parts"].get(name, {})
    # Rows of two cards do not belong into one table.
    earlier = (
        {"rows": before["rows"], "notes": before["notes"]} if before.get("gpu") == gpu else {"rows": {}, "notes": []}
    )
    shown = f"python tools/gpu_check.py {name} --device {given.device}{' --small' if given.small else ''}"
    part.about(
        **earlier, status=record.RUNNING, reason="it did not come to its end", gpu=gpu, command=shown,
        began=record.now(), limit_s=limit_s,
    )  # fmt: skip
    print(f"== {name}, {limit_s:g} s at most", flush=True)
    with log.open("ab") as file:
        file.write(f"\n===== {name} {record.now()}\n".encode())
        begin = file.tell()
    command = [sys.executable, str(Path(__file__).resolve()), name, "--inside", "--device", given.device]
    command += ["--out", str(given.out), "--work", str(_work(given)), *(["--small"] if given.small else [])]
    ended = supervision.supervise(command, limit_s, log, _environment())
    status, reason = _status(ended, part, limit_s)
    part.about(status=status, reason=reason, seconds=round(ended.seconds, 1))
    print(supervision.tail(log, begin))
    print("\n".join(targets.verdicts(name, part.rows())))
    print(f"== {name}: {status}{f', {reason}' if reason else ''}, {ended.seconds:.1f} s", flush=True)
    _write_tables(given.out)


def _status(ended: supervision.Ended, part: record.Record, limit_s: float) -> tuple[str, str]:
    if ended.code is None:
        return record.STOPPED, f"at its limit of {limit_s:g} s; the rows that were there are kept"
    if ended.code:
        how = f"signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
        return record.FAILED, f"ended with {how}; {record.LOG_FILE} has its output"
    wrong = [name for name, row in part.rows().items() if "failed" in row]
    return (record.FAILED, f"{len(wrong)} rows failed: {', '.join(wrong)}") if wrong else (record.FINISHED, "")


def _work(given: argparse.Namespace) -> Path:
    return Path(given.work or ROOT / "build" / "gpu-check").resolve()


def _environment() -> dict[str, str]:
    """What a part runs in: bench from this tree, whether or not it is installed."""
    ours = [str(ROOT / folder) for folder in ("", "benchmarks", "tools")]
    others = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return others | {"PYTHONPATH": os.pathsep.join([*ours, os.environ.get("PYTHONPATH", "")]), "PYTHONUNBUFFERED": "1"}


def _write_tables(out: Path) -> None:
    (out / record.TABLE_FILE).write_text(tables.markdown(record.read(out / record.JSON_FILE)), encoding="utf-8")


def _close(out: Path, chosen: Sequence[str]) -> int:
    """Say what there is and what would not travel; 3 where a part did not finish."""
    _write_tables(out)
    parts = record.read(out / record.JSON_FILE)["parts"]
    print("\n".join(f"{name}: {part['status']}" for name, part in parts.items()))
    for problem in luggage.problems(out):
        print(f"would not travel: {problem}")
    return 3 if any(parts[name]["status"] != record.FINISHED for name in chosen) else 0


# -------------------------------------------------------------------------------- in a part's process
def _inside(given: argparse.Namespace) -> int:
    [name] = given.parts
    if given.small and name != "environment" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # threads of so small networks wait for each other
    work = _work(given)
    work.mkdir(parents=True, exist_ok=True)
    part = record.Record(given.out / record.JSON_FILE, name)
    module: Any = importlib.import_module(f"gpu_parts.{PARTS[name].module}")
    module.run(Job(given.device, given.small, work, given.out.resolve(), part))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the part in progress is ended too
    sys.exit(main())
