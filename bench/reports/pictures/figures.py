"""The report's figures. One look for all (`bench.mplstyle`), no display; intervals are drawn, names stand beside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import write_atomically
from bench.records import Evaluation, RunRecord, VariantEvaluation
from bench.reports.content.text import MIB, fitted
from bench.reports.pictures import overlay, panels
from bench.reports.pictures.panels import COLOURS, MARKERS, dark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("bench.mplstyle")
DPI = 120
# Characters of a name that leave room for others.
NAME = 24
# Where a name may lie, in points from its point, the best first.
PLACES = [(across, up) for up in (5, -12, 18, -25, 31, -38, 44, -51, 57, -64) for across in (9, -9, 24, -24)]
# Further apart than by this factor, the largest would press all others to one side.
LOGARITHMIC = 5


def draw(run: RunRecord, evaluation: Evaluation, report: Path) -> list[tuple[str, str]]:
    """Write the figures that the evaluation allows into `report`; their titles and file names."""
    import matplotlib

    with matplotlib.rc_context(fname=STYLE):
        return _drawn(run, evaluation, report)


def _drawn(run: RunRecord, evaluation: Evaluation, report: Path) -> list[tuple[str, str]]:
    scored = {name: one for name, one in evaluation.variants.items() if one.auc is not None}
    names = [one.name for one in run.variants]
    choice, drawn = evaluation.choice, []
    by_size, by_latency = (choice.front_by_size, choice.front_by_latency) if choice else ((), ())
    if sizes := {
        one.name: one.footprint.size_bytes / MIB for one in run.variants if one.footprint and one.name in scored
    }:
        figure = scatter(sizes, scored, "size of the shipped file (MiB)", by_size, run.margin, names)
        _save(figure, report / "size_auc.png")
        drawn.append(("File size against AUC", "size_auc.png"))
    times, where = comparable_latencies(run, evaluation)
    if len(times.keys() & scored.keys()) > 1:
        figure = scatter(times, scored, f"median latency at batch 1 (ms, {where})", by_latency, run.margin, names)
        _save(figure, report / "latency_auc.png")
        drawn.append(("Latency against AUC", "latency_auc.png"))
    if scored:
        _save(panels.roc(scored, names), report / "roc.png")
        _save(panels.reliability(scored, names), report / "reliability.png")
        drawn += [("ROC curves", "roc.png"), ("Reliability", "reliability.png")]
    return drawn


def colour_bar(path: Path) -> None:
    """Write what the colours of heatmaps mean."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(fname=STYLE):
        figure = Figure(figsize=(4.6, 0.62), layout="constrained")
        axes = figure.subplots()
        axes.imshow(overlay.colour_bar(640, 24), extent=(-1, 1, 0, 1), aspect="auto")
        axes.set(yticks=(), xticks=(-1, 0, 1))
        left, _, right = axes.set_xticklabels(
            ["the frame's strongest for real", "nothing", "the frame's strongest for fake"]
        )
        left.set_horizontalalignment("left")
        right.set_horizontalalignment("right")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        _save(figure, path)


def comparable_latencies(run: RunRecord, evaluation: Evaluation) -> tuple[dict[str, float], str]:
    """Those of the variants whose speed may be compared with the baseline's own, and where that was."""
    own = evaluation.speeds[run.baseline.name].single
    if own is None:
        return {}, ""
    here = (own.runtime, own.device)
    times = {
        name: one.latency_ms
        for name, one in evaluation.speeds.items()
        if one.single and one.latency_ms and one.speedup is not None and (one.single.runtime, one.single.device) == here
    }
    return times, ", ".join(here)


def _save(figure: Figure, path: Path) -> None:
    # Without matplotlib's version in it, the same figure is the same file.
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None}))


def scatter(
    across: Mapping[str, float],
    scored: Mapping[str, VariantEvaluation],
    what: str,
    front: Sequence[str] = (),
    margin: float = 0,
    names: Sequence[str] = (),
) -> Figure:
    """One named point for each variant in both mappings, with its 95 % interval, and a line along the Pareto front.

    Up goes the AUC minus the baseline's on the same frames; where there is no baseline, the AUC itself.
    `names` are all variants, by whose order they are drawn.
    """
    from matplotlib.figure import Figure

    paired = any(one.comparison for one in scored.values())
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    points: dict[str, tuple[float, float, str, str]] = {}
    bars: list[tuple[float, float, float]] = []
    for index, name, judged in panels.placed(scored, names):
        if name not in across:
            continue
        value, low, high = height(judged, paired)
        # Where colours begin anew, marks are hollow, and then have another shape.
        again, colour = index // len(COLOURS), COLOURS[index % len(COLOURS)]
        marker = MARKERS[(index + again // 2) % len(MARKERS)]
        bars.append((across[name], low, high))
        both = [[max(value - low, 0)], [max(high - value, 0)]]
        hollow: dict[str, Any] = {"mfc": "white", "mec": colour, "mew": 1.6}
        look = hollow if again % 2 else {"mec": "white", "mew": 0.8}
        axes.errorbar([across[name]], [value], both, color=colour, marker=marker, ms=8, **look)
        points[name] = across[name], value, fitted(name, NAME), colour
    along = sorted({(x, y) for name, (x, y, *_) in points.items() if name in front})
    if len(along) > 1:
        axes.step(*zip(*along, strict=True), where="post", color="0.55", lw=1, ls=(0, (4, 3)), zorder=0)
    _scale(axes, [x for x, *_ in points.values()])
    axes.set_xlabel(what)
    count = f"{next(iter(scored.values())).score.count:,} frames"
    axes.set_ylabel(f"AUC minus the baseline's ({count})" if paired else f"AUC ({count})")
    lines = "dashed: Pareto front" if len(along) > 1 else ""
    axes.set_title("; ".join(filter(None, ["Left is better, up is better", "bars: 95 % intervals", lines])))
    if paired:
        _limits(axes, margin)
    _label(figure, axes, list(points.values()), bars)
    return figure


def height(judged: VariantEvaluation, paired: bool) -> tuple[float, float, float]:
    """What a variant's point and bar say: value, low, high."""
    if not paired:
        assert judged.auc is not None
        return judged.auc.value, judged.auc.interval.low, judged.auc.interval.high
    if judged.comparison is None:
        return 0.0, 0.0, 0.0
    delta = judged.comparison.delta
    return delta.value, delta.interval.low, delta.interval.high


def _scale(axes: Axes, found: Sequence[float]) -> None:
    """From 0, or by factors where the largest is many times the smallest; with room for names on the right."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = min(found), max(found)
    if high <= LOGARITHMIC * low:
        axes.set_xlim(0, 1.15 * high)
        return
    axes.set_xscale("log")
    axes.set_xlim(low / 1.4, 1.6 * high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _limits(axes: Axes, margin: float) -> None:
    """The baseline's own height, and how far below it is still allowed."""
    axes.axhline(0, color="0.55", lw=0.8, zorder=0)
    if not margin:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -1.25 * margin), max(high, 0.5 * margin))
    axes.axhspan(-margin, 0, color="#009E73", alpha=0.07, lw=0, zorder=0)
    beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(f"margin −{margin:g}", (0, -margin), (3, 3), fontsize=7.5, color="0.35", **beside)


def _label(
    figure: Figure, axes: Axes, points: list[tuple[float, float, str, str]], bars: list[tuple[float, float, float]]
) -> None:
    """Name each point beside it, in its colour, where neither another name nor a point nor a bar is in the way."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    centres = [axes.transData.transform((x, y)) for x, y, *_ in points]
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in centres]
    for x, low, high in bars:
        (left, down), (_, up) = axes.transData.transform(((x, low), (x, high)))
        taken.append(Bbox.from_extents(left - 2, down, left + 2, up))
    # From the right, so that of two neighbours the right one is named on its right.
    for x, y, name, colour in sorted(points, reverse=True):
        text = axes.annotate(name, (x, y), (0, 0), textcoords="offset points", color=dark(colour), weight="bold")
        for across, up in PLACES:
            text.set_position((across, up))
            text.set_horizontalalignment("left" if across > 0 else "right")
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)
            inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
        if math.hypot(across, up) > 16:
            line: dict[str, Any] = {"arrowstyle": "-", "color": "0.5", "lw": 0.6}
            axes.annotate("", (x, y), (across, up), textcoords="offset points", arrowprops=line)
