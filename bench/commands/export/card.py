"""The head of an export's README, by which it is a model card of Hugging Face: metadata in YAML for its readers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from bench.errors import UserError, on_one_line, quoted
from bench.records import Built, RunRecord, ScoresFile

METRICS = {
    "auc": ("roc_auc", "ROC AUC"),
    "average_precision": ("average_precision", "Average precision"),
    "accuracy": ("accuracy", "Accuracy"),
    "precision": ("precision", "Precision"),
    "recall": ("recall", "Recall"),
    "f1": ("f1", "F1"),
    "brier": ("brier_score", "Brier score"),
}
"""Keys of scores.json, with the type and the name of the metric on Hugging Face."""
_AT_THRESHOLD = ("accuracy", "precision", "recall", "f1")

_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_MODEL = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


@dataclass(frozen=True)
class Claims:
    """What only the owner of a detector can say for its model card: its license, and which model it was made from."""

    license: str | None = None
    base_model: str | None = None

    def check(self) -> None:
        """Raise `UserError` where Hugging Face would take one for none."""
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            raise UserError(
                f"--license: {quoted(self.license)} is no identifier; expected one such as apache-2.0, cc-by-nc-4.0, "
                "or other"
            )
        if self.base_model is not None and not _MODEL.fullmatch(self.base_model):
            raise UserError(
                f"--base-model: {quoted(self.base_model)} is no name of a model on Hugging Face; expected one such as "
                "timm/tf_efficientnet_b5.ns_jft_in1k"
            )


NO_CLAIMS = Claims()


def front_matter(run: RunRecord, built: Built, numbers: ScoresFile, variant: str, claims: Claims, model: str) -> str:
    """YAML between two lines of dashes; `model` is the file that is run, and decides the library."""
    library = "onnx" if model.endswith(".onnx") else "pytorch"
    metadata: dict[str, Any] = {"library_name": library, "pipeline_tag": "image-classification"}
    if claims.license is not None:
        metadata["license"] = claims.license.lower()
    if claims.base_model is not None:
        metadata["base_model"] = claims.base_model
    tags = ["deepfake-detection", "image-classification", library, _plain(run.architecture), built.stored]
    metadata["tags"] = list(dict.fromkeys([*tags, "bench"]))
    results = _results(run, numbers, variant)
    metadata["metrics"] = [metric["type"] for metric in results[0]["metrics"]] if results else []
    metadata["model-index"] = [{"name": _plain(f"{run.experiment}-{variant}"), "results": results}]
    text = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{text}---\n"


def _results(run: RunRecord, numbers: ScoresFile, variant: str) -> list[dict[str, Any]]:
    """The measured values, of frames or videos as these are judged; none where there is no AUC."""
    judged, by = numbers.judged[variant], "" if numbers.judge == "frame" else " per video"
    metrics = []
    for key, (kind, name) in METRICS.items():
        value = getattr(judged, key)
        if value is not None:
            at = f" at P(fake) ≥ {numbers.threshold:g}" if key in _AT_THRESHOLD else ""
            metrics.append({"type": kind, "value": value, "name": f"{name}{by}{at}"})
    if not metrics:
        return []
    test = run.frames["test"]
    dataset = {
        "type": "imagefolder",
        "name": _plain(run.frame_set or test.root),
        "split": "test",
        "args": {"frames": test.count, "fake": test.fake, "real": test.real, "sha256": test.digest},
    }
    task = {"type": "image-classification", "name": "Deepfake detection"}
    return [{"task": task, "dataset": dataset, "metrics": metrics}]


def _plain(text: str) -> str:
    return on_one_line(text)[:200]
