"""What an MLflow store of SQLite holds, asked of SQLite itself: no code of MLflow's or of bench's between."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StoredRun:
    """A run's name, status, parameters, latest metrics and tags."""

    run_id: str
    experiment: str
    name: str
    status: str
    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


def runs(file: Path) -> list[StoredRun]:
    """All runs of a store, in the order of their names."""
    with closing(sqlite3.connect(file)) as store:
        rows = store.execute(
            "SELECT run_uuid, experiments.name, runs.name, status FROM runs JOIN experiments USING (experiment_id) "
            "WHERE runs.lifecycle_stage = 'active' ORDER BY experiments.name, runs.name"
        ).fetchall()

        def pairs(table: str, run: str) -> dict[str, object]:
            return dict(store.execute(f"SELECT key, value FROM {table} WHERE run_uuid = ?", (run,)).fetchall())

        return [
            StoredRun(*row, *(pairs(table, row[0]) for table in ("params", "latest_metrics", "tags"))) for row in rows
        ]


def metric_values(file: Path, key: str) -> int:
    """How many values of a metric were ever logged, in all runs."""
    with closing(sqlite3.connect(file)) as store:
        return int(store.execute("SELECT COUNT(*) FROM metrics WHERE key = ?", (key,)).fetchone()[0])


def model_versions(file: Path) -> list[tuple[str, int, str]]:
    """Name, version and source of every registered model."""
    with closing(sqlite3.connect(file)) as store:
        return store.execute("SELECT name, version, source FROM model_versions ORDER BY name, version").fetchall()
