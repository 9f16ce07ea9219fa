"""The detector contract: uint8 RGB frames in, two logits and the signed CAM out; and its building blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.detectors.heads import Head
from bench.detectors.preprocessing import Preprocess
from bench.records import Prediction, Preprocessing

if TYPE_CHECKING:
    from bench.detectors.networks.vision_transformer import TokenNetwork


class StaticPadConv2d(nn.Conv2d):
    """A convolution that pads by fixed amounts, which may differ between the two ends.

    `pad` is (left, right, top, bottom) in pixels.
    """

    pad: tuple[int, int, int, int] = (0, 0, 0, 0)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, self.pad))


class Detector(nn.Module):
    """A trained network with its preprocessing: `preprocess`, `backbone`, and a `head` of `detectors.heads`.

    `forward`: uint8 RGB [N, 3, H, W] to logits [N, 2] and CAMs [N, h, w], both float32; class 0 is real, class 1 is
    fake; the CAM is None where the head has none. What others ask of a detector are the methods below: how it is made
    of backbone and head is its own affair. Layers keep their names in files: `backbone.…` and `head.…`.
    """

    def __init__(
        self, architecture: str, flavour: str, preprocessing: Preprocessing, backbone: nn.Module, head: Head
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.flavour = flavour
        self.preprocessing = preprocessing
        self.preprocess = Preprocess(preprocessing)
        self.backbone = backbone
        self.head: Any = head  # what heads have beside their contract, differs

    # ------------------------------------------------------------------------------------ predicting
    def forward(self, frames: Tensor) -> Prediction[Tensor]:
        return self.classify(self.features(self.preprocess(frames)))

    def features(self, inputs: Tensor) -> Any:
        """What the backbone makes of preprocessed frames [N, 3, H, W], in the type of its weights."""
        return self.backbone(inputs.to(self.dtype))

    def classify(self, features: Any) -> Prediction[Tensor]:
        """What the head makes of `features`, in float32."""
        prediction: Prediction[Tensor] = self.head.predict(features)
        return prediction

    @property
    def has_embedding(self) -> bool:
        """Whether there is a vector in front of the logits, for `embed`."""
        try:
            self.head.layers_to_embedding()
        except NotImplementedError:
            return False
        return True

    def embed(self, frames: Tensor) -> Tensor:
        """The vectors [N, D] by which frames, uint8 RGB [N, 3, H, W], are described before they are classified.

        The penultimate features: what the logits are computed of; of GANFingerprint the fingerprint of 512 values.
        Weights must be float32.
        """
        vectors: Any = self.features(self.preprocess(frames))
        for layer in self.head.layers_to_embedding():
            vectors = layer(vectors)
        flat: Tensor = vectors.flatten(1)
        return flat

    def is_in_head(self, layer: nn.Module) -> bool:
        """Whether a layer is one of those between features and logits."""
        return any(part is layer for part in self.head.modules())

    def classify_to_learn(self, features: Any, dropout: float = 0.0, *, maps: bool = False) -> Prediction[Tensor]:
        """`classify` for training: batch norms of the head take the batch's statistics, and its dropout drops.

        Of what the layer of the logits reads, the share `dropout` is left out at random. With `maps` there are maps,
        as in evaluation.
        """
        features = features.float() if isinstance(features, Tensor) else features
        layers, last = list(self.head.layers_to_logits()), self.logit_layers()[0]
        position = next(index for index, layer in enumerate(layers) if layer is last)
        hidden = nn.Sequential(*layers[:position])(features)
        logits = nn.Sequential(*layers[position:])(F.dropout(hidden.float(), dropout, self.training))
        return Prediction(logits, self.classify(features).cam if maps else None)

    @property
    def margin_bias(self) -> float | None:
        """What `cam.mean((1, 2))` lacks to be `logit_fake - logit_real`; None where that is no constant."""
        margin_bias: float | None = self.head.margin_bias
        return margin_bias

    @property
    def map_note(self) -> str:
        """How the map is made, for plans and reports; "" where it is a class-activation map by one layer's weights."""
        note: str = self.head.MAP
        return note

    @property
    def map_kind(self) -> str:
        """What such maps are called."""
        kind: str = self.head.MAP_KIND
        return kind

    # ------------------------------------------------------------------------------------ weights
    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights of backbone and head."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def cast(self, dtype: torch.dtype) -> None:
        """Give backbone and head another type, in place; the preprocessing stays in float32."""
        self.backbone.to(dtype)
        self.head.to(dtype)

    def shift_logits(self, shift: Tensor) -> None:
        """Add `shift` [2] to the logits of every frame, in place."""
        self.head.shift_logits(shift)

    def widen_head(self) -> None:
        """Make the head's numbers float32, whatever format the backbone's have."""
        self.head.float()

    def drop_backbone(self) -> None:
        """Let go of the backbone's weights, where something else computes the features."""
        self.backbone = nn.Identity()

    # ------------------------------------------------------------------------------------ layers
    def stages(self) -> list[tuple[str, nn.Module]]:
        """The backbone's parts that pass one tensor on to the next, in order, by name: what nested sequences hold."""
        return _sequence("backbone", self.backbone)

    def parts(self) -> list[tuple[str, nn.Module]]:
        """The stages, or of a backbone that is no chain what it holds: what a frame passes through, by name."""
        stages = self.stages()
        if len(stages) > 1:
            return stages
        return [part for name, child in self.backbone.named_children() for part in _held(f"backbone.{name}", child)]

    def units(self) -> list[tuple[str, nn.Module]]:
        """What passes one tensor on to the next, in order, each with the name that its layers lie below.

        The stages; of a vision transformer its embedding and the halves of its blocks, which pass tokens on.
        """
        tokens = self._token_network()
        return tokens.units("backbone") if tokens else self.stages()

    def attentions(self) -> dict[str, Any]:
        """The attentions of which heads may go, by the name of the layer that writes queries, keys and values."""
        tokens = self._token_network()
        return tokens.attentions("backbone") if tokens else {}

    def weighted_layers(self) -> dict[str, nn.Conv2d | nn.Linear]:
        """The backbone's convolutions and linear layers, by name."""
        return _weighted("backbone", self.backbone)

    def head_layers(self) -> dict[str, nn.Conv2d | nn.Linear]:
        """The head's convolutions and linear layers, by name."""
        return _weighted("head", self.head)

    def logit_layers(self) -> list[nn.Module]:
        """The layers that write the logits, and so can't lose outputs."""
        layers: list[nn.Module] = self.head.logit_layers()
        return layers

    def fixed_layers(self) -> list[nn.Module]:
        """The layers that can't lose outputs: those that write the logits, or what all blocks add to."""
        tokens = self._token_network()
        return [*self.logit_layers(), *(tokens.fixed_layers() if tokens else ())]

    def _token_network(self) -> TokenNetwork | None:
        """The backbone, where it is a plain vision transformer."""
        from bench.detectors.networks.vision_transformer import TokenNetwork

        return self.backbone if isinstance(self.backbone, TokenNetwork) else None

    # ------------------------------------------------------------------------------------ as modules
    def feature_network(self) -> nn.Module:
        """`features` as a module with the same weights, for what compiles or traces modules."""
        return _Features(self)

    def logit_network(self) -> nn.Sequential:
        """Preprocessed frames to logits by plain modules with the same weights, for what looks at layers alone."""
        return nn.Sequential(self.backbone, *self.head.layers_to_logits())


class _Features(nn.Module):
    """A detector's backbone, in its own type."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.dtype = detector.dtype

    def forward(self, inputs: Tensor) -> Any:
        return self.backbone(inputs.to(self.dtype))


def _sequence(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """What a module holds if it is a sequence of modules, and what these hold likewise; else the module itself."""
    if type(module) is not nn.Sequential:
        return [(name, module)]
    return [stage for child, part in module.named_children() for stage in _sequence(f"{name}.{child}", part)]


def _held(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """What sequences and lists of modules hold, and what these hold likewise; else the module itself."""
    if not isinstance(module, (nn.Sequential, nn.ModuleList)):
        return [(name, module)]
    return [part for child, inner in module.named_children() for part in _held(f"{name}.{child}", inner)]


def _weighted(name: str, module: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """A module's convolutions and linear layers, itself included, by name below `name`."""
    modules = module.named_modules(prefix=name)
    return {inner: part for inner, part in modules if isinstance(part, (nn.Conv2d, nn.Linear))}
