"""From a file's tensors to a detector's: which row of the last layer stands for which class, and which arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.detectors import families
from bench.detectors.weights.fits import File, Fit, Network, is_counter
from bench.detectors.weights.labels import Stated, labels_beside, stated_beside
from bench.detectors.weights.matching import Match, holds_all
from bench.detectors.weights.stored_tensors import StoredTensor
from bench.errors import UserError, counted, listed, shown
from bench.records import Conventions, Preprocessing, Reading

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.detectors.families import Family

_MOST_LEFT_OUT = 8
# For every architecture that there is; no checkpoint of one network holds so many.
_MOST_COMPARED = 10_000
# A network's parameters as shares of all numbers in a file that could hold it: beside them lie an optimizer's and some
# copies, and sizes are rounded.
_FEWEST, _MOST = 0.05, 1.05


@dataclass(frozen=True)
class Logits:
    """Which row of the file's layer gives the logit of real, and which that of fake; None for a logit that is 0."""

    rows: tuple[int | None, int | None]
    meaning: str


def network_of(
    family: Family,
    architecture: str,
    preprocessing: Preprocessing,
    flavour: str | None = None,
    *,
    must_run: bool = False,
) -> Network:
    """What a detector of this architecture holds; no memory is taken for it. Few families ask for its flavour.

    With `must_run`, raises `UserError` where it does not take frames of this size.
    """
    with torch.device("meta"):
        flavour = flavour or family.schemes(architecture)[0].flavour or ""
        detector = family.build(architecture, flavour, preprocessing)
        if must_run:
            _refuse_other_sizes(detector)
    (layer,) = detector.logit_layers()
    name = next(name for name, module in detector.named_modules() if module is layer)
    state = {name: tuple(tensor.shape) for name, tensor in detector.state_dict().items() if not is_counter(name)}
    of_layer = {f"{name}.weight", f"{name}.bias"}
    shapes = {tensor: shape for tensor, shape in state.items() if tensor not in of_layer}
    return Network(shapes, name, math.prod(state[f"{name}.weight"][1:]))


def _refuse_other_sizes(detector: Detector) -> None:
    """Raise `UserError` where a network without storage cannot run on frames of its size."""
    size = detector.preprocessing.size
    try:
        with torch.no_grad():
            detector.to("meta")  # constants have storage even here
            detector.classify(detector.features(torch.zeros(1, 3, size, size)))
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        because = f" ({reason})" if reason else ""
        raise UserError(
            f"{detector.architecture} takes no frames of {size} px{because}; set the `size` that it was trained with"
        ) from error


def other_architecture(file: File, architecture: str, preprocessing: Preprocessing, flavour: str | None) -> str | None:
    """The architecture whose tensors a file holds, in their shapes; for the error about another one.

    With its flavour where that decides which tensors these are.
    """
    if len(file.tensors) > _MOST_COMPARED:
        return None
    numbers = sum(tensor.numel for tensor in file.tensors.values() if isinstance(tensor, StoredTensor))
    tried = [network_of(families.find(architecture), architecture, preprocessing, flavour)]
    for other in families.candidates(file.tensors):
        family, size = families.find(other), families.size_of(other)
        if not family.schemes(other):
            continue
        if size is not None and not _FEWEST * numbers < 1e6 * size.parameters < _MOST * numbers:
            continue
        for structure in families.structures(family):
            network = network_of(family, other, preprocessing, structure)
            if network in tried:
                continue
            tried.append(network)
            if holds_all(file, network, family.schemes(other)):
                return f"{other}, flavour: {structure}" if structure else other
    return None


def logits_of(match: Match, conventions: Conventions, path: Path, statements: Sequence[Stated] = ()) -> Logits:
    """What the logits mean, by their owner's words or by the code that such names come from.

    `statements` are what the file says of the classes. Raises `UserError` where that is the contrary, and the owner
    says nothing.
    """
    orders = [each for each in (*statements, *stated_beside(path)) if each.classes]
    turned = next((each for each in orders if each.classes == ("fake", "real")), None)
    layer = shown(match.head) or "the last layer"
    if match.rows == 1:
        if conventions.classes:
            raise UserError(
                f"{path}: {layer} gives one logit, and `classes:` is for two; write `positive: fake` where a high one "
                "speaks for fake, else `positive: real`"
            )
        is_theirs = match.is_usual and match.scheme.published
        positive = conventions.positive or (match.scheme.positive if is_theirs else None)
        if positive is None:
            raise UserError(
                f"{path}: {layer} gives one logit, and nothing tells what a high one speaks for: add `positive: fake` "
                "beside `architecture:` where its sigmoid is P(fake), or `positive: real`"
            )
        if turned and positive == "fake" and not conventions.positive:
            raise UserError(
                f"{path}: {layer} gives one logit, for fake in the code of {match.scheme.owner}, but {turned.words}: "
                "add `positive: real` beside `architecture:` where a high logit speaks for class 1, or `positive: fake`"
            )
        by = "" if conventions.positive else f", as in the code of {match.scheme.owner}"
        return Logits((None, 0) if positive == "fake" else (0, None), f"{layer} gives one logit, for {positive}{by}")
    if conventions.positive:
        raise UserError(
            f"{path}: {layer} gives two logits, and `positive:` is for one; without it class 0 is real and class 1 is "
            "fake, and `classes: [fake, real]` says the contrary"
        )
    if match.scheme.asks_classes and conventions.classes is None:
        labels = labels_beside(path)
        raise UserError(
            f"{path}: {layer} gives two logits, and the names of {match.scheme.owner} do not tell which is which"
            f"{f' ({labels})' if labels else ''}: add `classes: [real, fake]` beside `architecture:` where the first"
            " speaks for real, or `classes: [fake, real]`"
        )
    if turned and not conventions.classes:
        raise UserError(
            f"{path}: {layer} gives two logits, of which the first would be taken for real, but {turned.words}: add "
            "`classes: [fake, real]` beside `architecture:`, or `classes: [real, fake]` where that is wrong"
        )
    classes = conventions.classes or ("real", "fake")
    by = f", as {orders[0].where} says" if orders and orders[0].classes == classes else ""
    return Logits((classes.index("real"), classes.index("fake")), f"{layer} gives two logits: {', '.join(classes)}{by}")


def flavour_of(
    match: Match, conventions: Conventions, family: Family, architecture: str, path: Path
) -> tuple[str, str]:
    """The arithmetic, and how it is known."""
    if conventions.flavour:
        return conventions.flavour, "as given"
    if match.scheme.flavour is not None:
        return match.scheme.flavour, f"by {match.scheme.flavour_by}"
    raise UserError(
        f"{path}: the names of {match.scheme.owner} do not tell with which arithmetic the network was trained; add "
        f"`flavour:` beside `architecture: {architecture}`, one of:",
        *(f"  {flavour}: {meaning}" for flavour, meaning in families.flavours(family, architecture).items()),
    )


def refuse_side(match: Match, preprocessing: Preprocessing, path: Path) -> None:
    """Raise `UserError` where the code that the names are of computes frames of this size otherwise."""
    step, size = match.scheme.side_step, preprocessing.size
    if size % step:
        raise UserError(
            f"{path}: {match.scheme.owner}'s code computes frames of {size} px otherwise than timm's, on which bench"
            f" builds, and scores would be others: set `size` to {step} or a multiple of it"
        )


def state_of(
    match: Match, tensors: Mapping[str, Tensor], network: Network, rows: tuple[int | None, int | None], path: Path
) -> dict[str, Tensor]:
    """The detector's state dict, with the logit of real first. Raises `UserError` for integers among its weights."""
    weight = tensors[match.weight].flatten(1)
    bias = tensors[match.bias] if match.bias else weight.new_zeros(len(weight))
    integers = [
        f"{shown(name)} is {str(tensor.dtype).removeprefix('torch.')}"
        for name, tensor in tensors.items()
        if not tensor.is_floating_point()
    ]
    if integers:
        raise UserError(
            f"{path}: holds integers where numbers with a fraction belong, as a quantised checkpoint does "
            f"({len(integers)}): {listed(integers, 6)}; save the weights as floats"
        )
    _refuse_negative_variances(tensors, path)
    state = network_state(match, tensors)
    for leaf, given in (("weight", weight), ("bias", bias)):
        by_class = [torch.zeros_like(given[0]) if row is None else given[row] for row in rows]
        state[f"{network.logits}.{leaf}"] = torch.stack(by_class)
    return state


def network_state(match: Match | Fit, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors by its own names, of those of a file; matrices that stand for 1x1 convolutions get axes."""
    given = {
        name: tensors[stored][:, :, None, None] if name in match.flat else tensors[stored]
        for name, stored in match.names.items()
    }
    return dict(match.scheme.made(given))


def _refuse_negative_variances(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise `UserError` where a batch norm would take the root of a number below 0."""
    below = [name for name, tensor in tensors.items() if name.endswith("running_var") and (tensor < 0).any()]
    if below:
        raise UserError(
            f"{path}: {len(below)} batch norms hold variances below 0, which none has after training: "
            f"{listed(below, 6)}; save the state dict again"
        )


def reading_of(match: Match, logits: Logits, arithmetic: str, detector: Detector) -> Reading:
    """What is told of it in plans and reports."""
    behind = f" behind {shown(match.prefix.removesuffix('.'))}" if match.prefix else ""
    warnings = []
    if match.suspicious:
        several = len(match.suspicious) > 1
        counted = f"{len(match.suspicious)} tensors" if several else "A tensor"
        belong, was = ("belong", "were") if several else ("belongs", "was")
        warnings.append(
            f"{counted} in the weights file {belong} to no part of the network and {was} left out: "
            f"{listed(match.suspicious, _MOST_LEFT_OUT)}. If the network computes with any of that, its scores are "
            "others than those reported here."
        )
    if match.other_sets:
        warnings.append(
            "The weights file holds further weights of this network, whole or in part, which were not used: those "
            f"behind {listed((key or 'no prefix' for key in match.other_sets), _MOST_LEFT_OUT)}."
        )
    return Reading(
        names=f"names of {match.scheme.owner}{behind}{_flat_weights(len(match.flat))}",
        logits=logits.meaning,
        arithmetic=arithmetic,
        heatmap=detector.map_note,
        map_kind=detector.map_kind,
        left_out=listed(match.left_out, _MOST_LEFT_OUT),
        warnings=tuple(warnings),
    )


def _flat_weights(count: int) -> str:
    """That a file holds matrices where the network has convolutions of one position; empty where it has none."""
    if not count:
        return ""
    return (
        f", {counted(count, 'matrix', 'matrices')} [out, in] read as weights [out, in, 1, 1] of pointwise convolutions"
    )
