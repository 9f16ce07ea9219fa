"""The pass: what is read goes to the session in batches, and answers become rows, shard by shard.

A batch never crosses the border of two shards, so that a prediction that was interrupted ends in the same numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.commands.predict import shards as stored_shards
from bench.commands.predict.heatmaps import draw, name_of
from bench.commands.predict.inputs import Item
from bench.commands.predict.outputs import Outputs
from bench.commands.predict.reading import Part, Reader, Sight
from bench.commands.predict.shards import Shard, shown_path
from bench.errors import UserError, printable
from bench.inference.ahead import ahead
from bench.inference.scores import score_of
from bench.records import CLASSES, Event, InputSpec, OnEvent, Session, class_of
from bench.reports.spreadsheet import no_formula
from bench.results.answers import Answers, Batch
from bench.results.predict import Pending, batch_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.inference.embedding import Embedder
    from bench.results.answers import Answer

WORK = "predicting"
_DRAWN_AHEAD = 32
"""Heatmaps that wait to be drawn, at most."""


class VariantFailedError(UserError):
    """The variant itself can't be computed, whatever it is given."""


@dataclass(slots=True)
class _Row:
    """A sight without its pixels, and the answer to it."""

    item: Item
    sight: Sight
    logits: tuple[float, float] | None = None
    heatmap: str = ""


@dataclass
class _Filled:
    """A shard under way: its rows, and which of them are judged, the first of these being frame `base` of the pass."""

    shard: Shard
    base: int
    rows: list[_Row] = field(default_factory=list)
    judged: list[_Row] = field(default_factory=list)
    vectors: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    drawn: list[Future[None]] = field(default_factory=list)
    answered: int = 0
    is_read: bool = False

    @property
    def is_whole(self) -> bool:
        return self.is_read and self.answered == len(self.judged)


@dataclass(frozen=True)
class Asked:
    """What rows say: `threshold` is P(fake) from which on a picture is called fake; and what is made beside them."""

    threshold: float
    heatmaps: bool = False
    embedder: Embedder | None = None


class Pass:
    """Judges the files of shards with one session, and writes each shard when it is whole."""

    def __init__(
        self,
        session: Session,
        spec: InputSpec,
        reader: Reader,
        outputs: Outputs,
        asked: Asked,
        advance: Callable[[int], None] = lambda done: None,
    ) -> None:
        """`advance` is called with the number of sights so far."""
        self._pending = Pending("variant", "", outputs.work, session, spec)
        self._reader, self._outputs, self._threshold = reader, outputs, asked.threshold
        self._embedder, self._heatmaps, self._advance = asked.embedder, asked.heatmaps, advance
        self._size = batch_size(spec, session.executed.device)
        self._open: deque[_Filled] = deque()
        self._drawing: deque[Future[None]] = deque()
        self._frames = self._sights = 0

    def run(self, due: Sequence[Shard]) -> None:
        """Write all shards. Raises `VariantFailedError` where the session can't answer."""
        self._answers = Answers({self._pending.name: self._size}, self._keep)
        items = (
            (shard.first + index, item) for shard in due for index, item in enumerate(shard.items)
        )  # fmt: skip
        reading = self._reader.parts(items, self._size + self._reader.threads)
        with ThreadPoolExecutor(2, "draw") as self._drawers, closing(ahead(reading, self._size)) as parts:
            for shard in due:
                self._fill(shard, parts)
            self._answers.finish()
            self._refuse_failed()
            self._write_whole()

    def _fill(self, shard: Shard, parts: Iterator[Part]) -> None:
        """Read all files of a shard, and have their frames computed."""
        filled, batch = _Filled(shard, self._frames), list[_Row]()
        self._open.append(filled)
        for part in self._parts_of(shard, parts):
            for sight in part.sights:
                row = _Row(shard.items[part.item - shard.first], sight)
                filled.rows.append(row)
                self._sights += 1
                if sight.pixels is not None:
                    filled.judged.append(row)
                    batch.append(row)
                if len(batch) == self._size:
                    self._give(batch)
                    batch = []
            self._advance(self._sights)
        if batch:
            self._give(batch)
        filled.is_read = True
        self._write_whole()

    @staticmethod
    def _parts_of(shard: Shard, parts: Iterator[Part]) -> Iterator[Part]:
        left = len(shard.items)
        while left:
            part = next(parts)
            left -= part.is_last
            yield part

    def _give(self, batch: Sequence[_Row]) -> None:
        import numpy as np

        pixels = np.stack([row.sight.pixels for row in batch if row.sight.pixels is not None])
        for row in batch:
            row.sight = Sight(None, row.sight.frame_index, row.sight.face)
        start, self._frames = self._frames, self._frames + len(batch)
        self._answers.give(Batch(self._pending, start, pixels))
        self._refuse_failed()

    def _refuse_failed(self) -> None:
        for error in self._answers.failed.values():
            why = str(error) or type(error).__name__
            raise VariantFailedError(f"the variant can't be computed: {why}") from error

    # ------------------------------------------------------------------------------------ answers
    def _keep(self, batch: Batch, answer: Answer) -> None:
        """Note the answer to a batch, or to a part of one."""
        filled = next(each for each in reversed(self._open) if each.base <= batch.start)
        low = batch.start - filled.base
        rows = filled.judged[low : low + len(batch.frames)]
        for row, (real, fake) in zip(rows, answer.logits.tolist(), strict=True):
            row.logits = real, fake
        if self._embedder is not None:
            filled.vectors[low] = self._embedder(batch.frames)
        if self._heatmaps and answer.cam is not None:
            for row, pixels, cam in zip(rows, batch.frames, answer.cam, strict=True):
                self._draw(filled, row, pixels, cam)
        filled.answered += len(rows)
        self._write_whole()

    def _draw(self, filled: _Filled, row: _Row, pixels: NDArray[np.uint8], cam: NDArray[np.float32]) -> None:
        """Have a heatmap drawn; where many wait, wait for the first of them."""
        assert row.logits is not None
        row.heatmap = name_of(row.item.file, row.sight.frame_index if row.item.is_video else None, row.sight.face)
        score = score_of(row.logits).p_fake
        file = self._outputs.heatmaps / row.heatmap
        drawing = self._drawers.submit(draw, file, pixels, cam, score, self._threshold, row.item.label)
        filled.drawn.append(drawing)
        self._drawing.append(drawing)
        if len(self._drawing) > _DRAWN_AHEAD:
            self._drawing.popleft().result()

    # ------------------------------------------------------------------------------------ rows
    def _write_whole(self) -> None:
        """Write the shards that are whole, in their order."""
        while self._open and self._open[0].is_whole:
            self._write(self._open.popleft())

    def _write(self, filled: _Filled) -> None:
        """Write a whole shard, once its heatmaps are drawn: its vectors, then its rows."""
        import numpy as np

        for drawing in filled.drawn:
            drawing.result()
        rows = [self._cells(row) for row in filled.rows]
        vectors = None
        if filled.vectors:
            judged = [cells for row, cells in zip(filled.rows, rows, strict=True) if row.logits is not None]
            whole = np.concatenate([filled.vectors[low] for low in sorted(filled.vectors)])
            vectors = stored_shards.vectors_table(judged, whole)
        stored_shards.write(filled.shard, self._outputs, rows, vectors)

    def _cells(self, row: _Row) -> list[object]:
        """A row of the CSV file."""
        item, sight = row.item, row.sight
        path = shown_path(item.file)
        of_video = path if item.is_video else no_formula(printable(item.video or ""))
        score: object = ""
        called: object = ""
        confidence: object = ""
        if row.logits is not None:
            p = score_of(row.logits).p_fake
            called = class_of(p, self._threshold)
            score, confidence = p, p if called == "fake" else 1 - p
        label = "" if item.label is None else CLASSES[item.label]
        cells = [
            path, of_video, _number(sight.frame_index), score, called, confidence, label,
            no_formula(printable(sight.error)), _number(sight.face),
        ]  # fmt: skip
        if not self._heatmaps:
            return cells
        heatmap = shown_path(f"{self._outputs.pictures.name}/heatmaps/{row.heatmap}") if row.heatmap else ""
        return [*cells, heatmap]


def _number(value: int | None) -> object:
    return "" if value is None else value


def progress(on_event: OnEvent, total: int, before: int) -> Callable[[int], None]:
    """Events of a pass, of which `before` of about `total` sights were judged by an earlier one."""
    note = f"{before:,} were done before" if before else ""

    def advance(done: int) -> None:
        on_event(Event(WORK, before + done, max(total, before + done + 1), "pictures", note))

    return advance
