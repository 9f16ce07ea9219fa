"""A training from its first step, or the last one that was saved, to its end."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import stored
from bench.csv_rows import as_csv
from bench.detectors.learning import repeatable
from bench.errors import UserError
from bench.files import write_text
from bench.provenance import write_json
from bench.records import Event, OnEvent
from bench.records.trainings import FORMAT, EpochRow
from bench.training import logs, resuming, selection
from bench.training.job import Job
from bench.training.learner import Learner, mean_loss
from bench.training.rates import Plateau, share_of_rate
from bench.training.samples import batches, telling_of_workers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BEST, LAST, ANSWERS, CHECKPOINTS, ENDED = "best", "last", "validation.csv", "checkpoints", "ended.json"
"""Files of a run's folder: checkpoints without their ending, the best epoch's answers, the folder to go on from, and
how a training went that came to its end.
"""
SAVE_SECONDS = 30.0
"""A killed training loses about so much; saving takes a fiftieth of the time at most."""
_BEFORE_EVALUATING = 5.0
"""Saved as long ago as this, a state is saved again before an evaluation, which may take long."""
_SAVING_SHARE = 0.02
_REPORT_SECONDS = 0.2
ALL_EPOCHS = "all epochs done"
_STOPPED = "(`stop:`)"


@dataclass
class Progress:
    """How far a training is: `epoch` is the one that is under way, from 1, `batch` how many batches of it are done.

    `losses` is the sum of the losses of these, `before_s` the seconds that earlier runs spent on this epoch. `worse`
    counts epochs in a row that are not better, by `stop.least`, than the last that was: its score is `better_score`.
    `ended` is why no further epoch follows; empty while one does.
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    losses: float = 0.0
    rate: float = 0.0
    before_s: float = 0.0
    best: int = 0
    best_score: float = -math.inf
    best_loss: float = math.inf
    worse: int = 0
    better_score: float = -math.inf
    ended: str = ""
    plateau: Plateau = field(default_factory=Plateau)
    rows: list[EpochRow] = field(default_factory=list)

    @property
    def diverged(self) -> bool:
        """Whether it ended since numbers were not finite any more."""
        return bool(self.ended) and self.ended != ALL_EPOCHS and not self.ended.endswith(_STOPPED)

    def as_json(self) -> dict[str, Any]:
        """JSON has no infinity: text stands for it."""
        values = asdict(self)
        for of_values in (values, values["plateau"]):
            for key, value in of_values.items():
                if isinstance(value, float) and math.isinf(value):
                    of_values[key] = str(value)
        return values

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> Progress:
        """What `as_json` wrote."""
        given, plateau = dict(values), dict(values["plateau"])
        for of_values, names in ((given, ("best_score", "best_loss", "better_score")), (plateau, ("best",))):
            for name in names:
                of_values[name] = float(of_values[name])
        return cls(**{**given, "plateau": Plateau(**plateau), "rows": [EpochRow(**row) for row in given["rows"]]})


def train(job: Job, on_event: OnEvent) -> Progress:
    """Train, going on from what an earlier run of the same folder saved, and return how it went.

    The best epoch's weights lie in `best.safetensors` afterwards, under names that `detectors.read` takes, and, unless
    training diverged, those of the last step in `last.safetensors`. Equal settings, frames and seeds give equal weights
    on one machine with as many threads, however often the training was killed. Raises `UserError` where it came to
    nothing.
    """
    if (done := _ended(job.folder)) is not None:
        return done
    with _arithmetic(job):
        progress = _Training(job, on_event).run()
    write_json(job.folder / ENDED, progress.as_json())
    return progress


@contextmanager
def _arithmetic(job: Job) -> Iterator[None]:
    """Fixed algorithms where they are asked for, and as many threads as the job has; both as before afterwards."""
    import torch

    threads, was_strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    was_warning = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(job.threads)
    if job.recipe.deterministic:
        # Read when CUDA's matrix library is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with repeatable(tf32=True) if job.recipe.deterministic else nullcontext():
            yield
    finally:
        torch.use_deterministic_algorithms(was_strict, warn_only=was_warning)
        torch.set_num_threads(threads)


class _Training:
    """A training under way."""

    def __init__(self, job: Job, on_event: OnEvent) -> None:
        import numpy as np

        self.job, self.on_event = job, on_event
        self.work = f"training {job.name}"
        self.labels = np.array([frame.label for frame in job.validation], np.int64)
        self.learner = Learner(job)
        self.progress = self._restored() or Progress()
        self.board = logs.Board(job.folder, self.progress.rows, asked=job.recipe.tensorboard)
        self.saved_at, self.interval = time.monotonic(), SAVE_SECONDS
        self.told_at = 0.0

    def run(self) -> Progress:
        """Train to the end; `UserError` where no epoch came of it."""
        self._tell(0, force=True)
        try:
            while not self.progress.ended:
                with telling_of_workers():
                    self._epoch()
        finally:
            self.board.close()
        self._tell(0, force=True)
        if not self.progress.best:
            raise UserError(f"training {self.job.name} came to nothing: {self.progress.ended}")
        return self.progress

    # ------------------------------------------------------------------------------------ one epoch
    def _epoch(self) -> None:
        """The batches of an epoch that are not done yet, then its evaluation."""
        job, progress, began = self.job, self.progress, time.monotonic()
        read = batches(job.samples, job.plan, progress.epoch, progress.batch, job.workers, pinned=job.device == "cuda")
        for batch in read:
            progress.rate = job.recipe.optimizer.learning_rate * self._share()
            loss = self.learner.step(batch, progress.rate, progress.step)
            progress.step += 1
            progress.batch += 1
            progress.losses += loss
            if not math.isfinite(loss):
                progress.ended = self._diverged(f"the loss became {loss} at step {progress.step}")
                break
            self._tell(loss)
            self._save(time.monotonic() - began)
        if not progress.ended:
            self._save(time.monotonic() - began, after=min(self.interval, _BEFORE_EVALUATING))
            self._evaluate(progress.before_s + time.monotonic() - began)
        self._save(0.0, after=0.0)

    def _share(self) -> float:
        progress, recipe = self.progress, self.job.recipe
        return share_of_rate(progress.step, self.job.plan.steps, recipe.epochs, recipe.schedule, progress.plateau)

    def _evaluate(self, seconds: float) -> None:
        """Note how the epoch went, keep its weights where they are the best, and say whether another one follows."""
        import numpy as np

        progress, recipe = self.progress, self.job.recipe
        self.on_event(Event(self.work, 0, 0, "steps", f"evaluating epoch {progress.epoch}"))
        answers = self.learner.logit_diffs()
        if not np.isfinite(answers).all():
            progress.ended = self._diverged(f"answers were not finite after epoch {progress.epoch}")
            return
        metrics = dict(self.job.judge(self.labels, answers))
        score = selection.score_of(metrics, recipe.selection)
        row = EpochRow(
            progress.epoch, progress.step, progress.rate, progress.losses / max(1, progress.batch),
            mean_loss(answers, self.labels), metrics, score, seconds,
        )  # fmt: skip
        progress.rows.append(row)
        self._keep(row, answers)
        progress.plateau.see(score, recipe.schedule)
        progress.ended = self._why_ended(row)
        logs.write_history(self.job.folder, progress.rows)
        self.board.add(row)
        progress.epoch, progress.batch, progress.losses, progress.before_s = progress.epoch + 1, 0, 0.0, 0.0

    def _keep(self, row: EpochRow, answers: NDArray[np.float64]) -> None:
        """Write the checkpoints that are due after an epoch."""
        progress, recipe = self.progress, self.job.recipe
        if row.score > progress.better_score + (recipe.stop.least if recipe.stop else 0.0):
            progress.worse, progress.better_score = 0, row.score
        elif not recipe.stop or row.epoch > recipe.stop.after:
            progress.worse += 1
        if (row.score, -row.validation_loss) > (progress.best_score, -progress.best_loss):
            progress.best, progress.best_score, progress.best_loss = row.epoch, row.score, row.validation_loss
            self._write_answers(answers)
            self._write_checkpoint(BEST, row)
        if recipe.keep_every and row.epoch % recipe.keep_every == 0:
            self._write_checkpoint(f"epoch-{row.epoch:04d}", row)

    def _why_ended(self, row: EpochRow) -> str:
        recipe = self.job.recipe
        stopped = recipe.stop is not None and self.progress.worse >= recipe.stop.patience
        if row.epoch < recipe.epochs and not stopped:
            return ""
        self._write_checkpoint(LAST, row)
        if not stopped:
            return ALL_EPOCHS
        return f"no better in {self.progress.worse} epochs {_STOPPED}"

    def _diverged(self, what: str) -> str:
        bits = (
            "" if self.learner.precision == "fp32" else f", or set `precision: fp32` (it was {self.learner.precision})"
        )
        return f"{what}; use a learning_rate below {self.job.recipe.optimizer.learning_rate:.2g}{bits}"

    # ------------------------------------------------------------------------------------ files
    def _write_checkpoint(self, name: str, row: EpochRow) -> None:
        """Weights as `detectors.read` takes them, and beside them what is to be known of them.

        The JSON file comes first: weights never lie there without what they were trained on.
        """
        from bench.detectors.starting import as_checkpoint

        with self.learner.best_weights():
            tensors = as_checkpoint(self.learner.model, self.learner.model.state_dict())
        write_json(
            self.job.folder / f"{name}.json",
            {
                "format": FORMAT,
                **self.job.about,
                "flavour": self.learner.model.flavour,
                "epoch": asdict(row),
                "device": self.job.device,
                "threads": self.job.threads,
                "precision": self.learner.precision,
            },
        )
        # One entry: safetensors writes several in an order that changes from time to time.
        of_file = {"training": f"{self.job.name}, {self.learner.model.architecture}"}
        resuming.write_tensors(self.job.folder / f"{name}.safetensors", tensors, of_file)

    def _write_answers(self, answers: NDArray[np.float64]) -> None:
        """What the best epoch says of every validation frame."""
        rows = [
            (frame.path, frame.label, frame.source or "", repr(float(answer)))
            for frame, answer in zip(self.job.validation, answers, strict=True)
        ]
        write_text(self.job.folder / ANSWERS, as_csv([("frame", "label", "source", "logit_diff"), *rows]))

    def _save(self, seconds: float, *, after: float | None = None) -> None:
        """Save what going on needs, where the last was saved so many seconds ago: the interval, if not given."""
        began = time.monotonic()
        if began - self.saved_at < (self.interval if after is None else after):
            return
        tensors, rest = self.learner.state()
        progress = self.progress.as_json()
        progress["before_s"] += seconds
        name = f"{self.progress.step}-{self.progress.epoch}-{self.progress.batch}"
        resuming.save(self.job.folder / CHECKPOINTS, tensors, {**rest, "progress": progress}, name)
        self.saved_at = time.monotonic()
        self.interval = max(SAVE_SECONDS, (self.saved_at - began) / _SAVING_SHARE)

    def _restored(self) -> Progress | None:
        saved = resuming.load(self.job.folder / CHECKPOINTS)
        if saved is None:
            return None
        tensors, rest = saved
        self.learner.restore(tensors, rest)
        return Progress.of_json(rest["progress"])

    def _tell(self, loss: float, *, force: bool = False) -> None:
        """Say how far it is, a few times a second at most."""
        now = time.monotonic()
        if not force and now - self.told_at < _REPORT_SECONDS:
            return
        self.told_at, progress = now, self.progress
        total = progress.step if progress.ended else self.job.steps
        note = f"epoch {progress.epoch}/{self.job.recipe.epochs}, loss {loss:.3f}"
        if progress.rows:
            note += f", best score {progress.best_score:.3f}"
        self.on_event(Event(self.work, progress.step, max(1, total), "steps", "" if progress.ended else note))


def is_ended(folder: Path) -> bool:
    """Whether the training of a run's folder came to its end."""
    return (folder / ENDED).exists()


def steps_done(folder: Path) -> int:
    """The steps of the training in a run's folder that are saved; 0 where none is. `UserError` as `resuming.saved`."""
    saved = resuming.saved(folder / CHECKPOINTS)
    return int(saved["progress"]["step"]) if saved else 0


def _ended(folder: Path) -> Progress | None:
    """How a training went that came to its end; None while it has not, or where its state tells it too.

    `UserError` where its file is damaged, and nothing else tells.
    """
    file = folder / ENDED
    if not file.exists():
        return None
    try:
        return Progress.of_json(stored.read_json(file))
    except (OSError, ValueError, LookupError, TypeError) as error:
        if (folder / CHECKPOINTS).is_dir():
            return None
        raise UserError(f"{file}: {resuming.why_unreadable(error)}") from error
