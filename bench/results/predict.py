"""Predict: each frame is decoded once, in one stream, and given to every variant, as its detector takes it.

Predictions are written in whole shards, so that a killed run loses at most one shard of each variant, and the batches
under way. A batch never crosses the border of two shards. Memory grows with the frames only by the scores and the
small CAMs. `answers` keeps devices busy meanwhile.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import stored
from bench.errors import counted
from bench.files import remove, write_atomically, write_text
from bench.records import (
    AnySpec,
    DegradedSpec,
    Event,
    Executed,
    Frame,
    OnEvent,
    Prediction,
    PredictionPass,
    Session,
    SpecBatches,
    SpecsReader,
)
from bench.results import videos
from bench.results.answers import Answers, Batch
from bench.results.attempts import NOTE, noted
from bench.stored import MIB
from bench.system.control_groups import available_memory

if TYPE_CHECKING:
    import zipfile

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from bench.results.answers import Answer

SHARD_FRAMES = 256
WORK = "evaluating"
PREDICTIONS, CAMS, MARK, SHARDS = "predictions.parquet", "cam.npy", "predictions.json", ".shards"
JOINED = (PREDICTIONS, CAMS, MARK)
"""What holds the predictions of a variant once its shards are joined."""
DEGRADED = "robustness"
"""The folder of a variant's predictions for re-compressed frames, a folder inside for each level."""


@dataclass(frozen=True)
class FrameRow:
    """A frame of a labelled split: a row of `predictions.parquet`."""

    split: str
    frame: Frame


@dataclass(frozen=True)
class Pending:
    """A variant to predict for: its loaded session, the folder and key of its predictions, and how frames go in.

    Names are those of progress and failures; no two variants of a pass have the same. Without `maps`, its
    class-activation maps are not stored.
    """

    name: str
    key: str
    folder: Path
    session: Session
    spec: AnySpec
    maps: bool = True


def is_done(folder: Path, key: str) -> bool:
    """Whether the folder holds all predictions of this key: a mark with their sizes is written last."""
    mark = _mark(folder)
    return mark is not None and mark.get("key") == key


def is_whole(folder: Path) -> bool:
    """The same for whatever key."""
    return _mark(folder) is not None


def _mark(folder: Path) -> dict[str, Any] | None:
    """What says that a folder's predictions are all there; None where they are not."""
    try:
        mark: dict[str, Any] = stored.read_json(folder / MARK, MIB)
        return mark if mark["bytes"] == _sizes(folder, cams=CAMS in mark["bytes"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_intact(folder: Path, mark: bytes) -> bool:
    """Whether the files of predictions are those that the content of their mark names; True where it names none."""
    try:
        digests = stored.parsed(mark.decode()).get("sha256", {})
        return all(stored.digest(folder / name)[0] == digest for name, digest in digests.items() if name in JOINED)
    except (OSError, ValueError, AttributeError):
        return False


def rows_left(folder: Path, key: str, count: int) -> int:
    """How many of `count` rows have no predictions of this key; the shards of an interrupted run count as done."""
    if is_done(folder, key):
        return 0
    shards = len(list((folder / SHARDS / key).glob("?????????.npz")))
    return max(1, count - shards * SHARD_FRAMES)


def has_cams(folder: Path) -> bool:
    """Whether the folder's predictions have class-activation maps: some detectors give none, and then the mark
    names no file of them.
    """
    try:
        return CAMS in stored.read_json(folder / MARK, MIB)["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return True  # what is missing is then reported as such


def read_executed(folder: Path, key: str) -> Executed | None:
    """What executed the predictions of this key; None where an earlier version made them and did not record it."""
    try:
        mark = stored.read_json(folder / MARK, MIB)
        executed: Executed | None = stored.typed(Executed, mark["executed"]) if mark["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return executed


def write_executed(folder: Path, executed: Executed) -> None:
    """Record what executes predictions that exist already."""
    mark = stored.read_json(folder / MARK, MIB)
    write_text(folder / MARK, json.dumps({**mark, "executed": asdict(executed)}))


def renew_videos(folders: Sequence[Path], rows: Sequence[FrameRow]) -> None:
    """Write anew which video each frame is of, in the predictions of these folders that name others."""
    frames = [row.frame for row in rows]
    digest = videos.digest(frames)
    for folder in folders:
        videos.renew(folder / PREDICTIONS, folder / MARK, frames, digest)


def predict(
    pending: Sequence[Pending], rows: Sequence[FrameRow], read: SpecsReader, on_event: OnEvent, work: str = WORK
) -> dict[str, Exception]:
    """Write predictions and CAMs of every pending variant for all rows, in their order; `work` is the events' title.

    A variant that fails is left out from then on. Returns the error of each that failed.
    """
    lows = shard_lows(len(rows))
    computed = {
        variant.name for variant in pending if any(not is_written(variant.folder, variant.key, low) for low in lows)
    }
    failed, evaluation = fill(pending, rows, lows, read, on_event, work)
    work = _title(work, pending)
    on_event(Event(work, 0, 0, "", "writing the results"))
    for variant in pending:
        if variant.name not in failed:
            try:
                _merge(variant, rows, evaluation if variant.name in computed else None)
            except ValueError as error:
                failed[variant.name] = error
    on_event(Event(work, len(rows), len(rows)))
    return failed


def fill(  # noqa: PLR0913 - the same, and which shards
    pending: Sequence[Pending],
    rows: Sequence[FrameRow],
    lows: Sequence[int],
    read: SpecsReader,
    on_event: OnEvent,
    work: str = WORK,
    *,
    note: str = NOTE,
    before_shard: Callable[[int], object] | None = None,
) -> tuple[dict[str, Exception], PredictionPass]:
    """Write those of the shards that begin at the rows `lows` which are missing, and join none.

    Each shard is a file of its own, so that several processes may fill the shards of one frame set, each with a `note`
    of its own name. `before_shard` is given the first row of a shard, all of whose frames have been decoded, before
    its first file is written. That the work is whole is left to the caller to say. Returns the error of each variant
    that failed, and the pass.
    """
    missing = {low: [each for each in pending if not is_written(each.folder, each.key, low)] for low in lows}
    total = sum(_end(low, rows) - low for low in lows)
    progress = partial(Event, _title(work, pending), total=total)
    on_event(progress(0, note="decoding the first frames"))
    computed = {low: variants for low, variants in missing.items() if variants}
    asked = {variant.name: variant for variants in computed.values() for variant in variants}
    sizes = {name: batch_size(variant.spec, variant.session.executed.device) for name, variant in asked.items()}
    folders = {name: _shard(variant, 0).parent for name, variant in asked.items()}
    # Shards before this one are done, whoever filled them.
    done_before = {low: index * SHARD_FRAMES for index, low in enumerate(lows)}

    def advance(low: int, start: int) -> None:
        on_event(progress(min(total, done_before[low] + start - low)))

    with noted(folders, sizes, note) as allowed:
        return _evaluate(computed, rows, allowed, read, advance, before_shard)


def shard_lows(rows: int) -> range:
    """The first row of each shard of so many."""
    return range(0, rows, SHARD_FRAMES)


def is_written(folder: Path, key: str, low: int) -> bool:
    """Whether the shard of a variant's predictions that begins at the row `low` is there."""
    return shard_file(folder, key, low).exists()


def remove_damaged(shard: Path) -> bool:
    """Remove the file of a shard if it is damaged, so that it is made again; whether it was."""
    try:
        _read_shard(shard)
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False


def _title(work: str, pending: Sequence[Pending]) -> str:
    noun = "evaluation" if any(isinstance(variant.spec, DegradedSpec) for variant in pending) else "variant"
    return f"{work} {counted(len(pending), noun)}"


def _evaluate(
    missing: Mapping[int, Sequence[Pending]],
    rows: Sequence[FrameRow],
    sizes: dict[str, int],
    read: SpecsReader,
    advance: Callable[[int, int], None],
    before_shard: Callable[[int], object] | None,
) -> tuple[dict[str, Exception], PredictionPass]:
    """Compute the missing shards, and return the errors of variants that failed, and the pass.

    `missing` has the variants of each shard, by the shard's first row. `sizes` are frames a batch, by variant.
    `advance` is given the first rows of a shard and of a batch in it.
    """
    began, count, variants = time.perf_counter(), 0, len(sizes)
    # A batch never crosses the border of a shard, also where that is not as long as the batches are.
    size = math.gcd(max(sizes.values(), default=1), SHARD_FRAMES)
    starts = ((low, start) for low in missing for start in range(low, _end(low, rows), size))
    frames = [row.frame for low in missing for row in rows[low : _end(low, rows)]]
    specs = tuple(dict.fromkeys(variant.spec for variants in missing.values() for variant in variants))
    batches = _Waited(read(frames, specs, size))
    answers = Answers(sizes, _Shards(len(rows), before_shard).keep)
    for (low, start), batch in zip(starts, batches, strict=True):
        advance(low, start)  # frames before this batch's: answers are still under way
        for variant in missing[low]:
            answers.give(Batch(variant, start, batch[variant.spec]))
        count += min(size, _end(low, rows) - start)
        if len(answers.failed) == variants:
            break
    answers.finish()
    seconds = time.perf_counter() - began
    evaluation = PredictionPass(count, round(seconds, 3), round(batches.seconds, 3), variants - len(answers.failed))
    return answers.failed, evaluation


class _Waited:
    """The batches of a reader, and the `seconds` spent waiting for them."""

    def __init__(self, batches: Iterator[SpecBatches]) -> None:
        self._batches = batches
        self.seconds = 0.0

    def __iter__(self) -> Iterator[SpecBatches]:
        return self

    def __next__(self) -> SpecBatches:
        asked = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self.seconds += time.perf_counter() - asked


class _Shards:
    """Collects answers until a shard is complete, then writes it, its parts in the order of its rows."""

    def __init__(self, rows: int, before_shard: Callable[[int], object] | None = None) -> None:
        self._rows = rows
        self._before_shard = before_shard
        self._announced: set[int] = set()
        self._parts: dict[Path, dict[int, Answer]] = {}

    def keep(self, batch: Batch, answer: Answer) -> None:
        low = batch.start - batch.start % SHARD_FRAMES
        path = _shard(batch.variant, low)
        if not batch.variant.maps:
            answer = Prediction(answer.logits, None)
        parts = self._parts.setdefault(path, {})
        parts[batch.start] = answer
        if sum(len(answer.logits) for answer in parts.values()) == min(SHARD_FRAMES, self._rows - low):
            self._announce(low)
            _write_shard(path, [parts[start] for start in sorted(parts)])
            del self._parts[path]

    def _announce(self, low: int) -> None:
        if self._before_shard and low not in self._announced:
            self._announced.add(low)
            self._before_shard(low)


def batch_size(spec: AnySpec, device: str) -> int:
    """Frames in a batch, a power of two, so that a B5's activations take at most a quarter of the free memory.

    On a CPU at most four: at 160 px a B5's widest maps then take 15 MB, which a last-level cache may hold,
    and more frames at once only cost memory. On CUDA 128 is where throughput has long levelled off. When memory
    still runs out, the batch is halved.
    """
    # The widest maps of a B5 take about 90 MB a frame at 380 px in fp32; they scale with the area.
    frame_bytes = 90e6 * (spec.size / 380) ** 2
    if device == "cuda":
        import torch

        free, most = torch.cuda.mem_get_info()[0], 128
    else:
        free, most = available_memory(), 4
    fitting = max(1, min(most, int(free / 4 / frame_bytes)))
    return 1 << fitting.bit_length() - 1


def _end(low: int, rows: Sequence[FrameRow]) -> int:
    return min(low + SHARD_FRAMES, len(rows))


def _shard(variant: Pending, low: int) -> Path:
    return shard_file(variant.folder, variant.key, low)


def shard_file(folder: Path, key: str, low: int) -> Path:
    """Where the shard of a variant's predictions lies, or will, that begins at the row `low`."""
    return folder / SHARDS / key / f"{low:09d}.npz"


def _write_shard(path: Path, parts: Sequence[Answer]) -> None:
    import numpy as np

    logits, cams = _joined(parts)
    arrays: dict[str, Any] = {"logits": logits} if cams is None else {"logits": logits, "cams": cams}
    write_atomically(path, lambda file: np.savez(file, **arrays))


def _joined(parts: Sequence[Answer]) -> Answer:
    """Answers one after another; `DamagedError` where some have CAMs and some none."""
    import numpy as np

    cams = [part.cam for part in parts if part.cam is not None]
    if len(cams) not in (0, len(parts)):
        raise stored.DamagedError("some of a variant's answers have class-activation maps and some have none")
    return Prediction(np.concatenate([part.logits for part in parts]), np.concatenate(cams) if cams else None)


def _merge(variant: Pending, rows: Sequence[FrameRow], evaluation: PredictionPass | None) -> None:
    """Join the shards into the result files, mark them done, and drop the shards."""
    logits, cams = _joined([_read_shard(_shard(variant, low)) for low in range(0, len(rows), SHARD_FRAMES)])
    table = predictions_table(rows, logits)
    further: dict[str, object]
    further = {"evaluation": asdict(evaluation) if evaluation else None, "executed": asdict(variant.session.executed)}
    further["videos"] = videos.digest([row.frame for row in rows])
    _write(variant.folder, variant.key, table, cams, further)
    remove(variant.folder / SHARDS)


def write_joined(folder: Path, key: str, table: pd.DataFrame, cams: NDArray[np.float32] | None, of: Path) -> None:
    """Write predictions that were joined from those of several members; frames and videos are those in `of`."""
    of_member = stored.read_json(of / MARK, MIB)
    _write(folder, key, table, cams, {"evaluation": None, "videos": of_member.get("videos", "")})


def _write(
    folder: Path, key: str, table: pd.DataFrame, cams: NDArray[np.float32] | None, further: Mapping[str, object]
) -> None:
    """Write the table and the maps, and last the mark that says that both are whole."""
    import numpy as np

    for name in (MARK, PREDICTIONS, CAMS):
        remove(folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / PREDICTIONS, lambda file: table.to_parquet(file, index=False))
    if cams is not None:
        write_atomically(folder / CAMS, lambda file: np.save(file, cams))
    sizes = _sizes(folder, cams=cams is not None)
    digests = {name: stored.digest(folder / name)[0] for name in sizes}
    mark = {"key": key, "frames": len(table), "bytes": sizes, "sha256": digests, **further}
    write_text(folder / MARK, json.dumps(mark))


def _sizes(folder: Path, *, cams: bool) -> dict[str, int]:
    """Bytes of the result files by name, that of the CAMs among them or not; `OSError` where one is not a file."""
    files = (PREDICTIONS, CAMS) if cams else (PREDICTIONS,)
    for name in files:
        stored.refuse_other_than_file(folder / name)
    return {name: (folder / name).stat().st_size for name in files}


def _read_shard(path: Path) -> Answer:
    """A shard's logits and CAMs. One that is damaged is removed, and `ValueError` says so.

    A file that cannot be read at present, as where a file system does not answer, stays as it is: `OSError`.
    """
    import zipfile

    import numpy as np

    try:
        with stored.open_file(path) as file:
            _refuse_bomb(zipfile.ZipFile(file))
            file.seek(0)
            with np.load(file, allow_pickle=False) as shard:
                answer = Prediction(shard["logits"], shard.get("cams"))
        _refuse_other_answers(answer)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes its readers fail in any way
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # No kill leaves half a shard, but a disk may: the next run makes it again.
        remove(path)
        raise ValueError(f"{path} was damaged, and is removed; the same command makes it again") from error
    return answer


def _refuse_bomb(archive: zipfile.ZipFile) -> None:
    if sum(member.file_size for member in archive.infolist()) > stored.MOST_BYTES:
        raise stored.DamagedError("it would unpack to far more than a shard")


def _refuse_other_answers(answer: Answer) -> None:
    """`DamagedError` unless there are finite logits [n, 2] and, if any, CAMs [n, h, w]."""
    import numpy as np

    logits, cams = answer
    sound = logits.dtype.kind == "f" and logits.ndim == 2 and logits.shape[1] == 2 and np.isfinite(logits).all()
    if not sound or (cams is not None and (cams.dtype.kind != "f" or cams.ndim != 3 or len(cams) != len(logits))):
        raise stored.DamagedError("it does not hold logits and maps")


def predictions_table(rows: Sequence[FrameRow], logits: NDArray[np.float32]) -> pd.DataFrame:
    """The columns of `predictions.parquet`; `p_fake` is the softmax of the logits, in float64."""
    import numpy as np
    import pandas as pd

    from bench.results.score import p_fake

    return pd.DataFrame(
        {
            "frame": [row.frame.path for row in rows],
            "split": [row.split for row in rows],
            "label": np.array([row.frame.label for row in rows], dtype=np.int8),
            "source": pd.array([row.frame.source for row in rows], dtype="string"),
            "p_fake": p_fake(logits[:, 0], logits[:, 1]),
            "logit_real": logits[:, 0],
            "logit_fake": logits[:, 1],
            **videos.columns([row.frame for row in rows]),
        }
    )
