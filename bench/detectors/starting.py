"""Detectors that are to be trained: from nothing, from a trained one, or from a network of another task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.detectors import families
from bench.errors import UserError
from bench.records import Conventions, Preprocessing

if TYPE_CHECKING:
    from bench.detectors.detector import Detector
    from bench.detectors.weights.schemes import Scheme


def untrained(architecture: str, flavour: str | None, preprocessing: Preprocessing) -> Detector:
    """A detector whose weights are drawn from torch's generator, its logits all 0 at first; in evaluation mode.

    Without a flavour it is that of the family's own code. Raises `UserError` where the network can't be built, or
    takes no frames of this size.
    """
    from bench.detectors.weights import conversion

    family = families.find(architecture)
    if families.kind(architecture) != "torch":
        raise UserError(f"{architecture} is a graph that is executed as it is, and can't be trained; name a network")
    conversion.network_of(family, architecture, preprocessing, flavour, must_run=True)
    detector = family.build(architecture, flavour or family.schemes(architecture)[0].flavour or "", preprocessing)
    begin_at_zero(detector)
    return detector


def begin_at_zero(detector: Detector) -> None:
    """Set the layer of the logits to 0: the first loss is that of a coin, whatever a library draws for two classes."""
    for layer in detector.logit_layers():
        for name in ("weight", "bias"):
            parameter = getattr(layer, name, None)
            if parameter is not None:
                nn.init.zeros_(parameter)


def of_other_task(architecture: str, weights: Path, preprocessing: Preprocessing, conventions: Conventions) -> Detector:
    """A detector with a file's weights up to its last layer, which is new; for networks of other classes.

    Raises `UserError` where the file can't be read safely, or does not hold all other tensors of this architecture.
    """
    from bench.detectors.weights import checkpoint, conversion
    from bench.detectors.weights.fits import fits
    from bench.detectors.weights.misfits import misfit
    from bench.detectors.weights.sets import chosen

    family = families.find(architecture)
    with checkpoint.opened(weights) as opened:
        network = conversion.network_of(family, architecture, preprocessing, conventions.flavour, must_run=True)
        schemes = family.schemes(architecture)
        every = [fit for scheme in schemes for fit in fits(opened.file, network, scheme)]
        whole = [fit for fit in every if fit.is_whole]
        if not whole:
            raise misfit(opened.file, network, schemes, every, conventions, architecture, lambda: None)
        fit = min(chosen(opened.file, whole, [], conventions), key=lambda each: len(each.prefix))
        tensors = opened.load(set(fit.names.values()))
    flavour = conventions.flavour or fit.scheme.flavour or schemes[0].flavour or ""
    detector = family.build(architecture, flavour, preprocessing)
    begin_at_zero(detector)
    detector.load_state_dict(conversion.network_state(fit, tensors), strict=False)
    return detector


def as_checkpoint(detector: Detector, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A detector's tensors under the names of the code that such networks come from, for a file that `read` takes."""
    scheme = _scheme(detector.architecture)
    (layer,) = detector.logit_layers()
    logits = next(name for name, module in detector.named_modules() if module is layer)
    head = scheme.head or scheme.rename(logits)
    named = {
        f"{head}.{name.removeprefix(f'{logits}.')}" if name.startswith(f"{logits}.") else scheme.rename(name): tensor
        for name, tensor in state.items()
    }
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in named.items()}


def _scheme(architecture: str) -> Scheme:
    """The first names under which a network lies whole, with two logits that are real and fake."""
    from bench.detectors.weights.schemes import Scheme

    plain = Scheme("", str)
    schemes = [each for each in families.find(architecture).schemes(architecture) if each.made is plain.made]
    usual = [each for each in schemes if each.positive is None and not each.asks_classes]
    return (usual or schemes)[0]


def keep_one_logit(detector: Detector) -> None:
    """Make the logit of real 0 for good, and that of fake their difference: answers stay what they are."""
    (layer,) = detector.logit_layers()
    with torch.no_grad():
        for parameter in layer.parameters(recurse=False):
            parameter[1] -= parameter[0]
            parameter[0] = 0
    for parameter in layer.parameters(recurse=False):
        fixed = torch.tensor([0.0, 1.0], device=parameter.device).reshape(2, *[1] * (parameter.ndim - 1))
        parameter.register_hook(lambda gradient, fixed=fixed: gradient * fixed.to(gradient))  # type: ignore[no-untyped-call]
