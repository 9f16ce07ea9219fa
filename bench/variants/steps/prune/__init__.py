"""Take away whole channels, until the given share of parameters, of MACs and of the file is gone, and no more.

Channels that must go together are found in the network's graph. What a block expands inside itself is narrowed,
what blocks pass on stays where the budget allows. In a vision transformer the channels are the hidden units of its
blocks, and the heads of their attention. Which channels go, and how many of each layer, follows from
what the logit difference would lose (`ranking`), under one budget for the whole network (`widths`). Then the weights
that stay take over what went, in closed form (`repair`). Ranking and repair read calibration frames, and need no labels
and no training.

With `structure: unstructured`, the smallest weights become zero instead: global magnitude pruning (Han
et al., NeurIPS 2015) over the convolutions and linear layers of the backbone, where layers whose weights would all go
are pruned by themselves. With `structure: 2of4`, two of every four neighbouring weights do (`two_of_four`). Such zeros
are stored and multiplied like any other number: parameters, MACs, file size and speed stay as they were.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench import phases
from bench.artifacts.footprint import two_of_four as by_layer
from bench.errors import UserError, counted
from bench.records import Built, Foretold, FrameSet, Split
from bench.variants.steps import RECORD_FILE, Cost, Leaves, StepForecast, Turn
from bench.variants.steps.prune.settings import LEAST_FRAMES
from bench.variants.steps.prune.settings import Settings as Settings

if TYPE_CHECKING:
    from torch import Tensor

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.variants.steps import StepContext, Use

ACCEPTS: Literal["torch"] = "torch"
PRODUCES: Literal["torch"] = "torch"
NEEDS: frozenset[Offer] = frozenset({"widths"})
FRAMES: Mapping[Split, str] = {"calibration": "tells which channels can go, and repairs what stays"}
RECORD = RECORD_FILE
VERSION = 13
SEEDED = False
SEES_SOURCES = True
ON_DEVICE = True
LIBRARIES: tuple[str, ...] = ("numpy", "scipy", "torch", "torch-pruning", "timm")
MAIN = "amount"
EXAMPLE = 0.5
PARENT_TEACHES = True
SYNONYMS = "sparsify sparsity"
TURN: Turn = "narrow"
TRIED = tuple(round(0.05 * count, 2) for count in range(2, 17))
SHARED_PARTS = ("ranking, observed", "ranking")

MOST_OF_ANY = 0.5
"""As much can go of every network that was tried; whether more can is looked at before work."""
FAR_LESS = 0.8
"""Where less than this share of what may stay is left, the report says why."""
_MIB = 2**20


@dataclass(frozen=True)
class Record:
    """Which channels are left, and what was foretold of the noise."""

    foretold: Foretold


def frames(settings: Settings) -> Mapping[Split, str]:
    """Zeros and magnitudes are found without looking at frames."""
    if settings.structure == "2of4":
        return {"calibration": "tells which weights can go, and lets those that stay make up for them"}
    if settings.structure == "unstructured":
        return {}
    if settings.ranking == "loss":
        return FRAMES if settings.repair else {"calibration": "tells which channels can go"}
    return {"calibration": "repairs what stays"} if settings.repair else {}


def needs(settings: Settings) -> frozenset[Offer]:
    """Zeros can be made in any layer that computes with the weights that are stored."""
    return NEEDS if settings.structure == "structured" else frozenset({"zeros"})


def why_not_after(settings: Settings, earlier: Sequence[Use]) -> str | None:
    """What would be undone, and what is one `prune` written as two."""
    if any(use.name == "cast" for use in earlier):
        return "what `cast` has rounded would be changed and rounded again; put `cast` after it"
    prunings: list[Any] = [use.settings for use in earlier if use.name == "prune"]
    if any(pruning.structure == "2of4" for pruning in prunings):
        return "`structure: 2of4` has to be the last prune: after another, zeros are not two of every four"
    if prunings and earlier[-1].name == "prune" and prunings[-1].structure == settings.structure:
        both = 1 - (1 - prunings[-1].amount) * (1 - settings.amount)
        amount = both if settings.structure == "structured" else max(prunings[-1].amount, settings.amount)
        return f"a second prune right behind the first; write one, with `amount: {amount:.3g}`"
    return None


def cost(settings: Settings, counts: Mapping[Split, int], earlier: Sequence[Use]) -> Cost:
    """Passes over the calibration frames, if it reads any."""
    if not frames(settings):
        return Cost(2.0)
    read = min(settings.at_most, counts["calibration"])
    repairs = settings.structure == "structured" and settings.repair
    more = " more frames, or" if settings.frames == "auto" and counts["calibration"] > read else ""
    note = (
        f"prune counts {counted(read, 'calibration frame')}; where these are small and what is cut will be felt, the "
        f"repair reads{more} varied copies too, which takes about as long again"
    )
    return Cost(6.0, read, 2.0, 0.9, note if repairs else "", network_s=42.0)


def leaves(settings: Settings) -> Leaves:
    """What whole channels leave; zeros are stored and multiplied like other numbers."""
    if settings.structure != "structured":
        return Leaves()
    time = 1 - 0.75 * settings.amount
    return Leaves(operations=min(time, 1 / (settings.speed or 1)), numbers=1 - settings.amount)


def foretell(model: Detector, tried: Sequence[Settings], work: StepContext) -> list[StepForecast | None]:
    """What is left under each of these settings, and the noise of it, by one ranking of the channels."""
    from bench.variants.steps.prune import foretelling

    return foretelling.foretell(model, tried, work)


def check(settings: Settings, frame_sets: Mapping[Split, FrameSet]) -> None:
    """Refuse a set too small to tell what a channel is for."""
    if not frames(settings):
        return
    count = len(frame_sets["calibration"].frames)
    if count < LEAST_FRAMES:
        for_what, other = "rank and repair channels", "ranking: magnitude, repair: false"
        if settings.structure == "2of4":
            for_what, other = "choose weights", "structure: unstructured"
        raise UserError(
            f"prune: {counted(count, 'calibration frame')} {'is' if count == 1 else 'are'} too few to {for_what}; "
            f"give at least {LEAST_FRAMES}, better {settings.at_most}; or use `prune: {{amount: {settings.amount:g}, "
            f"{other}}}`"
        )


def depends_on_network(settings: Settings, earlier: Sequence[Use]) -> bool:
    """Whether the settings may ask for more than a network allows; after other steps it is not the detector's."""
    is_much = settings.speed is not None or settings.amount > MOST_OF_ANY
    return settings.structure == "structured" and is_much and not earlier


def refuse_unfit(settings: Settings, model: Detector) -> None:
    """Refuse an amount or a speed that can't be had even where every layer is as narrow as it can be."""
    from bench.variants.steps.prune.channels import Channels
    from bench.variants.steps.prune.widths import Budget

    model.float().eval().requires_grad_(True)
    Budget(model, Channels(model).groups, 1 - settings.amount, settings.speed).check()


def apply(model: Detector, settings: Settings, work: StepContext) -> Detector:
    """`model` itself, with narrower layers or with zeros. Its two logits and its preprocessing are as they were.

    Raises `UserError` for zeros in a network that standardises its weights.
    """
    from bench.detectors.learning import repeatable
    from bench.variants.steps.prune import two_of_four, zeros

    if settings.structure != "structured":
        _refuse_standardised(model, settings)
    dtype = model.dtype
    model.float().eval().requires_grad_(True)
    if settings.structure == "unstructured":
        zeros.zero(model, settings.amount)
    elif settings.structure == "2of4":
        two_of_four.sparsify(model, settings.at_most, work)
    else:
        # Ranking and repair tell apart what TF32 would round away.
        with repeatable(tf32=False):
            _narrow(model, settings, work)
    model.cast(dtype)
    return model


def _refuse_standardised(model: Detector, settings: Settings) -> None:
    from bench.detectors.networks.standardised import is_standardised

    standardised = sum(map(is_standardised, model.weighted_layers().values()))
    if standardised:
        raise UserError(
            f"prune: {standardised} convolutions of {model.architecture} standardise their weights at every call, "
            f"after which no zero is left that `structure: {settings.structure}` makes; leave prune out of this variant"
        )


def _narrow(model: Detector, settings: Settings, work: StepContext) -> None:
    """Cut whole channels until at most `1 - amount` of parameters, MACs and file is left, and repair the rest."""
    import torch

    from bench.variants.steps.prune import forecast, ranking
    from bench.variants.steps.prune.channels import Channels
    from bench.variants.steps.prune.repair import Evidence, most_frames, repair, will_be_felt
    from bench.variants.steps.prune.widths import Budget

    phases.begin("tracing the network")
    channels = Channels(model)
    original = copy.deepcopy(model)
    budget = Budget(model, channels.groups, 1 - settings.amount, settings.speed)
    budget.check()
    for network in (model, original):
        network.to(work.device).to(memory_format=torch.channels_last)
    by_loss = settings.ranking == "loss"
    ranked = ranking.rank(original, channels.groups, work, settings.at_most) if by_loss else {}
    phases.begin("choosing widths")
    widths = budget.cheapest(ranked) if by_loss else budget.uniform()
    foretold = forecast.write(channels, widths, ranked if settings.repair else {}, work)
    narrowed = [group for group in channels.groups if widths[group.root] < group.width]
    importance = {root: of_group.importance for root, of_group in ranked.items()}
    if unranked := [group for group in narrowed if by_loss and group.root not in ranked]:
        importance |= ranking.importances(original, unranked, work, settings.at_most)
    left: dict[str, Tensor] = {}
    for done, group in enumerate(narrowed, start=1):
        scores = importance.get(group.root)
        left |= channels.cut(group, channels.magnitudes(group) if scores is None else scores, widths[group.root])
        work.progress(done, len(narrowed), "layers", "cutting")
    if settings.repair:
        phases.begin("preparing the repair")
        readers = ranking.readers(original, channels.groups) if by_loss else {}
        felt = {
            readers[root]: of_group.gradients for root, of_group in ranked.items() if of_group.gradients is not None
        }
        more = will_be_felt(foretold.noise)
        reads = (
            most_frames(settings.at_most, work.spec.size) if more and settings.frames == "auto" else settings.at_most
        )
        repair(model, original, left, work, Evidence(reads, felt, varied=more))
    model.cpu().to(memory_format=torch.contiguous_format)


# ------------------------------------------------------------------------------------ in the report
def remarks(uses: Sequence[Settings], baseline: Built, built: Built) -> Iterator[str]:
    """Why far less is left than was asked for, which speed is meant, and what zeros are worth.

    Of two prunes nobody knows which took what.
    """
    if len(uses) == 1 and (why := _why_far_less(uses[0], baseline, built)):
        yield why
    if speeds := [settings.speed for settings in uses if settings.speed]:
        yield (
            f"prune: `speed: {max(speeds):g}` is met as estimated, from MACs and the values that convolutions write; "
            "what was measured stands in the column of speeds, and depends on the machine"
        )
    structures = {settings.structure for settings in uses}
    if structures != {"structured"} and built.zeros is not None and built.zstd_bytes is not None:
        beside = f" (the baseline: {baseline.zstd_bytes / _MIB:.1f} MiB)" if baseline.zstd_bytes else ""
        yield (
            f"{100 * built.zeros:.1f} % of the weights are zero; they are stored like any others, so the file is no "
            f"smaller for them ({built.size_bytes / _MIB:.1f} MiB); zstd would make it "
            f"{built.zstd_bytes / _MIB:.1f} MiB{beside}; nothing here computes faster for zeros"
            f"{_where_skipped(built) if '2of4' in structures else ''}"
        )


def _why_far_less(settings: Settings, before: Built, after: Built) -> str | None:
    """Why far fewer parameters are left than were asked for; None where they are not."""
    if settings.structure != "structured" or not (before.parameters and before.macs):
        return None
    if not (after.parameters and after.macs):
        return None
    parameters, macs = after.parameters / before.parameters, after.macs / before.macs
    asked = 1 - settings.amount
    if min(parameters, macs) > FAR_LESS * asked:
        return None
    most, least = ("MACs", "parameters") if macs > parameters else ("parameters", "MACs")
    if settings.speed is not None:
        why = f"`speed: {settings.speed:g}` may take more than that"
    elif settings.ranking == "magnitude":
        why = "what is hardest to cut binds, and the rest falls with it, since every layer gives up the same share"
    else:
        why = "what is hardest to cut binds, and the rest falls further where that disturbs the logit difference least"
    return (
        f"prune: {settings.amount:g} leaves at most {100 * asked:g} % of each: parameters, MACs and bytes of the file; "
        f"{why}: {100 * max(parameters, macs):.0f} % of the {most} are left and "
        f"{100 * min(parameters, macs):.0f} % of the {least}"
    )


def _where_skipped(built: Built) -> str:
    """Where sparse tensor cores could skip zeros: by the number format of the file, and by the weights in it."""
    if built.kind != "torch":
        return ""
    try:
        patterns = list(by_layer(built.file))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError):
        return ""  # loading the file will say what is wrong with it
    if not any(patterns):
        return ""
    coverage = "" if all(patterns) else f" in {sum(patterns)} of {len(patterns)} layers"
    able = "in half precision" if built.stored in ("fp16", "bf16") else "cast to half precision"
    return f"; {able}, TensorRT can skip two of every four{coverage} on NVIDIA GPUs from Ampere on"
