"""What each part leaves beside its shards: of which experiment they are, and how it went.

A record is a file of its own, placed by one rename when its part begins and again when it ends.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import stored
from bench.errors import UserError, listed, shown
from bench.pipeline.jobs import Job, inputs
from bench.pipeline.prepared import Prepared
from bench.pipeline.reasons import differences, flattened
from bench.pipeline.sharding.part import Part
from bench.pipeline.sharding.passes import Pass
from bench.provenance import version, write_json

FOLDER = ".sharding"
_OF_COUNT = re.compile(r"of-([1-9]\d{0,8})", re.ASCII)
_MOST_BYTES = 16 * stored.MIB
_MOST_NAMED = 8
_UNKNOWN = "of other artifacts, which other libraries built, or at other levels of re-compression"


@dataclass(frozen=True)
class Record:
    """A part, what its experiment asks for, and what its shards were made from.

    `asked` and, for each variant on each frame set, `inputs` are values as text by dotted names. `keys` are those of
    predictions, by their folder below the experiment's results. `failed` has the reasons of what failed, by title.
    `is_whole` says that the part has ended.
    """

    number: int
    count: int
    bench: str
    asked: dict[str, str]
    inputs: dict[str, dict[str, str]]
    keys: dict[str, str]
    host: str
    process: int
    began: str
    is_whole: bool = False
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def part(self) -> Part:
        return Part(self.number, self.count)


def folder_of(results: Path) -> Path:
    """Where the records of an experiment's parts lie, below the folder of its results."""
    return results / FOLDER


def log_folder(results: Path, part: Part) -> Path:
    """Where the logs of a part lie."""
    return folder_of(results) / f"of-{part.count}" / f"log-{part.number}"


def _inputs_of(job: Job) -> dict[str, Any]:
    """What the key of a job's predictions is the digest of."""
    return inputs(job.setup, job.built.id, job.built.kind, job.built, imported=job.variant in job.setup.imported)[1]


def begun(part: Part, prepared: Prepared, passes: Sequence[Pass], failed: Mapping[str, str] | None = None) -> Record:
    """The record of a part that begins in this process; `failed` has what could not be built, by title."""
    targets = [target for each in passes for target in each.targets]
    jobs = {target.job.result_title: target.job for target in targets}
    return Record(
        number=part.number,
        count=part.count,
        bench=version("bench"),
        asked=asked_of(prepared),
        inputs={title: dict(flattened(_inputs_of(job), "")) for title, job in jobs.items()},
        keys={target.folder.relative_to(prepared.results).as_posix(): target.key for target in targets},
        host=platform.node(),
        process=os.getpid(),
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        failed=dict(failed or {}),
    )


def write(results: Path, record: Record) -> None:
    write_json(file_of(results, record), asdict(record))


def file_of(results: Path, record: Record) -> Path:
    """Where a record lies, or will."""
    return folder_of(results) / f"of-{record.count}" / f"{record.number}.json"


def ended(record: Record, failed: Mapping[str, str]) -> Record:
    """The record with what failed to evaluate, beside what failed to build."""
    return replace(record, is_whole=True, failed={**record.failed, **failed})


def read_all(results: Path) -> list[Record]:
    """The records of all parts. `UserError` for a damaged one, and where a link lies in the place of a folder."""
    return sorted(map(read, files(results)), key=lambda record: (record.count, record.number))


def files(results: Path) -> list[Path]:
    """The files of all parts' records. `UserError` where a link lies in the place of a folder."""
    folder = folder_of(results)
    counted = [path for path in _inside(folder) if _OF_COUNT.fullmatch(path.name)]
    for path in (folder, *counted):
        stored.refuse_link(path)
    return sorted(file for path in counted for file in path.glob("*.json"))


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def read(file: Path) -> Record:
    """The record in a file. `UserError`, whose cause says why, where it is damaged."""
    try:
        record: Record = stored.typed(Record, stored.read_json(file, _MOST_BYTES, links=False))
        if (file.parent.name, file.stem) != (f"of-{record.count}", str(record.number)):
            raise stored.DamagedError("it is of another part")
    except (OSError, ValueError) as error:
        raise stored.damaged(file, error, "delete it, and run its part again") from error
    return record


# ------------------------------------------------------------------------------------------ what must agree
def asked_of(prepared: Prepared) -> dict[str, str]:
    """What the experiment asks for, as far as predictions hang on it and it is known before anything is built."""
    asked: dict[str, str] = {}
    for setup in prepared.by_detector.values():
        for name, chain in setup.chains.items():
            if name in setup.selected:
                asked[f"steps of {setup.title(name)}"] = ", ".join(use.text for use in chain) or "none"
        asked[f"weights of {setup.detector_name}"] = setup.source.digest[:12]
    for setups in prepared.by_frame_set.values():
        for split, frames in setups[0].labelled.items():
            asked[f"{split} frames{setups[0].on_frames}"] = f"{len(frames.frames):,} ({frames.digest[:12]})"
    settings = prepared.first.settings
    if settings.robustness:
        asked["robustness"] = ", ".join(level.title for level in settings.robustness.degradations)
    asked |= {"device": prepared.first.device, "runtime": settings.runtime}
    return asked


def refuse_others(records: Iterable[Record], prepared: Prepared) -> None:
    """Raise `UserError` where a part was made by another version of bench or for another experiment."""
    asked, installed = asked_of(prepared), version("bench")
    again = _again(prepared.results)
    for record in records:
        if record.bench != installed:
            raise UserError(
                f"part {record.part.text} was made by bench {shown(record.bench, 40)}, and this is bench {installed}: "
                f"use one version for all parts, or {again}"
            )
        if differing := differences(record.asked, asked):
            raise UserError(
                f"part {record.part.text} was made for another experiment ({listed(differing, 4)}): use one "
                f"experiment file, the same frames and the same --only and --device for all parts, or {again}"
            )


def refuse_other_keys(records: Iterable[Record], present: Record, results: Path, called: str) -> None:
    """Raise `UserError` where shards of a part were made from something else than this process would use.

    Machines that each build for themselves may come to other bits, and other kernels. `called` is how commands name the
    experiment.
    """
    for record in records:
        if why := other_keys(record, present):
            failed = {title: reason for title, reason in record.failed.items() if title not in present.failed}
            if failed and not record.keys.keys() - present.keys.keys():
                raise UserError(
                    f"part {record.part.text} is without {listed(failed)}, which failed on {record.host}: "
                    f"{listed((shown(reason) for reason in failed.values()), 3)}; `bench run {called} --shard "
                    f"{record.part.text}` makes it again, where it can be built"
                )
            raise UserError(
                f"part {record.part.text} was made elsewhere in another way ({why}): have all parts use one build, "
                f"which `bench run {called} --build-only` makes before any begins; use the same libraries and the same "
                f"kind of processor or GPU for all of them and for `bench merge`; on this machine "
                f"`bench run {called} --shard {record.part.text}` makes it again, or {_again(results)}"
            )


def other_keys(record: Record, present: Record) -> str:
    """What differs in that from which shards are made; empty where nothing does."""
    if record.keys == present.keys:
        return ""
    differing = {
        title: differences(record.inputs.get(title, {}), of_title) for title, of_title in present.inputs.items()
    }
    return listed((f"{title}: {listed(texts, 3)}" for title, texts in differing.items() if texts), 3) or _UNKNOWN


def refuse_other_counts(records: Sequence[Record], results: Path, count: int | None = None) -> None:
    """Raise `UserError` where parts are of another N than `count`, or than one another."""
    parts: dict[int, list[str]] = {}
    for record in records:
        parts.setdefault(record.count, []).append(record.part.text)
    others = [each for each in parts if each != count]
    if count is not None and others:
        raise UserError(
            f"--shard: N is {count}, and parts of N = {others[0]} are there ({listed(parts[others[0]], 3)}): go on "
            f"with /{others[0]}, or {_again(results)}"
        )
    if count is None and len(parts) > 1:
        texts = (f"N = {each} ({listed(names, 3)})" for each, names in parts.items())
        raise UserError(
            f"{folder_of(results)}: parts of different N are there: {listed(texts)}; delete the folder of-N of those "
            "that are not meant, and run what is missing"
        )


def _again(results: Path) -> str:
    return f"delete {folder_of(results)}, and with --store what is called so there, to begin anew"


def missing(records: Sequence[Record]) -> list[Part]:
    """The parts without a record, and those that have not ended."""
    count = records[0].count if records else 0
    whole = {record.number for record in records if record.is_whole}
    return [Part(number, count) for number in range(1, count + 1) if number not in whole]


def named(parts: Sequence[Part], called: str) -> str:
    """Which parts are missing, and what makes them; `called` is how commands name the experiment."""
    texts = listed((part.text for part in parts), _MOST_NAMED)
    count = parts[0].count
    verb = "is" if len(parts) == 1 else "are"
    return (
        f"{len(parts):,} of {count:,} parts {verb} missing: {texts}; `bench run {called} --shard {parts[0].text}`"
        f"{' and so on make them' if len(parts) > 1 else ' makes it'}"
    )


def unended(records: Sequence[Record]) -> Iterator[str]:
    """Parts that were begun and have not ended, and where."""
    for record in records:
        if not record.is_whole:
            where = f"process {record.process} on {shown(record.host, 60)}"
            yield f"{record.part.text} was begun by {where} at {shown(record.began, 40)} and has not ended"
