"""GANFingerprint: a ResNet-34 at three depths beside the frame's spectrum, with one logit for real.

P(fake) is 1 less the sigmoid of that logit. Its map is Grad-CAM of the difference of the logits at the last feature
map, worked out in the forward pass. The spectrum is computed in float32 under every step. Its branches can't be pruned
by channels.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from bench.detectors.families import Size
from bench.detectors.families.timm_models import PARTS
from bench.detectors.weights.schemes import Scheme

if TYPE_CHECKING:
    from torch import nn

    from bench.detectors.detector import Detector
    from bench.detectors.heads import Head
    from bench.detectors.networks.ganfingerprint import Widths
    from bench.detectors.offers import Offer
    from bench.records import Preprocessing

ARCHITECTURES = ("ganfingerprint",)
OFFERS: frozenset[Offer] = frozenset({"conv", "cam", "zeros"})
EXAMPLE = "backbone.fusion.0.weight"
LOGITS = "head.layers.logits"
SIZES = {"ganfingerprint": Size(3.24, 25.2)}

# What begins a name, of bench's and of that project's code.
_NAMES = {
    "backbone.low.": "backbone_low.",
    "backbone.middle.": "backbone_mid.",
    "backbone.high.": "backbone_high.",
    "backbone.low_adapter.": "low_adapter.",
    "backbone.middle_adapter.": "mid_adapter.",
    "backbone.high_adapter.": "high_adapter.",
    "backbone.spectrum_encoder.0.": "freq_encoder.conv1.",
    "backbone.spectrum_encoder.1.": "freq_encoder.conv2.",
    "backbone.spectrum_encoder.2.": "freq_encoder.conv3.",
    "backbone.fusion.": "fusion_layer.",
    "backbone.attention.": "attention.",
    "backbone.fingerprint.gate.": "fingerprint_block.spatial_attn.conv.",
    "backbone.fingerprint.": "fingerprint_block.freq_aware.",
    "head.layers.embedding.": "embedding.",
    "head.layers.both.layers.0.": "classifier.layer1.",
    "head.layers.both.layers.1.": "classifier.layer2.",
    "head.layers.both.shortcut.": "classifier.residual_adapter.",
    "head.layers.last.": "classifier.layer3.",
    "head.layers.logits": "classifier.classifier",
}


def build(architecture: str, flavour: str, preprocessing: Preprocessing) -> Detector:
    """An untrained two-class detector, in evaluation mode."""
    import timm

    from bench.detectors.detector import Detector
    from bench.detectors.networks.ganfingerprint import Widths

    network = timm.create_model("resnet34", pretrained=False, num_classes=0)
    return Detector(architecture, flavour, preprocessing, *parts(network, Widths(), preprocessing.size)).eval()


def parts(network: nn.Module, widths: Widths, size: int) -> tuple[nn.Module, Head]:
    """Backbone and head on a ResNet of timm's that has these widths, for frames of `size` pixels."""
    from bench.detectors.heads.pool_mlp import PoolMlp
    from bench.detectors.networks.ganfingerprint import Branches

    stages = {name: network.get_submodule(name) for name in PARTS["ResNet"]}
    return Branches(stages, widths, size), PoolMlp(_classifier(widths))


def _classifier(widths: Widths) -> nn.Sequential:
    """From pooled features to two logits."""
    from torch import nn

    from bench.detectors.heads.pool_mlp import Residual

    def layer(inputs: int, outputs: int, activation: nn.Module) -> nn.Sequential:
        return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), activation)

    first, second, third = widths.hidden
    layers = nn.Sequential(layer(widths.embedding, first, nn.LeakyReLU(0.1)), layer(first, second, nn.LeakyReLU(0.1)))
    return nn.Sequential(
        OrderedDict(
            embedding=layer(widths.joined, widths.embedding, nn.ReLU()),
            both=Residual(layers, nn.Linear(widths.embedding, second)),
            last=layer(second, third, nn.LeakyReLU(0.1)),
            logits=nn.Linear(third, 2),
        )
    )


def schemes(architecture: str) -> tuple[Scheme, ...]:
    """That project's names."""
    return (
        Scheme("GANFingerprint", _name_upstream, head="classifier.classifier", flavour="upstream", positive="real"),
        Scheme("bench", str, flavour="upstream"),
    )


def _name_upstream(name: str) -> str:
    start = next((start for start in _NAMES if name.startswith(start)), "")
    return _NAMES[start] + name.removeprefix(start) if start else name
