"""The pictures of a folder: variants loaded once, the inspection of each, a table and a gallery of all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bench.commands.inspect.request import Request, Written
from bench.errors import UserError, counted, listed
from bench.files import make_folder
from bench.inference.scores import score_of
from bench.inference.subjects import Reader
from bench.records import Event, OnEvent
from bench.records.inspection import Subject

if TYPE_CHECKING:
    from bench.commands.inspect import Inspector
    from bench.reports.inspection import Card

TABLE, GALLERY = "explanations.parquet", "gallery"
WORK = "inspecting"


def inspect(request: Request, reader: Reader, inspector: Inspector, on_event: OnEvent) -> Written:
    """Inspect every picture below a folder; those that can't be judged are skipped, and said."""
    work, count = _Work(request, reader, inspector), len(request.names)
    for index, (file, name) in enumerate(request.names.items()):
        on_event(Event(WORK, index, count, "pictures", name))
        work.add(file, name)
    on_event(Event(WORK, count, count, "pictures"))
    if not work.rows:
        raise UserError(f"{request.file}: none of {counted(count, 'picture')} can be judged", *work.skipped[:10])
    return work.written()


class _Work:
    """What has come of the pictures so far."""

    def __init__(self, request: Request, reader: Reader, inspector: Inspector) -> None:
        self._request, self._reader, self._inspector = request, reader, inspector
        self.rows: list[dict[str, Any]] = []
        self.skipped: list[str] = []
        self._cards: list[Card] = []
        self._judged = 0

    def add(self, file: Path, name: str) -> None:
        """Judge a picture, and look into it where its P(fake) is high enough."""
        from bench.reports import inspection

        try:
            subject = self._inspector.highest(self._reader.subjects(file, name))
        except UserError as error:
            self.skipped.append(error.lines[0])
            return
        self._judged += 1
        if (above := self._request.options.above) is not None:
            logits = self._inspector.logits(subject)
            if max(score_of(each).p_fake for each in logits.values()) < above:
                self.rows += list(_unexplained(subject, logits))
                return
        inspected = self._inspector.inspect(subject)
        inspection.write(inspected, self._request.to / name)
        self.rows += inspection.explanations(inspected)
        self._cards.append(inspection.card_of(inspected, f"{quote(name)}/{inspection.PAGE}"))

    def written(self) -> Written:
        """Write the table and the gallery."""
        from bench.reports import inspection

        to, options = self._request.to, self._request.options
        make_folder(to)
        inspection.write_explanations(to / TABLE, self.rows)
        variants = tuple(each.judge.name for each in self._inspector.panel.panelists)
        explained = f"{len(self._cards)} of {counted(self._judged, 'picture')} explained"
        if options.above is not None:
            explained += f" (those that a variant gives P(fake) of at least {options.above:g})"
        left_out = f"Not judged: {listed(self.skipped, 5)}." if self.skipped else ""
        gallery = inspection.Gallery(
            title=self._request.file.resolve().name,
            opening=inspection.opening(f"{explained}.", left_out),
            variants=variants,
            threshold=self._inspector.panel.run.threshold,
            tables=tuple(inspection.parts_tables(inspection.frame_of(self.rows))),
            cards=inspection.ordered(self._cards),
            files=(("A row for each picture and variant", TABLE),),
        )
        pages = inspection.write_gallery(gallery, to, GALLERY)
        return Written((), {**pages, "table": to / TABLE}, tuple(self.skipped), (f"{explained}",))


def _unexplained(subject: Subject, logits: dict[str, tuple[float, float]]) -> Iterator[dict[str, Any]]:
    from bench.reports import inspection

    for variant, each in logits.items():
        yield inspection.unexplained(subject, variant, each, score_of(each).p_fake)
