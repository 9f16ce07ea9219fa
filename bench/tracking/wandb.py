"""Weights & Biases, offline: a run per variant in the group of its experiment, in files that `wandb sync` can send.

bench itself sends nothing there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import UserError, quoted
from bench.records import TrackedExperiment, TrackedPrediction, TrackedRun

PACKAGES = ("wandb",)
EXTRA = "wandb"
OFFLINE = "offline"
ADDRESS = f"{OFFLINE}: runs are written to wandb/ beside the experiment file, and `wandb sync` sends them"

_QUIET = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_DISABLE_GIT": "true", "WANDB_MODE": OFFLINE}
_FOLDER = "wandb"
_PREDICTIONS = "predictions"
_OF_SERVICES: dict[tuple[str, str], Any] = {}
"""The open run of predictions, by address and experiment: a service logs every few seconds."""


def address(text: str, base: Path) -> str:
    """The folder beside which runs are written; `UserError` for anything but `offline`."""
    if text != OFFLINE:
        raise UserError(f"wandb: expected {ADDRESS}; found {quoted(text)}")
    return str(base.absolute())


def check(address_: str) -> None:
    """Raise `UserError` where a file is in the way."""
    folder = Path(address_) / _FOLDER
    if folder.exists() and not folder.is_dir():
        raise UserError(f"wandb: {folder}: is a file, and runs are written to a folder there; move it away")


def unreachable(address_: str) -> str | None:
    """Why nothing can be written there now; None where nothing is known against it."""
    folder = Path(address_) / _FOLDER
    return None if os.access(folder if folder.exists() else address_, os.W_OK) else f"{folder}: is not writable"


def holds(address_: str) -> bool:
    """Whether there is still a folder of runs."""
    return (Path(address_) / _FOLDER).is_dir()


def log(address_: str, tracked: TrackedExperiment) -> None:
    """Write the experiment's run and one of each variant; earlier ones of the same keys are replaced."""
    project = tracked.whole.name
    for title, run in (("", tracked.whole), *tracked.variants.items()):
        _replace(Path(address_), run.key)
        config = {**run.parameters, **{name: value for name, value in run.tags.items() if value}}
        kind = "variant" if title else "experiment"
        with _run(address_, project=project, group=project, job_type=kind, id=run.key, name=run.name) as opened:
            opened.config.update(config)
            opened.summary.update(dict(run.metrics))
            _add_files(opened, run, f"{kind}-{run.key}")
            if title and title == tracked.chosen and tracked.model is not None:
                _add_model(opened, tracked)
            opened.finish(exit_code=1 if run.reason else 0)


def log_predictions(address_: str, experiment: str, predictions: Sequence[TrackedPrediction]) -> None:
    """Write predictions as steps of one run, that of this process, which wandb finishes when the process ends."""
    key = address_, experiment
    if key not in _OF_SERVICES:
        with _run(address_, project=experiment, group=_PREDICTIONS, job_type=_PREDICTIONS) as opened:
            _OF_SERVICES[key] = opened
    for prediction in predictions:
        _OF_SERVICES[key].log({**prediction.named_metrics, **prediction.parameters})


@contextmanager
def _run(address_: str, **how: Any) -> Iterator[Any]:
    """A run that is written to files alone, without what wandb gathers of the machine, the code and the console."""
    before = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update(_QUIET)
    try:
        import wandb

        settings = wandb.Settings(
            console="off", disable_code=True, disable_git=True, save_code=False, silent=True, x_disable_stats=True,
            x_disable_meta=True, x_disable_machine_info=True,
        )  # fmt: skip
        opened = wandb.init(dir=address_, mode="offline", settings=settings, reinit="finish_previous", **how)
        try:
            yield opened
        except BaseException:
            opened.finish(exit_code=1)
            raise
    finally:
        _restore(before)


def _restore(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _replace(base: Path, key: str) -> None:
    """Remove what an earlier call wrote of the run of this key: folders that hold that run's file and no other."""
    for folder in (base / _FOLDER).glob(f"offline-run-*-{key}"):
        if (folder / f"run-{key}.wandb").is_file() and not folder.is_symlink():
            shutil.rmtree(folder)


def _add_files(opened: Any, run: TrackedRun, name: str) -> None:
    """Add the run's files as one artifact, in their folders."""
    if not any(run.artifacts.values()):
        return
    import wandb

    artifact = wandb.Artifact(name, type="report")
    for folder, files in run.artifacts.items():
        for file in files:
            artifact.add_file(str(file), name=f"{folder}/{file.name}" if folder else file.name)
    opened.log_artifact(artifact)


def _add_model(opened: Any, tracked: TrackedExperiment) -> None:
    """Add the chosen variant's ONNX file, with what it takes and gives, and what it is handed over with."""
    import wandb

    assert tracked.model is not None
    with tracked.model() as model:
        tensors = {"inputs": dict(model.inputs), "outputs": dict(model.outputs), "sha256": model.digest}
        artifact = wandb.Artifact(f"{tracked.whole.name}-model", type="model", metadata=tensors)
        for file in (model.path, *model.beside):
            # Copied into wandb's own folder at once: the file goes with its context.
            artifact.add_file(str(file), name=file.name, policy="mutable")
        opened.log_artifact(artifact)
