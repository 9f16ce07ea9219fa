"""What a training minimises: the loss of the classes, and where masks tell it, that of where maps lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from bench.training.settings import MapSettings


def of_classes(
    logits: Tensor,
    labels: Tensor,
    loss: Literal["two_class", "one_logit"],
    smoothing: float,
    class_weights: tuple[float, float],
) -> Tensor:
    """The mean loss of logits [n, 2] for labels [n], 1 is fake; weighted means where classes have weights.

    Of each label the share `smoothing` is spread over both classes. `one_logit` is the binary cross-entropy of
    `logit_fake - logit_real`, which is what a softmax of both makes of it: they differ in what is trained.
    """
    import torch
    import torch.nn.functional as F

    weights = torch.tensor(class_weights, device=logits.device, dtype=logits.dtype)[labels]
    if loss == "one_logit":
        targets = labels.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        each = F.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], targets, reduction="none")
    else:
        each = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    return (each * weights).sum() / weights.sum()


def of_maps(maps: Tensor, masks: Tensor, labels: Tensor, is_masked: Tensor, settings: MapSettings) -> Tensor:
    """How far maps [n, h, w] lie from what masks [n, H, W], from 0 to 1, call forged.

    Frames without a mask are left out; it is 0 where no frame has one.
    """
    forged = forged_cells(masks, (maps.shape[1], maps.shape[2]))
    each = misplaced_evidence(maps, forged, labels) + settings.peak * misplaced_peak(maps, forged, labels)
    counted = is_masked.to(each.dtype)
    total: Tensor = settings.weight * (each * counted).sum() / counted.sum().clamp_min(1)
    return total


def misplaced_evidence(maps: Tensor, forged: Tensor, labels: Tensor) -> Tensor:
    """How much of what speaks for "fake" lies elsewhere than the forgery, [n]; 0 is best.

    Of `maps` [n, h, w] only what is positive counts. Of fakes it is the share outside of the cells that are `forged`
    [n, h, w], of real frames all of it, in logits.
    """
    import torch
    import torch.nn.functional as F

    evidence = F.relu(maps)
    outside = (evidence * (1 - forged)).sum((1, 2)) / (evidence.sum((1, 2)) + 1)
    return torch.where(labels == 1, outside, evidence.mean((1, 2)))


def misplaced_peak(maps: Tensor, forged: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of where a fake is forged, [n], of which real ones have 0.

    It is forged in a cell of `maps` [n, h, w], whose values are log-odds, or nowhere, which has 0. So also of a fake
    that is taken for real the forged cells shall be the hottest, and speak for fake.
    """
    import torch

    nowhere = maps.new_zeros(len(maps), 1)
    anywhere = torch.cat([maps.flatten(1), nowhere], 1).logsumexp(1)
    at_forgery = (maps + forged.clamp_min(1e-6).log()).flatten(1).logsumexp(1)
    return torch.where(labels == 1, anywhere - at_forgery, torch.zeros_like(anywhere))


def forged_cells(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Of `masks` [n, H, W] the means in the cells of maps of `size`, as shares of each frame's largest."""
    import torch.nn.functional as F

    means = F.adaptive_avg_pool2d(masks, size)
    return means / means.amax((1, 2), keepdim=True).clamp_min(1e-6)
