"""Which chain a search tries next: the best that is foretold to keep the verdict, by what was measured so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.records import Judged, SearchTrail, TriedChain
from bench.variants.foretelling import ForetoldChain
from bench.variants.search_settings import Aim

MOST_TRIED = 8
"""More chains than that are not built."""

LEAST_GAIN, LEAST_GAIN_OF_TRAINING = 0.97, 0.9
"""Only what is foretold to be smaller, or faster, than the best so far by this factor is worth building."""

_CAUTION = 0.8
"""Of the most noise that is foretold to keep the verdict: beyond it, about half of what is built would be in vain."""
_MOST_ROOM = 3.0
"""A chain that kept the verdict with much to spare is followed by such with so many times its noise at most."""
_ROUNDS = 30
_SPARED = 0.7
"""Where a variant lost the verdict with less noise than foretold, the limit goes below that noise by this factor."""

_BETTER: Mapping[Aim, str] = {"smallest": "smaller", "fastest": "faster"}
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
    trail: SearchTrail,
    fits: Callable[[ForetoldChain], bool] = lambda proposal: True,
) -> Next:
    """The chain to try after those of the trail; `fits` is whether a chain would be done in time."""
    tried = trail.candidates
    if len(tried) >= MOST_TRIED:
        return Next(None, why_ended=ENOUGH)
    promising = _promising(proposals, trail)
    for proposal, noise in promising:
        if not tried or fits(proposal):
            return Next(proposal, noise)
    if promising:
        return Next(None, why_ended=NO_TIME, cut_short=True)
    if any(chain.qualifies for chain in tried):
        return Next(None, why_ended=NOTHING_BETTER.format(better=_BETTER[trail.find]))
    return Next(None, why_ended=NOTHING_NEARER)


def _promising(proposals: Sequence[ForetoldChain], trail: SearchTrail) -> list[tuple[ForetoldChain, float]]:
    """What is worth trying after the chains of the trail, the best first, with the noise that is foretold by now."""
    by_steps = {steps_of(proposal): proposal for proposal in proposals}
    done = [(by_steps[chain.steps], chain) for chain in trail.candidates if chain.steps in by_steps]
    noises = [(proposal, noise) for proposal, chain in done if (noise := noise_of(chain, trail)) is not None]
    factors, limit = corrections(noises), _limit_after(trail)
    objectives = {steps: _objective(proposal, done, trail.find) for steps, proposal in by_steps.items()}
    left = [
        (proposal, corrected(proposal, factors))
        for proposal in _undecided(by_steps, done)
        if _is_gain(proposal, objectives[steps_of(proposal)], trail)
    ]
    eligible = [each for each in left if each[1] <= _CAUTION * limit]
    # Training takes many times as long as the rest: first comes what needs none.
    eligible = [each for each in eligible if not _is_trained(each[0])] or eligible
    if not eligible and left and not any(chain.qualifies for chain in trail.candidates):
        # Nothing keeps the verdict so far: what comes nearest is worth knowing.
        least = min(left, key=lambda each: each[1])
        if least[1] < min((noise for _, noise in noises), default=float("inf")):
            eligible = [least]
    return sorted(eligible, key=lambda each: (objectives[steps_of(each[0])], each[1]))


def chosen(trail: SearchTrail) -> int:
    """The index of what a search takes: the best of those that qualify, else what comes nearest; -1 of none.

    Nearest is what uses up the least of the limit that it uses up most of.
    """
    tried, margin, mean_dp = trail.candidates, trail.margin, trail.mean_dp
    qualifying = [index for index, chain in enumerate(tried) if chain.qualifies]
    if qualifying:
        return min(qualifying, key=lambda index: measured(tried[index], trail.find))
    judged = {index: chain.judged for index, chain in enumerate(tried) if chain.judged}
    return min(judged, key=lambda index: _beyond(judged[index], margin, mean_dp), default=-1)


def _beyond(judged: Judged, margin: float, mean_dp: float | None) -> tuple[float, float]:
    """How many times the limits may be used up at most, the worse of the two first; and by the loss of AUC alone."""
    of_margin = -judged.low / margin if margin else math.inf if judged.low < 0 else 0.0
    return max(of_margin, judged.mean_dp / mean_dp if mean_dp else 0.0), -judged.low


def steps_of(proposal: ForetoldChain) -> tuple[str, ...]:
    """The steps of a chain as the experiment file would spell them."""
    return tuple(use.text for use in proposal.chain)


def _objective(proposal: ForetoldChain, done: Sequence[tuple[ForetoldChain, TriedChain]], aim: Aim) -> float:
    """What is to be small, as foretold and corrected: bytes, or the share of the baseline's time.

    As many times as the last chain that ends alike came to of its forecast, this one will: that is the format's.
    """

    def foretold(of: ForetoldChain) -> float:
        return of.size_bytes if aim == "smallest" else of.time

    alike = [(each, chain) for each, chain in done if chain.judged and _ending(each) == _ending(proposal)]
    return foretold(proposal) * (measured(alike[-1][1], aim) / foretold(alike[-1][0]) if alike else 1.0)


def _ending(proposal: ForetoldChain) -> str:
    """The step that makes the format of a chain's file; empty where it is the baseline's."""
    last = proposal.chain[-1]
    return last.text if last.turn == "round" else ""


def measured(chain: TriedChain, aim: Aim) -> float:
    """The same of a chain that was built."""
    if aim == "smallest":
        return float(chain.size_bytes or 0)
    return 1 / chain.speedup if chain.speedup else 1.0


def noise_of(chain: TriedChain, trail: SearchTrail) -> float | None:
    """The noise of a chain that was built; None where it failed.

    Where P(fake) as a whole has moved, by what no noise tells, it is the noise that comes as near to its limit as that
    movement comes to its own: movement grows with the root of noise.
    """
    if chain.judged is None:
        return None
    used = chain.judged.mean_dp / trail.mean_dp if trail.mean_dp else 0.0
    return max(chain.judged.noise, used**2 * trail.noise_limit)


def corrections(noises: Iterable[tuple[ForetoldChain, float]]) -> dict[str, float]:
    """By part of a chain, how many times its foretold noise was measured, in the share that it had in the whole.

    `noises` are those of the chains that were built.
    """
    factors: dict[str, float] = {}
    measured_noise = [(proposal.noise, noise) for proposal, noise in noises if noise]
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


def _limit_after(trail: SearchTrail) -> float:
    """The limit of noise, by what kept the verdict with more and lost it with less.

    What kept the verdict may have had room for more: noise of a step costs less than noise that is drawn.
    """
    built = [(noise, chain) for chain in trail.candidates if (noise := noise_of(chain, trail)) is not None]
    keeping = max((noise for noise, chain in built if chain.qualifies), default=0.0)
    room = max((noise * _room(chain, trail) for noise, chain in built if chain.qualifies), default=0.0)
    lost = min((noise for noise, chain in built if not chain.qualifies), default=float("inf"))
    limit = max(trail.noise_limit, keeping / _CAUTION, room)
    return limit if lost > limit else max(keeping / _CAUTION, _SPARED * lost)


def _room(chain: TriedChain, trail: SearchTrail) -> float:
    """How many times its noise a chain might have that kept the verdict, by how much of the limits it uses up."""
    if chain.judged is None or not trail.margin:
        return 1.0
    of_mean_dp = (chain.judged.mean_dp / trail.mean_dp) ** 2 if trail.mean_dp else 0.0
    used = max(-chain.judged.low / trail.margin, of_mean_dp, 1 / _MOST_ROOM)
    return max(1.0, 1 / used)


def _undecided(
    by_steps: Mapping[tuple[str, ...], ForetoldChain], done: Sequence[tuple[ForetoldChain, TriedChain]]
) -> list[ForetoldChain]:
    """The chains that were not tried, without those that take more away than one that did not keep the verdict.

    That is more of the same, or further steps after it: of these, training alone may bring the verdict back.
    """
    tried = {steps_of(proposal) for proposal, _ in done}
    lost = [(_way(proposal), proposal.size_bytes) for proposal, chain in done if not chain.qualifies]

    def is_lost(proposal: ForetoldChain) -> bool:
        return any(_way(proposal) == way and proposal.size_bytes <= size for way, size in lost)

    return [
        proposal
        for steps, proposal in by_steps.items()
        if steps not in tried and not any(is_lost(each) for each in (proposal, *_beginnings(proposal, by_steps)))
    ]


def _beginnings(proposal: ForetoldChain, by_steps: Mapping[tuple[str, ...], ForetoldChain]) -> Iterator[ForetoldChain]:
    """The shorter chains that it begins with and goes on from without training."""
    steps = steps_of(proposal)
    for length in range(len(steps) - 1, 0, -1):
        if proposal.chain[length].turn == "train":
            return
        if steps[:length] in by_steps:
            yield by_steps[steps[:length]]


def _way(proposal: ForetoldChain) -> tuple[str, ...]:
    """What chains have in common that differ in how much they take away."""
    return tuple(use.name if use.is_foretold else use.text for use in proposal.chain)


def _is_gain(proposal: ForetoldChain, objective: float, trail: SearchTrail) -> bool:
    best = min((measured(chain, trail.find) for chain in trail.candidates if chain.qualifies), default=float("inf"))
    return objective < best * (LEAST_GAIN_OF_TRAINING if _is_trained(proposal) else LEAST_GAIN)


def _is_trained(proposal: ForetoldChain) -> bool:
    return any(use.turn == "train" for use in proposal.chain)
