"""One linear layer over a vision transformer's class token, and where in the frame the logit difference comes from."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from bench.detectors.heads.linear import Linear
from bench.detectors.networks.vision_transformer import Tokens
from bench.records import Prediction


class ClassToken(Linear):
    """A linear layer [2, C] over class tokens [N, C].

    The map is signed: what the class token reads of each patch in every block, as far as it adds to `logit_fake -
    logit_real` without passing an MLP. It is no decomposition of the logits, so `margin_bias` is None.
    """

    MAP = "maps show what patches add to the logit difference through attention, by roll-out"
    MAP_KIND = "attention roll-out map"

    def predict(self, features: Tokens) -> Prediction[Tensor]:  # type: ignore[override]  # more than a vector
        """Logits [N, 2] and maps [N, rows, columns] of patches."""
        weight = self.weight.float()
        logits = F.linear(features.class_token.float(), weight, self.bias.float())
        by_token = sum(self._by_block(features)) / features.deviation.float()
        return Prediction(logits, _of_patches(by_token, features))

    def maps_by_block(self, features: Tokens) -> list[Tensor]:
        """What each block adds to the map, [N, rows, columns] each: their sum is the map of `predict`."""
        return [_of_patches(read / features.deviation.float(), features) for read in self._by_block(features)]

    def _by_block(self, features: Tokens) -> Iterator[Tensor]:
        """What the class token reads of each token [N, T] in each block, along the difference of the logits."""
        weight = self.weight.float()
        direction = (weight[1] - weight[0]) * features.gain.float()
        direction = direction - direction.mean()  # the norm takes every token's mean away
        for carried, passage in zip(features.carried, features.passages, strict=True):
            yield carried.float() @ (passage.float() @ direction)

    def layers_to_logits(self) -> list[nn.Module]:
        return [_ClassTokens(), self]


def _of_patches(by_token: Tensor, features: Tokens) -> Tensor:
    """The numbers [N, rows, columns] of patches, which stand behind all other tokens [N, T]."""
    rows, columns = features.grid
    return by_token[:, -rows * columns :].reshape(-1, rows, columns)


class _ClassTokens(nn.Module):
    """Takes the class tokens of `Tokens`."""

    def forward(self, features: Tokens) -> Tensor:
        return features.class_token
