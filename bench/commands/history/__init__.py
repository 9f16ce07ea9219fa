"""The history of an experiment's checks: `bench check` appends a line to a file, `bench history` draws them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from bench import locks, stored
from bench.commands.history.commit import commit_of
from bench.errors import UserError, quoted
from bench.files import make_folder, unwritable_above
from bench.pipeline.finished import Finished
from bench.pipeline.summary import file_of_weights
from bench.provenance import version
from bench.records import Checked, OnEvent, RunRecord, silent
from bench.records.history import HISTORY, Check, VariantThen

_BEGINS = b'{"schema": 1, "experiment": '
_LONGEST_LINE = 4 * stored.MIB


@dataclass(frozen=True)
class Damage:
    """A line of the file that says nothing, and why."""

    line: int
    why: str


def default_file(base: Path, experiment: str) -> Path:
    """Where the history of an experiment lies unless it is said otherwise."""
    return base / "results" / experiment / HISTORY


def check_of(finished: Finished, gates: Checked, base: Path) -> Check:
    """What is noted of a check of an experiment in the folder `base`."""
    unproven = any(not gate.proven for gate in gates.outcomes)
    then = {name: variant for part in finished.parts for name, variant in _variants(part)}
    # A variant that is gone since the scores were accepted fell too.
    for name in dict.fromkeys(gate.variant for gate in gates.fell):
        fell = tuple(gate.gate for gate in gates.fell if gate.variant == name)
        then[name] = dataclasses.replace(then.get(name, VariantThen()), fell=fell)
    return Check(
        schema=1,
        experiment=gates.experiment,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit_of(base),
        outcome="failed" if gates.failed else "fell" if gates.fell else "not proven" if unproven else "passed",
        bench=version("bench"),
        weights={part.run.detector: _weights_digest(part.run) for part in finished.parts},
        frames={part.frame_set: part.run.frames["test"].digest for part in finished.parts},
        variants=then,
    )


def _weights_digest(run: RunRecord) -> str:
    """The SHA-256 of a detector's weights; empty where the run does not say it."""
    file = file_of_weights(run.provenance.get("weights", ""))
    return file[1] if file else ""


def _variants(part: Finished) -> Iterator[tuple[str, VariantThen]]:
    """What a detector's variants are on a frame set, by the names that gates give them."""
    before, after = f"{part.detector}/" if part.detector else "", f" on {part.frame_set}" if part.frame_set else ""
    for name, scored in part.scores.judged.items():
        yield (
            f"{before}{name}{after}",
            VariantThen(
                scored.auc,
                scored.auc_delta,
                scored.auc_delta_ci,
                scored.verdict,
                scored.size_mib,
                scored.latency_ms.p50,
            ),
        )


def refuse_other_file(path: Path) -> None:
    """Raise `UserError` where a line could not be appended, or something else than a history lies there."""
    try:
        with stored.open_file(path, links=False) as file:
            beginning = file.read(len(_BEGINS))
    except FileNotFoundError:
        if above := unwritable_above(path):
            text = f"--history: {path} cannot be written, since {above} is no folder that takes files"
            raise UserError(text) from None
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--history: {path} cannot be a history ({reason}); name another file") from error
    if not _BEGINS.startswith(beginning):
        raise UserError(f"--history: {path} was not written by `bench check`; name another file, or delete it")


def append(path: Path, check: Check, on_event: OnEvent = silent) -> None:
    """Append the check as a line; raises OSError, and leaves the file as it was, where it cannot be written whole.

    Others may append at the same time. What a killed process left of a line becomes a line of its own.
    """
    line = json.dumps(dataclasses.asdict(check), ensure_ascii=True).encode("ascii") + b"\n"
    make_folder(path.parent)
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
    with locks.held(locks.machine_wide(f"history-{name}"), f"noting a check in {path.name}", on_event):
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                line = line if file.read(1) == b"\n" else b"\n" + line
            try:
                written = file.write(line)
            except OSError:
                file.truncate(size)
                raise
            if written != len(line):
                file.truncate(size)
                raise OSError(f"only {written:,} of {len(line):,} bytes were taken")


def note(path: Path, check: Check) -> str | None:
    """Append the check; the reason where that fails, which takes nothing from the verdict."""
    try:
        append(path, check)
    except (OSError, UserError) as error:
        return f"{path}: the check could not be noted ({getattr(error, 'strerror', None) or error})"
    return None


def read_some(path: Path, experiment: str) -> tuple[list[Check], list[Damage]]:
    """As `read`; `UserError` where no check of the experiment is left."""
    checks, damages = read(path, experiment)
    if not checks:
        beside = f", and {len(damages):,} lines are damaged" if damages else ""
        raise UserError(f"{path}: has no check of {quoted(experiment)}{beside}; every `bench check` appends a line")
    return checks, damages


def read(path: Path, experiment: str) -> tuple[list[Check], list[Damage]]:
    """The checks of an experiment in the order of the file, and the lines that are damaged.

    Raises `UserError` where there is no such file, or it is none that can be read.
    """
    try:
        data = stored.read_bytes(path, links=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no history yet; every `bench check` appends a line") from error
    except (OSError, ValueError) as error:
        raise stored.damaged(path, error, "name another file by --history") from error
    checks, damages = [], []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            check = _parsed(line)
        except ValueError as error:
            damages.append(Damage(number, str(error)))
        else:
            checks += [check] if check.experiment == experiment else []
    return checks, damages


def _parsed(line: bytes) -> Check:
    if len(line) > _LONGEST_LINE:
        raise stored.DamagedError("it is too long")
    check: Check = stored.typed(Check, stored.parsed(line.decode("utf-8")))
    datetime.fromisoformat(check.date)
    return check


def names(checks: Sequence[Check]) -> list[str]:
    """All variants, in the order in which they first were checked."""
    return list(dict.fromkeys(name for check in checks for name in check.variants))


def other_frames(checks: Sequence[Check]) -> list[int]:
    """The checks whose test frames are not those of the check before, by their positions; those of each set count."""
    pairs = enumerate(pairwise(checks), 1)
    return [at for at, (a, b) in pairs if any(a.frames.get(name, of) != of for name, of in b.frames.items())]
