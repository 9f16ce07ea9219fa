"""Frames that most variants lose: how many, against chance, from which sources, and the ledger of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import counted
from bench.records import Evaluation, Exemplars, RunRecord, sources_of
from bench.reports.content.cells import Column, Table, cell, columns, table
from bench.reports.content.spans import Sentence, Span, docs, listed, sentence, strong
from bench.reports.content.text import enough, number, plain, shortened

if TYPE_CHECKING:
    import pandas as pd

LISTED = 10
"""Frames of the table; the ledger has all of them."""
BESIDE = 6
"""Variants whose pictures stand beside the baseline's: more would be too small to see."""
_SOURCES = 3


@dataclass(frozen=True)
class Lost:
    """What a report says of the frames that most variants lose."""

    text: Sentence
    table: Table


@dataclass(frozen=True)
class Look:
    """A variant's decision on a frame."""

    variant: str
    p_fake: float
    called: str
    wrong: bool


@dataclass(frozen=True)
class LostFrame:
    """One of these frames, as the baseline and then the variants decide it."""

    row: int
    frame: str
    short: str
    label: str
    looks: tuple[Look, ...]


def lost(run: RunRecord, evaluation: Evaluation) -> Lost | None:
    """What is said of them; None where there are no more than by chance, or too few variants to tell."""
    record = evaluation.exemplars
    if record is None or not beyond_chance(record):
        return None
    return Lost(_text(run, evaluation, record), _table(run, evaluation, record))


def beyond_chance(record: Exemplars) -> bool:
    """Whether most variants lose more frames together than they would if each lost its number at random."""
    return len(record.rows) > record.expected


def lost_frames(run: RunRecord, evaluation: Evaluation, most: int) -> list[LostFrame]:
    """The frames of which pictures are shown, the most lost first."""
    record = evaluation.exemplars
    if record is None or not beyond_chance(record):
        return []
    names = (run.baseline.name, *record.variants[:BESIDE])
    return [_lost_frame(run, evaluation, names, row) for row in record.rows[:most].tolist()]


def ledger(run: RunRecord, evaluation: Evaluation) -> pd.DataFrame | None:
    """All of these frames, the most lost first; None where nothing is said of them."""
    import numpy as np
    import pandas as pd

    record = evaluation.exemplars
    if record is None or not beyond_chance(record):
        return None
    names, rows = np.array(record.variants), record.rows
    scores = np.stack([evaluation.predictions[name].test[rows] for name in record.variants])
    return pd.DataFrame(
        {
            "frame": evaluation.test.frames.iloc[rows].to_numpy(),
            "source": evaluation.test.sources.iloc[rows].to_numpy(),
            "label": evaluation.test.labels[rows],
            "lost_by": record.lost_by.sum(axis=1),
            "of": len(names),
            "variants": [";".join(names[by]) for by in record.lost_by],
            "baseline_p_fake": evaluation.predictions[run.baseline.name].test[rows],
            "median_p_fake": np.median(scores, axis=0),
        }
    )


def _text(run: RunRecord, evaluation: Evaluation, record: Exemplars) -> Sentence:
    """Their share of all test frames, that by chance, and where they come from."""
    frames, share = len(record.rows), 100 / max(record.count, 1)
    return sentence(
        strong(f"{counted(frames, 'test frame')} ({number(share * frames, 1)} %)"),
        f" that the baseline has right at {run.threshold} {'is' if frames == 1 else 'are'} wrong in at least "
        f"{record.needed} of {len(record.variants)} variants. If each variant lost as many fakes and reals as it does, "
        f"independently of the others, it would be {_rare(record.expected)} "
        f"({_rare(share * record.expected)} %).",
        _sources(evaluation, record),
        *_not_counted(record),
        " More: ",
        docs("verdicts.md#frames-that-most-variants-lose"),
        ".",
    )


def _not_counted(record: Exemplars) -> Iterator[Sentence]:
    """The variants that count once with another, that are not pictured, or that do not count."""
    if record.same:
        alike = [f"{first} ({', '.join(others)})" for first, others in record.same.items()]
        yield sentence(" Variants that decide every frame alike count once: ", listed(alike), ".")
    if len(record.variants) > BESIDE:
        yield sentence(f" Pictures are of the first {BESIDE} variants.")
    if record.as_baseline:
        verb = "decides" if len(record.as_baseline) == 1 else "decide"
        do = "does and does not count" if len(record.as_baseline) == 1 else "does and do not count"
        yield sentence(" ", listed(record.as_baseline), f" {verb} every frame as the baseline {do}.")


def _sources(evaluation: Evaluation, record: Exemplars) -> str:
    """How many sources they come from, and which have most."""
    texts = evaluation.test.sources.iloc[record.rows].dropna()
    counts = Counter(name for text in texts for name in sources_of(str(text)))
    if not counts or len(record.rows) == 1:
        return ""
    most = [f"{plain(name)} ({count:,})" for name, count in counts.most_common(_SOURCES) if count > 1]
    return f" They come from {counted(len(counts), 'source')}{', most from ' if most else ''}{', '.join(most)}."


def _rare(value: float) -> str:
    """A number that may be far below 1: "2.4", "0.31", "under 0.01"."""
    if 0 < value < 0.005:
        return "under 0.01"
    return number(value, 1 if value >= 1 else 2)


def _table(run: RunRecord, evaluation: Evaluation, record: Exemplars) -> Table:
    """The first of them, with the range of the variants' scores."""
    baseline, rows = evaluation.predictions[run.baseline.name].test, []
    first = [evaluation.predictions[name].test[record.rows[:LISTED]] for name in (run.baseline.name, *record.variants)]
    digits = enough([float(value) - run.threshold for values in first for value in values], 4)
    for row, by in zip(record.rows[:LISTED].tolist(), record.lost_by[:LISTED].sum(axis=1).tolist(), strict=True):
        scores = [float(evaluation.predictions[name].test[row]) for name in record.variants]
        source = evaluation.test.sources.iloc[row]
        rows.append(
            [
                cell(Span(plain(evaluation.test.frames.iloc[row]), "frame")),
                cell(_class(int(evaluation.test.labels[row]))),
                cell(plain(source) if isinstance(source, str) else ""),
                cell(f"{by} of {len(record.variants)}"),
                cell(number(float(baseline[row]), digits)),
                cell(_range(number(min(scores), digits), number(max(scores), digits))),
            ]
        )
    titles = ("Lost by", "Baseline P(fake)", "Variants' P(fake)")
    return table([*columns(("Frame", "Class", "Source"), "left"), *map(Column, titles)], rows)


def _range(lowest: str, highest: str) -> str:
    return lowest if lowest == highest else f"{lowest}–{highest}"


def _lost_frame(run: RunRecord, evaluation: Evaluation, names: tuple[str, ...], row: int) -> LostFrame:
    frame, fake = plain(evaluation.test.frames.iloc[row]), evaluation.test.labels[row] == 1
    looks = []
    for name in names:
        p_fake = float(evaluation.predictions[name].test[row])
        called = p_fake >= run.threshold
        looks.append(Look(name, p_fake, _class(int(called)), bool(called != fake)))
    return LostFrame(row, frame, shortened(frame), _class(int(fake)), tuple(looks))


def _class(label: int) -> str:
    return "fake" if label == 1 else "real"
