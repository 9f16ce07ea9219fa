"""MLflow: a run per variant below one of the experiment, and the chosen variant in the registry of models.

The store is an SQLite file or a server. MLflow's own store of plain files is not taken: it no longer works.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from bench.artifacts.onnx_tensors import read
from bench.errors import UserError, quoted, resolve_path, shown
from bench.files import make_folder
from bench.records import TensorShape, TrackedExperiment, TrackedModel, TrackedPrediction, TrackedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PACKAGES = ("mlflow", "sqlalchemy", "alembic")
EXTRA = "mlflow"
ENVIRONMENT, VARIABLE = "environment", "MLFLOW_TRACKING_URI"
ADDRESS = f"sqlite:///FILE, relative to the experiment file, the http address of a server, or {ENVIRONMENT}"

KEY, EXPERIMENT, ARTIFACT, PARENT = "bench.key", "bench.experiment", "bench.artifact", "mlflow.parentRunId"
"""Tags by which runs and models are found again."""
PREDICTIONS = "-predictions"
"""What the name of the experiment ends with that has the predictions of a service."""

_SQLITE, _MAGIC = "sqlite:///", b"SQLite format 3\0"
_ARTIFACTS = "-artifacts"
_PATIENCE_S = 1.0
_QUIET = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # Else each run on a server is two lines of standard output.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_MOST_TEXT = 5_000
"""Characters of a parameter or a tag: what every store takes."""


def address(text: str, base: Path) -> str:
    """An address with an absolute path, or a server's; for `environment` that of the variable, where it is set.

    Raises `UserError` for what MLflow cannot log to, and for passwords, which would stand in files and messages.
    """
    if text == ENVIRONMENT:
        return ENVIRONMENT
    parts = urlsplit(text)
    if parts.scheme in ("http", "https") and parts.hostname:
        if parts.username or parts.password:
            raise UserError(
                "mlflow: the address names a user or a password: leave these out, and set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD in the environment"
            )
        return text
    file = text.removeprefix(_SQLITE)
    if file == text or not file or file.endswith("/"):
        hint = "; MLflow's store of plain files no longer works: write sqlite:///mlruns.db" if _is_folder(text) else ""
        raise UserError(f"mlflow: expected {ADDRESS}; found {quoted(text)}{hint}")
    return f"{_SQLITE}{resolve_path(base.absolute(), file)}"


def _is_folder(text: str) -> bool:
    return text.startswith("file:") or "://" not in text


def _meant(address_: str) -> str:
    """The address itself, that of the variable for `environment`; `UserError` where the variable holds none."""
    if address_ != ENVIRONMENT:
        return address_
    text = os.environ.get(VARIABLE, "")
    if not text or text == ENVIRONMENT:
        raise UserError(f"mlflow: {ENVIRONMENT} means {VARIABLE}, which is not set; set it, or write the address here")
    try:
        return address(text, Path.cwd())
    except UserError as error:
        raise UserError(f"{VARIABLE}: {error}") from None


def _file(address_: str) -> Path | None:
    """The SQLite file of an address; None for a server's."""
    return Path(address_.removeprefix(_SQLITE)) if address_.startswith(_SQLITE) else None


def check(address_: str) -> None:
    """Raise `UserError` where the variable is not set, the file's folder is missing, or the file is no SQLite file."""
    file = _file(_meant(address_))
    if file is None:
        return
    if not file.parent.is_dir():
        raise UserError(f"mlflow: {file.parent}: there is no such folder; make it, or name another file")
    if not file.exists():
        return
    if not file.is_file():
        raise UserError(f"mlflow: {file}: is no file")
    with file.open("rb") as opened:
        begin = opened.read(len(_MAGIC))
    if begin and begin != _MAGIC:
        raise UserError(f"mlflow: {file}: is no SQLite file; name another one, it is made where there is none")


def unreachable(address_: str) -> str | None:
    """Why nothing can be logged there now; None where nothing is known against it."""
    address_ = _meant(address_)
    file = _file(address_)
    if file is None:
        return _no_answer(address_)
    changed = file if file.exists() else file.parent
    return None if os.access(changed, os.W_OK) else f"{changed}: is not writable"


def _no_answer(server: str) -> str | None:
    """Why a server does not answer; one that refuses whoever has not signed in is there."""
    try:
        with urlopen(Request(f"{server.rstrip('/')}/health"), timeout=_PATIENCE_S):
            return None
    except HTTPError as error:
        return None if error.code in (401, 403) else f"{server}: answers {error.code} to /health"
    except (OSError, ValueError) as error:
        return f"{server}: does not answer ({shown(str(getattr(error, 'reason', error)))})"


def holds(address_: str) -> bool:
    """Whether an SQLite file is still there; of a server nothing is asked."""
    file = _file(_meant(address_))
    return file is None or file.exists()


def log(address_: str, tracked: TrackedExperiment) -> None:
    """Log the experiment's run, below it a run a variant, and register the chosen variant's model."""
    with _client(address_) as client:
        home = _experiment(client, tracked.whole.name, _file(_meant(address_)))
        whole = _write(client, home, tracked.whole, {EXPERIMENT: tracked.whole.name})
        ids = {}
        for title, variant in tracked.variants.items():
            ids[title] = _write(client, home, variant, {EXPERIMENT: tracked.whole.name, PARENT: whole})
        if tracked.chosen is not None and tracked.model is not None:
            _register(client, tracked, ids[tracked.chosen])


def log_predictions(address_: str, experiment: str, predictions: Sequence[TrackedPrediction]) -> None:
    """Log each prediction as a run of the experiment's predictions."""
    with _client(address_) as client:
        home = _experiment(client, f"{experiment}{PREDICTIONS}", _file(_meant(address_)))
        for prediction in predictions:
            run = client.create_run(home, run_name=prediction.kind)
            _log_batch(client, run.info.run_id, prediction.named_metrics, prediction.parameters, {})
            client.set_terminated(run.info.run_id, "FINISHED")


@contextmanager
def _client(address_: str) -> Iterator[MlflowClient]:
    """MLflow's client of a store and of its registry, which sends nothing to anyone else."""
    # It sends statistics of use to its makers otherwise, from a thread that outlives this call.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    before = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update({name: value for name, value in _QUIET.items() if before[name] is None})
    try:
        from mlflow import MlflowClient

        meant = _meant(address_)
        yield MlflowClient(tracking_uri=meant, registry_uri=meant)
    finally:
        for name in (name for name, value in before.items() if value is None):
            os.environ.pop(name, None)


def _experiment(client: MlflowClient, name: str, file: Path | None) -> str:
    """The id of MLflow's experiment of this name; of an SQLite file, its artifacts lie beside that."""
    earlier = client.get_experiment_by_name(name)
    if earlier is not None:
        if earlier.lifecycle_stage == "deleted":
            client.restore_experiment(earlier.experiment_id)
        return str(earlier.experiment_id)
    if file is None:
        return str(client.create_experiment(name))
    folder = file.with_name(f"{file.stem}{_ARTIFACTS}")
    make_folder(folder)
    return str(client.create_experiment(name, artifact_location=(folder / name).as_uri()))


def _write(client: MlflowClient, experiment: str, tracked: TrackedRun, tags: Mapping[str, str]) -> str:
    """Log a run, or update the one of its key; returns its id."""
    earlier = client.search_runs([experiment], f"tags.`{KEY}` = '{tracked.key}'", max_results=1)
    run: Run = earlier[0] if earlier else client.create_run(experiment, run_name=tracked.name)
    run_id = str(run.info.run_id)
    # What stands there already is not logged again: MLflow keeps every value that a metric ever had.
    metrics = {name: value for name, value in tracked.metrics.items() if run.data.metrics.get(name) != value}
    parameters = {name: value for name, value in tracked.parameters.items() if name not in run.data.params}
    _log_batch(client, run_id, metrics, parameters, {**tracked.tags, **tags, KEY: tracked.key})
    for folder, files in tracked.artifacts.items():
        for file in files:
            client.log_artifact(run_id, str(file), folder or None)
    if tracked.reason:
        client.set_tag(run_id, "mlflow.note.content", tracked.reason[:_MOST_TEXT])
    client.set_terminated(run_id, "FAILED" if tracked.reason else "FINISHED")
    return run_id


def _log_batch(
    client: MlflowClient, run: str, metrics: Mapping[str, float], parameters: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    """Log numbers and texts of a run; texts are cut where a store would refuse them."""
    from mlflow.entities import Metric, Param, RunTag

    now_ms = int(time.time() * 1000)
    client.log_batch(
        run,
        metrics=[Metric(name, value, now_ms, 0) for name, value in metrics.items()],
        params=[Param(name, value[:_MOST_TEXT]) for name, value in parameters.items()],
        tags=[RunTag(name, value[:_MOST_TEXT]) for name, value in tags.items()],
    )


def _register(client: MlflowClient, tracked: TrackedExperiment, run: str) -> None:
    """Register the chosen variant's model as a version of the model called like the experiment, unless it is there."""
    from mlflow.exceptions import MlflowException

    name = tracked.whole.name
    try:
        client.create_registered_model(name, description=f"What bench chose to ship of the experiment {name}.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{name}'")
    version = next((each.version for each in versions if each.tags.get(ARTIFACT) == tracked.artifact), None)
    if version is None:
        assert tracked.model is not None
        with tracked.model() as model:
            source = _save(client, model, run)
        tags = {ARTIFACT: tracked.artifact, EXPERIMENT: name, "bench.variant": tracked.chosen}
        version = client.create_model_version(name, source, run, tags=tags).version
    client.set_registered_model_alias(name, "chosen", str(version))


def _save(client: MlflowClient, model: TrackedModel, run: str) -> str:
    """Log an ONNX file with its signature and what was handed over with it as artifacts of a run; returns where."""
    import mlflow.onnx
    from mlflow.models import ModelSignature

    signature = ModelSignature(_schema(model.inputs), _schema(model.outputs))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        saved = Path(folder) / "model"
        mlflow.onnx.save_model(
            read(model.path),
            str(saved),
            signature=signature,
            # Else MLflow starts a Python to look which libraries the model imports.
            pip_requirements=list(model.requirements),
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
            metadata={"sha256": model.digest},
        )
        client.log_artifacts(run, str(saved), "model")
        for file in model.beside:
            client.log_artifact(run, str(file), "model_card")
    return f"{client.get_run(run).info.artifact_uri}/model"


def _schema(tensors: Mapping[str, TensorShape]) -> Any:
    import numpy as np
    from mlflow.types import Schema, TensorSpec

    return Schema([TensorSpec(np.dtype(kind), sides, name) for name, (kind, sides) in tensors.items()])
