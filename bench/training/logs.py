"""What a training writes while it goes on: CSV, JSON and, where asked for, TensorBoard's files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.csv_rows import as_csv
from bench.errors import UserError
from bench.files import write_text
from bench.records.trainings import EpochRow

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

HISTORY_CSV, HISTORY_JSON, TENSORBOARD = "history.csv", "history.json", "tensorboard"


def write_history(folder: Path, rows: Sequence[EpochRow]) -> None:
    """The epochs so far as CSV, for tables, and as JSON, for programs; each whole or not at all."""
    names = sorted({name for row in rows for name in row.metrics})
    table: list[tuple[object, ...]] = [
        ("epoch", "step", "learning_rate", "train_loss", "validation_loss", "score", *names, "seconds")
    ]
    for row in rows:
        values = (row.metrics.get(name) for name in names)
        cells = (row.epoch, row.step, row.rate, row.train_loss, row.validation_loss, row.score, *values)
        table.append(tuple("" if cell is None else cell for cell in (*cells, round(row.seconds, 3))))
    write_text(folder / HISTORY_CSV, as_csv(table))
    write_text(folder / HISTORY_JSON, json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def check_tensorboard() -> None:
    """Raise `UserError` where TensorBoard's files can't be written."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError(
            "`tensorboard: true` needs the package tensorboard, which this Python does not have; "
            '`python -m pip install "bench[tensorboard]"`, or leave the key out'
        ) from error


class Board:
    """TensorBoard's files of a training, or none where nobody asks for them."""

    def __init__(self, folder: Path, rows: Sequence[EpochRow], *, asked: bool) -> None:
        self._writer: SummaryWriter | None = None
        if asked:
            from torch.utils.tensorboard import SummaryWriter

            # What a killed run wrote of an epoch that is done again does not count twice.
            self._writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=rows[-1].step + 1 if rows else 1)

    def add(self, row: EpochRow) -> None:
        """Write the numbers of an epoch, at its last step."""
        if self._writer is None:
            return
        numbers: dict[str, Any] = {
            "loss/train": row.train_loss, "loss/validation": row.validation_loss, "learning_rate": row.rate,
            "score": row.score, **{f"validation/{name}": value for name, value in row.metrics.items()},
        }  # fmt: skip
        for name, value in numbers.items():
            if value is not None:
                self._writer.add_scalar(name, value, row.step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
