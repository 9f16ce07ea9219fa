"""How wide each group of channels may stay under one budget for the whole network.

Parameters, MACs and the numbers in the file are bounded, each by the same share of the whole, and where a `speed` is
asked for an estimate of time. Within these bounds the loss is least, groups taken as independent: a choice of one width
a group, by integer programming.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import UserError
from bench.variants.steps.prune.costs import Costs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.steps.prune.channels import Group
    from bench.variants.steps.prune.elimination import Ranked

# How finely the share of a uniform choice is searched.
_HALVINGS = 24
# Groups keep at least this much, and groups without a curve of losses are left whole where that is enough.
_FLOOR = 1 / 16
# How near to the least loss the choice must be, by how many branches, and how often costs are drawn as straight lines.
_GAP, _BRANCHES, _ROUNDS = 1e-3, 1000, 6
# By so much of the whole the solver may go beyond a bound and call it kept.
_SOLVER_TOLERANCE = 2e-6


class Budget:
    """Choices of widths that leave at most the share `remaining` and, of time, 1 / `speed`, if there is one."""

    def __init__(self, model: Detector, groups: list[Group], remaining: float, speed: float | None = None) -> None:
        self._architecture, self._groups = model.architecture, groups
        self._costs = Costs(model, groups)
        self._remaining, self._speed = remaining, speed
        self._most = np.array([remaining, remaining, remaining, 1 / speed if speed else np.inf])

    def shares(self, widths: Mapping[str, int]) -> NDArray[np.float64]:
        """What is left of parameters, MACs, stored numbers and time [4], each as a share of the whole."""
        return self._costs.shares(widths)

    def fits(self, widths: Mapping[str, int]) -> bool:
        """Whether these widths leave no more than is allowed."""
        return bool((self.shares(widths) <= self._most).all())

    def check(self) -> None:
        """Raises `UserError` where not even the narrowest layers leave so little."""
        narrowest = self._narrowest()
        if not self.fits(narrowest):
            raise self._too_much(self.shares(narrowest))

    def _narrowest(self) -> dict[str, int]:
        return {group.root: group.rounded(0.0) for group in self._groups}

    def uniform(self) -> dict[str, int]:
        """Every group narrowed by the same share, by bisection. Raises `UserError` where no share is enough.

        Of heads there are few: channels then make up for what rounding these took too much of.
        """
        self.check()
        best = self._widest(self._narrowest(), {})
        heads = {group.root: best[group.root] for group in self._groups if group.columns > 1}
        return self._topped_up(self._widest(best, heads) if heads else best)

    def _topped_up(self, widths: dict[str, int]) -> dict[str, int]:
        """With the next width of every group for which the bounds leave room, the narrowest first."""
        for group in sorted(self._groups, key=lambda group: widths[group.root] / group.width):
            for following in (width for width in group.widths() if width > widths[group.root]):
                wider = {**widths, group.root: following}
                widths = wider if self.fits(wider) else widths
                break
        return widths

    def _too_much(self, least: NDArray[np.float64]) -> UserError:
        """What cannot be had where even the narrowest layers leave the shares `least`, and what could be."""
        where = "where every layer is as narrow as it can be"
        most = math.floor(1000 * (1 - least[:3].max())) / 1000  # rounded up it would be refused again
        if self._speed is None or 1 - self._remaining > most:
            return UserError(
                f"prune: {1 - self._remaining:.3g} of {self._architecture} cannot be taken away; "
                f"expected at most {most:g}, {where}"
            )
        fastest = math.floor(100 / least[3]) / 100
        return UserError(
            f"prune: narrower layers make {self._architecture} not {self._speed:g} times as fast, as estimated; "
            f"expected a speed of at most {fastest:g}, {where}"
        )

    def _widest(self, best: dict[str, int], fixed: Mapping[str, int]) -> dict[str, int]:
        """`best`, which fits, or what fits with more of all groups that have no `fixed` width."""
        narrow, wide = 0.0, 1.0
        for _ in range(_HALVINGS):
            share = (narrow + wide) / 2
            widths = {group.root: fixed.get(group.root, group.rounded(share)) for group in self._groups}
            if self.fits(widths):
                narrow, best = share, widths
            else:
                wide = share
        return best

    def cheapest(self, ranked: Mapping[str, Ranked]) -> dict[str, int]:
        """The widths that lose least of the logit difference, layers taken as independent.

        Groups that were not ranked stay whole, or, where the others can't pay for all, lose as little as possible.
        """
        uniform = self.uniform()
        choices = [_choice(group, ranked[group.root]) for group in self._groups if group.root in ranked]
        floors = {choice.root: int(choice.widths[0]) for choice in choices}
        for share in np.linspace(1, 0, 21):
            start = {g.root: g.width if share == 1 else g.rounded(float(share)) for g in self._groups}
            if choices and self.fits({**start, **floors}):
                return self._least_loss(choices, {**start, **floors})
            if all(start[root] <= width for root, width in uniform.items() if root not in ranked):
                break
        return uniform

    def _least_loss(self, choices: list[_Choice], widths: dict[str, int]) -> dict[str, int]:
        """The least loss from `widths` on, which fit. Groups without a choice keep theirs.

        Where one layer lies between two groups, its cost is no straight line in the two widths: it is drawn as one
        about the widths of the round before, until these stay.
        """
        best, at, slopes = widths, widths, self._slopes(choices, widths)
        for _ in range(_ROUNDS):
            solved = self._solved(choices, slopes, at)
            if solved is None:
                break
            if self.fits(solved) and _loss(choices, solved) <= _loss(choices, best):
                best = solved
            at, before, slopes = solved, slopes, self._slopes(choices, solved)
            if np.allclose(slopes, before):
                break
        return self._filled(choices, best)

    def _solved(
        self, choices: list[_Choice], slopes: NDArray[np.float64], at: Mapping[str, int]
    ) -> dict[str, int] | None:
        """The least loss with costs as straight lines through those of `at`; None where nothing fits."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import block_diag

        present = self.shares(at)
        lines = [np.outer(c.widths - at[c.root], slope) for c, slope in zip(choices, slopes, strict=True)]
        losses = np.concatenate([choice.losses for choice in choices])
        bounded = np.isfinite(self._most)
        room = (self._most - present - _SOLVER_TOLERANCE)[bounded]
        within = LinearConstraint(np.concatenate(lines).T[bounded], -np.inf, room)
        each = LinearConstraint(block_diag([np.ones((1, len(choice.widths))) for choice in choices]), 1, 1)
        # Which unit losses are in must not matter to the solver's tolerances.
        solution = milp(
            losses / max(losses.max(), 1e-30), constraints=[each, within], integrality=np.ones(len(losses)),
            bounds=Bounds(0, 1), options={"mip_rel_gap": _GAP, "node_limit": _BRANCHES},
        )  # fmt: skip
        if solution.x is None:
            return None
        ends = np.cumsum([len(choice.widths) for choice in choices])[:-1]
        taken = [int(part.argmax()) for part in np.split(solution.x, ends)]
        return {**at, **{c.root: int(c.widths[index]) for c, index in zip(choices, taken, strict=True)}}

    def _slopes(self, choices: list[_Choice], at: Mapping[str, int]) -> NDArray[np.float64]:
        """What one more channel of each choice costs [n, 4], from the widths `at` on."""
        slopes = []
        for choice in choices:
            narrow, wide = (self.shares({**at, choice.root: int(width)}) for width in choice.widths[[0, -1]])
            slopes.append((wide - narrow) / max(1, choice.widths[-1] - choice.widths[0]))
        return np.array(slopes)

    def _filled(self, choices: list[_Choice], widths: dict[str, int]) -> dict[str, int]:
        """`widths` with what the bounds still leave room for, where it gains most first."""
        while True:
            wider = []
            for choice in choices:
                index = int(np.searchsorted(choice.widths, widths[choice.root]))
                if index + 1 < len(choice.widths):
                    following = {**widths, choice.root: int(choice.widths[index + 1])}
                    if self.fits(following):
                        wider.append((choice.losses[index] - choice.losses[index + 1], following))
            if not wider:
                return widths
            widths = max(wider, key=lambda gain_and_widths: gain_and_widths[0])[1]


@dataclass(frozen=True)
class _Choice:
    """A group's widths [n], ascending, and the loss at each [n]."""

    root: str
    widths: NDArray[np.int64]
    losses: NDArray[np.float64]

    def loss(self, width: int) -> float:
        return float(self.losses[np.searchsorted(self.widths, width)])


def _choice(group: Group, ranked: Ranked) -> _Choice:
    widths = np.array([width for width in group.widths() if width >= group.rounded(_FLOOR)])
    return _Choice(group.root, widths, ranked.losses[group.width - widths])


def _loss(choices: list[_Choice], widths: Mapping[str, int]) -> float:
    return sum(choice.loss(widths[choice.root]) for choice in choices)
