"""The page of several pictures: a card for each, tables over all, and for a video P(fake) over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import write_text
from bench.records import CLASSES, class_of
from bench.records.inspection import PARTS, Inspection, Score, Subject
from bench.records.weights import ClassName
from bench.reports.content.axes import axis, part_axis
from bench.reports.content.cells import EMPTY, Cell, Column, Table, cell, columns, table, variant_cell
from bench.reports.content.spans import Sentence, strong, with_code
from bench.reports.content.text import cutoff, number, signed
from bench.reports.html.chart import Frame, colour, dashes, element, marker
from bench.reports.html.chart import picture as svg
from bench.reports.inspection import pages, pictures

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

MOST_CARDS = 300
"""More would make the page slow to open; the table has all."""
_SIDE = 190
_APART = 13.0
"""How far scores are written from each other at least."""


@dataclass(frozen=True)
class Card:
    """A picture in a gallery: its maps by variant as data, where its inspection lies, and how far off each variant is.

    `scores` are by variant. `off` is the largest |label - P(fake)| of any variant; None without a label.
    """

    name: str
    target: str
    label: str
    scores: Mapping[str, Score]
    maps: Mapping[str, str]
    off: float | None
    note: str = ""


@dataclass(frozen=True)
class Moment:
    """A frame of a video: its number, its time in seconds, None where unknown, and its scores by variant."""

    number: int
    time_s: float | None
    scores: Mapping[str, Score]


def score_text(score: Score) -> str:
    """P(fake), with the logit difference where that says more."""
    further = f" ({signed(score.logit_diff, 2)})" if score.is_saturated else ""
    return f"{number(score.p_fake, 4)}{further}"


@dataclass(frozen=True)
class Gallery:
    """A page: what it says first, tables with captions, cards, and of a video what is drawn over time.

    `scores` are the video's P(fake) by variant. `shows` says what the maps of cards are of.
    """

    title: str
    opening: tuple[Sentence, ...]
    variants: tuple[str, ...]
    threshold: float
    tables: tuple[tuple[str, Table], ...] = ()
    cards: tuple[Card, ...] = ()
    moments: tuple[Moment, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    shows: str = ""
    files: tuple[tuple[str, str], ...] = ()

    @property
    def cards_title(self) -> str:
        """What stands above the cards."""
        if self.moments:
            return "The frames with the highest scores"
        labelled = any(card.off is not None for card in self.cards)
        return f"Pictures, the {'most mistaken' if labelled else 'highest P(fake)'} first"


def maps_shown(target: ClassName | None, levels: int) -> str:
    """What the maps of cards are of, for the class that was asked for and so many levels that must agree."""
    what = f"what speaks for {target}" if target else "what speaks for the class that each variant calls the frame"
    return f"{what}, where {levels} levels of maps agree if any place does" if levels > 1 else what


def card_of(inspected: Inspection, target: str, note: str = "") -> Card:
    """The card of an inspection that lies at `target`, relative to the gallery."""
    subject = inspected.subject
    maps = {}
    for look in inspected.looks:
        heat = look.agreed if look.agreed is not None and look.agreed.any() else look.heat
        drawn = pictures.overlay(subject.fitted, heat, look.target == "fake")
        maps[look.judge.name] = pictures.data_uri(drawn, _SIDE)
    return card(subject, target, {look.judge.name: look.score for look in inspected.looks}, maps, note)


def card(subject: Subject, target: str, scores: Mapping[str, Score], maps: Mapping[str, str], note: str = "") -> Card:
    """The card of a picture with its label, and how far off the most mistaken variant is."""
    label, off = "", None
    if subject.label is not None:
        label, off = CLASSES[subject.label], max(abs(subject.label - each.p_fake) for each in scores.values())
    return Card(subject.name, target, label, scores, maps, off, note)


def first(cards: Sequence[Card]) -> tuple[Card, ...]:
    """What a gallery shows: the most mistaken first, then those without a label, from the highest P(fake) down."""

    def key(card: Card) -> tuple[bool, float, str]:
        first = max(each.p_fake for each in card.scores.values()) if card.off is None else card.off
        return card.off is None, -first, card.name

    return tuple(sorted(cards, key=key)[:MOST_CARDS])


def parts_tables(rows: pd.DataFrame) -> list[tuple[str, Table]]:
    """The mean share of each part, by variant and the class that maps are for, and by method where those are known."""
    explained = rows[rows["explained"]]
    tables = [("Mean share of the evidence, by part of the face", _mean_shares(explained, "target", "for"))]
    of_fakes = explained[explained["method"].notna() & (explained["target"] == "fake")]
    if len(of_fakes):
        caption = "The same by how frames were forged, where they are called fake"
        tables.append((caption, _mean_shares(of_fakes, "method", "method")))
    tables.append(("Heatmaps beside masks of what was forged, on average", _beside_masks(explained)))
    return [(caption, each) for caption, each in tables if each.rows]


def _beside_masks(rows: pd.DataFrame) -> Table:
    """A row for each variant that has maps of frames with a mask."""
    body = []
    for variant, inside in rows.dropna(subset=["mask_auc"]).groupby("variant", sort=False):
        means = [float(inside[name].astype("float64").mean()) for name in ("mask_hit", "mask_inside", "mask_auc")]
        cells = [cell(number(mean, 3), value=mean) for mean in means]
        cells.append(cell(f"{int(inside['mask_blank'].sum()):,}"))
        body.append([variant_cell(str(variant)), cell(f"{len(inside):,}"), *cells])
    titles = ("n", "points at it", "evidence inside", "AUC against the mask", "blank maps")
    return table([Column("Model", "left"), *columns(titles)], body)


def _mean_shares(rows: pd.DataFrame, by: str, title: str) -> Table:
    """A row for each variant and value of the column `by`."""
    body = []
    names = [f"share_{part.replace(' ', '_')}" for part in PARTS]
    for (variant, group), inside in rows.dropna(subset=["leading"]).groupby(["variant", by], sort=False):
        means = [_mean_or_none(mean) for mean in inside[names].mean().tolist()]
        most = max(mean or 0.0 for mean in means)
        distance = _mean_or_none(inside["distance"].mean())
        away = EMPTY if distance is None else cell(number(distance, 2), value=distance)
        shares = [_share(mean, is_most=mean == most) for mean in means]
        body.append([variant_cell(str(variant)), cell(str(group)), cell(f"{len(inside):,}"), *shares, away])
    titles = ("n", *PARTS, "from the nearest landmark, in eye distances")
    return table([Column("Model", "left"), Column(title, "left"), *columns(titles)], body)


def _mean_or_none(value: float) -> float | None:
    """None for a mean of nothing."""
    return None if math.isnan(value) else value


def _share(share: float | None, *, is_most: bool) -> Cell:
    if share is None:
        return EMPTY
    text = f"{100 * share:.0f} %"
    return cell(strong(text) if is_most else text, value=share)


def write_gallery(gallery: Gallery, folder: Path, name: str) -> Mapping[str, Path]:
    """Write the page and the same as Markdown into `folder`; the files by what they are."""
    context: dict[str, Any] = {
        **vars(gallery),
        "cards_title": gallery.cards_title,
        "score_text": score_text,
        "cutoff": cutoff(gallery.threshold),
        "any_saturated": any(score.is_saturated for card in gallery.cards for score in card.scores.values()),
        "timeline": timeline(gallery) if gallery.moments else None,
    }
    files = {"page": folder / f"{name}.html", "text": folder / f"{name}.md"}
    write_text(files["text"], pages.markdown("gallery.md.j2", context))
    write_text(files["page"], pages.html("gallery.html.j2", context, gallery.variants))
    return files


def timeline(gallery: Gallery) -> Markup:
    """P(fake) of each variant over the frames of a video, with the threshold, and the video's scores on the right."""
    timed = all(moment.time_s is not None for moment in gallery.moments)
    at = [float(moment.time_s or 0) if timed else float(moment.number) for moment in gallery.moments]
    high = max(at) if max(at) > min(at) else min(at) + 1
    frame = Frame(62, 8, 560, 180, axis("seconds" if timed else "frame", min(at), high), part_axis("P(fake)", 0, 1))
    cut = frame.y(gallery.threshold)
    parts = [frame.grid(labels=False, below=19)]
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=cut, y2=cut, class_="limit"))
    for index, variant in enumerate(gallery.variants):
        of_variant = [moment.scores[variant] for moment in gallery.moments]
        points = [(frame.x(x), frame.y(each.p_fake)) for x, each in zip(at, of_variant, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            element("polyline", points=path, class_=f"curve along {colour(index)}", stroke_dasharray=dashes(index))
        )
        for (x, y), moment, each in zip(points, gallery.moments, of_variant, strict=True):
            title = element("title", f"frame {moment.number}, {variant}: {score_text(each)}")
            parts.append(element("circle", title, cx=x, cy=y, r=2.4, class_=f"mark {colour(index)}"))
    parts += _scores(frame, gallery)
    parts.append(element("text", frame.across.label, x=frame.right, y=frame.bottom + 36, text_anchor="end"))
    shown = "P(fake) of each variant over the frames of the video; on the right the video's score."
    return svg(f"Scores of {gallery.title}", shown, *parts, size=(690, 232))


def _scores(frame: Frame, gallery: Gallery) -> list[Markup]:
    """The score of the whole video by each variant, beside the right edge, so far apart that all can be read."""
    drawn, lowest = [], -math.inf
    by_height = sorted(gallery.scores.items(), key=lambda pair: -pair[1])
    for name, score in by_height:
        index, y = gallery.variants.index(name), frame.y(score)
        lowest = max(y + 4, lowest + _APART)
        drawn.append(marker(index, frame.right + 8, y, 4.0))
        drawn.append(element("text", number(score, 3), x=frame.right + 18, y=lowest, class_=f"name {colour(index)}"))
    return drawn


def scores_table(scores: Mapping[str, float], moments: Sequence[Moment], threshold: float) -> Table:
    """The score of a video by each variant, what that makes it, and the logit differences of saturated frames."""
    rows = [
        [
            variant_cell(name),
            cell(number(score, 4), value=score),
            cell(strong(class_of(score, threshold))),
            _logit_diffs([moment.scores[name] for moment in moments]),
        ]
        for name, score in scores.items()
    ]
    return table([Column("Model", "left"), *columns(("P(fake)", "label", "logit differences of its frames"))], rows)


def _logit_diffs(scores: Sequence[Score]) -> Cell:
    """From the lowest to the highest, where P(fake) of a frame is next to 0 or 1."""
    if not any(each.is_saturated for each in scores):
        return EMPTY
    low, high = (pick(each.logit_diff for each in scores) for pick in (min, max))
    return cell(f"{signed(low, 2)} to {signed(high, 2)}", value=high)


def opening(*texts: str) -> tuple[Sentence, ...]:
    return tuple(with_code(text) for text in texts if text)
