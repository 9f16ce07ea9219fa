"""F3Net, an Xception that reads twelve planes: frequency bands or edges.

Of F3Net's branches this is the frequency-aware decomposition, as DeepfakeBench has it, for frames of 256 px alone: its
filters are learned at that size. Its DCT and bands are constants, which bench has itself and leaves out of files. What
makes the planes stays in float32 under every step, and its filters are not pruned.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from bench.detectors.families import Size, xception
from bench.detectors.weights.schemes import Scheme
from bench.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from bench.detectors.detector import Detector
    from bench.detectors.offers import Offer
    from bench.records import Preprocessing

ARCHITECTURES = ("f3net",)
OFFERS: frozenset[Offer] = frozenset({"chain", "widths", "conv", "linear", "cam", "zeros"})
EXAMPLE = "backbone.conv1.weight"
SIZES = {"f3net": Size(1.95, 21.1)}
SIZE = 256
"""Pixels: the learned filters are of this size."""

_BANDS, _EDGES = "fad", "edges"
STRUCTURES = (_BANDS, _EDGES)
_IN_BANDS = "backbone.bands.learned."


def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
    """An untrained two-class detector, in evaluation mode."""
    from torch import nn

    from bench.detectors.detector import Detector
    from bench.detectors.networks.frequencies import Edges, FrequencyBands

    first: tuple[str, nn.Module] = ("edges", Edges()) if flavour == _EDGES else ("bands", FrequencyBands(SIZE))
    stages, head = xception.parts(channels=12)
    backbone = nn.Sequential(OrderedDict([first, *stages.items()]))
    return Detector(architecture, flavour, preprocessing, backbone, head).eval()


def flavours(architecture: str) -> dict[str, str]:
    """What `flavour:` may be, and what each means."""
    return {
        _BANDS: "reads the frame in four bands of frequencies, by learned filters of 256 x 256, as DeepfakeBench's",
        _EDGES: "reads R, G and B, Sobel's x and y of each in turn, and of each what differs from the mean of 3 x 3 "
        "pixels, with zeros beyond the border; learned filters in the file are not used",
    }


def check(flavour: str | None, preprocessing: Preprocessing) -> None:
    """Refuse frames of another size than the filters, with a `UserError`."""
    if flavour != _EDGES and preprocessing.size != SIZE:
        raise UserError(
            f"preprocessing: size {preprocessing.size} does not fit f3net, whose learned filters are of {SIZE} x "
            f"{SIZE} frequencies; write `size: {SIZE}`, or `flavour: {_EDGES}` for a network without them"
        )


def schemes(architecture: str) -> tuple[Scheme, ...]:
    """DeepfakeBench's names, and timm's where no filters are learned; the constants lie beside the network in files."""
    constants = ("FAD_head._DCT_all", *(f"FAD_head.filters.{band}.base" for band in range(4)))
    return (
        Scheme(
            "DeepfakeBench", _name_in_deepfakebench, head="backbone.last_linear", flavour=_BANDS,
            unused=("backbone.adjust_channel.", *constants),
        ),
        Scheme("timm", xception.name_in_timm, head="fc", flavour=_EDGES),
        Scheme("bench", str, flavour=_BANDS),
    )  # fmt: skip


def _name_in_deepfakebench(name: str) -> str:
    if name.startswith(_IN_BANDS):
        return f"FAD_head.filters.{name.removeprefix(_IN_BANDS)}.learnable"
    return name
