"""The detector that learns, with its optimizer: one step, one evaluation, and all that both hang on, to be saved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from bench.detectors import learning
from bench.detectors.learning import Average
from bench.training import losses, resuming
from bench.training.job import Job
from bench.training.resuming import Rest
from bench.training.samples import Batch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from bench.detectors.detector import Detector

_EVALUATED_AT_ONCE = 64


class Learner:
    """A detector on its device, with what moves its weights."""

    def __init__(self, job: Job) -> None:
        """The detector before its first step, which follows from the job's seed."""
        import torch

        from bench.detectors.starting import keep_one_logit

        recipe = job.recipe
        torch.manual_seed(recipe.seed)
        model = job.start().float()
        if recipe.norm_momentum is not None:
            for module in model.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.momentum = recipe.norm_momentum
        self.model: Detector = model.to(job.device).to(memory_format=torch.channels_last)
        self.model.requires_grad_(True)
        if recipe.loss == "one_logit":
            keep_one_logit(self.model)
        self.job, self.device = job, job.device
        native = learning.native_precision(job.device) if recipe.precision == "auto" else recipe.precision
        self.precision = native
        self.lower = learning.lowered(job.device, native)
        self.scaler: Any = torch.amp.GradScaler(torch.device(job.device).type, enabled=native == "fp16")
        self.optimizer = _optimizer(self.model, job)
        self.average = Average(self.model) if recipe.average is not None else None
        # Of dropout, not of what was drawn for the weights: a start from a file draws less.
        torch.manual_seed(recipe.seed + 1)

    # ------------------------------------------------------------------------------------ learning
    def step(self, batch: Batch, rate: float, done: int) -> float:
        """One step of the optimizer at this learning rate, the one numbered `done`; the loss before it."""
        import torch

        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self._loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.job.recipe.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.job.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None and self.job.recipe.average is not None:
            # The first steps lie far from where it ends.
            self.average.add(self.model, 1 - min(self.job.recipe.average, (1 + done) / (10 + done)))
        return float(loss.detach())

    def _loss(self, batch: Batch) -> Tensor:
        """That of the classes, and of where maps lie where it is asked for."""
        recipe, labels = self.job.recipe, batch.labels.to(self.device)
        frames = batch.frames.to(self.device, non_blocking=True)
        inputs = self.model.preprocess(frames)
        with self.lower():
            features = self.model.features(inputs)
        has_maps = recipe.maps is not None
        logits, maps = self.model.classify_to_learn(features, recipe.dropout, maps=has_maps)
        weights = self.job.plan.class_weights
        loss = losses.of_classes(logits, labels, recipe.loss, recipe.label_smoothing, weights)
        if recipe.maps is None or maps is None:
            return loss
        masks, is_masked = batch.masks.to(self.device).float() / 255, batch.is_masked.to(self.device)
        return loss + losses.of_maps(maps, masks, labels, is_masked, recipe.maps)

    # ------------------------------------------------------------------------------------ evaluating
    def logit_diffs(self) -> NDArray[np.float64]:
        """`logit_fake - logit_real` of every validation frame [n], in evaluation mode; averaged weights where asked."""
        import numpy as np
        import torch

        self.model.eval()
        frames, spec = self.job.validation, self.job.samples.spec
        answers = []
        with torch.no_grad(), self.best_weights():
            for batch in self.job.read(frames, spec, min(_EVALUATED_AT_ONCE, self.job.recipe.batch_size)):
                inputs = self.model.preprocess(torch.from_numpy(batch).to(self.device))
                with self.lower():
                    features = self.model.features(inputs)
                logits = self.model.classify(features).logits
                answers.append((logits[:, 1] - logits[:, 0]).double().cpu().numpy())
        return np.concatenate(answers)

    @contextmanager
    def best_weights(self) -> Iterator[None]:
        """The model has the weights that are the result: averaged ones where they are asked for."""
        with nullcontext() if self.average is None else self.average.in_place_of(self.model):
            yield

    # ------------------------------------------------------------------------------------ going on
    def state(self) -> tuple[dict[str, Tensor], Rest]:
        """What the next step depends on; `restore` takes it back."""
        import torch

        of_optimizer, rest = resuming.flattened(self.optimizer.state_dict())
        tensors = resuming.before("model.", self.model.state_dict()) | resuming.before("optimizer.", of_optimizer)
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        if self.average is not None:
            tensors |= {f"average.{index}": weight for index, weight in enumerate(self.average.weights)}
        return tensors, {"optimizer": rest, "scaler": self.scaler.state_dict()}

    def restore(self, tensors: dict[str, Tensor], rest: Rest) -> None:
        """Take up what was saved."""
        import torch

        self.model.load_state_dict(resuming.behind("model.", tensors))
        of_optimizer = resuming.unflattened(resuming.behind("optimizer.", tensors), rest["optimizer"])
        self.optimizer.load_state_dict(of_optimizer)
        if rest["scaler"]:
            self.scaler.load_state_dict(rest["scaler"])
        if self.average is not None:
            averages = resuming.behind("average.", tensors)
            self.average.take([averages[str(index)] for index in range(len(averages))])
        torch.set_rng_state(tensors["random.cpu"])
        if self.device == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])


def _optimizer(model: Detector, job: Job) -> Any:
    """Its rate is set at every step."""
    import torch

    settings = job.recipe.optimizer
    decay = settings.weight_decay
    weights = list(model.parameters())
    if settings.name == "sgd":
        return torch.optim.SGD(
            weights, settings.learning_rate, settings.momentum, weight_decay=decay, nesterov=settings.nesterov
        )
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(weights, settings.learning_rate, settings.betas, weight_decay=decay)


def mean_loss(logit_diffs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The mean cross-entropy of logit differences [n] for labels [n], without smoothing or weights."""
    import numpy as np

    wrong = np.where(labels == 1, -logit_diffs, logit_diffs)
    return float(np.logaddexp(0, wrong).mean()) if len(labels) else math.nan
