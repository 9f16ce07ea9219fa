"""What a compressed detector, the student, learns from the one that it came from: on which frames, and how measured.

The student learns the teacher's logit difference, its class-activation map where there is one, which says at every
position of the frame what the logit difference says of the whole (so the heatmaps recover too, and a frame teaches more
than one number), and its features at the end of every resolution at which both networks still have the same widths.
Every error is a share of the teacher's variance, that of the features channel by channel: none weighs more for being
written in larger numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.detectors.learning import Lower, lowered
from bench.records import Frame
from bench.variants import augmentation, checkpoints

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.detectors.detector import Detector
    from bench.variants.steps import StepContext
    from bench.variants.steps.recover.settings import Settings

HELD_OUT_SHARE, HELD_OUT_MOST, HELD_OUT_LEAST = 0.1, 128, 16
_MOST_COPIES = 8
_BALANCING = 8
# Batches whose frames are chosen before the first of them is read.
_DRAWN_AT_ONCE = 256
FEATURES = 2.0
"""How much the features weigh against logit difference and CAM."""


# ------------------------------------------------------------------------------------------ errors
def distillation_loss(
    student: Detector,
    teacher: Detector,
    frames: Tensor,
    lower: Lower | None = None,
) -> Tensor:
    """Errors of logit difference, CAM and features, added up. Frames: uint8 RGB [N, 3, H, W]."""
    import torch

    lower = lower or lowered(str(frames.device), "fp32")
    with torch.no_grad():
        targets = features = teacher.preprocess(frames)
    # Both go through the frames side by side, so that no feature outlives its comparison.
    errors: list[Tensor] = []
    with lower():
        for (_, teacher_unit), (_, student_unit) in zip(teacher.stages(), student.stages(), strict=True):
            before = features, targets
            with torch.no_grad():
                targets = teacher_unit(targets)
            features = student_unit(features)
            if _resolution(targets) != _resolution(before[1]):
                errors += _feature_error(*before)
    errors += _feature_error(features, targets)
    with torch.no_grad():
        target_logits, target_cam = teacher.classify(targets)
    logits, cam = student.classify(features)
    loss = answer_error(_logit_diff(logits), cam, _logit_diff(target_logits), target_cam)
    return loss + FEATURES * torch.stack(errors).mean() if errors else loss


def answer_error(
    logit_diff: Tensor, cam: Tensor | None, target_logit_diff: Tensor, target_cam: Tensor | None
) -> Tensor:
    """Squared errors of logit differences [N] and of CAMs [N, h, w], as shares of the teacher's variance, added up.

    That of the logit differences alone where the detector has no CAM.
    """
    import torch.nn.functional as F

    # The floor keeps a batch on which the teacher's answers are all the same from weighing without bound.
    of_logit_diff = F.mse_loss(logit_diff, target_logit_diff) / target_logit_diff.var().clamp_min(0.1)
    if cam is None or target_cam is None:
        return of_logit_diff
    of_cam = F.mse_loss(cam, target_cam) / target_cam.var().clamp_min(0.1)
    error: Tensor = of_logit_diff + of_cam
    return error


def _resolution(features: Any) -> tuple[int, ...]:
    """Height and width of a feature map [N, C, h, w]; () of what is no map."""
    return tuple(getattr(features, "shape", ())[2:])


def _feature_error(features: Any, targets: Any) -> list[Tensor]:
    """The error of features, in a list; empty where widths differ, both are the input, or they are several tensors."""
    if not hasattr(features, "shape") or features.shape != targets.shape or features is targets:
        return []
    variance = targets.float().var((0, *range(2, targets.ndim)), keepdim=True)
    # A channel that hardly moves in this batch must not outweigh the others.
    floor = 1e-3 * variance.mean() + 1e-12
    return [((features.float() - targets.float()).square() / variance.clamp_min(floor)).mean()]


def _logit_diff(logits: Tensor) -> Tensor:
    return logits[:, 1] - logits[:, 0]


# ------------------------------------------------------------------------------------- step sizes
def step_sizes(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """The parameters, with how far each of their numbers may move, as a multiple of the learning rate.

    AdamW moves all numbers equally far, which is nothing to a channel that is written in large numbers
    and ruin to one in small ones. Here a weight moves in proportion to the size of its row times that of its
    column, those of a batch norm in proportion to the larger of scale and shift, so that a network and
    the same one with rescaled channels learn alike; biases of convolutions, and the inputs of grouped ones that
    are not depthwise, do not take part. The typical number of a tensor moves as it would have.
    """
    import torch

    sizes: dict[Tensor, Tensor] = {}
    for module in model.modules():
        parameters = dict(module.named_parameters(recurse=False))
        weight, bias = parameters.get("weight"), parameters.get("bias")
        if weight is not None and weight.ndim > 1:
            sizes[weight] = _rows_by_columns(weight.detach())
        elif weight is not None and bias is not None:
            sizes[weight] = sizes[bias] = _typically_one(torch.maximum(weight.detach().abs(), bias.detach().abs()))
    return [(weight, sizes.get(weight, torch.ones_like(weight))) for weight in model.parameters()]


def _rows_by_columns(weight: Tensor) -> Tensor:
    """The geometric mean is 1, and with what is returned divided out all rows and columns are equally large."""
    squares = weight.flatten(2).square().mean(2) if weight.ndim > 2 else weight.square()
    rows, columns = squares.mean(1), squares.mean(0)
    for _ in range(_BALANCING):
        rows = (squares / _nowhere_zero(columns)).mean(1)
        columns = (squares / _nowhere_zero(rows)[:, None]).mean(0)
    sizes = _typically_one(rows.sqrt())[:, None] * _typically_one(columns.sqrt())
    return sizes.reshape(*sizes.shape, *[1] * (weight.ndim - 2)).expand_as(weight)


def _typically_one(sizes: Tensor) -> Tensor:
    sizes = _nowhere_zero(sizes)
    return sizes / sizes.log().mean().exp()


def _nowhere_zero(sizes: Tensor) -> Tensor:
    return sizes.clamp_min(max(1e-6 * float(sizes.max()), 1e-30))


# ------------------------------------------------------------------------------------------ frames
def held_out(frames: Sequence[Frame], seed: int) -> tuple[list[Frame], list[Frame]]:
    """Split into frames to learn from and a held-out set of at most a tenth, no source in both.

    Sources are drawn by the seed. Where a tenth is too few to say anything, or no source is small enough, the held-out
    set is empty and all frames are learned from.
    """
    import numpy as np

    sources: dict[str, list[Frame]] = {}
    for frame in frames:
        sources.setdefault(frame.source or frame.digest or frame.path, []).append(frame)
    most = min(HELD_OUT_MOST, int(HELD_OUT_SHARE * len(frames)))
    chosen: set[Frame] = set()
    groups = list(sources.values())
    for index in np.random.default_rng(seed).permutation(len(groups)):
        of_source = groups[index]
        if len(chosen) + len(of_source) <= most:
            chosen.update(of_source)
    if len(chosen) < HELD_OUT_LEAST:
        return list(frames), []
    return [frame for frame in frames if frame not in chosen], [frame for frame in frames if frame in chosen]


@dataclass(frozen=True)
class HeldOut:
    """What the student is evaluated on: uint8 RGB batches with the teacher's logit differences [N] and CAMs [N, h, w].

    `name` is "held-out", or "train" where no frames are held out. `count` is that of the frames, of which few are
    there several times, varied. `labels`, 1 for fake, are given where every frame has one and both classes occur.
    """

    name: str
    count: int
    batches: tuple[Tensor, ...]
    logit_diffs: Tensor
    cams: Tensor | None
    labels: tuple[int, ...] | None


def answered(
    teacher: Detector, evaluated: tuple[str, Sequence[Frame]], work: StepContext, settings: Settings, lower: Lower
) -> HeldOut:
    """Read the frames of `evaluated`, which has their name too, and let the teacher answer.

    Few frames are read once more, varied: by twenty as they are, the best weights would be found by chance. Answers are
    saved, so that a killed run need not ask again.
    """
    import torch

    def answers_of(batches: Sequence[Tensor]) -> Iterator[checkpoints.State]:
        for batch in batches:
            logit_diffs, cams = _answers(teacher, [batch], lower)
            yield {"margins": logit_diffs} if cams is None else {"margins": logit_diffs, "cams": cams}

    name, frames = evaluated
    read = [torch.from_numpy(batch) for batch in work.read(frames, work.spec, settings.batch_size)]
    copies = max(1, min(_MOST_COPIES, HELD_OUT_MOST // len(frames))) if settings.augment else 1
    varied = (
        augmentation.varied(batch, work.seed + 3, copy * len(read) + number, all_ways=True)
        for copy in range(1, copies)
        for number, batch in enumerate(read)
    )
    batches = tuple(batch.to(work.device) for batch in (*read, *varied))
    answers = list(checkpoints.each(work.part("answers of the teacher"), batches, answers_of))
    logit_diffs, *cams = (torch.cat([answer[key].to(work.device) for answer in answers]) for key in answers[0])
    labels = copies * tuple(frame.label for frame in frames if frame.label is not None)
    whole = len(labels) == copies * len(frames) and len(set(labels)) == 2
    return HeldOut(name, len(frames), batches, logit_diffs, cams[0] if cams else None, labels if whole else None)


def evaluate(student: Detector, held_out: HeldOut, lower: Lower) -> tuple[float, float | None]:
    """Error of the answers (infinite where it is not finite), and ROC AUC where there are labels."""
    from sklearn.metrics import roc_auc_score

    logit_diffs, cams = _answers(student, held_out.batches, lower)
    error = float(answer_error(logit_diffs, cams, held_out.logit_diffs, held_out.cams))
    if not math.isfinite(error):
        return math.inf, None
    return error, float(roc_auc_score(held_out.labels, logit_diffs.cpu().numpy())) if held_out.labels else None


def _answers(detector: Detector, batches: Sequence[Tensor], lower: Lower) -> tuple[Tensor, Tensor | None]:
    """Logit differences [N] and CAMs [N, h, w] of uint8 RGB batches; None instead of CAMs where it has none."""
    import torch

    logit_diffs, cams = [], []
    with torch.no_grad():
        for frames in batches:
            inputs = detector.preprocess(frames)
            with lower():
                features = detector.features(inputs)
            logits, cam = detector.classify(features)
            logit_diffs.append(_logit_diff(logits))
            if cam is not None:
                cams.append(cam)
    return torch.cat(logit_diffs), torch.cat(cams) if cams else None


def shuffled(
    work: StepContext, frames: Sequence[Frame], batch_size: int, batches: int, seed: int, skip: int = 0
) -> Iterator[Tensor]:
    """`batches` full batches on the device, going through the frames in a new order each time around.

    The first `skip` of them are left out, unread.
    """
    import numpy as np
    import torch

    rng = np.random.default_rng(seed)
    endless = itertools.chain.from_iterable(rng.permutation(len(frames)) for _ in itertools.count())
    order = itertools.islice(endless, skip * batch_size, batches * batch_size)
    # Drawn piece by piece: a limit of time may end this long before all batches are read.
    while part := [frames[index] for index in itertools.islice(order, _DRAWN_AT_ONCE * batch_size)]:
        for batch in work.read(part, work.spec, batch_size):
            yield torch.from_numpy(batch).to(work.device)
