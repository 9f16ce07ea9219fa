"""The pictures of a folder: variants loaded once, the inspection of each, a table and a gallery of all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bench.commands.inspect.looking import score_of
from bench.commands.inspect.request import PICTURE_SUFFIXES, Request, Written
from bench.commands.inspect.subjects import Reader, names_of
from bench.errors import UserError, counted, listed
from bench.files import make_folder
from bench.records import VIDEO_SUFFIXES, Event, OnEvent
from bench.records.inspection import Subject

if TYPE_CHECKING:
    from bench.commands.inspect import Inspector
    from bench.reports.inspection import Card

TABLE, GALLERY = "explanations.parquet", "gallery"
WORK = "inspecting"


def pictures_below(folder: Path, to: Path) -> list[Path]:
    """The pictures below a folder, sorted, without hidden ones and what an earlier call wrote into `to`.

    `UserError` where there are none.
    """
    target, inside, videos = to.resolve(), [], 0
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or target in path.resolve().parents or not path.is_file():
            continue
        videos += path.suffix.lower() in VIDEO_SUFFIXES
        if path.suffix.lower() in PICTURE_SUFFIXES:
            inside.append(path)
    if not inside:
        hint = f"; it holds {counted(videos, 'video')}: give one of them" if videos else ""
        raise UserError(f"{folder}: holds no pictures; expected files such as .jpg or .png{hint}")
    return inside


def inspect(request: Request, reader: Reader, inspector: Inspector, on_event: OnEvent) -> Written:
    """Inspect every picture below a folder; those that can't be judged are skipped, and said."""
    files = pictures_below(request.file, request.to)
    work = _Work(request, reader, inspector)
    names = names_of(files, request.file)
    for index, file in enumerate(files):
        on_event(Event(WORK, index, len(files), "pictures", names[file]))
        work.add(file, names[file])
    on_event(Event(WORK, len(files), len(files), "pictures"))
    if not work.rows:
        raise UserError(f"{request.file}: none of {counted(len(files), 'picture')} can be judged", *work.skipped[:10])
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
            logits = self._inspector.scores(subject)
            if max(map(score_of, logits.values())) < above:
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
            files=(("a row for each picture and variant", TABLE),),
        )
        pages = inspection.write_gallery(gallery, to, GALLERY)
        return Written((), {**pages, "table": to / TABLE}, tuple(self.skipped), (f"{explained}",))


def _unexplained(subject: Subject, logits: dict[str, tuple[float, float]]) -> Iterator[dict[str, Any]]:
    from bench.reports import inspection

    for variant, each in logits.items():
        yield inspection.unexplained(subject, variant, each, score_of(each))
