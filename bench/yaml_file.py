"""YAML with line numbers: reading a file, and telling people where in it something is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from bench.errors import UserError, nearest

_EXPECTED = {
    "tuple_type": "expected a list of steps, such as [prune: 0.5, recover]",
    "model_type": "expected keys with values, such as {key: value}",
    "dict_type": "expected keys with values, such as {key: value}",
}


def read(path: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    """The file's mapping, and its tree of nodes with their lines."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; `bench init` writes a commented experiments.yaml") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a folder; expected a file, such as {path / 'experiments.yaml'}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_doubles(tree, path)
        found = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = str(error.problem or error.context)
        raise UserError(f"{path}{where}: not valid YAML: {problem}{_hint(problem)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if found is None:
        raise UserError(f"{path}: is empty; `bench init` in another folder writes a commented one to start from")
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected the keys detectors, datasets and experiments; found {type(found).__name__}")
    return found, tree


def explain(problem: Any, tree: yaml.Node | None, model: type[BaseModel]) -> str:
    """One of pydantic's problems with a file of `model`, as a person wants it: line, key, what is wrong."""
    location = [part for part in problem["loc"] if part not in ("[key]", "int", "literal['auto']")]
    key = ".".join(str(part) for part in location)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        known = _keys_beside(problem["loc"], model)
        message = f"unknown key{nearest(str(location[-1]), known)}; keys here are: {', '.join(known)}"
    elif problem["type"] == "missing":
        message = "is missing"
    elif problem["type"] != "value_error":
        message = f"{_EXPECTED.get(problem['type'], message)}, found {problem['input']!r}"[:400]
    named = re.match(r"variant '([^']+)'", message)
    line = _line(tree, [*location, named[1]] if named else location)
    return f"{f', line {line}' if line else ''}: {f'{key}: ' if key else ''}{message}"


def _keys_beside(location: Sequence[Any], model: type[BaseModel]) -> list[str]:
    """The keys that the model at this place of a file of `model` has."""
    parts = list(location)[:-1]
    while parts:
        part = parts.pop(0)
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if get_origin(annotation) is dict and parts:
            parts.pop(0)  # a name that the person chose
        for kind in (annotation, *get_args(annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return list(model.model_fields)


def _line(node: yaml.Node | None, location: list[Any]) -> int | None:
    """The line of the deepest key of `location` that the file has."""
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _refuse_doubles(node: yaml.Node | None, path: Path) -> None:
    """YAML silently keeps the last of two equal keys; a person meant both."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(
                    f"{path}, line {key.start_mark.line + 1}: a key must be a plain word, found a collection"
                )
            if key.value in seen:
                raise UserError(f"{path}, line {key.start_mark.line + 1}: the key {key.value!r} stands here twice")
            seen.add(key.value)
            _refuse_doubles(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_doubles(item, path)


def _hint(problem: str) -> str:
    if "escape character" in problem:
        return " (write regular expressions in single quotes)"
    return " (indent with spaces)" if "\\t" in problem else ""
