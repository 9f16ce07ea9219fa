"""Checks of stored results before they are used: a file may be damaged, or come from a stranger.

Each check raises `DamagedError`. Types are checked where files are read; these functions check values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records import (
    LABELLED_SPLITS,
    LEAST_CROP_PCT,
    VIDEO_COLUMNS,
    Conditions,
    FaceCounts,
    MaskCounts,
    Measurement,
    RunRecord,
    SplitSummary,
    ThresholdChoice,
    VariantResult,
)
from bench.stored import DamagedError, open_file, refuse_other_than_file

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

MOST_ROWS = 20_000_000
"""More labelled frames than anybody has measured: a file that claims more is damaged."""
_MOST_TEXT = 20_000
_MOST_MS = 1e9
_MOST_BATCH = 2**20
_MOST_SIDE = 4096
_SIZES = range(1, 2**14)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HEX = re.compile(r"[0-9a-f]{0,64}")
_WITH_GAPS = frozenset(("source", *VIDEO_COLUMNS))
_NUMBERS = {"p_fake": (0.0, 1.0), "logit_real": (-1e38, 1e38), "logit_fake": (-1e38, 1e38)}


def run(record: RunRecord) -> None:
    """Check names, digests, counts and times of a run."""
    if record.preprocessing is None or record.preprocessing.size not in _SIZES:
        raise DamagedError("it does not say the size of its frames")
    if not LEAST_CROP_PCT <= record.preprocessing.crop_pct <= 1:
        raise DamagedError("its crop_pct cannot be")
    if not _NAME.fullmatch(record.preprocessing.crop):
        raise DamagedError("its crop has no name")
    names = [variant.name for variant in record.variants]
    if not names or len(set(names)) < len(names):
        raise DamagedError("its variants have no names of their own")
    _texts([record.experiment, record.detector, record.architecture, record.files_left_out])
    _texts([*record.provenance.values(), *record.warnings])
    _digests([record.attributes])
    if record.threshold_choice is not None:
        _choice(record.threshold_choice)
    if "test" not in record.frames:
        raise DamagedError("it has no test frames")
    for split, frames in record.frames.items():
        _split(split, frames)
    for variant in record.variants:
        _variant(variant)
    for counts in (record.masks, record.faces):
        if counts is not None:
            _counts(counts)


def _counts(counts: MaskCounts | FaceCounts) -> None:
    """Check the numbers of masks or faces, and the key of those that are stored."""
    _digests([counts.key])
    if min(value for value in vars(counts).values() if isinstance(value, int)) < 0:
        raise DamagedError("its numbers of masks or faces are none")


def _choice(choice: ThresholdChoice) -> None:
    """Check how many validation frames a threshold was found on, and the errors among them."""
    _texts([choice.frame_set])
    _digests([choice.basis])
    errors = (choice.fp, choice.fn, choice.real - choice.fp, choice.fake - choice.fn)
    if min(errors) < 0 or min(choice.real, choice.fake) < 1:
        raise DamagedError("the frames that its threshold was found on do not fit each other")


def _split(split: str, frames: SplitSummary) -> None:
    _texts([frames.root])
    _digests([frames.digest])
    counts = (frames.fake, frames.real, frames.sources, frames.largest_source, MOST_ROWS - frames.count)
    copies = (frames.fake_copies, frames.fake - frames.fake_copies, frames.copies - frames.fake_copies)
    if frames.count < 1 or min(*counts, *copies) < 0 or frames.fake + frames.real > frames.count:
        raise DamagedError(f"its numbers of {split[:20]!r} frames do not fit each other")
    of_classes = (frames.without_copies.fake, frames.without_copies.real)
    if split in LABELLED_SPLITS and (min(of_classes) < 1 or frames.fake + frames.real != frames.count):
        raise DamagedError(f"its numbers of {split} frames do not fit each other")


def _variant(variant: VariantResult) -> None:
    """Check one variant: its name, ids, texts, sizes, times and conditions."""
    if _NAME.fullmatch(variant.name) is None:
        raise DamagedError(f"{variant.name[:80]!r} cannot be the name of a variant")
    _digests([variant.id, variant.predictions_key, *(level.key for level in variant.degraded)])
    _texts([variant.reason or "", variant.imported, *variant.steps, *variant.notes])
    if variant.status == "ok" and not (variant.footprint and variant.executed):
        raise DamagedError(f"{variant.name} was measured, and it does not say what came of it")
    if variant.footprint:
        sizes = (variant.footprint.size_bytes, variant.footprint.parameters, variant.footprint.macs)
        if any(size is not None and size < 1 for size in sizes):
            raise DamagedError(f"{variant.name} has a size below 1")
    measurements([*variant.measurements, *variant.baseline])
    if variant.conditions:
        conditions(variant.conditions)


def measurements(timed: Iterable[Measurement]) -> None:
    """Check that every round has times, and that all of them are positive and possible."""
    for measurement in timed:
        samples = [sample for samples in measurement.rounds_ms for sample in samples]
        device = [sample for samples in measurement.device_rounds_ms for sample in samples]
        has_rounds = bool(measurement.rounds_ms) and all(measurement.rounds_ms)
        if not 1 <= measurement.batch_size <= _MOST_BATCH or not has_rounds:
            raise DamagedError("a measurement has no frames, or a round without times")
        is_possible = all(0 < sample <= _MOST_MS for sample in samples)
        if not is_possible or not all(0 <= sample <= _MOST_MS for sample in device):
            raise DamagedError("a call took no time, or no time that there is")


def conditions(session: Conditions) -> None:
    if (session.throttled_seconds or 0.0) < 0 or not 0 <= (session.throttled_share or 0.0) <= 1:
        raise DamagedError("its conditions tell of time that there is not")
    _texts(
        [session.began, *session.machine, *session.machine.values(), *session.gpu_processes, *session.gpu_throttling]
    )


def _texts(texts: Iterable[str]) -> None:
    for text in texts:
        if len(text) > _MOST_TEXT or "\0" in text:
            raise DamagedError("a text in it is far too long, or none")


def _digests(digests: Iterable[str]) -> None:
    if not all(map(_HEX.fullmatch, digests)):
        raise DamagedError("an id or a digest in it is none")


def table(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read columns of predictions.parquet, each of its type: text, labels 0 or 1, finite numbers."""
    import pyarrow.parquet as pq

    try:
        with open_file(path) as file:
            stored = pq.ParquetFile(file)
            if stored.metadata.num_rows > MOST_ROWS:
                raise DamagedError(f"it says that it has {stored.metadata.num_rows:,} rows")
            rows = stored.read(columns=columns)
        if sorted(rows.column_names) != sorted(columns):
            raise DamagedError(f"it has no column {next(iter(set(columns) - set(rows.column_names)))}")
        for name in columns:
            _column(name, rows.column(name))
        predictions: pd.DataFrame = rows.to_pandas()
    except (DamagedError, OSError):
        raise
    except Exception as error:  # a damaged file makes its readers fail in any way
        raise DamagedError(f"it is no table: {type(error).__name__}") from error
    for name in columns:
        _values(name, predictions[name])
    return predictions


def _column(name: str, column: Any) -> None:
    """Check the type of an Arrow column, and that it has no gaps; only sources and videos may be missing."""
    import pyarrow as pa

    kinds = {
        "label": pa.types.is_integer,
        "frame_index": pa.types.is_integer,
        **dict.fromkeys(_NUMBERS, pa.types.is_floating),
    }

    def is_text(kind: Any) -> bool:
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        # Where no source is known, the column has no type.
        unknown: bool = name in _WITH_GAPS and column.null_count == len(column)
        return unknown or pa.types.is_string(plain) or pa.types.is_large_string(plain)

    if not kinds.get(name, is_text)(column.type):
        raise DamagedError(f"its column {name} holds {str(column.type)[:40]!r}")
    if name not in _WITH_GAPS and column.null_count:
        raise DamagedError(f"its column {name} has gaps")


def _values(name: str, column: pd.Series[Any]) -> None:
    """Check the values of a column: labels, splits, names, and numbers within their limits."""
    if name == "label" and not column.isin((0, 1)).all():
        raise DamagedError("a label is neither 0 nor 1")
    if name == "split" and not column.isin(LABELLED_SPLITS).all():
        raise DamagedError("a split is neither test nor validation")
    if name == "frame" and (column.str.strip("/.").eq("") | column.str.contains("\0", regex=False)).any():
        raise DamagedError("a frame has no name")
    if name == "frame_index" and not column.dropna().ge(0).all():
        raise DamagedError("a frame has a number below 0")
    if name in _NUMBERS:
        low, high = _NUMBERS[name]
        if not column.between(low, high).all():
            raise DamagedError(f"its column {name} has a number outside {low:g} to {high:g}")


def same_frames(rows: pd.DataFrame, frames: Mapping[str, SplitSummary]) -> None:
    """Check that test frames come first, then validation frames, as many of each class as the run says."""
    splits = [split for split in LABELLED_SPLITS if split in frames]
    start = 0
    for split in splits:
        part = rows.iloc[start : start + frames[split].count]
        if len(part) != frames[split].count or not (part["split"] == split).all():
            raise DamagedError("it has other frames than the run")
        if int((part["label"] == 1).sum()) != frames[split].fake:
            raise DamagedError("it has other labels than the run")
        start += len(part)
    if start != len(rows):
        raise DamagedError("it has other frames than the run")


def cams(path: Path, rows: int) -> NDArray[np.float32]:
    """Signed maps [rows, h, w], as a memory map."""
    import numpy as np

    refuse_other_than_file(path)
    try:
        maps: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged file makes its readers fail in any way
        raise DamagedError(f"it is no array: {type(error).__name__}") from error
    is_map = isinstance(maps, np.ndarray) and maps.ndim == 3 and maps.dtype.kind == "f"
    if not is_map or len(maps) != rows or not all(1 <= side <= _MOST_SIDE for side in maps.shape[1:]):
        raise DamagedError(f"it does not hold a map of each of {rows:,} frames")
    return maps
