"""How wide groups stay: what is left of parameters, MACs, file and estimated time, against what was asked for."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.optimize import LinearConstraint

from bench.detectors.detector import Detector
from bench.detectors.families import efficientnet, timm_models
from bench.errors import UserError
from bench.records import Preprocessing
from bench.variants.chain import parse
from bench.variants.steps import prune
from bench.variants.steps.prune import Settings, ranking
from bench.variants.steps.prune.channels import Channels, Group
from bench.variants.steps.prune.elimination import Ranked
from bench.variants.steps.prune.widths import Budget
from tests.support import tiny

FAMILIES = (
    "efficientnet_b0", "timm:resnet10t", pytest.param("timm:resnet26", marks=pytest.mark.slow), "timm:test_vit",
)  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def channels(request: pytest.FixtureRequest) -> tuple[Detector, list[Group], dict[str, Ranked]]:
    """A network, its groups, and losses that grow with the square of what goes, each group's at its own pace."""
    name = request.param
    torch.manual_seed(0)
    if name.startswith("timm:"):
        size = 160 if "vit" in name else 64
        model = timm_models.build(name, "timm", Preprocessing(size=size))
    else:
        model = efficientnet.build(name, "static", Preprocessing(size=64))
    model.requires_grad_(True)
    groups = Channels(model).groups
    roots = ranking.readers(model, groups)
    rng = np.random.default_rng(5)
    losses = {
        group.root: Ranked(
            torch.arange(group.width).float(), rng.uniform(0.1, 10) * np.linspace(0, 1, group.width + 1) ** 2
        )
        for group in groups
        if group.root in roots
    }
    return model, groups, losses


@pytest.mark.parametrize("way", ["loss", "uniform"])
@pytest.mark.parametrize("amount", [0.3, 0.5])
def test_what_is_hardest_ends_just_below(channels: Any, amount: float, way: str) -> None:
    model, groups, losses = channels
    budget = Budget(model, groups, 1 - amount)
    widths = budget.cheapest(losses) if way == "loss" else budget.uniform()
    left = budget.shares(widths)[:3]
    assert 1 - amount - 0.02 <= left.max() <= 1 - amount


@pytest.mark.slow
def test_more_goes_where_more_is_asked_for(channels: Any) -> None:
    model, groups, losses = channels
    left = [Budget(model, groups, 1 - amount) for amount in (0.2, 0.4, 0.6)]
    shares = [budget.shares(budget.cheapest(losses))[:3].max() for budget in left]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.slow
def test_a_speed_bounds_the_estimate_of_time(channels: Any) -> None:
    model, groups, losses = channels
    free, fast = Budget(model, groups, 0.7), Budget(model, groups, 0.7, speed=2)
    assert free.shares(free.cheapest(losses))[3] > 0.5
    shares = fast.shares(fast.cheapest(losses))
    assert 0.47 < shares[3] <= 0.5
    assert (shares[:3] <= 0.7).all()
    assert fast.shares(fast.uniform())[3] <= 0.5


def test_no_choice_loses_less(tiny_family: Any) -> None:
    """Against every choice there is, of a network that has few."""
    torch.manual_seed(0)
    model = tiny.build("tiny", "tiny", tiny.PREPROCESSING).requires_grad_(True)
    groups = Channels(model).groups
    roots = ranking.readers(model, groups)
    rng = np.random.default_rng(1)
    losses = {
        group.root: Ranked(torch.arange(group.width).float(), np.sort(rng.uniform(size=group.width + 1)))
        for group in groups
        if group.root in roots
    }
    budget = Budget(model, groups, 0.7)
    chosen = budget.cheapest(losses)

    def loss(widths: dict[str, int]) -> float:
        return float(sum(ranked.losses[whole[root] - widths[root]] for root, ranked in losses.items()))

    whole = {group.root: group.width for group in groups}
    ranked = [group for group in groups if group.root in losses]
    every = itertools.product(*(group.widths() for group in ranked))
    roots_of = [group.root for group in ranked]
    fitting = [
        loss(widths)
        for widths in ({**chosen, **dict(zip(roots_of, values, strict=True))} for values in every)
        if budget.fits(widths)
    ]
    assert loss(chosen) <= min(fitting) + 2e-3 * max(fitting)


def test_a_solver_may_use_up_its_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    """HiGHS keeps bounds to a millionth, and a choice that goes beyond them would be dropped for a worse one."""

    def lax(*arguments: Any, constraints: Any, **further: Any) -> Any:
        each, within = constraints
        within = LinearConstraint(within.A, within.lb, within.ub + 1e-6)
        return exact(*arguments, constraints=[each, within], **further)

    exact = scipy.optimize.milp
    model = efficientnet.build("efficientnet_b0", "static", Preprocessing(size=64)).requires_grad_(True)
    groups = Channels(model).groups
    roots = ranking.readers(model, groups)
    rng = np.random.default_rng(0)
    losses = {
        group.root: Ranked(
            torch.arange(group.width).float(),
            10 ** rng.uniform(-4, 0) * np.linspace(0, 1, group.width + 1) ** rng.uniform(2, 8),
        )
        for group in groups
        if group.root in roots
    }
    whole = {group.root: group.width for group in groups}

    def loss(remaining: float) -> float:
        widths = Budget(model, groups, remaining).cheapest(losses)
        return float(sum(ranked.losses[whole[root] - widths[root]] for root, ranked in losses.items()))

    budget = Budget(model, groups, 0.5)
    left = float(budget.shares(budget.cheapest(losses))[:3].max())
    monkeypatch.setattr(scipy.optimize, "milp", lax)
    assert loss(left - 5e-7) <= 1.002 * loss(left - 1e-5)


def test_a_speed_that_cannot_be_had_is_refused_with_the_most(channels: Any) -> None:
    model, groups, losses = channels
    with pytest.raises(UserError, match=r"not 500 times as fast, as estimated; expected a speed of at most") as refused:
        Budget(model, groups, 0.9, speed=500).uniform()
    fastest = float(str(refused.value).split("at most ")[1].split(",")[0])
    budget = Budget(model, groups, 0.9, speed=fastest)
    assert budget.fits(budget.cheapest(losses))


@pytest.mark.parametrize(
    ("written", "earlier", "is_looked_at"),
    [
        ({"amount": 0.5}, "", False),
        ({"amount": 0.6}, "", True),
        ({"amount": 0.3, "speed": 2}, "", True),
        # What earlier steps leave is not known before they are done.
        ({"amount": 0.3, "speed": 2}, "recover", False),
        ({"amount": 0.9, "structure": "unstructured"}, "", False),
    ],
)
def test_only_what_some_network_forbids_is_looked_at_before_work(
    written: dict[str, Any], earlier: str, is_looked_at: bool
) -> None:
    before = [parse(earlier)] if earlier else []
    assert prune.depends_on_network(prune.Settings.model_validate(written), before) is is_looked_at


@pytest.mark.parametrize("speed", [1.0, 0.5, "2", True])
def test_speeds_are_numbers_above_1(speed: Any) -> None:
    with pytest.raises(ValueError, match="speed"):
        Settings(amount=0.5, speed=speed)


def test_zeros_have_no_speed() -> None:
    with pytest.raises(ValueError, match="takes single weights and has no speed"):
        Settings(amount=0.5, speed=2.0, structure="unstructured")
    assert "speed" not in Settings(amount=0.5).model_dump()
