"""What a plan says of searches that are still to be made: how many chains they look at, and how long they take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.pipeline import estimates
from bench.pipeline.estimates import Estimate
from bench.pipeline.history import History
from bench.pipeline.prepared import Prepared, Setup
from bench.pipeline.present_speed import PresentSpeed
from bench.pipeline.search import choosing, problems, trails
from bench.pipeline.search.clock import of_candidate
from bench.variants.foretelling import Chain
from bench.variants.search_settings import SearchSettings

LEAST_TRIED = 2


@dataclass(frozen=True)
class Due:
    """A search that is due: for a `variant` of a detector, among so many `chains`, judged on `frames`."""

    setup: Setup = field(repr=False)
    variant: str
    search: SearchSettings
    chains: int
    frames: int

    @property
    def title(self) -> str:
        return self.setup.title(self.variant)

    @property
    def limits(self) -> str:
        """What the search is to keep, and how long it may take."""
        keep, within = self.search.keep, self.search.within
        limits = [f"at most {trails.margin_of(self.setup, self.search):g} of AUC lost"]
        limits += [f"P(fake) moved by {keep.mean_dp:g} on average"] if keep.mean_dp is not None else []
        limits += [f"begun within {within.minutes:g} minutes"] if within else []
        return ", ".join(limits)


def due(prepared: Prepared) -> Iterator[Due]:
    """The selected searches that have not found a chain yet."""
    for setup in prepared.by_detector.values():
        for name, search in setup.searches_due.items():
            chains, frames = problems.chains_of(setup), len(setup.frames["validation"].frames)
            yield Due(setup, name, search, len(chains), frames)


def takes(of: Due, history: History, now: PresentSpeed) -> Estimate:
    """From two chains that are built and judged up to the most, and a look at the network before."""
    setup, chain = of.setup, _usual(problems.chains_of(of.setup))
    candidate = of_candidate(setup, chain, of.search, history, now)
    look = estimates.step(setup, chain[:1], history, now) if chain[0].is_foretold else Estimate()
    low, high = look + candidate * LEAST_TRIED, look + candidate * choosing.MOST_TRIED
    high_s = high.high_s
    if of.search.within:
        # What was begun in time is done.
        high_s = min(high_s, max(of.search.within.minutes * 60, low.high_s))
    return Estimate(min(low.low_s, high_s), high_s, high.origins, high.unknown)


def _usual(chains: list[Chain]) -> Chain:
    """A chain as a search tries most: without training, in the middle of the amounts."""
    untrained = [chain for chain in chains if all(use.turn != "train" for use in chain)]
    longest = [chain for chain in untrained if len(chain) == max(map(len, untrained))]
    return longest[len(longest) // 2]
