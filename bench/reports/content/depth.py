"""Where in the network the loss of a variant sits, by what its steps foretold: a picture over depth, and a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from bench.errors import counted
from bench.records import Evaluation, Forecast, NarrowedChannels, RoundedLayer, RunRecord, VariantResult
from bench.reports.content.cells import EMPTY, Cell, Column, Table, cell, table
from bench.reports.content.forecasts import is_far_off
from bench.reports.content.spans import Part, Sentence, code, joined, sentence, strong
from bench.reports.content.text import MIB, NONE, number, rough

MOST_ROWS, FEW = 20, 3
_PART = re.compile(r"^.*?\d+(?=[./]|$)")

Look: TypeAlias = Literal["four", "eight", "float", "narrowed", "whole"]


@dataclass(frozen=True)
class Bar:
    """A layer over depth: the share of the foretold noise that it makes, in [0, 1], and the share of channels left.

    `share` is None where nothing is foretold of it; `left` where the step takes no channels.
    """

    name: str
    look: Look
    share: float | None
    left: float | None = None


@dataclass(frozen=True)
class Depth:
    """The picture of a step over the network's depth, and the sentence and the table that belong to it.

    `index` is that of the first variant that the step made. `parts` are the names of the network's parts with the
    index of the bar at which each begins. `line` is the YAML of the proposal, empty where there is none, `offer` what
    it would gain and cost.
    """

    index: int
    name: str
    step: str
    summary: Sentence
    bars: tuple[Bar, ...]
    parts: tuple[tuple[int, str], ...]
    line: str
    offer: Sentence
    table: Table

    @property
    def in_words(self) -> Sentence:
        """All of it where nothing can be drawn."""
        line = sentence(" This line ", self.offer, ": ", code(self.line), ".") if self.line else ""
        return sentence(strong(self.name), " (", code(self.step), "): ", self.summary, line)

    @property
    def of_channels(self) -> bool:
        return any(bar.left is not None for bar in self.bars)


def depths(run: RunRecord, evaluation: Evaluation) -> list[Depth]:
    """A picture for each step that foretold something, one for all variants that it is part of."""
    drawn: dict[str, Depth] = {}
    for index, variant in enumerate(run.variants):
        for forecast in variant.forecasts:
            if forecast.id not in drawn and (forecast.foretold.layers or forecast.foretold.channels):
                others = [other.name for other in run.variants[index + 1 :] if _has(other, forecast)]
                saved_ms = _saved_ms(variant, forecast, run, evaluation)
                noise = evaluation.noises.get(variant.name)
                far_off = noise is not None and is_far_off(noise)
                drawn[forecast.id] = _depth(index, variant.name, forecast, others, saved_ms, far_off=far_off)
    return list(drawn.values())


def _has(variant: VariantResult, forecast: Forecast) -> bool:
    return any(other.id == forecast.id for other in variant.forecasts)


def _depth(
    index: int, name: str, forecast: Forecast, others: Sequence[str], saved_ms: float | None, *, far_off: bool
) -> Depth:
    """What is drawn of a step of the variant of this name; `others` share it, `saved_ms` is what it made faster.

    `far_off` is whether test frames showed far more or less noise than was foretold.
    """
    foretold, proposal = forecast.foretold, forecast.proposal
    also = f" The same step is part of {', '.join(others)}." if others else ""
    offer = sentence()
    if foretold.layers:
        rounded = _Rounded(foretold.layers, saved_ms)
        bars, summary, rows = rounded.bars(), rounded.summary(), rounded.table()
        if proposal:
            chosen = [layer for layer in foretold.layers if layer.name in proposal.layers]
            offer = _offer(proposal.share, proposal.file_bytes, rounded.ms(chosen), far_off=far_off)
    else:
        bars, summary = _narrowed_bars(foretold.channels), _narrowed_summary(foretold.channels)
        rows = _narrowed_table(foretold.channels)
    line, parts = proposal.line if proposal else "", _parts([bar.name for bar in bars])
    return Depth(index, name, forecast.step, sentence(summary, also), bars, parts, line, offer, rows)


def _offer(share: float, file_bytes: int, ms: float | None, *, far_off: bool) -> Sentence:
    """What the proposed line gains and costs."""
    time = f" and about {rough(ms)} ms a frame, estimated" if ms is not None else ""
    gains = f"takes away {number(100 * share, 0)} % of the foretold noise for {_mib(file_bytes)} MiB{time}"
    return sentence(gains, "; the forecast was far off, so try it only where the loss matters" if far_off else "")


def _parts(names: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """Where each part of the network begins: what names have up to their first number, or whole names without any."""
    parts = [match[0] if (match := _PART.match(name)) else name for name in names]
    return tuple((index, part) for index, part in enumerate(parts) if index == 0 or parts[index - 1] != part)


def _percent(share: float, digits: int = 1) -> str:
    return f"{number(100 * share, digits)} %"


def _mib(size_bytes: int) -> str:
    return number(size_bytes / MIB, 3)


# ------------------------------------------------------------------------------------ rounded layers
class _Rounded:
    """The layers of a quantised variant, and the milliseconds a frame that rounding saved; None where it saved none."""

    def __init__(self, layers: Sequence[RoundedLayer], saved_ms: float | None) -> None:
        self.layers = layers
        self.by_noise = sorted((layer for layer in layers if not layer.in_float), key=lambda layer: -layer.noise)
        self.in_float = sorted((layer for layer in layers if layer.in_float), key=lambda layer: -layer.noise)
        self.total = sum(layer.noise for layer in self.by_noise)
        self.saved_ms = saved_ms
        self.macs = sum(layer.macs for layer in layers if layer.input_bits == 8)

    def share(self, layers: Iterable[RoundedLayer]) -> float:
        """Of the foretold noise of all rounded layers; 0 where there is none."""
        return sum(layer.noise for layer in layers) / self.total if self.total else 0.0

    def ms(self, layers: Iterable[RoundedLayer]) -> float | None:
        """What layers would take longer in float, in ms a frame: their share of the time saved, by MACs.

        None where no time was saved, as where weights alone are integers.
        """
        if self.saved_ms is None or not self.macs:
            return None
        return self.saved_ms * sum(layer.macs for layer in layers if layer.input_bits == 8) / self.macs

    def bars(self) -> tuple[Bar, ...]:
        """A bar for each layer, in the order in which they run."""
        return tuple(
            Bar(layer.name, "float", None)
            if layer.in_float
            else Bar(layer.name, "four" if layer.weight_bits == 4 else "eight", self.share([layer]))
            for layer in self.layers
        )

    def summary(self) -> Sentence:
        """How many layers make half of the noise, which makes most, and what those in float save."""
        if not self.total:
            return sentence("No noise is foretold.")
        count, so_far = 0, 0.0
        while so_far < self.total / 2:
            so_far, count = so_far + self.by_noise[count].noise, count + 1
        first = self.by_noise[0]
        half = f"Half of the foretold noise comes from {count} of {counted(len(self.by_noise), 'rounded layer')}, "
        most = f" alone makes {_percent(self.share([first]), 0)}"
        saved: Part = ""
        if self.in_float:
            of_float = number(self.share(self.in_float), 1)
            few = joined([code(layer.name) for layer in self.in_float], " and ") if len(self.in_float) <= FEW else None
            saved = sentence(
                "; ",
                few or f"{counted(len(self.in_float), 'other layer')}",
                " stays" if len(self.in_float) == 1 else " stay",
                f" in float: rounding {'it' if len(self.in_float) == 1 else 'them'} too would add {of_float} times the "
                "noise of all others",
            )
        return sentence(half, code(first.name), most, saved, ".")

    def table(self) -> Table:
        """The noisiest layers, the others in one row, and the layers in float."""
        shown, others = self.by_noise[:MOST_ROWS], self.by_noise[MOST_ROWS:]
        rows = [self._row(code(layer.name), _bits(layer), [layer]) for layer in shown]
        if others:
            rows.append(self._row(f"the other {counted(len(others), 'layer')}", NONE, others))
        rows += [
            [cell(code(layer.name)), cell("float"), cell(f"{_percent(self.share([layer]))} if rounded"), EMPTY, EMPTY]
            for layer in self.in_float[:MOST_ROWS]
        ]
        titles = ("Noise that float would take away", "Costs MiB", "Costs ms, estimated")
        return table([Column("Layer", "left"), Column("Bits", "left"), *map(Column, titles)], rows)

    def _row(self, name: Part, bits: str, layers: Sequence[RoundedLayer]) -> list[Cell]:
        """A row of one layer, or of several together."""
        grown, ms, share = sum(layer.float_bytes for layer in layers), self.ms(layers), self.share(layers)
        return [
            cell(name),
            cell(bits),
            cell(_percent(share), value=share),
            cell(_mib(grown), value=float(grown)),
            EMPTY if ms is None else cell(number(ms, 3), value=ms),
        ]


def _bits(layer: RoundedLayer) -> str:
    return f"{layer.weight_bits}, input {layer.input_bits}" if layer.input_bits == 8 else f"{layer.weight_bits}"


def _saved_ms(variant: VariantResult, forecast: Forecast, run: RunRecord, evaluation: Evaluation) -> float | None:
    """By how much a call at batch 1 is shorter than that of what the variant's last step was given; None where it is
    not, or the two were not timed so that they compare.
    """
    given = next((other.name for other in run.variants if other.id == forecast.parent), None)
    if given is None or forecast.id != variant.id:
        return None
    speed, latencies = evaluation.speeds.get(variant.name), evaluation.latencies
    if given == run.baseline.name:
        if speed is None or speed.single is None or speed.reference is None:
            return None
        saved = speed.reference.p50_ms - speed.single.p50_ms
    else:
        if latencies is None or not {given, variant.name} <= latencies.by_variant.keys():
            return None
        saved = latencies.by_variant[given] - latencies.by_variant[variant.name]
    return saved if saved > 0 else None


# ------------------------------------------------------------------------------------ narrowed channels
def _noise(channels: Iterable[NarrowedChannels]) -> float:
    return sum(group.noise or 0.0 for group in channels)


def _narrowed_bars(channels: Sequence[NarrowedChannels]) -> tuple[Bar, ...]:
    """A bar for each group of channels, in the order in which they run."""
    total = _noise(channels)
    return tuple(
        Bar(
            group.name,
            "whole" if group.left == group.before else "narrowed",
            group.noise / total if total and group.noise is not None else None,
            group.left / group.before,
        )
        for group in channels
    )


def _narrowed_summary(channels: Sequence[NarrowedChannels]) -> Sentence:
    """How many channels are left, and where most of the foretold noise comes from."""
    narrowed = [group for group in channels if group.left < group.before]
    words = f"{_left_of(channels)} are left; {len(narrowed)} of {counted(len(channels), 'group')} lost some"
    noisiest = max(narrowed, key=lambda group: group.noise or 0.0, default=None)
    if noisiest is None or not noisiest.noise:
        return sentence(f"{words}.")
    share = _percent(noisiest.noise / _noise(channels), 0)
    return sentence(f"{words}, and ", code(noisiest.name), f" makes the largest part of the foretold noise, {share}.")


def _left_of(channels: Sequence[NarrowedChannels]) -> str:
    """How many heads, and how many channels, are left: "6 of 12 heads and 1,536 of 3,072 channels"."""
    counts = []
    for heads, noun in ((True, "heads"), (False, "channels")):
        groups = [group for group in channels if group.heads is heads]
        if groups:
            left, before = sum(group.left for group in groups), sum(group.before for group in groups)
            counts.append(f"{left:,} of {before:,} {noun}")
    return " and ".join(counts)


def _narrowed_table(channels: Sequence[NarrowedChannels]) -> Table:
    """What is left of each group, and its noise, in the order in which they run; parts of several have a sum above."""
    total, rows = _noise(channels), list[list[Cell]]()
    parts = [*_parts([group.name for group in channels]), (len(channels), "")]
    for (begin, part), (end, _) in pairwise(parts):
        groups = channels[begin:end]
        if len(groups) > 1:
            rows.append(_narrowed_row(strong(part), groups, total))
        rows += [_narrowed_row(code(group.name), [group], total) for group in groups]
    return table([Column("Channels of", "left"), *map(Column, ("Left", "Share left", "Noise"))], rows)


def _narrowed_row(name: Part, groups: Sequence[NarrowedChannels], total: float) -> list[Cell]:
    """A row of one group, or of several together; heads and channels have no share in common."""
    alike = len({group.heads for group in groups}) == 1
    share = sum(group.left for group in groups) / sum(group.before for group in groups)
    is_foretold = total and any(group.noise is not None for group in groups)
    return [
        cell(name),
        cell(_left_of(groups)),
        cell(_percent(share, 0), value=share) if alike else EMPTY,
        cell(_percent(_noise(groups) / total), value=_noise(groups)) if is_foretold else EMPTY,
    ]
