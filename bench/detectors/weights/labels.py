"""What a `config.json` beside a file of weights calls the classes, as Hugging Face's transformers writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import stored
from bench.errors import listed, shown

_FILE, _KEY = "config.json", "id2label"


def labels_beside(weights: Path) -> str:
    """As "config.json beside it calls class 0 Real and class 1 Fake"; empty where nothing does."""
    try:
        content: Any = stored.read_json(weights.parent / _FILE, stored.MIB)
    except (OSError, ValueError):
        return ""
    labels = content.get(_KEY) if isinstance(content, dict) else None
    if not isinstance(labels, dict) or not labels:
        return ""
    classes = [f"class {shown(str(index))} {shown(str(label))}" for index, label in labels.items()]
    return f"{_FILE} beside it calls {listed(classes, 4)}"
