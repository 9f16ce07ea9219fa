"""YAML with line numbers: reading a file, and telling people where in it something is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from bench.errors import UserError, in_yaml, is_unicode, nearest, problem_text, quoted, shown

# A file that one person wrote is a hundredth of this.
_MOST_BYTES, _MOST_NODES, _MOST_CHARACTERS = 2**20, 20_000, 3_000


def read(path: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    """The file's mapping, and its tree of nodes with their lines."""
    text = _text(path)
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is not None:
            _size(tree, path, {})
        _refuse_doubles(tree, path)
        content = yaml.safe_load(text)
    except RecursionError as error:
        raise UserError(f"{path}: is nested far too deep for an experiment file") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = str(error.problem or error.context)
        raise UserError(f"{path}{where}: not valid YAML: {shown(problem)}{_hint(problem)}") from error
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # Tags such as !!timestamp and !!int fail in many ways on values that are none.
        raise UserError(f"{path}: not valid YAML: {shown(str(error))}") from error
    if content is None:
        raise UserError(f"{path}: is empty; `bench init` in another folder writes a commented one to start from")
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: expected the keys detectors, datasets and experiments; found {type(content).__name__}"
        )
    return content, tree


def location_of(path: Path, *keys: str | int) -> str:
    """Where in the file the key stands, "experiments.yaml, line 7: datasets.faces", for messages.

    A number is a place in a list: the line is that of the entry, and what is said ends at the list's key.
    """
    try:
        line = _line(yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader), list(keys))
    except (OSError, ValueError, yaml.YAMLError):
        line = None
    return f"{path}{f', line {line}' if line else ''}: {_spelled(keys)}"


def _text(path: Path) -> str:
    """The file as text; `UserError` where it is no file, far too long, or not UTF-8."""
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; expected a file, such as {path / 'experiments.yaml'}")
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is a device or a pipe; expected a file")
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path}: is {path.stat().st_size:,} bytes long; an experiment file has a few thousand")
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path}: no such file; `bench init` writes a commented experiments.yaml") from error
    except UnicodeDecodeError as error:
        where = f"{error.reason} at byte {error.start}"
        raise UserError(f"{path}: is not UTF-8 text ({where}); save it as UTF-8") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def explain(problem: Any, tree: yaml.Node | None, model: type[BaseModel]) -> str:
    """One of pydantic's problems with a file of `model`, as a person wants it: line, key, what is wrong."""
    location = [part for part in problem["loc"] if part not in ("[key]", "int", "literal['auto']")]
    key, message = _spelled(location), problem_text(problem)
    if problem["type"] == "extra_forbidden":
        keys = _keys_beside(problem["loc"], model)
        message = f"unknown key{nearest(str(location[-1]), keys)}; keys here are: {', '.join(keys)}"
    line = _line(tree, location)
    return f"{f', line {line}' if line else ''}: {f'{key}: ' if key else ''}{message}"


def meant(problem: Any, model: type[BaseModel]) -> tuple[Any, ...]:
    """The place of the known key that an unknown one probably is; () where it is none."""
    if problem["type"] != "extra_forbidden":
        return ()
    *above, key = problem["loc"]
    hint = nearest(str(key), _keys_beside(problem["loc"], model))
    return (*above, hint.split("'")[1]) if hint else ()


def _spelled(location: Sequence[Any]) -> str:
    """Keys with points between them; which entry of a list it is, the line tells."""
    parts = [part if isinstance(part, str) else in_yaml(part) for part in location if type(part) is not int]
    return ".".join(shown(part, 80) for part in parts)


def _keys_beside(location: Sequence[Any], model: type[BaseModel]) -> list[str]:
    """The keys that the model at this place of a file of `model` has."""
    parts = list(location)[:-1]
    while parts:
        part = parts.pop(0)
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if get_origin(annotation) is dict and parts:
            parts.pop(0)  # a name that the person chose
        for kind in _models(annotation):
            model = kind
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation allows, however deep they stand in it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


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


def _size(node: yaml.Node, path: Path, sizes: dict[int, int]) -> int:
    """How many entries the node has with its aliases written out; `sizes` holds 0 for those that it stands in.

    Raises `UserError` for what never ends, for what grows without end, and for texts that fit nowhere.
    """
    where = f"{path}, line {node.start_mark.line + 1}"
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > _MOST_CHARACTERS or "\0" in node.value or not is_unicode(node.value):
            raise UserError(
                f"{where}: a value of {len(node.value):,} characters, {node.value[:40]!r} …; "
                f"expected at most {_MOST_CHARACTERS:,}, all of them text"
            )
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = 0
        inside = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        sizes[id(node)] = 1 + sum(_size(part, path, sizes) for part in inside)
    if sizes[id(node)] == 0:
        raise UserError(f"{where}: an alias stands within what it stands for; write it out")
    if sizes[id(node)] > _MOST_NODES:
        raise UserError(f"{where}: more than {_MOST_NODES:,} entries with its aliases written out")
    return sizes[id(node)]


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
                raise UserError(
                    f"{path}, line {key.start_mark.line + 1}: the key {quoted(key.value)} stands here twice"
                )
            seen.add(key.value)
            _refuse_doubles(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_doubles(item, path)


def _hint(problem: str) -> str:
    if "escape character" in problem:
        return " (write regular expressions in single quotes)"
    return " (indent with spaces)" if "\\t" in problem else ""
