"""How long trying a chain takes, and whether that fits into the time that a search has."""

from __future__ import annotations

import math

from bench import runtimes
from bench.pipeline import estimates, present_speed
from bench.pipeline.build import build_context
from bench.pipeline.estimates import Estimate
from bench.pipeline.history import History, recall
from bench.pipeline.prepared import Setup
from bench.pipeline.present_speed import PresentSpeed
from bench.records import silent
from bench.variants import cache, ids
from bench.variants.chain import kind_of
from bench.variants.foretelling import Chain, ForetoldChain
from bench.variants.search_settings import SearchSettings


class Clock:
    """The time that a search has, by the machine's present speed; without end where `minutes` is None."""

    def __init__(self, setup: Setup, search: SearchSettings) -> None:
        self._setup, self._search = setup, search
        self._seconds = search.within.minutes * 60 if search.within else math.inf
        self._now = present_speed.measure(setup.threads) if search.within else None

    def fits(self, proposal: ForetoldChain, spent_s: float) -> bool:
        """Whether a chain would be done in time, after so many seconds. What is unknown of it counts as nothing."""
        if self._now is None:
            return True
        takes = of_candidate(
            self._setup, proposal.chain, self._search, recall(self._setup.base), self._now, at_most=True
        )
        return spent_s + math.sqrt(takes.low_s * takes.high_s) <= self._seconds


def of_candidate(
    setup: Setup, chain: Chain, search: SearchSettings, history: History, now: PresentSpeed, *, at_most: bool = False
) -> Estimate:
    """Building those links of a chain that are not there yet, judging it on validation frames, timing it if need be.

    Reading the weights is the baseline's, which is built once before any candidate. `at_most` is as in
    `estimates.step`.
    """
    context = build_context(setup, silent)
    lineage = ids.of_chain(setup.source, chain, context)
    links = [
        estimates.step(setup, chain[:length], history, now, at_most=at_most)
        for length, link in enumerate(lineage)
        if length and not cache.is_built(context.folder, link)
    ]
    runtime = runtimes.choose(setup.settings.runtime, kind_of(chain, setup.kind), setup.device)
    frame = estimates.frame(setup, chain, runtime, history, now)
    judging = frame * len(setup.frames["validation"].frames)
    # The baseline takes turns with it, and the best batch is not looked for.
    timing = estimates.timed(setup, frame, now) if search.find == "fastest" else Estimate()
    return estimates.total([*links, judging, timing])
