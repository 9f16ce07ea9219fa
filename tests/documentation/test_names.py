"""Names say what things are: the words that could stand for anything are no names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

EMPTY_WORDS = {
    "found", "told", "one", "own", "said", "known", "some", "kept", "there", "here", "wanted", "place", "places",
    "mine", "theirs",
}  # fmt: skip
LINES_WITHOUT_DOCSTRING = 12
"""A function with at least so many lines has a docstring."""
PROGRAM = [path for folder in ("bench", "tools", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
CODE = [*PROGRAM, *sorted((ROOT / "tests").rglob("*.py"))]


def bindings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that is bound in a module, with its line: variables, parameters, attributes, functions, classes."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.arg():
                yield node.lineno, node.arg
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield node.lineno, name


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_say_what_things_are(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    empty = [f"line {line}: {name}" for line, name in bindings(tree) if name.strip("_").lower() in EMPTY_WORDS]
    assert empty == []


@pytest.mark.parametrize("path", PROGRAM, ids=lambda path: str(path.relative_to(ROOT)))
def test_longer_functions_have_a_docstring(path: Path) -> None:
    functions = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
    ]
    lines = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions if not ast.get_docstring(node)}
    assert {name: count for name, count in lines.items() if count >= LINES_WITHOUT_DOCSTRING} == {}
