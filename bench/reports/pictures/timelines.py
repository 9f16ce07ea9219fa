"""Flipped videos as figures of report.md: P(fake) along each of them, as the baseline and a variant see it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import remove
from bench.reports.content.axes import Axis
from bench.reports.content.flipped_videos import FlippedVideo, FlippedVideos
from bench.reports.content.text import fitted
from bench.reports.pictures import figures
from bench.reports.pictures.figures import MARKERS, STYLE
from bench.reports.pictures.panels import COLOURS, dark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILE = "flipped_videos_{index}.png"
_COLUMNS, _INCHES = 2, (3.9, 1.75)
_NAME = 44
"""Characters of a name above a plot."""
_DASHED = (0, (4, 2))


def draw(flipped: Sequence[FlippedVideos], threshold: float, report: Path) -> dict[str, str]:
    """Write a figure for each variant with flipped videos into the folder `report`; file names by variant.

    Figures of variants that have none any more go.
    """
    import matplotlib

    files = {of_variant.variant: FILE.format(index=of_variant.index) for of_variant in flipped}
    for path in report.glob(FILE.format(index="*")):
        if path.name not in files.values():
            remove(path)
    with matplotlib.rc_context(fname=STYLE):
        for of_variant in flipped:
            figures.save(figure(of_variant, threshold), report / files[of_variant.variant])
    return files


def figure(of_variant: FlippedVideos, threshold: float) -> Figure:
    """A plot for each video that is drawn."""
    from matplotlib.figure import Figure

    videos = of_variant.drawn
    rows = -(-len(videos) // _COLUMNS)
    size = (_INCHES[0] * _COLUMNS, (_INCHES[1] + 0.35) * rows + 0.3)
    drawn = Figure(figsize=size, layout="constrained")
    grid = list(drawn.subplots(rows, _COLUMNS, squeeze=False, sharey=False).flat)
    for axes, video in zip(grid, videos, strict=False):
        _timeline(axes, video, threshold)
    for left_over in grid[len(videos) :]:
        left_over.set_axis_off()
    drawn.supylabel("P(fake)", fontsize=9, color="#333333")
    _legend(drawn, of_variant, threshold)
    return drawn


def _legend(drawn: Figure, of_variant: FlippedVideos, threshold: float) -> None:
    """Whose the lines are, and what the dashed one is."""
    from matplotlib.lines import Line2D

    looks: list[dict[str, Any]] = [_look(0), _look(of_variant.index), {"color": "0.35", "lw": 1, "ls": _DASHED}]
    names = ["baseline", fitted(of_variant.variant, _NAME), f"threshold {threshold}"]
    lines = [Line2D([], [], label=name, **look) for name, look in zip(names, looks, strict=True)]
    drawn.legend(handles=lines, loc="outside upper left", ncols=3, fontsize=8)


def _look(index: int) -> dict[str, Any]:
    """The colour and the mark of the variant at `index`."""
    mark = MARKERS[(index + index // len(COLOURS) // 2) % len(MARKERS)]
    return {"color": COLOURS[index % len(COLOURS)], "marker": mark, "ms": 5.5, "lw": 1.2}


def _timeline(axes: Axes, video: FlippedVideo, threshold: float) -> None:
    """Both lines, the threshold, both scores on the right edge, and marks below where pictures are from."""
    along = [still.at for still in video.stills]
    axes.axhline(threshold, color="0.35", lw=1, ls=_DASHED, zorder=1)
    scores = {0: video.baseline, video.index: video.p_fake}
    lines = {0: [still.baseline for still in video.stills], video.index: [still.p_fake for still in video.stills]}
    for index, values in lines.items():
        axes.plot(along, values, color=COLOURS[index % len(COLOURS)], lw=1.2, marker="o", ms=2.4)
        at_edge: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "clip_on": False}
        axes.plot([1.03], [scores[index]], **_look(index), **at_edge)
    for index, height in _heights(scores, video.up).items():
        text: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 7.5}
        axes.text(1.06, height, video.written(scores[index]), color=dark(COLOURS[index % len(COLOURS)]), **text)
    shown = [still.at for still in video.pictured]
    below: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
    axes.plot(shown, [-0.04] * len(shown), color="0.35", marker="^", ms=3.5, ls="", **below)
    beside = 0.02 * (video.across.high - video.across.low)
    axes.set_xlim(video.across.low - beside, video.across.high + beside)
    edge = 0.03 * (video.up.high - video.up.low)
    axes.set_ylim(video.up.low - edge, video.up.high + edge)
    axes.set_xticks([value for value, _ in video.across.ticks], [text for _, text in video.across.ticks])
    axes.set_yticks([value for value, _ in video.up.ticks], [text for _, text in video.up.ticks])
    change = "right → wrong" if video.worse else "wrong → right"
    axes.set_title(f"{fitted(video.video, _NAME)}\n{video.label}, {change}", fontsize=8)
    axes.set_xlabel(video.across.label, fontsize=8)


def _heights(scores: dict[int, float], up: Axis) -> dict[int, float]:
    """Where the scores are written, so far apart that both can be read."""
    apart = 0.11 * (up.high - up.low)
    low, high = sorted(scores, key=lambda index: scores[index])
    lacking = max(apart - (scores[high] - scores[low]), 0.0)
    return {low: scores[low] - lacking / 2, high: scores[high] + lacking / 2}
