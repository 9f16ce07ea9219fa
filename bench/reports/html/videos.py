"""Flipped videos on the page: P(fake) along each of them, as the baseline and a variant see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.reports.content.flipped_videos import FlippedVideo, Still
from bench.reports.html.chart import Frame, colour, dashes, element, marker, picture

if TYPE_CHECKING:
    from markupsafe import Markup

_APART = 13.0
"""How far the two scores beside a plot are written from each other at least, so that both can be read."""


def timeline(video: FlippedVideo, threshold: float) -> Markup:
    """P(fake) over the frames of a video by the baseline and by the variant, with the threshold.

    On the right edge are the scores of the whole video. Frames whose pictures are shown are marked below.
    """
    frame = Frame(62, 8, 292, 124, video.across, video.up)
    cut = frame.y(threshold)
    parts = [frame.grid(labels=False, below=19)]
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=cut, y2=cut, class_="limit"))
    parts += _line(frame, video, 0, [(still, still.baseline) for still in video.stills])
    parts += _line(frame, video, video.index, [(still, still.p_fake) for still in video.stills])
    parts += [_tick(frame, still) for still in video.pictured]
    parts += _scores(frame, video)
    parts.append(element("text", video.across.label, x=frame.right, y=frame.bottom + 34, text_anchor="end"))
    shown = f"P(fake) of the baseline and of {video.variant} over the frames of a {video.label} video."
    return picture(f"Scores of {video.video}", shown, *parts, size=(438, 170))


def _line(frame: Frame, video: FlippedVideo, index: int, scores: list[tuple[Still, float]]) -> list[Markup]:
    """The scores of the variant at `index`, joined, each with its number to read."""
    who = video.variant if index else "baseline"
    points = [(frame.x(still.at), frame.y(score)) for still, score in scores]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = [element("polyline", points=path, class_=f"curve along {colour(index)}", stroke_dasharray=dashes(index))]
    for (x, y), (still, score) in zip(points, scores, strict=True):
        title = element("title", f"frame {video.title(still)}, {who}: {video.written(score)}")
        drawn.append(element("circle", title, cx=x, cy=y, r=2.2, class_=f"mark {colour(index)}"))
    return drawn


def _tick(frame: Frame, still: Still) -> Markup:
    """A small triangle below the axis, where a picture is from."""
    x, y = frame.x(still.at), frame.bottom + 1
    return element("polygon", points=f"{x:.1f},{y:.1f} {x - 4:.1f},{y + 6:.1f} {x + 4:.1f},{y + 6:.1f}", class_="pin")


def _scores(frame: Frame, video: FlippedVideo) -> list[Markup]:
    """The score of the whole video by both, as marks on the right edge with their numbers."""
    pairs = sorted([(frame.y(video.baseline), video.baseline, 0), (frame.y(video.p_fake), video.p_fake, video.index)])
    heights = [y for y, _, _ in pairs]
    lacking = _APART - (heights[1] - heights[0])
    if lacking > 0:
        heights = [heights[0] - lacking / 2, heights[1] + lacking / 2]
    drawn = []
    for (y, score, index), height in zip(pairs, heights, strict=True):
        drawn.append(marker(index, frame.right + 8, y, 4.0))
        drawn.append(
            element("text", video.written(score), x=frame.right + 18, y=height + 4, class_=f"name {colour(index)}")
        )
    return drawn
