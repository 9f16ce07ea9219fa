"""The files under `results/<experiment>/`: one run.json, and per variant predictions, CAMs if any, measurements.

With several detectors or frame sets, these are the files of each, in `<detector>/<frame set>/` below the experiment's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import locks, stored
from bench.errors import UserError
from bench.files import sweep
from bench.provenance import write_json
from bench.records import (
    LABELLED_SPLITS,
    VIDEO_COLUMNS,
    Conditions,
    Executed,
    FrameSet,
    LabelledFrames,
    Measurement,
    OnEvent,
    PredictionPass,
    Predictions,
    RunRecord,
    Split,
    SplitSummary,
    silent,
)
from bench.results import appearance, attributes, checks, copies
from bench.results.appearance import APPEARANCE
from bench.results.attributes import ATTRIBUTES
from bench.results.copies import COPIES
from bench.results.predict import CAMS, DEGRADED, MARK, PREDICTIONS, has_cams

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

MEASUREMENTS, RUN, LOCK = "measurements.json", "run.json", ".lock"
COLUMNS = ["frame", "split", "label", "source", "p_fake", "logit_real", "logit_fake"]
SCHEMA = 1
WHY_WAIT = (
    "runs of one experiment take turns, and this one then uses what that one has made; with `--no-timing` it does not "
    "wait while others take times"
)


@dataclass(frozen=True)
class SessionTimes:
    """What was measured of a variant in one session.

    `baseline` holds the experiment's baseline in the same runtime, device and session.
    """

    executed: Executed
    measurements: tuple[Measurement, ...]
    baseline: tuple[Measurement, ...]
    conditions: Conditions


@contextmanager
def locked(folder: Path, what: str, on_event: OnEvent = silent, folders: Sequence[Path] = ()) -> Iterator[None]:
    """Lock an experiment's results, waiting for another process if need be; remove what a killed run left.

    `folders` are those with a run.json, where that is not the experiment's own.
    """
    all_folders = dict.fromkeys((folder, *folders))
    for each in all_folders:
        refuse_links(each)
    with locks.held(folder / LOCK, what, on_event, folder=folder.parent.parent, why=WHY_WAIT):
        for each in filter(Path.is_dir, all_folders):
            inside = [path for path in each.iterdir() if path.is_dir() and not path.is_symlink()]
            levels = [path for part in inside for path in (part / DEGRADED).glob("*") if path.is_dir()]
            for path in (each, *inside, *levels):
                sweep(path, held=True)
        yield


def refuse_links(folder: Path) -> None:
    """Raise `UserError` where a link lies in the folder: bench would write and remove files where it leads."""
    written = ("*", "*/.*", "*/.*/*", *(f"*/{DEGRADED}{below}" for below in ("", "/*", "/*/.*", "/*/.*/*")))
    inside = [path for pattern in written for path in folder.glob(pattern)] if folder.is_dir() else []
    for path in (folder, *inside):
        if path.is_symlink():
            raise UserError(
                f"{path}: is a link, and bench writes and removes files there; put what it leads to in its place"
            )


def write_timed(folder: Path, key: str, timed: SessionTimes) -> None:
    write_json(folder / MEASUREMENTS, {"schema": SCHEMA, "key": key, **_plain(SessionTimes, timed)})


def read_timed(folder: Path, key: str) -> SessionTimes | None:
    """What was measured under this key, or None."""
    try:
        content = stored.read_json(folder / MEASUREMENTS)
        if content.pop("key") != key or content.pop("schema") != SCHEMA:
            return None
        timed: SessionTimes = stored.typed(SessionTimes, content)
        checks.measurements([*timed.measurements, *timed.baseline])
        checks.conditions(timed.conditions)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        # Absent, damaged or another version's: it is measured again.
        return None
    return timed if timed.measurements else None


def read_prediction_pass(folder: Path, key: str) -> PredictionPass | None:
    """The pass that made the predictions of this key; None where that was not measured."""
    try:
        mark = stored.read_json(folder / MARK)
        if mark["key"] != key:
            return None
        evaluation: PredictionPass = stored.typed(PredictionPass, mark["evaluation"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sound = min(evaluation.frames, evaluation.seconds, evaluation.waited_seconds, evaluation.variants) >= 0
    return evaluation if sound else None


def write_run(folder: Path, run: RunRecord) -> None:
    """Write run.json, unless the stored one differs only in date and command."""
    try:
        if _comparable(read_run(folder)) == _comparable(run):
            return
    except UserError:
        pass  # absent, damaged or another version's: it is written again
    record = _plain(RunRecord, run)
    for name in ("frame_set", "ensemble"):
        if not record[name]:
            del record[name]
    write_json(folder / RUN, record)


def read_run(folder: Path) -> RunRecord:
    """Read run.json. `UserError` where there is none, or it is damaged."""
    path = folder / RUN
    try:
        run: RunRecord = stored.typed(RunRecord, stored.read_json(path))
        checks.run(run)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no results yet; `bench run` makes them") from error
    except (OSError, ValueError) as error:
        raise stored.damaged(
            path, error, "or written by another version of bench; `bench run` writes it again"
        ) from error
    return run


def write_attributes(folder: Path, frames: Mapping[Split, FrameSet], run: RunRecord) -> None:
    """Write the attributes of the labelled frames if those of `run` are not stored yet; remove them if it has none.

    Call this before `write_run`: run.json must never name attributes that are not stored yet.
    """
    try:
        stored_digest = read_run(folder).attributes
    except UserError:
        stored_digest = ""
    path = folder / ATTRIBUTES
    if not run.attributes:
        path.unlink(missing_ok=True)
    elif stored_digest != run.attributes or not path.exists():
        attributes.write(path, frames)


def write_copies(folder: Path, frames: Mapping[Split, FrameSet], run: RunRecord) -> None:
    """Write which labelled frames are copies of others, if that is not stored yet; remove it where there are none.

    Call this before `write_run`, as `write_attributes`.
    """
    path = folder / COPIES
    try:
        before = {split: summary.digest for split, summary in read_run(folder).frames.items()}
    except UserError:
        before = {}
    if not any(run.frames[split].copies for split in LABELLED_SPLITS if split in run.frames):
        path.unlink(missing_ok=True)
    elif before != {split: summary.digest for split, summary in run.frames.items()} or not path.exists():
        copies.write(path, frames)


def read_labelled(
    results: Path, variant: str, frames: Mapping[str, SplitSummary] | None = None
) -> tuple[LabelledFrames, LabelledFrames | None]:
    """The test and validation frames in a variant's predictions; the latter are None where there are none.

    `UserError` where they are not as many of each kind as `frames` says.
    """
    of_videos = _video_columns(results / variant)
    table = _table(results / variant, ["frame", "split", "label", "source", *of_videos], frames)
    columns = attributes.read(results / ATTRIBUTES, table)
    of_test = table["frame"][table["split"] == "test"]
    measured = appearance.read(results / APPEARANCE, frames["test"].digest, of_test) if frames else None
    firsts = copies.read(results / COPIES, table, frames or {})
    test, validation = (
        LabelledFrames(
            table["frame"][rows].reset_index(drop=True),
            table["label"][rows].to_numpy(),
            table["source"][rows].reset_index(drop=True),
            columns[rows].reset_index(drop=True),
            firsts.get(split),
            videos=_column(table[rows], VIDEO_COLUMNS[0]),
            frame_indices=_column(table[rows], VIDEO_COLUMNS[1]),
            measured=measured if split == "test" else None,
        )
        for split, rows in ((split, table["split"] == split) for split in LABELLED_SPLITS)
    )
    return test, validation if len(validation.labels) else None


def read_predictions(folder: Path, test: int, rows: int | None = None) -> Predictions:
    """The predictions of a variant: `test` test frames, then the validation frames; CAMs are a memory map.

    `UserError` where there are more or fewer frames than `rows`.
    """
    table = _table(folder, ["p_fake", "logit_real", "logit_fake"])
    if rows is not None and len(table) != rows:
        raise _gone(folder / PREDICTIONS, stored.DamagedError("it has other frames than the run"))
    p_fake = table["p_fake"].to_numpy()
    real, fake = (table[name].to_numpy().astype("float64") for name in ("logit_real", "logit_fake"))
    cams, logit_diff = _cams(folder, len(table)), fake - real
    validation = (p_fake[test:], logit_diff[test:]) if len(p_fake) > test else (None, None)
    return Predictions(p_fake[:test], validation[0], cams, logit_diff[:test], validation[1])


def read_maps(folder: Path, rows: int) -> NDArray[np.float32] | None:
    """The class-activation maps [rows, h, w] of all labelled frames, as a memory map; None where there are none."""
    return _cams(folder, rows)


def _cams(folder: Path, rows: int) -> NDArray[np.float32] | None:
    if not has_cams(folder):
        return None
    try:
        return checks.cams(folder / CAMS, rows)
    except (OSError, ValueError) as error:
        raise _gone(folder / CAMS, error) from error


def _table(folder: Path, columns: list[str], frames: Mapping[str, SplitSummary] | None = None) -> pd.DataFrame:
    try:
        table = checks.table(folder / PREDICTIONS, columns)
        if frames is not None:
            checks.same_frames(table, frames)
    except (OSError, ValueError) as error:
        raise _gone(folder / PREDICTIONS, error) from error
    return table


def _gone(file: Path, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{file}: is gone; `bench run` makes it again")
    return stored.damaged(file, error, f"delete {file.parent}, `bench run` makes it again")


def read_predictions_table(folder: Path, frames: Mapping[str, SplitSummary] | None) -> pd.DataFrame:
    """The whole table of predictions.parquet, a row a frame, test frames first.

    It has the columns `video` and `frame_index` where frames' videos are known.
    `UserError` where they are not as many of each kind as `frames` says.
    """
    return _table(folder, [*COLUMNS, *_video_columns(folder)], frames)


def _column(table: pd.DataFrame, name: str) -> pd.Series[Any] | None:
    """A column from its first row on; None where there is none."""
    return table[name].reset_index(drop=True) if name in table else None


def _video_columns(folder: Path) -> tuple[str, ...]:
    """The columns that say which video a frame is of: older predictions have none, nor have frames of no video."""
    try:
        is_known = bool(stored.read_json(folder / MARK, stored.MIB).get("videos"))
    except (OSError, ValueError, AttributeError):
        return ()  # what is damaged is then told of the predictions
    return VIDEO_COLUMNS if is_known else ()


def read_logits(folder: Path) -> NDArray[np.float32]:
    """The logits [rows, 2] of the predictions, in their order: test frames first."""
    import numpy as np

    return _table(folder, ["logit_real", "logit_fake"]).to_numpy(np.float32)


def _comparable(run: RunRecord) -> RunRecord:
    lasting = {key: value for key, value in run.provenance.items() if key not in ("date", "command")}
    return replace(run, provenance=lasting)


def _plain(kind: Any, value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = stored.adapter(kind).dump_python(value, mode="json")
    return plain
