"""Which chain a search tries next: the best that is foretold to keep the verdict, by what was measured so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.records import TriedChain
from bench.variants.foretelling import ForetoldChain
from bench.variants.search_settings import Aim

MOST_TRIED = 8
"""More chains than that are not built."""

LEAST_GAIN, LEAST_GAIN_OF_TRAINING = 0.97, 0.9
"""Only what is foretold to be smaller, or faster, than the best so far by this factor is worth building."""

_CAUTION = 0.8
"""Of the most noise that is foretold to keep the verdict: beyond it, about half of what is built would be in vain."""
_ROUNDS = 30
_SPARED = 0.7
"""Where a variant lost the verdict with less noise than foretold, the limit goes below that noise by this factor."""

NOTHING_BETTER = "nothing else is foretold to keep the verdict and to be {better}"
NOTHING_NEARER = "nothing is foretold to come nearer"
ENOUGH = f"{MOST_TRIED} chains were built, as many as a search tries"
NO_TIME = "no other candidate would be done in time"


@dataclass(frozen=True)
class Next:
    """What a search tries next, with the noise that is foretold of it by now; None where it ends, for this reason."""

    proposal: ForetoldChain | None
    noise: float = 0.0
    why_ended: str = ""
    cut_short: bool = False


def following(
    proposals: Sequence[ForetoldChain],
    tried: Sequence[TriedChain],
    aim: Aim,
    limit: float,
    fits: Callable[[ForetoldChain], bool] = lambda proposal: True,
) -> Next:
    """The chain to try after the `tried` ones.

    `limit` is the most noise that is foretold to keep the verdict, `fits` whether a chain would be done in time.
    """
    if len(tried) >= MOST_TRIED:
        return Next(None, why_ended=ENOUGH)
    by_steps = {steps_of(proposal): proposal for proposal in proposals}
    done = [(by_steps[chain.steps], chain) for chain in tried if chain.steps in by_steps]
    factors, limit = corrections(done), _limit_after(tried, limit)
    foretold = {steps_of(proposal): _objective(proposal, done, aim) for proposal in proposals}
    left = [each for each in _undecided(proposals, done) if _is_gain(each, foretold[steps_of(each)], tried, aim)]
    eligible = [proposal for proposal in left if corrected(proposal, factors) <= _CAUTION * limit]
    # Training takes many times as long as the rest: first comes what needs none.
    eligible = [proposal for proposal in eligible if not _is_trained(proposal)] or eligible
    if not eligible and not any(chain.qualifies for chain in tried):
        # Nothing keeps the verdict so far: what comes nearest is worth knowing.
        noises = [chain.judged.noise for chain in tried if chain.judged]
        least = min(left, key=lambda proposal: corrected(proposal, factors), default=None)
        if least and (not noises or corrected(least, factors) < min(noises)):
            eligible = [least]
    best = sorted(eligible, key=lambda proposal: (foretold[steps_of(proposal)], corrected(proposal, factors)))
    for proposal in best:
        if not tried or fits(proposal):
            return Next(proposal, corrected(proposal, factors))
    if best:
        return Next(None, why_ended=NO_TIME, cut_short=True)
    better = {"smallest": "smaller", "fastest": "faster"}[aim]
    if any(chain.qualifies for chain in tried):
        return Next(None, why_ended=NOTHING_BETTER.format(better=better))
    return Next(None, why_ended=NOTHING_NEARER)


def chosen(tried: Sequence[TriedChain], aim: Aim) -> int:
    """The index of what a search takes: the best of those that qualify, else what comes nearest; -1 of none."""
    qualifying = [index for index, chain in enumerate(tried) if chain.qualifies]
    if qualifying:
        return min(qualifying, key=lambda index: measured(tried[index], aim))
    judged = {index: chain.judged for index, chain in enumerate(tried) if chain.judged}
    return max(judged, key=lambda index: judged[index].low, default=-1)


def steps_of(proposal: ForetoldChain) -> tuple[str, ...]:
    """The steps of a chain as the experiment file would spell them."""
    return tuple(use.text for use in proposal.chain)


def _objective(proposal: ForetoldChain, done: Sequence[tuple[ForetoldChain, TriedChain]], aim: Aim) -> float:
    """What is to be small, as foretold and corrected: bytes, or the share of the baseline's time.

    What the last chain that ends alike came to beyond its forecast is the format's: so many bytes, or times the time.
    """
    alike = [(each, chain) for each, chain in done if chain.judged and _ending(each) == _ending(proposal)]
    if aim == "smallest":
        return proposal.size_bytes + (measured(alike[-1][1], aim) - alike[-1][0].size_bytes if alike else 0.0)
    return proposal.time * (measured(alike[-1][1], aim) / alike[-1][0].time if alike else 1.0)


def _ending(proposal: ForetoldChain) -> str:
    """The step that makes the format of a chain's file; empty where it is the baseline's."""
    last = proposal.chain[-1]
    return last.text if getattr(last.step, "TURN", None) == "round" else ""


def measured(chain: TriedChain, aim: Aim) -> float:
    """The same of a chain that was built."""
    if aim == "smallest":
        return float(chain.size_bytes or 0)
    return 1 / chain.speedup if chain.speedup else 1.0


def corrections(done: Iterable[tuple[ForetoldChain, TriedChain]]) -> dict[str, float]:
    """By part of a chain, how many times its foretold noise was measured, in the share that it had in the whole."""
    factors: dict[str, float] = {}
    measured_noise = [(each.noise, chain.judged.noise) for each, chain in done if chain.judged and chain.judged.noise]
    # In rounds, since each chain has its say on the parts that it shares with others.
    for by_part, noise in measured_noise * _ROUNDS:
        foretold = {part: _factor(part, factors) * share for part, share in by_part.items()}
        if whole := sum(foretold.values()):
            ratio = noise / whole
            factors |= {part: _factor(part, factors) * ratio ** (share / whole) for part, share in foretold.items()}
    return factors


def corrected(proposal: ForetoldChain, factors: Mapping[str, float]) -> float:
    """The noise of a chain, by what was measured of others."""
    return sum(_factor(part, factors) * noise for part, noise in proposal.noise.items())


def _factor(part: str, factors: Mapping[str, float]) -> float:
    """What is trained after pruning goes by pruning alone, until it was tried."""
    return factors.get(part, factors.get(part.partition(", ")[0], 1.0))


def _limit_after(tried: Sequence[TriedChain], limit: float) -> float:
    """The limit of noise, by what kept the verdict with more and lost it with less."""
    judged = [(chain.judged.noise, chain.qualifies) for chain in tried if chain.judged]
    keeping = max((noise for noise, qualifies in judged if qualifies), default=0.0)
    lost = min((noise for noise, qualifies in judged if not qualifies), default=float("inf"))
    limit = max(limit, keeping / _CAUTION)
    return limit if lost > limit else max(keeping / _CAUTION, _SPARED * lost)


def _undecided(
    proposals: Sequence[ForetoldChain], done: Sequence[tuple[ForetoldChain, TriedChain]]
) -> list[ForetoldChain]:
    """The chains that were not tried, without those that take more away than one that did not keep the verdict."""
    tried = {steps_of(proposal) for proposal, _ in done}
    lost = [(_way(proposal), proposal.size_bytes) for proposal, chain in done if not chain.qualifies]
    return [
        proposal
        for proposal in proposals
        if steps_of(proposal) not in tried
        and not any(_way(proposal) == way and proposal.size_bytes <= size for way, size in lost)
    ]


def _way(proposal: ForetoldChain) -> tuple[str, ...]:
    """What chains have in common that differ in how much they take away."""
    return tuple(use.name if getattr(use.step, "foretell", None) else use.text for use in proposal.chain)


def _is_gain(proposal: ForetoldChain, objective: float, tried: Sequence[TriedChain], aim: Aim) -> bool:
    best = min((measured(chain, aim) for chain in tried if chain.qualifies), default=float("inf"))
    return objective < best * (LEAST_GAIN_OF_TRAINING if _is_trained(proposal) else LEAST_GAIN)


def _is_trained(proposal: ForetoldChain) -> bool:
    return any(getattr(use.step, "TURN", None) == "train" for use in proposal.chain)
