"""One linear layer over a vision transformer's class token, and where in the frame the logit difference comes from."""

from __future__ import annotations

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
        direction = (weight[1] - weight[0]) * features.gain.float()
        direction = direction - direction.mean()  # the norm takes every token's mean away
        read = zip(features.carried, features.passages, strict=True)
        by_token = sum(carried.float() @ (passage.float() @ direction) for carried, passage in read)
        by_token = by_token / features.deviation.float()
        rows, columns = features.grid
        return Prediction(logits, by_token[:, -rows * columns :].reshape(-1, rows, columns))

    def layers_to_logits(self) -> list[nn.Module]:
        return [_ClassTokens(), self]


class _ClassTokens(nn.Module):
    """Takes the class tokens of `Tokens`."""

    def forward(self, features: Tokens) -> Tensor:
        return features.class_token
