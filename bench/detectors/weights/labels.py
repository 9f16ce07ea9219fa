"""What a file of weights, or a `config.json` beside it, calls the classes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import stored
from bench.errors import listed, shown
from bench.records import CLASSES, ClassName, meaning

_FILE = "config.json"
_BY_INDEX = ("id2label", "idx_to_class", "idx2class", "index_to_class")
_BY_NAME = ("class_to_idx", "class2idx", "label2id", "class_to_index")
_IN_ORDER = ("classes", "class_names", "label_names", "class_labels")
KEYS = frozenset((*_BY_INDEX, *_BY_NAME, *_IN_ORDER))
_LONGEST = 80


@dataclass(frozen=True)
class Stated:
    """What class 0 and class 1 are called, and `where`: "class_to_idx in it"."""

    where: str
    names: tuple[str, str]

    @property
    def classes(self) -> tuple[ClassName, ClassName] | None:
        """What the names mean in this field; None where they mean nothing, or the same."""
        first, second = (meaning(name) for name in self.names)
        if first is None or second is None or first == second:
            return None
        return CLASSES[first], CLASSES[second]

    @property
    def words(self) -> str:
        first, second = map(shown, self.names)
        return f"{self.where} calls class 0 {first} and class 1 {second}"


def stated(key: str, value: Any, where: str) -> Stated | None:
    """What an entry of a dictionary says of the two classes; None where it says nothing of them."""
    if isinstance(value, str) and value[:1] in "{[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    by_index: Mapping[Any, Any] = {}
    if key in _IN_ORDER and isinstance(value, (list, tuple)):
        by_index = dict(enumerate(value))
    elif key in _BY_INDEX and isinstance(value, dict):
        by_index = value
    elif key in _BY_NAME and isinstance(value, dict):
        by_index = {str(index): name for name, index in value.items()}
    names = {str(index): name for index, name in by_index.items()}
    if names.keys() != {"0", "1"} or not all(isinstance(n, str) and len(n) <= _LONGEST for n in names.values()):
        return None
    return Stated(f"{key} in {where}", (names["0"], names["1"]))


def stated_beside(weights: Path) -> Iterator[Stated]:
    """What the `config.json` beside a file says, as Hugging Face's transformers and timm write it."""
    try:
        content: Any = stored.read_json(weights.parent / _FILE, stored.MIB)
    except (OSError, ValueError):
        return
    inside = content.get("pretrained_cfg") if isinstance(content, dict) else None
    for settings in (content, inside):
        for key, value in settings.items() if isinstance(settings, dict) else ():
            if key in KEYS and (statement := stated(key, value, f"{_FILE} beside it")):
                yield statement


def labels_beside(weights: Path) -> str:
    """As "config.json beside it calls class 0 Real and class 1 Fake"; empty where nothing does."""
    try:
        content: Any = stored.read_json(weights.parent / _FILE, stored.MIB)
    except (OSError, ValueError):
        return ""
    labels = content.get("id2label") if isinstance(content, dict) else None
    if not isinstance(labels, dict) or not labels:
        return ""
    classes = [f"class {shown(str(index))} {shown(str(label))}" for index, label in labels.items()]
    return f"{_FILE} beside it calls {listed(classes, 4)}"
