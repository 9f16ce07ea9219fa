"""Evaluate variants over frames in shards: each frame is decoded once and given to every variant.

A shard is a pure function of variants and frames, and is written whole, so that a run that is
killed loses one shard at most. Memory grows with the frames only by the scores and the small CAMs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.files import remove, write_atomically, write_text
from bench.records import BatchReader, Event, Executed, Frame, InputSpec, OnEvent

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SHARD_FRAMES = 256
PREDICTIONS, CAMS, MARK, SHARDS = "predictions.parquet", "cam.npy", "predictions.json", ".shards"


class Predicts(Protocol):
    """What of a runtime's session evaluation and timing need."""

    executed: Executed

    def predict(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """uint8 RGB [n, 3, H, W] to logits [n, 2] and signed CAMs [n, h, w]; `MemoryError` where n is too large."""

    def predict_timed(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], float | None]:
        """The same, and the milliseconds that the device computed, copies aside; None where it is the host."""


@dataclass(frozen=True)
class Labelled:
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
        told = json.loads((folder / MARK).read_text(encoding="utf-8"))
        return bool(told["key"] == key and told["bytes"] == _sizes(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def predict(
    pending: Sequence[Pending], rows: Sequence[Labelled], spec: InputSpec, read: BatchReader, on_event: OnEvent
) -> dict[str, Exception]:
    """Write predictions and CAMs of every pending variant for all rows, in their order.

    A variant that fails is left out from then on; returned is what it failed of.
    """
    failed: dict[str, Exception] = {}
    sizes = {variant.name: batch_size(spec, variant.session.executed.device) for variant in pending}
    work = f"evaluating {len(pending)} variant{'s' if len(pending) > 1 else ''}"
    on_event(Event(work, 0, len(rows)))
    for low in range(0, len(rows), SHARD_FRAMES):
        shard = [row.frame for row in rows[low : low + SHARD_FRAMES]]
        missing = [v for v in pending if v.name not in failed and not _shard(v, low).exists()]
        if missing:
            batches = read(shard, spec, max(sizes.values()))
            advance = partial(_advance, Event(work, low, len(rows)), on_event)
            failed |= _predict_shard(missing, batches, low, sizes, advance)
        else:
            on_event(Event(work, low + len(shard), len(rows)))
    for variant in pending:
        if variant.name not in failed:
            try:
                _merge(variant, rows)
            except ValueError as error:
                failed[variant.name] = error
    return failed


def batch_size(spec: InputSpec, device: str) -> int:
    """Frames in a batch: what keeps a B5's activations within a quarter of the free memory.

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
        import psutil

        free, most = psutil.virtual_memory().available, 4
    return max(1, min(most, int(free / 4 / frame_bytes)))


def _advance(start: Event, on_event: OnEvent, frames: int) -> None:
    on_event(replace(start, done=start.done + frames))


def _shard(variant: Pending, low: int) -> Path:
    return variant.folder / SHARDS / variant.key / f"{low:09d}.npz"


def _predict_shard(
    variants: Sequence[Pending],
    batches: Iterable[NDArray[np.uint8]],
    low: int,
    sizes: dict[str, int],
    advance: Callable[[int], None],
) -> dict[str, Exception]:
    """Predict and write one shard of every variant; returned are those that failed, and of what."""
    found: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {v.name: [] for v in variants}
    failed: dict[str, Exception] = {}
    done = 0
    for batch in batches:
        for variant in variants:
            if variant.name not in failed:
                try:
                    found[variant.name].extend(_with_back_off(variant, batch, sizes))
                except Exception as error:
                    failed[variant.name] = error
        done += len(batch)
        advance(done)
    for variant in variants:
        if variant.name not in failed:
            _write_shard(_shard(variant, low), found[variant.name])
    return failed


def _write_shard(path: Path, parts: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> None:
    import numpy as np

    logits, cams = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    write_atomically(path, lambda file: np.savez(file, logits=logits, cams=cams))


def _with_back_off(
    variant: Pending, batch: NDArray[np.uint8], sizes: dict[str, int]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Predictions for a batch, in parts of the variant's own size, halved for good when memory runs out."""
    import numpy as np

    found, at = [], 0
    while at < len(batch):
        size = sizes[variant.name]
        try:
            logits, cams = variant.session.predict(batch[at : at + size])
        except MemoryError:
            if size == 1:
                raise
            sizes[variant.name] = size // 2
            continue
        if not np.isfinite(logits).all():
            raise ValueError(
                "logits are not finite: the weights are broken (a negative variance of a batch norm, say), or the "
                "variant overflows in its number format"
            )
        found.append((logits, cams))
        at += size
    return found


def _merge(variant: Pending, rows: Sequence[Labelled]) -> None:
    """Join the shards into the two result files, mark them done, and drop the shards."""
    import numpy as np

    parts = [_read_shard(_shard(variant, low)) for low in range(0, len(rows), SHARD_FRAMES)]
    logits, cams = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    (variant.folder / MARK).unlink(missing_ok=True)
    table = predictions_table(rows, logits)
    write_atomically(variant.folder / PREDICTIONS, lambda file: table.to_parquet(file, index=False))
    write_atomically(variant.folder / CAMS, lambda file: np.save(file, cams))
    told = {"key": variant.key, "frames": len(rows), "bytes": _sizes(variant.folder)}
    write_text(variant.folder / MARK, json.dumps(told))
    remove(variant.folder / SHARDS)


def _sizes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_size for name in (PREDICTIONS, CAMS)}


def _read_shard(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    import zipfile

    import numpy as np

    try:
        with np.load(path) as shard:
            return shard["logits"], shard["cams"]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        # No kill leaves half a shard, but a disk may: the next run makes it again.
        remove(path)
        raise ValueError(f"{path} was damaged, and is removed; the same command makes it again") from error


def predictions_table(rows: Sequence[Labelled], logits: NDArray[np.float32]) -> pd.DataFrame:
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
