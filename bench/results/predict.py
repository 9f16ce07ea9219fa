"""Evaluate variants over frames: each frame is decoded once, in one stream, and given to every variant.

What variants answer is written in shards, each whole, so that a run that is killed loses one shard of each variant
at most, and the batches under way. A batch never crosses the border of two shards. Memory grows with the frames
only by the scores and the small CAMs. `answers` keeps devices busy meanwhile.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench import stored
from bench.files import remove, write_atomically, write_text
from bench.records import BatchReader, Event, Executed, Frame, InputSpec, OnEvent, PredictionPass
from bench.results.answers import Answers, Part
from bench.results.attempts import noted
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


class Predicts(Protocol):
    """What of a runtime's session evaluation and timing need."""

    executed: Executed

    def predict(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """uint8 RGB [n, 3, H, W] to logits [n, 2] and signed CAMs [n, h, w]; `MemoryError` where n is too large."""

    def predict_timed(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], float | None]:
        """The same, and the milliseconds that the device computed, copies aside; None where it is the host."""


@dataclass(frozen=True)
class FrameRow:
    """A frame of a labelled split, as a row of `predictions.parquet` will know it."""

    split: str
    frame: Frame


@dataclass(frozen=True)
class Pending:
    """A variant whose predictions are wanted: its loaded session, and the folder and key they go to."""

    name: str
    key: str
    folder: Path
    session: Predicts


def is_done(folder: Path, key: str) -> bool:
    """Whether the folder holds the predictions of this key, whole: they are marked last, with their sizes."""
    try:
        mark = stored.read_json(folder / MARK, MIB)
        return bool(mark["key"] == key and mark["bytes"] == _sizes(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_executed(folder: Path, key: str) -> Executed | None:
    """What executed the predictions of this key; None where an earlier version made them, which did not say."""
    try:
        mark = stored.read_json(folder / MARK, MIB)
        executed: Executed | None = stored.typed(Executed, mark["executed"]) if mark["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return executed


def write_executed(folder: Path, executed: Executed) -> None:
    """Say of predictions that are there what executes them."""
    mark = stored.read_json(folder / MARK, MIB)
    write_text(folder / MARK, json.dumps({**mark, "executed": asdict(executed)}))


def predict(
    pending: Sequence[Pending], rows: Sequence[FrameRow], spec: InputSpec, read: BatchReader, on_event: OnEvent
) -> dict[str, Exception]:
    """Write predictions and CAMs of every pending variant for all rows, in their order.

    A variant that fails is left out from then on; returned is what it failed of.
    """
    lows = range(0, len(rows), SHARD_FRAMES)
    missing = {low: [variant for variant in pending if not _shard(variant, low).exists()] for low in lows}
    work = f"{WORK} {len(pending)} variant{'s' if len(pending) > 1 else ''}"
    progress = partial(Event, work, total=len(rows))
    on_event(progress(0, note="decoding the first frames"))
    computed = {low: variants for low, variants in missing.items() if variants}
    asked = {variant.name: variant for variants in computed.values() for variant in variants}
    sizes = {name: batch_size(spec, variant.session.executed.device) for name, variant in asked.items()}
    folders = {name: _shard(variant, 0).parent for name, variant in asked.items()}

    def reading(frames: Sequence[Frame], size: int) -> Iterator[NDArray[np.uint8]]:
        return read(frames, spec, size)

    with noted(folders, sizes) as allowed:
        failed, evaluation = _evaluate(computed, rows, allowed, reading, lambda done: on_event(progress(done)))
    on_event(Event(work, 0, 0, "", "writing the results"))
    for variant in pending:
        if variant.name not in failed:
            took_part = any(variant in variants for variants in computed.values())
            try:
                _merge(variant, rows, evaluation if took_part else None)
            except ValueError as error:
                failed[variant.name] = error
    on_event(progress(len(rows)))
    return failed


def _evaluate(
    missing: Mapping[int, Sequence[Pending]],
    rows: Sequence[FrameRow],
    sizes: dict[str, int],
    read: Callable[[Sequence[Frame], int], Iterator[NDArray[np.uint8]]],
    advance: Callable[[int], None],
) -> tuple[dict[str, Exception], PredictionPass]:
    """Compute the missing shards, by the row that each begins at; returned is what variants failed of.

    `sizes` are frames a batch, by variant.
    """
    began, count, variants = time.perf_counter(), 0, len(sizes)
    # A batch never crosses the border of a shard, also where that is not as long as the batches are.
    size = math.gcd(max(sizes.values(), default=1), SHARD_FRAMES)
    places = ((low, start) for low in missing for start in range(low, _end(low, rows), size))
    frames = [row.frame for low in missing for row in rows[low : _end(low, rows)]]
    batches = _Waited(read(frames, size))
    answers = Answers(sizes, _Shards(len(rows)).keep)
    for (low, start), batch in zip(places, batches, strict=True):
        advance(start)  # frames before this batch's: answers are still under way
        for variant in missing[low]:
            answers.give(Part(variant, start, batch))
        count += len(batch)
        if len(answers.failed) == variants:
            break
    answers.finish()
    seconds = time.perf_counter() - began
    evaluation = PredictionPass(count, round(seconds, 3), round(batches.seconds, 3), variants - len(answers.failed))
    return answers.failed, evaluation


class _Waited:
    """A reader's batches, and the `seconds` that were spent waiting for them."""

    def __init__(self, batches: Iterator[NDArray[np.uint8]]) -> None:
        self._batches = batches
        self.seconds = 0.0

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return self

    def __next__(self) -> NDArray[np.uint8]:
        asked = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self.seconds += time.perf_counter() - asked


class _Shards:
    """Answers until their shard is whole: each is then written, its parts in the order of its rows."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._parts: dict[Path, dict[int, Answer]] = {}

    def keep(self, part: Part, answer: Answer) -> None:
        low = part.start - part.start % SHARD_FRAMES
        path = _shard(part.variant, low)
        parts = self._parts.setdefault(path, {})
        parts[part.start] = answer
        if sum(len(logits) for logits, _ in parts.values()) == min(SHARD_FRAMES, self._rows - low):
            _write_shard(path, [parts[start] for start in sorted(parts)])
            del self._parts[path]


def batch_size(spec: InputSpec, device: str) -> int:
    """Frames in a batch, a power of two: what keeps a B5's activations within a quarter of the free memory.

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
    return variant.folder / SHARDS / variant.key / f"{low:09d}.npz"


def _write_shard(path: Path, parts: Sequence[Answer]) -> None:
    import numpy as np

    logits, cams = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    write_atomically(path, lambda file: np.savez(file, logits=logits, cams=cams))


def _merge(variant: Pending, rows: Sequence[FrameRow], evaluation: PredictionPass | None) -> None:
    """Join the shards into the two result files, mark them done, and drop the shards."""
    import numpy as np

    parts = [_read_shard(_shard(variant, low)) for low in range(0, len(rows), SHARD_FRAMES)]
    logits, cams = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    for name in (MARK, PREDICTIONS, CAMS):
        remove(variant.folder / name)
    table = predictions_table(rows, logits)
    write_atomically(variant.folder / PREDICTIONS, lambda file: table.to_parquet(file, index=False))
    write_atomically(variant.folder / CAMS, lambda file: np.save(file, cams))
    mark = {"key": variant.key, "frames": len(rows), "bytes": _sizes(variant.folder)}
    mark["evaluation"] = asdict(evaluation) if evaluation else None
    mark["executed"] = asdict(variant.session.executed)
    write_text(variant.folder / MARK, json.dumps(mark))
    remove(variant.folder / SHARDS)


def _sizes(folder: Path) -> dict[str, int]:
    for name in (PREDICTIONS, CAMS):
        stored.refuse_other_than_file(folder / name)
    return {name: (folder / name).stat().st_size for name in (PREDICTIONS, CAMS)}


def _read_shard(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    import zipfile

    import numpy as np

    try:
        with stored.open_file(path) as file:
            _refuse_bomb(zipfile.ZipFile(file))
            file.seek(0)
            with np.load(file, allow_pickle=False) as shard:
                logits, cams = shard["logits"], shard["cams"]
        _refuse_other_answers(logits, cams)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file makes its readers fail in any way
        # No kill leaves half a shard, but a disk may: the next run makes it again.
        remove(path)
        raise ValueError(f"{path} was damaged, and is removed; the same command makes it again") from error
    return logits, cams


def _refuse_bomb(archive: zipfile.ZipFile) -> None:
    if sum(member.file_size for member in archive.infolist()) > stored.MOST_BYTES:
        raise stored.DamagedError("it would unpack to far more than a shard")


def _refuse_other_answers(logits: NDArray[np.float32], cams: NDArray[np.float32]) -> None:
    import numpy as np

    floats = logits.dtype.kind == cams.dtype.kind == "f"
    if not floats or logits.shape != (len(cams), 2) or cams.ndim != 3 or not np.isfinite(logits).all():
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
        }
    )
