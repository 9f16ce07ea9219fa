"""What a reader of the report must know of an artifact beside its numbers, as the steps that made it say it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from bench.records import MUCH_DP, MUCH_NOISE, Built, Forecast, Recovery
from bench.records.forecasts import FLOAT_BITS
from bench.variants import description
from bench.variants.steps import Use

TOOK = "last step took"
"""What every note on the time of a step holds."""


def forecasts(chain: Sequence[Use], built: Built) -> tuple[Forecast, ...]:
    """What each step on the way to an artifact foretold of its noise, by the records of the artifacts on that way."""
    folder = built.file.parent.parent
    described = description.find(folder, built.id)
    lineage = described.lineage if described else ()
    foretold = []
    for use, (parent, link) in zip(chain, pairwise(lineage), strict=False):
        ancestor = description.find(folder, link.id)
        if ancestor is not None and (forecast := getattr(ancestor.record, "foretold", None)):
            proposes = getattr(use.step, "proposal", None)
            proposal = proposes(use.settings, forecast, ancestor.size_bytes) if proposes else None
            foretold.append(Forecast(use.text, link.id, parent.id, forecast, proposal))
    return tuple(foretold)


def recovered(built: Built) -> tuple[Recovery, ...]:
    """What each training on the way to an artifact did, by the records of the artifacts on that way."""
    folder = built.file.parent.parent
    described = description.find(folder, built.id)
    # An ancestor need not be kept for its descendant.
    ancestors = (description.find(folder, link.id) for link in (described.lineage if described else ()))
    recoveries = (getattr(ancestor.record, "recovery", None) for ancestor in ancestors if ancestor)
    return tuple(recovery for recovery in recoveries if recovery)


def notes(chain: Sequence[Use], built: Built, baseline: Built, foretold: Sequence[Forecast]) -> tuple[str, ...]:
    """Sentences for people, without their full stop; `foretold` are the `forecasts` of the chain."""
    if not chain:
        return ()
    return (f"the {TOOK} {built.seconds:.0f} s", *_remarks(chain, baseline, built), *_loud(foretold))


def _loud(foretold: Sequence[Forecast]) -> Iterator[str]:
    """That rounding is foretold to move P(fake) far, or the logit difference, and what may help."""
    for each in foretold:
        noise, mean_dp, proposal = each.foretold.noise, each.foretold.mean_dp, each.proposal
        if not any(layer.weight_bits < FLOAT_BITS for layer in each.foretold.layers):
            continue
        if mean_dp is not None and mean_dp > MUCH_DP:
            what = f"P(fake) is foretold to move by {mean_dp:.2g} on average"
        elif noise is not None and noise > MUCH_NOISE:
            what = f"a noise of {noise:.2g} of the logit difference's variance is foretold, where .0005 is usual"
        else:
            continue
        helps = "more layers in float may help"
        if proposal:
            helps = f"`{proposal.line}` may help: it takes {100 * proposal.share:.0f} % of the noise away"
        yield f"{each.step}: {what}; {helps}"


def _remarks(chain: Sequence[Use], baseline: Built, built: Built) -> Iterator[str]:
    """What each step of a chain says of the variant, once, however often it stands in the chain."""
    for name in dict.fromkeys(use.name for use in chain):
        uses = [use for use in chain if use.name == name]
        remarks = getattr(uses[0].step, "remarks", None)
        if remarks:
            yield from remarks([use.settings for use in uses], baseline, built)
