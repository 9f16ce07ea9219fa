"""Shards: files that are judged together, kept on disk under what they are, and joined when all are there.

A shard is named by the settings and by its files, with their sizes and times of change, so a shard that is there is
done. It is written as a whole, its vectors first and its rows last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bench.commands.predict.inputs import Item
from bench.commands.predict.outputs import Outputs, Settings
from bench.csv_rows import as_csv
from bench.errors import printable
from bench.files import is_temporary, remove, write_atomically, write_text
from bench.footage import sampling
from bench.provenance import digest
from bench.reports.spreadsheet import no_formula

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHARD_SIGHTS = 256
"""A shard ends with the file that makes it so many pictures and frames of videos."""
COLUMNS = ("path", "video", "frame_index", "p_fake", "label_predicted", "confidence", "label", "error", "face")
HEATMAP = "heatmap"


@dataclass(frozen=True)
class Shard:
    """Files with the numbers from `first` on; `key` says what they are, `weight` how many pictures about."""

    key: str
    first: int
    items: tuple[Item, ...]
    weight: int

    def table(self, outputs: Outputs) -> Path:
        return outputs.work / f"{self.key}.csv"

    def is_done(self, outputs: Outputs) -> bool:
        """Whether its rows are there; a file that a power cut left empty has none."""
        table = self.table(outputs)
        return table.is_file() and table.stat().st_size > 0

    def vectors(self, outputs: Outputs) -> Path:
        return outputs.work / f"{self.key}.parquet"


def shards_of(items: Sequence[Item], settings: Settings) -> list[Shard]:
    """All files in shards, in their order. A video of which nobody knows how many frames are judged ends its shard."""
    shards, start, weight = [], 0, 0
    of_settings = digest(settings)
    of_video = sampling.expected(settings["frame_sampling"], settings["frames"]) or SHARD_SIGHTS
    for number, item in enumerate(items):
        weight += of_video if item.is_video else 1
        if weight >= SHARD_SIGHTS or number == len(items) - 1:
            inside = tuple(items[start : number + 1])
            key = digest([of_settings, [_known_by(item) for item in inside]])
            shards.append(Shard(key, start, inside, weight))
            start, weight = number + 1, 0
    return shards


def _known_by(item: Item) -> list[Any]:
    """All that an item's rows depend on."""
    return [printable(value) if isinstance(value, str) else value for value in astuple(replace(item, input=0))]


def header(*, heatmaps: bool) -> tuple[str, ...]:
    return (*COLUMNS, HEATMAP) if heatmaps else COLUMNS


def shown_path(path: str) -> str:
    """A path as rows have it, which spreadsheets take for no formula and every program opens.

    What begins with a sign such as `=` gets `./` in front. Bytes that are no UTF-8 are written as `\\xff`.
    """
    path = printable(path)
    return f"./{path}" if no_formula(path) != path else path


def write(shard: Shard, outputs: Outputs, rows: Sequence[Sequence[object]], vectors: Any | None) -> None:
    """Write a shard; `vectors` is a table of Arrow's, None without."""
    if vectors is not None:
        import pyarrow.parquet

        write_atomically(shard.vectors(outputs), lambda file: pyarrow.parquet.write_table(vectors, file))
    write_text(shard.table(outputs), as_csv(rows))


def vectors_table(rows: Sequence[Sequence[object]], vectors: NDArray[np.float32]) -> Any:
    """What the embedding file has of some rows: path, video, frame_index, face, and their vectors [n, D]."""
    import pyarrow as pa

    columns: list[Any] = []
    for name in ("path", "video", "frame_index", "face"):
        values = [row[COLUMNS.index(name)] for row in rows]
        kind = pa.string() if name in ("path", "video") else pa.int64()
        columns.append(pa.array([None if value == "" and kind != pa.string() else value for value in values], kind))
    flat = pa.array(vectors.reshape(-1), pa.float32())
    columns.append(pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
    return pa.table(columns, names=["path", "video", "frame_index", "face", "embedding"])


def join(shards: Sequence[Shard], outputs: Outputs, *, heatmaps: bool, embedding: str | None) -> None:
    """Join all shards into the files; `embedding` says what computed the vectors, None without."""
    if embedding is not None:
        write_atomically(outputs.embedding, lambda file: _join_vectors(shards, outputs, file, embedding))

    def write_table(file: BinaryIO) -> None:
        file.write(as_csv([header(heatmaps=heatmaps)]).encode())
        for shard in shards:
            file.write(shard.table(outputs).read_bytes())

    write_atomically(outputs.table, write_table)


def _join_vectors(shards: Sequence[Shard], outputs: Outputs, file: BinaryIO, by: str) -> None:
    """A row group for each shard. Without any vector, an empty file of vectors of no length."""
    import numpy as np
    import pyarrow.parquet

    tables = _vectors_of(shards, outputs)
    first = next(tables, None)
    first = vectors_table([], np.zeros((0, 1), np.float32)) if first is None else first
    schema = first.schema.with_metadata({"bench.embedding": by})
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        writer.write_table(first.cast(schema))
        for table in tables:
            writer.write_table(table.cast(schema))


def _vectors_of(shards: Sequence[Shard], outputs: Outputs) -> Iterator[Any]:
    import pyarrow.parquet

    for shard in shards:
        if shard.vectors(outputs).exists():
            yield pyarrow.parquet.read_table(shard.vectors(outputs))


def drop(outputs: Outputs) -> None:
    """Remove what lay in the work folder, the mark of a prediction under way first: what is joined is done. The lock
    stays.
    """
    remove(outputs.under_way)
    for path in outputs.work.iterdir():
        if path.suffix in (".csv", ".parquet") or is_temporary(path):
            remove(path)
