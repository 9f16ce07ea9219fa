"""One inspection: its pictures by step, its page, the same as Markdown, and its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import make_folder, write_bytes, write_text
from bench.provenance import write_json
from bench.records.inspection import Inspection, Look, Stage
from bench.reports.inspection import pages, pictures
from bench.reports.inspection.content import content, stage_note
from bench.reports.inspection.numbers import numbers
from bench.reports.inspection.replacing import NUMBERS, STEPS, replaced

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MARKDOWN, PAGE = "inspection.md", "inspection.html"
_WIDE, _MAP = 520, 300
"""Pixels of the longest side of pictures in the page: of the input, and of maps."""


@dataclass(frozen=True)
class Shown:
    """A picture: its path from the folder of the inspection, and its data for the page."""

    path: str
    uri: str


class _Pictures:
    """Writes pictures below steps/, and remembers them by their names there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / STEPS
        self.by_name: dict[str, Shown] = {}

    def write(self, drawn: Iterable[tuple[str, NDArray[np.uint8]]], side: int) -> list[Shown]:
        """Write pictures; in the page their longest side is at most `side` pixels."""
        shown = []
        for name, picture in drawn:
            path = self._folder / name
            make_folder(path.parent)
            write_bytes(path, pictures.as_png(picture))
            self.by_name[name] = Shown(f"{STEPS}/{name}", pictures.data_uri(picture, side))
            shown.append(self.by_name[name])
        return shown


def write(inspected: Inspection, folder: Path) -> Mapping[str, Path]:
    """Write an inspection into `folder`, in place of an earlier one; its files by what they are."""
    with replaced(folder) as new:
        drawn = _Pictures(new)
        drawn.write(pictures.of_input(inspected), _WIDE)
        written = content(inspected)
        context: dict[str, Any] = {
            **vars(written),
            "inspected": inspected,
            "input": _named(drawn),
            "maps": [(look, _maps(inspected, look, drawn)) for look in inspected.looks],
            "rows": _rows(inspected, drawn),
            "stage_notes": [(look.judge.name, stage_note(look)) for look in inspected.looks],
        }
        variants = [look.judge.name for look in inspected.looks]
        write_text(new / MARKDOWN, pages.markdown("inspection.md.j2", context))
        write_text(new / PAGE, pages.html("inspection.html.j2", context, variants))
        write_json(new / NUMBERS, numbers(inspected))
    return files_in(folder)


def files_in(folder: Path) -> Mapping[str, Path]:
    """The files of an inspection by what they are."""
    return {"page": folder / PAGE, "text": folder / MARKDOWN, "numbers": folder / NUMBERS}


def _named(drawn: _Pictures) -> dict[str, Shown]:
    """The pictures of the input by the names of their files, without folder and ending."""
    return {Path(name).stem: shown for name, shown in drawn.by_name.items()}


def _maps(inspected: Inspection, look: Look, drawn: _Pictures) -> list[tuple[str, Shown]]:
    """A variant's maps, each with a title."""
    shown = drawn.write(pictures.of_look(inspected, look), _MAP)
    first = "No map"
    if look.heat is not None:
        height, width = look.heat.shape
        kind = f"Its own {inspected.map_kind}" if look.cam is not None else "Final map"
        first = f"{'Occlusion map' if look.by_blurring else kind}, {height}×{width}"
    titles = [first, *look.journey.level_titles[: max(look.levels, 1)]]
    if look.agreed is not None:
        titles.append(f"What {look.levels} levels agree on")
    return list(zip(titles, shown, strict=True))


@dataclass(frozen=True)
class Row:
    """A part of the network: of each variant its shape, activation and overlay, None where there is none."""

    name: str
    cells: tuple[tuple[str, Shown | None, Shown | None], ...]


def _rows(inspected: Inspection, drawn: _Pictures) -> list[Row]:
    """The journey: a row for each part that any of the variants has, in the order of the first that has parts."""
    names = dict.fromkeys(stage.name for look in inspected.looks for stage in look.journey.stages)
    by_look = [{stage.name: stage for stage in look.journey.stages} for look in inspected.looks]
    rows = []
    for name in names:
        cells = [
            _cell(inspected, look, stages.get(name), drawn)
            for look, stages in zip(inspected.looks, by_look, strict=True)
        ]
        rows.append(Row(name, tuple(cells)))
    return rows


def _cell(
    inspected: Inspection, look: Look, stage: Stage | None, drawn: _Pictures
) -> tuple[str, Shown | None, Shown | None]:
    if stage is None:
        return "–", None, None
    named = dict(pictures.of_stage(inspected, look, stage))
    shown = dict(zip((Path(name).stem for name in named), drawn.write(named.items(), pictures.THUMBNAIL), strict=True))
    shape = "–" if stage.shape is None else f"({', '.join(map(str, stage.shape))})"
    return shape, shown.get("activation"), shown.get("overlay")
