"""The report's figures: drawn with matplotlib's objects alone, so no display and no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import write_atomically
from bench.records import Judged, Judgement, Run
from bench.reports.text import MIB, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008), told apart with every common colour vision; yellow is left out: it vanishes on white.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKERS = "osD^vP*X"
DPI = 120
ENOUGH = 10
"""Fewer frames in a bin tell little of the share of fakes among them."""
# Where a name may lie, in points from its point, the best first.
PLACES = [(across, up) for up in (5, -12, 18, -25, 31, -38, 44, -51, 57, -64) for across in (9, -9, 24, -24)]


def draw(run: Run, judgement: Judgement, report: Path) -> list[tuple[str, str]]:
    """Write the figures that the judgement allows into `report`; their titles and file names."""
    scored = {name: one for name, one in judgement.variants.items() if one.auc is not None}
    choice, drawn = judgement.choice, []
    by_size, by_latency = (choice.front_by_size, choice.front_by_latency) if choice else ((), ())
    if sizes := {
        one.name: one.footprint.size_bytes / MIB for one in run.variants if one.footprint and one.name in scored
    }:
        _save(scatter(sizes, scored, "size of the shipped file (MiB)", by_size), report / "size_auc.png")
        drawn.append(("File size against AUC", "size_auc.png"))
    times, where = comparable_latencies(run, judgement)
    if len(times.keys() & scored.keys()) > 1:
        _save(
            scatter(times, scored, f"median latency at batch 1 (ms, {where})", by_latency), report / "latency_auc.png"
        )
        drawn.append(("Latency against AUC", "latency_auc.png"))
    if scored:
        _save(_roc(scored), report / "roc.png")
        _save(_reliability(scored), report / "reliability.png")
        drawn += [("ROC curves", "roc.png"), ("Reliability", "reliability.png")]
    return drawn


def comparable_latencies(run: Run, judgement: Judgement) -> tuple[dict[str, float], str]:
    """Those of the variants whose speed may be compared with the baseline's own, and where that was."""
    own = judgement.speeds[run.variants[0].name].single
    if own is None:
        return {}, ""
    here = (own.runtime, own.device)
    times = {
        name: one.latency_ms
        for name, one in judgement.speeds.items()
        if one.single and one.latency_ms and one.speedup is not None and (one.single.runtime, one.single.device) == here
    }
    return times, ", ".join(here)


def _save(figure: Figure, path: Path) -> None:
    # Without matplotlib's version in it, the same figure is the same file.
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None}))


def _style(index: int) -> dict[str, Any]:
    """Colour and line style of the variant at `index`; the pairs repeat after 42."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index % len(LINES)]}


def scatter(across: dict[str, float], scored: Mapping[str, Judged], what: str, front: Sequence[str] = ()) -> Figure:
    """One named point for each variant in both mappings, and a line along those that none beats in both, `front`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    points: list[tuple[float, float, str, str]] = []
    named: list[str] = []
    for index, (name, judged) in enumerate(scored.items()):
        auc = judged.auc
        if name in across and auc is not None:
            low, high = auc.interval.low, auc.interval.high
            bars = [[max(auc.value - low, 0)], [max(high - auc.value, 0)]]
            marker = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
            axes.errorbar([across[name]], [auc.value], bars, capsize=3, alpha=0.8, **marker)  # type: ignore[arg-type]
            named.append(name)
            points.append((across[name], auc.value, plain(name), COLOURS[index % len(COLOURS)]))
    if along := sorted((x, y) for (x, y, *_), name in zip(points, named, strict=True) if name in front):
        axes.step(*zip(*along, strict=True), where="post", color="0.6", lw=1, ls="--", zorder=0)
    axes.set_xlim(0, 1.15 * max(x for x, *_ in points))
    axes.set_xlabel(what)
    axes.set_ylabel(f"AUC (n = {next(iter(scored.values())).score.count:,} frames)")
    axes.set_title("Left is better, up is better; bars: 95 % intervals; dashed: the Pareto front", fontsize=9)
    axes.grid(alpha=0.25)
    _label(figure, axes, points)
    return figure


def _label(figure: Figure, axes: Axes, points: list[tuple[float, float, str, str]]) -> None:
    """Name each point beside it, in its colour, where neither another name nor a point is in the way."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgb
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    centres = [axes.transData.transform((x, y)) for x, y, *_ in points]
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in centres]
    # From the right, so that of two neighbours the right one is named on its right.
    for x, y, name, colour in sorted(points, reverse=True):
        dark = [0.75 * part for part in to_rgb(colour)]
        text = axes.annotate(name, (x, y), (0, 0), textcoords="offset points", fontsize=9, color=dark)
        for across, up in PLACES:
            text.set_position((across, up))
            text.set_horizontalalignment("left" if across > 0 else "right")
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)
            inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
        if abs(up) > 12:
            line = {"arrowstyle": "-", "color": "0.5", "lw": 0.6}
            axes.annotate("", (x, y), (across, up), textcoords="offset points", arrowprops=line)


def _roc(scored: Mapping[str, Judged]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.8), layout="constrained")
    whole, zoomed = figure.subplots(1, 2)
    for index, (name, judged) in enumerate(scored.items()):
        if judged.roc is not None:
            label = f"{plain(name)}  {judged.score.auc:.4f}"
            # Each curve is thinner than the one below it, which therefore shows even where both agree.
            width = 1.2 + 2.2 * (1 - index / len(scored))
            for axes in (whole, zoomed):
                axes.plot(*judged.roc, **_style(index), label=label, lw=width)
    whole.plot([0, 1], [0, 1], color="0.7", lw=0.8)
    whole.legend(title="AUC", loc="lower right", fontsize=8, handlelength=4)
    count = next(iter(scored.values())).score.count
    whole.set_title(f"ROC curves (n = {count:,} frames)", fontsize=9)
    side = _zoom(scored)
    zoomed.set_xlim(-0.02 * side, side)
    zoomed.set_ylim(1 - side, 1 + 0.02 * side)
    zoomed.set_title("the corner that matters, enlarged", fontsize=9)
    for axes in (whole, zoomed):
        axes.set_xlabel("false-positive rate")
        axes.set_ylabel("true-positive rate")
        axes.set_aspect("equal")
        axes.grid(alpha=0.25)
    return figure


def _zoom(scored: Mapping[str, Judged]) -> float:
    """The side of the upper left corner in which every curve that is any good bends."""
    errors = sorted(judged.score.eer for judged in scored.values() if judged.score.eer is not None)
    typical = errors[len(errors) // 2] if errors else 0.5
    return min(max(round(2.5 * typical, 1), 0.1), 1.0)


def _reliability(scored: Mapping[str, Judged]) -> Figure:
    """The share of fakes against the mean P(fake), bin by bin, above how many frames are in each bin."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="0.7", lw=0.8)
    for index, (name, judged) in enumerate(scored.items()):
        found = judged.reliability
        marker = {"marker": MARKERS[index % len(MARKERS)], "ms": 4, "lw": 1.2, **_style(index)}
        label = f"{plain(name)}  {found.ece:.3f}"
        many = found.counts >= ENOUGH
        few = (found.counts > 0) & ~many
        upper.plot(found.predicted[many], found.observed[many], label=label, alpha=0.85, **marker)
        upper.plot(found.predicted[few], found.observed[few], **{**marker, "linestyle": "", "ms": 2.5, "alpha": 0.4})
        edges = np.linspace(0, 1, len(found.counts) + 1)
        lower.stairs(found.counts, edges, color=COLOURS[index % len(COLOURS)], lw=1.2, alpha=0.85)
    upper.legend(title="ECE", loc="upper left", fontsize=8, handlelength=4)
    count = next(iter(scored.values())).score.count
    upper.set_title(
        f"On the line, P(fake) is the share of fakes (n = {count:,} frames); faint: under {ENOUGH} frames", fontsize=9
    )
    upper.set_ylabel("share of fakes")
    lower.set_ylabel("frames")
    lower.set_xlabel("P(fake), mean of a bin")
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
    return figure
