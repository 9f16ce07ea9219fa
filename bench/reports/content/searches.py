"""How the steps of a variant were found, where the experiment asks for the smallest or the fastest."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import counted
from bench.records import Evaluation, Interval, RunRecord, SearchOutcome, SearchTrail, TriedChain
from bench.reports.content.cells import EMPTY, Cell, Column, Table, cell, columns, table, with_interval
from bench.reports.content.spans import Part, Sentence, code, docs, paragraph, sentence, strong, with_code
from bench.reports.content.text import MIB, difference, number, signed, small, span

_MEANS: dict[SearchOutcome, str] = {
    "keeps": "keeps the verdict",
    "should keep": "should keep it",
    "open": "too few frames to tell",
    "loses": "loses it",
    "failed": "failed",
}


@dataclass(frozen=True)
class FoundChain:
    """The search for a variant, in sentences and a table of what was built."""

    variant: str
    how: Sentence
    tried: Table


def searches(run: RunRecord, evaluation: Evaluation) -> list[FoundChain]:
    """The searches of a run, in its order; `evaluation` is what it is judged by."""
    trails = {variant.name: variant.search for variant in run.variants if variant.search}
    return [
        FoundChain(name, _how(trail, _confirmed(name, trail, run.baseline.name, evaluation)), _tried(trail))
        for name, trail in trails.items()
    ]


def _how(trail: SearchTrail, confirmed: list[Sentence]) -> Sentence:
    """What was looked for and how it ended, and what the test frames say of what was taken."""
    frames = counted(trail.frames, f"validation {trail.unit}")
    may_lose = f"may lose {trail.margin:g} of AUC"
    if trail.mean_dp is not None:
        may_lose += f", and P(fake) may move by {trail.mean_dp:g} on average"
    looked = sentence(
        code(f"find: {trail.find}"),
        f" foretold {counted(trail.chains, 'chain')} of steps, and built and judged {len(trail.candidates)} of them on "
        f"{frames}, where a variant {may_lose}. It took {_minutes(trail.seconds)} and ended since {trail.ended}.",
    )
    return paragraph((looked, *_doubts(trail), *confirmed, sentence("More: ", docs("compression.md#a-search"), ".")))


def _minutes(seconds: float) -> str:
    return f"{number(seconds, 0)} s" if seconds < 120 else f"{number(seconds / 60, 1)} minutes"


def _doubts(trail: SearchTrail) -> list[Sentence]:
    """What a reader must know before trusting what was taken."""
    doubts, taken = [], trail.winner
    if trail.cut_short and trail.minutes is not None:
        doubts.append(sentence(f"The clock ended it ({_limit(trail.minutes)}): with more time it may find better."))
    if taken and not taken.qualifies:
        doubts.append(sentence("Nothing that was built keeps the verdict there: what comes nearest was taken."))
    elif taken and taken.outcome == "should keep":
        doubts.append(
            sentence(
                f"These are too few to prove it of what was taken; as many as there are test {trail.unit}s should do."
            )
        )
    if taken and taken.judged and not trail.gains:
        better = "smaller" if trail.find == "smallest" else "faster"
        doubts.append(
            sentence(strong(f"It is no {better} than the baseline"), f": nothing {better} keeps the verdict.")
        )
    if not trail.noise_limit:
        why = "on so few" if trail.margin else "where nothing may be lost"
        doubts.append(sentence(f"Not even a variant without any loss to speak of could be proven to keep it {why}."))
    return doubts


def _confirmed(variant: str, trail: SearchTrail, baseline: str, evaluation: Evaluation) -> list[Sentence]:
    """Whether what was taken keeps the search's own limits on test frames; nothing where it was not compared there."""
    scored = evaluation.variants.get(variant)
    if scored is None or scored.comparison is None:
        return []
    delta, limit = scored.comparison.delta, -trail.margin
    if delta.interval.low >= limit:
        outcome: Part = "is kept"
    elif delta.interval.high < limit:
        outcome = strong("is missed")
    else:
        outcome = "is neither proven to be kept nor to be missed"
    sentences = [
        sentence(
            f"On the test {trail.unit}s, which no search sees, ", code(variant), f" has a ΔAUC of {difference(delta)}: "
            f"the limit of {trail.margin:g} ", outcome, ".",
        )
    ]  # fmt: skip
    if trail.mean_dp is not None:
        rows = evaluation.test.counted
        of_both = [evaluation.predictions[name].test[rows] for name in (variant, baseline)]
        moved = float(abs(of_both[0] - of_both[1]).mean())
        is_kept = "is kept" if moved <= trail.mean_dp else strong("is missed")
        moves = f"P(fake) moves by {number(moved, 4)} there: the limit of {trail.mean_dp:g} "
        sentences.append(sentence(moves, is_kept, "."))
    return sentences


def _limit(minutes: float) -> str:
    return f"{minutes:g} minute{'' if minutes == 1 else 's'}"


def _tried(trail: SearchTrail) -> Table:
    """A row for each chain that was built: what was foretold of it, and what it came to."""
    titles = ["MiB foretold", "MiB", "Time foretold", "Times as fast", "ΔAUC foretold", "ΔAUC"]
    titles += ["Mean change of P(fake)", "Noise foretold", "Noise"]
    first, last = Column("Steps", "left"), Column("On validation", "left")
    rows = [_row(index, chain, trail) for index, chain in enumerate(trail.candidates)]
    return table([first, *columns(titles), last], rows)


def _row(index: int, chain: TriedChain, trail: SearchTrail) -> list[Cell]:
    """The row of a chain, the `index`th of its trail."""
    foretold, judged, by_time = chain.foretold, chain.judged, trail.find == "fastest"
    steps = ", ".join(chain.steps)
    outcome = with_code(f"failed: {chain.reason}") if chain.outcome == "failed" else sentence(_MEANS[chain.outcome])
    delta = EMPTY
    if judged:
        interval = span(Interval(judged.low, judged.high))
        delta = with_interval(signed(judged.auc_delta, 4), interval, judged.auc_delta)
    return [
        cell(steps),
        _mib(foretold.size_bytes),
        EMPTY if chain.size_bytes is None else _mib(chain.size_bytes),
        cell(number(foretold.time, 2), value=foretold.time) if by_time else EMPTY,
        EMPTY if chain.speedup is None else cell(f"{number(chain.speedup, 2)} ×", value=chain.speedup),
        cell(signed(-foretold.auc_drop, 4), value=-foretold.auc_drop),
        delta,
        EMPTY if judged is None else cell(number(judged.mean_dp, 4), value=judged.mean_dp),
        cell(small(foretold.noise), value=foretold.noise),
        EMPTY if judged is None else cell(small(judged.noise), value=judged.noise),
        cell(outcome, ": taken" if index == trail.chosen else ""),
    ]


def _mib(size_bytes: float) -> Cell:
    return cell(number(size_bytes / MIB, 2), value=size_bytes / MIB)
