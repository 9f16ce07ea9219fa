"""Heads, one file each: what turns a backbone's features into logits and, where it can, a class-activation map."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from bench.records.weights import CLASS_ACTIVATION

if TYPE_CHECKING:
    from bench.records import Prediction


class Head(nn.Module):
    """The contract of a head. What it computes is float32, whatever type its weights and the features have.

    `MAP` says how its map is made where that is not a class-activation map by the weights of one layer, `MAP_KIND` what
    such maps are called. `predict` is all that evaluation needs. `layers_to_logits` and `logit_layers` serve steps that
    change widths, `shift_logits` those that correct a mean.
    """

    MAP: ClassVar[str] = ""
    MAP_KIND: ClassVar[str] = CLASS_ACTIVATION

    def predict(self, features: Tensor) -> Prediction[Tensor]:
        """Logits [N, 2] and CAMs [N, h, w], or None instead of these, of what the backbone made of N frames."""
        raise NotImplementedError

    @property
    def margin_bias(self) -> float | None:
        """What `cam.mean((1, 2))` lacks to be `logit_fake - logit_real`; None where that is no constant."""
        return None

    def layers_to_logits(self) -> list[nn.Module]:
        """Plain modules that turn features into logits, one after another, with this head's weights."""
        raise NotImplementedError

    def layers_to_embedding(self) -> list[nn.Module]:
        """Of `layers_to_logits` those before the vector that the logits are computed of: the penultimate features."""
        layers, last = self.layers_to_logits(), self.logit_layers()[0]
        return layers[: next(index for index, layer in enumerate(layers) if layer is last)]

    def logit_layers(self) -> list[nn.Module]:
        """The layers that write the logits, and so can't lose outputs."""
        raise NotImplementedError

    def shift_logits(self, shift: Tensor) -> None:
        """Add `shift` [2] to the logits of every frame, in place."""
        raise NotImplementedError
