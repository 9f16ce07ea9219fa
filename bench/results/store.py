"""The files under `results/<experiment>/`: one run.json, and per variant predictions, CAMs, measurements."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import locks
from bench.errors import UserError
from bench.files import sweep
from bench.provenance import write_json
from bench.records import (
    LABELLED_SPLITS,
    Conditions,
    Evaluation,
    Evidence,
    Executed,
    FrameSet,
    Labelled,
    Measurement,
    OnEvent,
    Run,
    Split,
    silent,
)
from bench.results import attributes
from bench.results.attributes import ATTRIBUTES
from bench.results.predict import CAMS, MARK, PREDICTIONS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

MEASUREMENTS, RUN, LOCK = "measurements.json", "run.json", ".lock"
SCHEMA = 1


@dataclass(frozen=True)
class Timed:
    """What was measured of a variant in one session.

    `baseline` holds the experiment's baseline in the same runtime, device and session.
    """

    executed: Executed
    measurements: tuple[Measurement, ...]
    baseline: tuple[Measurement, ...]
    conditions: Conditions


@contextmanager
def locked(folder: Path, what: str, on_event: OnEvent = silent) -> Iterator[None]:
    """Hold an experiment's results for oneself, waiting for whoever holds them; what a killed run left is removed."""
    with locks.held(folder / LOCK, what, on_event):
        for place in (folder, *(inside for inside in folder.iterdir() if inside.is_dir() and not inside.is_symlink())):
            sweep(place, held=True)
        yield


def write_timed(folder: Path, key: str, timed: Timed) -> None:
    write_json(folder / MEASUREMENTS, {"schema": SCHEMA, "key": key, **_plain(Timed, timed)})


def read_timed(folder: Path, key: str) -> Timed | None:
    """What was measured under this key, or None."""
    try:
        told = json.loads((folder / MEASUREMENTS).read_text(encoding="utf-8"))
        if told.pop("key") != key or told.pop("schema") != SCHEMA:
            return None
        timed: Timed = _parsed(Timed, told)
    except (OSError, ValueError, KeyError, AttributeError):
        # Absent, damaged or another version's: it is measured again.
        return None
    return timed


def read_evaluation(folder: Path, key: str) -> Evaluation | None:
    """The pass that made the predictions of this key; None where that was not measured."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        if mark["key"] != key:
            return None
        evaluation: Evaluation = _parsed(Evaluation, mark["evaluation"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return evaluation


def write_run(folder: Path, run: Run) -> None:
    """Write run.json, unless what is there differs in nothing but when and by which command it was made."""
    try:
        if _comparable(read_run(folder)) == _comparable(run):
            return
    except UserError:
        pass  # absent, damaged or another version's: it is written again
    write_json(folder / RUN, _plain(Run, run))


def read_run(folder: Path) -> Run:
    path = folder / RUN
    if not path.exists():
        raise UserError(f"{path}: no results yet; `bench run` makes them")
    try:
        run: Run = _parsed(Run, json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(
            f"{path}: damaged, or written by another version of bench; `bench run` writes it again"
        ) from error
    return run


def write_attributes(folder: Path, frames: Mapping[Split, FrameSet], run: Run) -> None:
    """Write what else is known of the labelled frames, unless `run`'s is there; what is known no more is removed.

    Before the run itself: a run.json never speaks of attributes that are not there yet.
    """
    try:
        told = read_run(folder).attributes
    except UserError:
        told = ""
    path = folder / ATTRIBUTES
    if not run.attributes:
        path.unlink(missing_ok=True)
    elif told != run.attributes or not path.exists():
        attributes.write(path, frames)


def read_labelled(results: Path, variant: str) -> tuple[Labelled, Labelled | None]:
    """The test and validation frames of an experiment, as this variant's predictions tell; the latter None without."""
    table = _table(results / variant, ["frame", "split", "label", "source"])
    known = attributes.read(results / ATTRIBUTES, table)
    test, validation = (
        Labelled(
            table["frame"][rows].reset_index(drop=True),
            table["label"][rows].to_numpy(),
            table["source"][rows].reset_index(drop=True),
            known[rows].reset_index(drop=True),
        )
        for rows in (table["split"] == split for split in LABELLED_SPLITS)
    )
    return test, validation if len(validation.labels) else None


def read_evidence(folder: Path, test: int) -> Evidence:
    """What a variant answered, on `test` test frames and then the validation frames; CAMs are mapped, not read."""
    table = _table(folder, ["p_fake", "logit_real", "logit_fake"])
    p_fake = table["p_fake"].to_numpy()
    real, fake = (table[name].to_numpy()[:test].astype("float64") for name in ("logit_real", "logit_fake"))
    return Evidence(p_fake[:test], p_fake[test:] if len(p_fake) > test else None, _cams(folder), fake - real)


def _cams(folder: Path) -> NDArray[np.float32]:
    import numpy as np

    try:
        cams: NDArray[np.float32] = np.load(folder / CAMS, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise _gone(folder, error) from error
    return cams


def _table(folder: Path, columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(folder / PREDICTIONS, columns=columns)
    except (OSError, ValueError) as error:
        raise _gone(folder, error) from error


def _gone(folder: Path, error: Exception) -> UserError:
    return UserError(
        f"{folder}: its predictions are gone or damaged ({error}); delete the folder, `bench run` makes it again"
    )


def read_logits(folder: Path) -> NDArray[np.float32]:
    """The logits [rows, 2] of the predictions, in their order: test frames first."""
    import numpy as np

    return _table(folder, ["logit_real", "logit_fake"]).to_numpy(np.float32)


def _comparable(run: Run) -> Run:
    kept = {key: value for key, value in run.provenance.items() if key not in ("date", "command")}
    return replace(run, provenance=kept)


def _plain(kind: Any, value: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    plain: dict[str, Any] = TypeAdapter(kind).dump_python(value, mode="json")
    return plain


def _parsed(kind: Any, value: dict[str, Any]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_python(value)
