"""What a search tries next, against an artificial detector of which the best chain is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from bench.pipeline.search import choosing
from bench.pipeline.search.choosing import MOST_TRIED, NO_TIME, following
from bench.records import ChainForecast, Judged, SearchTrail, TriedChain
from bench.reports.content import searches
from bench.variants import foretelling, proposals
from bench.variants.foretelling import ForetoldChain
from bench.variants.search_settings import Aim

LIMIT = 0.01
"""Of noise: more loses the verdict."""

TRUE_NOISE = {"": 0.0, "cast: fp16": 1e-6, "quantize: int8": 2e-3, "weights: int8": 1e-4, "weights: int4": 3e-3}


def amount_of(chain: foretelling.Chain) -> float:
    return next((use.settings.amount for use in chain if use.name == "prune"), 0.0)  # type: ignore[attr-defined]


def ending_of(chain: foretelling.Chain) -> str:
    text = chain[-1].text
    return next((ending for ending in TRUE_NOISE if ending and ending in text), "")


def noise_of_pruning(amount: float) -> float:
    """Of the artificial detector: .001 at .3, .01 at .6."""
    return 0.0 if not amount else 10 ** (-3 + (amount - 0.3) / 0.3)


def proposed(error: float, *, trained: bool = True) -> list[ForetoldChain]:
    """Every chain, with a forecast of pruning that is wrong by the factor `error`."""
    chains = proposals.chains("efficientnet_b5", "torch", None)
    by_chain = []
    for chain in chains:
        is_trained = any(use.name == "recover" for use in chain)
        if is_trained and not trained:
            continue
        stored = {"": 1.0, "cast: fp16": 0.5, "weights: int4": 0.15}.get(ending_of(chain), 0.27)
        amount = amount_of(chain)
        noise = {}
        if amount:
            noise["prune, recover" if is_trained else "prune"] = (
                error * noise_of_pruning(amount) * (0.7 if is_trained else 1)
            )
        if ending_of(chain):
            noise[chain[-1].text] = {"cast: fp16": 1e-6}.get(ending_of(chain), 5e-4)
        time = (1 - amount) * (0.8 if ending_of(chain) == "quantize: int8" else 1.0)
        by_chain.append(ForetoldChain(chain, 1e6 * (1 - amount) * stored, time, noise))
    return by_chain


def tried(proposal: ForetoldChain) -> TriedChain:
    """What the artificial detector comes to: training after pruning takes half of the noise away."""
    chain, amount = proposal.chain, amount_of(proposal.chain)
    is_trained = any(use.name == "recover" for use in chain)
    noise = noise_of_pruning(amount) * (0.5 if is_trained else 1.0) + TRUE_NOISE[ending_of(chain)]
    return TriedChain(
        steps=choosing.steps_of(proposal),
        foretold=ChainForecast(proposal.size_bytes, proposal.time, 0.0, 0.0, 0.0),
        outcome="keeps" if noise <= LIMIT else "loses",
        id="a" * 16,
        size_bytes=round(proposal.size_bytes) + 5000,
        speedup=1 / (proposal.time + 0.01),
        judged=Judged(-noise, -noise, 0.0, 0.0, noise),
    )


def trail_of(
    done: Sequence[TriedChain], aim: Aim = "smallest", limit: float = LIMIT, mean_dp: float | None = None
) -> SearchTrail:
    """A search that has tried these chains."""
    return SearchTrail("", aim, 0.005, 100, 100, 1_000_000, mean_dp=mean_dp, noise_limit=limit, candidates=tuple(done))


def search(
    among: list[ForetoldChain], aim: Aim, limit: float = LIMIT, fits: Callable[[ForetoldChain], bool] = lambda _: True
) -> tuple[list[TriedChain], str]:
    """All that a search builds, in its order, and why it ended."""
    done: list[TriedChain] = []
    while (then := following(among, trail_of(done, aim, limit), fits)).proposal:
        done.append(tried(then.proposal))
    return done, then.why_ended


def best_of(among: list[ForetoldChain], aim: Aim) -> float:
    """The least that any chain which keeps the verdict comes to, by building all."""
    return min(choosing.measured(each, aim) for each in map(tried, among) if each.qualifies)


@pytest.mark.parametrize("aim", ["smallest", "fastest"])
@pytest.mark.parametrize("error", [0.1, 1.0, 10.0])
def test_the_best_is_found_though_the_forecast_is_wrong(aim: Aim, error: float) -> None:
    among = proposed(error)
    done, _ = search(among, aim)
    taken = done[choosing.chosen(trail_of(done, aim))]
    assert taken.qualifies
    # What training saves, no forecast knows: it may find better than the best without.
    assert choosing.measured(taken, aim) <= 1.15 * best_of(proposed(error, trained=False), aim)
    assert len(done) <= MOST_TRIED < len(among) / 10


def test_a_limit_that_was_foretold_too_low_goes_up_by_what_kept_the_verdict_with_room() -> None:
    among = proposed(1.0, trained=False)

    def sizes(margin: float) -> list[float]:
        done: list[TriedChain] = []
        while (then := following(among, replace(trail_of(done, limit=LIMIT / 20), margin=margin))).proposal:
            done.append(tried(then.proposal))
        return [float(each.size_bytes or 0) for each in done if each.qualifies]

    best = best_of(among, "smallest")
    assert min(sizes(LIMIT)) <= 1.15 * best
    assert len(sizes(LIMIT)) <= MOST_TRIED / 2
    assert min(sizes(LIMIT / 1000)) > 1.5 * best, "where the margin is used up, there is no room"


def test_nothing_is_built_twice_or_in_vain() -> None:
    """What is tried after a chain that kept the verdict is smaller than it."""
    done, why = search(proposed(1.0), "smallest")
    assert len({each.steps for each in done}) == len(done)
    best = float("inf")
    for each in done:
        assert each.foretold.size_bytes < best
        best = min(best, float(each.size_bytes or 0)) if each.qualifies else best
    assert "smaller" in why or "as many" in why


def test_where_nothing_keeps_the_verdict_the_nearest_is_taken() -> None:
    """No noise at all is allowed: what disturbs least comes nearest, and the search says that nothing qualifies."""
    among = proposed(1.0)

    def lost(proposal: ForetoldChain) -> TriedChain:
        built = tried(proposal)
        return TriedChain(built.steps, built.foretold, "loses", size_bytes=1, judged=built.judged)

    done: list[TriedChain] = []
    while (then := following(among, trail_of(done, limit=0.0))).proposal:
        done.append(lost(then.proposal))
    assert then.why_ended == choosing.NOTHING_NEARER
    nearest = done[choosing.chosen(trail_of(done))]
    assert nearest.steps == ("cast: fp16",)
    assert not nearest.qualifies


def test_the_nearest_is_near_to_both_limits() -> None:
    """Of two that lose, the one that is far beyond the limit of P(fake) is not the nearest."""
    first, second = proposed(1.0)[:2]
    moved = replace(tried(first), outcome="loses", judged=Judged(0.0, -0.001, 0.001, 0.05, 0.01))
    lost = replace(tried(second), outcome="loses", judged=Judged(0.0, -0.006, 0.001, 0.011, 0.01))
    limited = replace(trail_of([moved, lost]), margin=0.005, mean_dp=0.01)
    assert choosing.chosen(limited) == 1
    assert choosing.chosen(replace(limited, mean_dp=None)) == 0
    # Where nothing may be lost, what loses least is nearest.
    assert choosing.chosen(replace(limited, margin=0.0, mean_dp=0.1)) == 0


def test_the_clock_ends_a_search_and_the_best_so_far_wins() -> None:
    among = proposed(0.1)
    done, why = search(among, "smallest", fits=lambda _: False)
    assert why == NO_TIME
    assert len(done) == 1, "the first is built whatever the clock says"
    then = following(among, trail_of(done), lambda _: False)
    assert then.cut_short
    assert choosing.chosen(trail_of(done)) == 0


def test_what_does_not_fit_in_time_makes_way_for_what_does() -> None:
    """Training takes too long: the search goes on without it."""

    def fits(proposal: ForetoldChain) -> bool:
        return all(use.name != "recover" for use in proposal.chain)

    unlimited, _ = search(proposed(0.1), "smallest")
    assert len(unlimited) > 1
    done, _ = search(proposed(0.1), "smallest", fits=fits)
    assert [each.steps for each in done] == [each.steps for each in unlimited if "recover" not in each.steps]


def test_a_chain_that_fails_is_a_candidate_without_numbers() -> None:
    among = proposed(1.0, trained=False)
    first = following(among, trail_of([])).proposal
    assert first is not None
    failed = TriedChain(choosing.steps_of(first), tried(first).foretold, "failed", reason="out of memory")
    assert choosing.chosen(trail_of([failed])) == -1
    second = following(among, trail_of([failed])).proposal
    assert second is not None
    assert choosing.steps_of(second) != failed.steps


def test_noise_is_corrected_by_the_part_of_a_chain_that_it_came_from() -> None:
    among = {choosing.steps_of(each): each for each in proposed(1.0)}
    pruned = among["prune: 0.3",]
    factors = choosing.corrections([(pruned, 3 * pruned.noise["prune"])])
    assert factors == pytest.approx({"prune": 3.0})
    more = among["prune: 0.4", "quantize: {weights: int4}"]
    assert choosing.corrected(more, factors) == pytest.approx(3 * more.noise["prune"] + 5e-4)
    trained = among["prune: 0.4", "recover"]
    assert choosing.corrected(trained, factors) == pytest.approx(3 * trained.noise["prune, recover"])


def losing(steps: tuple[str, ...], among: Sequence[ForetoldChain], mean_dp: float = 0.0) -> TriedChain:
    """A chain that lost the verdict, with the noise that was foretold of it."""
    proposal = next(each for each in among if choosing.steps_of(each) == steps)
    noise = sum(proposal.noise.values())
    return replace(tried(proposal), outcome="loses", judged=Judged(-0.1, -0.2, 0.0, mean_dp, noise))


def test_what_goes_on_from_a_chain_that_loses_is_left_out_but_for_training() -> None:
    among = proposed(1e-4)
    done = [losing(("prune: 0.6",), among)]
    by_steps = {choosing.steps_of(each): each for each in among}
    left = choosing._undecided(by_steps, [(by_steps[each.steps], each) for each in done])
    pruned = [each for each in left if each.chain[0].name == "prune"]
    assert max(amount_of(each.chain) for each in pruned if each.chain[1:2] and each.chain[1].name != "recover") == 0.55
    assert by_steps["prune: 0.6", "recover"] in left
    assert by_steps["prune: 0.8", "recover", "cast: fp16"] in left
    assert by_steps["prune: 0.55", "cast: fp16"] in left
    assert by_steps["cast: fp16",] in left


@pytest.mark.parametrize("aim", ["smallest", "fastest"])
@pytest.mark.parametrize("growth", ["as the amount", "as the root of noise"])
def test_movement_of_p_fake_steers_what_is_tried_next(aim: Aim, growth: str) -> None:
    """Pruning moves P(fake) as a whole, which its little noise says nothing of."""
    among, most = proposed(1.0, trained=False), 0.1

    def built(proposal: ForetoldChain) -> TriedChain:
        amount = amount_of(proposal.chain)
        moved = 0.4 * amount if growth == "as the amount" else (4 * noise_of_pruning(amount)) ** 0.5
        judged = Judged(0.0, -0.001, 0.001, moved, 0.1 * noise_of_pruning(amount))
        return replace(tried(proposal), outcome="keeps" if moved <= most else "loses", judged=judged)

    done: list[TriedChain] = []
    while proposal := following(among, trail_of(done, aim, mean_dp=most)).proposal:
        done.append(built(proposal))
    assert sum(not each.qualifies for each in done) <= 2, [each.steps for each in done]
    taken = done[choosing.chosen(trail_of(done, aim))]
    assert taken.qualifies
    best = min(choosing.measured(each, aim) for each in map(built, among) if each.qualifies)
    assert choosing.measured(taken, aim) <= 1.1 * best


def test_movement_without_a_limit_of_it_is_no_noise() -> None:
    moved = losing(("prune: 0.6",), proposed(1.0), mean_dp=0.3)
    assert moved.judged
    assert choosing.noise_of(moved, trail_of([])) == moved.judged.noise
    assert choosing.noise_of(moved, trail_of([], mean_dp=0.1)) == pytest.approx(9 * LIMIT)


@pytest.mark.parametrize(("aim", "speedup", "size", "gains"), [
    ("fastest", 0.99, 500_000, False), ("fastest", 1.01, 2_000_000, True),
    ("smallest", None, 1_000_000, False), ("smallest", None, 999_999, True),
])  # fmt: skip
def test_what_is_no_better_than_the_baseline_is_told(aim: Aim, speedup: float | None, size: int, gains: bool) -> None:
    chain = replace(tried(proposed(1.0)[0]), outcome="keeps", speedup=speedup, size_bytes=size)
    trail = replace(trail_of([chain], aim), chosen=0)
    assert trail.gains is gains
    doubts = " ".join(map(str, searches._doubts(trail)))
    assert ("than the baseline" in doubts) is not gains
