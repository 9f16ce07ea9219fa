"""Whether the preprocessing fits the weights: batch norms remember what they saw in training.

The statistics of what they see now are compared with those that they keep: the Kullback-Leibler divergence between
two normal distributions, channel by channel. No labels are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from bench import detectors
from bench.detectors import families
from bench.detectors.preprocessing import Preprocess
from bench.detectors.presets import PRESETS
from bench.records import Conventions, InputCandidate, Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector

_TINY = 1e-12


def input_fit(detector: Detector, frames: NDArray[np.uint8]) -> tuple[InputCandidate, ...]:
    """How well the detector's preprocessing and its alternatives fit, best first, on frames [n, 3, size, size], RGB.

    Without batch norms there are no candidates: it can't be told.
    """
    candidates = []
    for title, alternative in alternatives(detector.preprocessing, detector.flavour):
        inputs = Preprocess(alternative)(torch.from_numpy(frames))
        if misfits := _misfits(detector, inputs, 1):
            candidates.append(InputCandidate(title, misfits[0], is_given=alternative == detector.preprocessing))
    return _sorted(candidates)


def flavour_fit(
    detector: Detector, weights: Path, conventions: Conventions, frames: NDArray[np.uint8]
) -> tuple[InputCandidate, ...]:
    """How well the arithmetics of the detector's family fit under its preprocessing, over all batch norms."""
    architecture, preprocessing = detector.architecture, detector.preprocessing
    family = families.find(architecture)
    names = [name for name in families.flavours(family, architecture) if "<" not in name]
    if detector.flavour in families.structures(family):
        names = []  # the others are not for these tensors
    inputs = detector.preprocess(torch.from_numpy(frames))
    candidates = []
    for name in dict.fromkeys((detector.flavour, *names) if names else ()):
        other = detector
        if name != detector.flavour:
            other = detectors.load(architecture, weights, preprocessing, replace(conventions, flavour=name))
        if misfits := _misfits(other, inputs):
            misfit = sum(misfits) / len(misfits)
            candidates.append(InputCandidate(name, misfit, is_given=name == detector.flavour))
    return _sorted(candidates)


def _sorted(candidates: Iterable[InputCandidate]) -> tuple[InputCandidate, ...]:
    return tuple(sorted(candidates, key=lambda candidate: candidate.misfit))


def alternatives(given: Preprocessing, flavour: str) -> Iterator[tuple[str, Preprocessing]]:
    """The given preprocessing, and what else is plausible: statistics of every preset, channel order, wavelet.

    The wavelet is FSBI's, whose weights have static padding: for others it would only stand for frames that are
    smoother than those of training.
    """
    blends: tuple[Literal["none", "sym2"], ...] = ("none",)
    if given.wavelet != "none" or flavour.startswith("static"):
        blends = ("none", "sym2")
    statistics = {(given.mean, given.std): _title(given)}
    statistics |= {(preset.mean, preset.std): _title(preset) for preset in PRESETS.values()}
    for (mean, std), title in statistics.items():
        for channels in ("rgb", "bgr"):
            for wavelet in blends:
                blend = ", wavelet blend" if wavelet == "sym2" else ""
                yield (
                    f"{title}, {channels.upper()}{blend}",
                    replace(given, mean=mean, std=std, channels=channels, wavelet=wavelet),
                )


def _title(preprocessing: Preprocessing) -> str:
    """What people call a mean and a standard deviation."""
    mean, std = preprocessing.mean, preprocessing.std
    if (mean, std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
        return "[0, 1]"
    names = [name for name, preset in PRESETS.items() if (preset.mean, preset.std) == (mean, std)]
    return f"mean and std of {names[0]}" if names else f"mean {list(mean)}, std {list(std)}"


class _Stop(Exception):  # noqa: N818  (no error: the rest of the network is not needed)
    """Raised once enough batch norms were reached."""


def _misfits(detector: Detector, inputs: Tensor, most: int | None = None) -> list[float]:
    """Of `most` batch norms in their order: the median over channels of KL(what they read || what they keep).

    `eps` is left out: of flavours that differ in it, the larger one would always fit better.
    """
    misfits: list[float] = []

    def note(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        """Compare what a batch norm reads with what it keeps."""
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        values = arguments[0].double()
        mean, variance = values.mean((0, 2, 3)), values.var((0, 2, 3), unbiased=False)
        kept_mean, kept_variance = norm.running_mean.double(), norm.running_var.double().clamp_min(_TINY)
        ratio = (variance / kept_variance).clamp_min(_TINY)
        divergence = (ratio + (mean - kept_mean).square() / kept_variance - 1 - ratio.log()) / 2
        misfits.append(float(divergence.median()))
        if len(misfits) == most:
            raise _Stop

    norms = [
        module for module in detector.modules() if isinstance(module, nn.BatchNorm2d) and module.running_var is not None
    ]
    if not norms:
        return []  # a whole pass of a large network would find nothing
    handles = [norm.register_forward_pre_hook(note) for norm in norms]
    try:
        with torch.inference_mode():
            detector.features(inputs)
    except _Stop:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return misfits
