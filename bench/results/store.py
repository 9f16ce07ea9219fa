"""The files under `results/<experiment>/`: one run.json, and per variant predictions, CAMs, measurements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import locks
from bench.errors import UserError
from bench.files import sweep
from bench.provenance import write_json
from bench.records import Conditions, Executed, Measurement, OnEvent, Run, silent
from bench.results.predict import CAMS, PREDICTIONS

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
        for place in (folder, *(inside for inside in folder.iterdir() if inside.is_dir())):
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


def read_predictions(folder: Path) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """The table of predictions and the CAMs [rows, h, w] in the same order, mapped rather than read."""
    import numpy as np
    import pandas as pd

    try:
        return pd.read_parquet(folder / PREDICTIONS), np.load(folder / CAMS, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder}: its predictions are gone or damaged ({error}); delete the folder, `bench run` makes it again"
        ) from error


def read_logits(folder: Path) -> NDArray[np.float32]:
    """The logits [rows, 2] of the predictions, in their order: test frames first."""
    import numpy as np
    import pandas as pd

    table = pd.read_parquet(folder / PREDICTIONS, columns=["logit_real", "logit_fake"])
    return table.to_numpy(np.float32)


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
