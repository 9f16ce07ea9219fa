"""One search: foretell, then build and judge one chain after the other, every result kept as soon as it is there."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from bench import locks
from bench.errors import UserError
from bench.pipeline import journal, judging, threshold
from bench.pipeline.build import build_context
from bench.pipeline.prepared import Setup
from bench.pipeline.search import choosing, judging_candidates, problems, trails
from bench.pipeline.search.clock import Clock
from bench.records import Built, ChainForecast, Event, OnEvent, SearchTrail, TriedChain
from bench.results.score.held_out import HeldOut, Limits
from bench.variants import build, cache, foretelling, ids
from bench.variants.foretelling import ForetoldChain

WORK = "searching"


def search(setup: Setup, variant: str, on_event: OnEvent) -> SearchTrail:
    """The whole trail of the search for a variant of a detector, on its first frame set.

    Another run that searches the same is waited for, and what it found is taken. What an interrupted run tried counts.
    """
    key = trails.key_of(setup, setup.searches[variant])
    lock, doing = cache.lock_file(setup.variants, f"search-{key}"), f"{WORK} {setup.title(variant)} of {setup.name}"
    with locks.held(lock, doing, on_event, folder=setup.base, why=cache.WHY_WAIT):
        stored = trails.read(setup, variant)
        return stored if stored and trails.is_whole(stored) else _Search(setup, variant, on_event).made(stored)


class _Search:
    """A search under way."""

    def __init__(self, setup: Setup, variant: str, on_event: OnEvent) -> None:
        self._setup, self._variant, self._on_event = setup, variant, on_event
        self._settings, self._context = setup.searches[variant], build_context(setup, on_event)
        self._by_video = judging.judge(setup.settings, setup.frames["test"].frames) == "video"
        self._limits = self._limits_of_loss()

    def made(self, stored: SearchTrail | None) -> SearchTrail:
        """Go on from what was `stored`, or begin."""
        began = time.monotonic()
        self._tell(0, "foretelling")
        title = self._setup.title(self._setup.baseline)
        baseline = build.build(title, self._setup.source, (), self._context)
        proposals, held_out = self._proposals(baseline), self._held_out(baseline)
        clock = Clock(self._setup, self._settings)
        trail = _without_failures(stored) if stored else self._begun(baseline, held_out, len(proposals), began)
        while True:
            trails.write(self._setup, self._variant, trail)
            fits = partial(clock.fits, spent_s=trail.seconds)
            following = choosing.following(proposals, trail, fits)
            if following.proposal is None:
                break
            self._tell(len(trail.candidates), ", ".join(choosing.steps_of(following.proposal)))
            tried = self._tried(following.proposal, following.noise, baseline, held_out)
            trail = replace(trail, candidates=(*trail.candidates, tried))
        trail = replace(
            trail,
            ended=following.why_ended,
            cut_short=following.cut_short,
            chosen=choosing.chosen(trail),
        )
        trails.write(self._setup, self._variant, trail)
        foretelling.forget(self._setup.source, self._context)
        self._tell(choosing.MOST_TRIED, "")
        return trail

    def _tell(self, done: int, note: str) -> None:
        title = f"{WORK} {self._setup.title(self._variant)}"
        self._on_event(Event(title, done, choosing.MOST_TRIED, "candidates", note))

    # -------------------------------------------------------------------------------- before anything is tried
    def _limits_of_loss(self) -> Limits:
        frames = self._setup.frames["test"]
        test = len({frame.video for frame in frames.frames}) if self._by_video else len(frames.distinct)
        return Limits(trails.margin_of(self._setup, self._settings), self._settings.keep.mean_dp, test)

    def _proposals(self, baseline: Built) -> list[ForetoldChain]:
        title = f"foretelling {self._setup.title(self._variant)}"
        self._on_event(Event(title, 0, 1, "step", "loading"))
        chains = problems.chains_of(self._setup)
        proposals = foretelling.proposals(self._setup.source, chains, baseline, self._context, title)
        self._on_event(Event(title, 1, 1, "step"))
        if not proposals:
            raise UserError("no chain of steps can be built of this detector with these frames")
        return proposals

    def _held_out(self, baseline: Built) -> HeldOut:
        """What the baseline says of validation frames."""
        logits = judging_candidates.answers(self._setup, self._variant, baseline, self._on_event)
        scoring = self._setup.settings.videos.record if self._by_video else None
        return HeldOut(threshold.labelled(self._setup.frames["validation"]), logits, scoring)

    def _begun(self, baseline: Built, held_out: HeldOut, chains: int, began: float) -> SearchTrail:
        """The trail before anything was tried."""
        within, noise_limit = self._settings.within, held_out.noise_limit(self._limits)
        return SearchTrail(
            key=trails.key_of(self._setup, self._settings),
            find=self._settings.find,
            margin=self._limits.margin,
            frames=held_out.count,
            chains=chains,
            baseline_bytes=baseline.size_bytes,
            mean_dp=self._limits.mean_dp,
            minutes=within.minutes if within else None,
            unit="video" if self._by_video else "frame",
            noise_limit=noise_limit,
            foretelling_seconds=round(time.monotonic() - began, 1),
        )

    # ------------------------------------------------------------------------------------------- one candidate
    def _tried(self, proposal: ForetoldChain, noise: float, baseline: Built, held_out: HeldOut) -> TriedChain:
        """Build and judge a chain, of which this noise is foretold; one that fails is a candidate with a reason."""
        began, steps = time.monotonic(), choosing.steps_of(proposal)
        title, aim = self._setup.title(self._variant), self._settings.find
        lost, moved, _ = held_out.foretell(noise, self._limits)
        foretold = ChainForecast(proposal.size_bytes, proposal.time, noise, lost, moved)
        try:
            foretelling.share(self._setup.source, proposal.chain, self._context)
            built = build.build(title, self._setup.source, proposal.chain, self._context)
            logits = judging_candidates.answers(self._setup, self._variant, built, self._on_event)
            judged, outcome = held_out.judge(logits, self._limits)
            measure = judging_candidates.speedup if aim == "fastest" else None
            speedup = measure(self._setup, self._variant, baseline, built, self._on_event) if measure else None
        except Exception as error:
            reason = journal.failure(f"trying {', '.join(steps)} for {title}", error)
            return TriedChain(steps, foretold, "failed", reason=reason, seconds=round(time.monotonic() - began, 1))
        return TriedChain(
            steps=steps,
            foretold=foretold,
            outcome=outcome,
            id=built.id,
            size_bytes=built.size_bytes,
            speedup=speedup,
            judged=judged,
            seconds=round(time.monotonic() - began, 1),
            lineage=tuple(ids.of_chain(self._setup.source, proposal.chain, self._context)),
        )


def _without_failures(trail: SearchTrail) -> SearchTrail:
    """A trail to go on from: what failed in an earlier run, for want of memory or of a library, may be tried again.

    The time that it took counts.
    """
    lost_s = sum(chain.seconds for chain in trail.candidates if chain.outcome == "failed")
    left = tuple(chain for chain in trail.candidates if chain.outcome != "failed")
    return replace(trail, candidates=left, foretelling_seconds=trail.foretelling_seconds + lost_s)
