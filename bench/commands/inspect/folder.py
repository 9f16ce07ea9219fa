"""A picture, or those of a folder: what looks is loaded once, and of a folder there is a table and a gallery too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from bench.commands.inspect.request import GALLERY, TABLE, Request, Written
from bench.errors import UserError, counted, listed
from bench.files import make_folder, stops_all
from bench.records import Event, OnEvent
from bench.records.inspection import Subject

if TYPE_CHECKING:
    from bench.reports.inspection import Card

WORK = "inspecting"
_MOST_SAID = 10
_MOST_FAILURES = 5
"""So many pictures in a row fail for reasons that are not theirs before it ends."""

P = TypeVar("P")


@dataclass(frozen=True)
class Explained:
    """A picture that was looked into: its files, its rows of the table, its card, and what a terminal shows."""

    pages: Mapping[str, Path]
    rows: list[dict[str, Any]]
    card: Card
    lines: tuple[str, ...]


class Looker(Protocol[P]):
    """The variants of one detector, or of an ensemble. A picture as it reads it is its own affair."""

    @property
    def variants(self) -> tuple[str, ...]: ...

    @property
    def threshold(self) -> float: ...

    @property
    def map_levels(self) -> int:
        """How many levels of maps agree on what a gallery shows."""

    def load(self) -> None:
        """Load what looks; `UserError` where an artifact is gone. Otherwise the first answer does."""

    def read(self, file: Path, name: str) -> P:
        """A picture, of several faces that with the highest P(fake); `UserError` where nothing can be judged."""

    def subject(self, picture: P) -> Subject: ...

    def answers(self, picture: P) -> Mapping[str, tuple[float, tuple[float, float]]]:
        """P(fake) and the logits, real and fake, of each variant."""

    def explain(self, picture: P, folder: Path) -> Explained:
        """Look into a picture, and write its inspection into `folder`."""


def picture(request: Request, looker: Looker[Any], on_event: OnEvent) -> Written:
    """Look into one picture."""
    ((file, name),) = request.names.items()
    read = looker.read(file, name)
    on_event(Event(WORK, 0, 1, "pictures", name))
    explained = looker.explain(read, request.to / name)
    on_event(Event(WORK, 1, 1, "pictures"))
    return Written(explained.pages, explained.lines)


def inspect(request: Request, looker: Looker[Any], on_event: OnEvent) -> Written:
    """Look into every picture below a folder; those that can't be judged are skipped, and said.

    Where it is interrupted, or a picture fails for no reason that is its own, table and gallery are of what was done.
    """
    looker.load()
    work, count = _Work(request, looker), len(request.names)
    try:
        for index, (file, name) in enumerate(request.names.items()):
            on_event(Event(WORK, index, count, "pictures", name))
            work.add(file, name)
        on_event(Event(WORK, count, count, "pictures"))
    except KeyboardInterrupt as error:
        if not work.judged:
            raise
        work.written()
        done = f"{work.judged} of {counted(count, 'picture')} are judged, and in {request.to / TABLE}"
        raise KeyboardInterrupt(f"{done}; the same command begins anew") from error
    if not work.judged:
        raise UserError(f"{request.file}: none of {counted(count, 'picture')} can be judged", *work.skipped[:10])
    written = work.written()
    if work.failure is not None:
        raise work.failure
    return written


class _Work:
    """What has come of the pictures so far. `failure` is the first that no picture is to blame for."""

    def __init__(self, request: Request, looker: Looker[Any]) -> None:
        self._request, self._looker = request, looker
        self.judged = 0
        self.skipped: list[str] = list(request.left_out)
        self.failure: Exception | None = None
        self._rows: list[dict[str, Any]] = []
        self._cards: list[Card] = []
        self._explained = self._failed_in_a_row = 0

    def add(self, file: Path, name: str) -> None:
        """Judge a picture, and look into it where its P(fake) is high enough."""
        try:
            self._rows += self._rows_of(file, name)
        except UserError as error:
            self.skipped.append(error.lines[0])
        except Exception as error:
            self._note(file, error)
        else:
            self.judged += 1
            self._failed_in_a_row = 0

    def _note(self, file: Path, error: Exception) -> None:
        """Go on behind a failure, which costs its picture alone; not where all further ones would fail too."""
        self.failure = self.failure or error
        self._failed_in_a_row += 1
        self.skipped.append(f"{file}: {type(error).__name__}: {error}")
        if stops_all(error) or not self.judged or self._failed_in_a_row == _MOST_FAILURES:
            if self.judged:
                with suppress(OSError):
                    self.written()
            raise error

    def _rows_of(self, file: Path, name: str) -> list[dict[str, Any]]:
        """The rows of a picture in the table; where it is explained, its inspection is written and its card kept."""
        from bench.reports import inspection

        read = self._looker.read(file, name)
        if (above := self._request.options.above) is not None:
            answers = self._looker.answers(read)
            if max(p_fake for p_fake, _ in answers.values()) < above:
                subject = self._looker.subject(read)
                return [inspection.unexplained(subject, each, logits, p) for each, (p, logits) in answers.items()]
        explained = self._looker.explain(read, self._request.to / name)
        self._explained += 1
        self._cards = list(inspection.first([*self._cards, explained.card]))
        return explained.rows

    def written(self) -> Written:
        """Write the table and the gallery."""
        from bench.reports import inspection

        to = self._request.to
        make_folder(to)
        inspection.write_explanations(to / TABLE, self._rows)
        explained = f"{self._explained} of {counted(self.judged, 'picture')} explained"
        if self.skipped:
            explained += f", {len(self.skipped):,} not judged"
        gallery = inspection.Gallery(
            title=self._request.file.resolve().name,
            opening=inspection.opening(*self._opening(explained)),
            variants=self._looker.variants,
            threshold=self._looker.threshold,
            tables=tuple(inspection.parts_tables(inspection.frame_of(self._rows))),
            cards=tuple(self._cards),
            shows=inspection.maps_shown(self._request.options.target, self._looker.map_levels),
            files=(("A row for each picture and variant", TABLE),),
        )
        pages = inspection.write_gallery(gallery, to, GALLERY)
        skipped = [f"skipped: {each}" for each in self.skipped[:_MOST_SAID]]
        if len(self.skipped) > _MOST_SAID:
            skipped.append(f"skipped: {len(self.skipped) - _MOST_SAID:,} more")
        return Written({**pages, "table": to / TABLE}, (*skipped, explained))

    def _opening(self, explained: str) -> Iterator[str]:
        above = self._request.options.above
        yield (f"{explained}." if above is None else f"{explained}: with P(fake) of {above:g} or more.")
        if len(self._cards) < self._explained:
            yield f"The first {len(self._cards)} of them stand here; the table has all."
        if self.skipped:
            yield f"Not judged: {listed(self.skipped, 5).removesuffix('.')}."
