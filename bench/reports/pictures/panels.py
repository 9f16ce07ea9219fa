"""What all figures with a panel for each variant share: colours, axes, and the panels with their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from bench.reports.content.axes import Axis
from bench.reports.content.text import fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# After Okabe & Ito (2008), distinct with every common colour vision, darkened so that names in them are read on
# white: those of the page in its light theme, since a variant looks the same in both.
COLOURS = ("#22262a", "#0072b2", "#c44e00", "#00795a", "#a33e77", "#5b4fc4", "#806000")
PANEL_NAME = 18
"""Characters of a name that do not reach the next panel's, be they the widest."""
_PANELS_A_ROW = 3
_PANEL_INCHES = 2.75


class Panel(Protocol):
    """A variant in a figure: its index, by which it is coloured, its name, and a number to stand below."""

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def number(self) -> str: ...


PanelT = TypeVar("PanelT", bound=Panel)


def dark(colour: str) -> list[float]:
    """The colour as text, dark enough to be read on white."""
    from matplotlib.colors import to_rgb

    return [0.72 * part for part in to_rgb(colour)]


def set_axes(axes: Axes, across: Axis, up: Axis) -> None:
    """The ranges and ticks of both axes."""
    from matplotlib.ticker import NullFormatter

    if across.by_factors:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(across.low, across.high)
    axes.set_ylim(up.low, up.high)
    axes.set_xticks([value for value, _ in across.ticks], [text for _, text in across.ticks])
    axes.set_yticks([value for value, _ in up.ticks], [text for _, text in up.ticks])


def panels_of(panels: Sequence[PanelT], tall: float, title: str) -> tuple[Figure, Iterator[tuple[Axes, PanelT]]]:
    """A figure with empty axes for every panel, titled with the variant's name and number; `tall` is its height."""
    from matplotlib.figure import Figure

    columns = min(_PANELS_A_ROW, len(panels))
    rows = -(-len(panels) // columns)
    size = (_PANEL_INCHES * columns + 0.4, (_PANEL_INCHES * tall + 0.15) * rows + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    titled = []
    for panel in panels:
        axes = next(grid)
        # The name above its number: beside each other, a long name would run over it.
        colour = dark(COLOURS[panel.index % len(COLOURS)])
        axes.set_title(fitted(panel.name, PANEL_NAME), color=colour, weight="bold", pad=18)
        axes.text(0, 1.03, panel.number, transform=axes.transAxes, va="bottom", fontsize=7.5, color="0.3")
        titled.append((axes, panel))
    for left_over in grid:
        left_over.set_axis_off()
    for axes, _ in titled[-columns:]:
        axes.tick_params(labelbottom=True)  # also where the last row has no panel below it
    return figure, iter(titled)
