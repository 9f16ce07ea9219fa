"""How many files a reader opens to follow `bench run` from the command to the report: `python tools/spine.py`.

The walk visits the stops of a run, the functions in which its work is done, in their order. A file counts where it
holds a stop, or where the shortest chain of imports from the files before leads through it to the next stop.

- Imports inside functions count; those for type checkers alone do not.
- Where a package only passes on a name that another file defines, the chain goes straight to that file.
- Steps, runtimes and families are loaded by name: from their package, the chain goes on to the one in `CHOICES`.
- `records/` defines what the stops pass to each other. Its modules are looked up, not walked through, and are counted
  apart: those whose names the counted files import.

Beyond a step's entry, every file below `variants/` counts that the entry imports, directly or through others, but for
the contract of steps: those in the step's folder, and those that it shares with other steps.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHOICES = {
    "bench.variants.steps": "bench.variants.steps.prune",
    "bench.runtimes": "bench.runtimes.pytorch",
    "bench.detectors.families": "bench.detectors.families.efficientnet",
}
STOPS = (
    "bench.cli.experiments:run",
    "bench.experiment:read",
    "bench.pipeline:run",
    "bench.pipeline.prepare:prepare",
    "bench.datasets.loading:read",
    "bench.pipeline.build:build_variants",
    "bench.variants.build:build",
    "bench.detectors.detector:Detector",
    "bench.variants.steps.prune:apply",
    "bench.pipeline.evaluate:evaluate_variants",
    "bench.runtimes.pytorch:load",
    "bench.datasets.decoding:read_batches",
    "bench.results.predict:predict",
    "bench.pipeline.time:time_variants",
    "bench.results.timing:measure",
    "bench.results.store:write_run",
    "bench.pipeline.render:report",
    "bench.results.score.evaluate:evaluate",
    "bench.reports.render:render",
)
ENTRIES = ("bench.variants.steps.cast", "bench.variants.steps.prune", "bench.variants.steps.recover",
           "bench.variants.steps.quantize")  # fmt: skip
TARGET, TARGET_BEYOND_ENTRY = 20, 4


@dataclass
class Walk:
    """The files opened so far, in their order."""

    modules: list[str] = field(default_factory=list)

    def to(self, stop: str) -> None:
        """Open the files on the shortest chain of imports from those that are open to a stop."""
        target, name = stop.split(":")
        if name not in defined(target):
            sys.exit(f"{target}: defines no {name}; a stop of tools/spine.py has moved")
        if not self.modules:
            self.modules.append(target)
        for module in _chain(self.modules, target):
            if module not in self.modules:
                self.modules.append(module)


def _chain(sources: Sequence[str], target: str) -> list[str]:
    """The modules from any source to the target by the fewest imports, both ends among them."""
    chains, seen = [[source] for source in sources], set(sources)
    for chain in chains:
        if chain[-1] == target:
            return chain
        for module in sorted(imported(chain[-1]) - seen):
            seen.add(module)
            chains.append([*chain, module])
    sys.exit(f"{target}: nothing that is open imports it")


@cache
def file_of(module: str) -> Path | None:
    """The source of a module or package of bench; None where there is none."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def tree(module: str) -> ast.Module:
    file = file_of(module)
    assert file is not None
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def defined(module: str) -> frozenset[str]:
    """The functions and classes that a module defines itself."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return frozenset(node.name for node in tree(module).body if isinstance(node, kinds))


@cache
def imported(module: str) -> frozenset[str]:
    """The modules of bench that a module uses names of."""
    used = set()
    bound: dict[str, str] = {}
    for package, name, alias in _imports(tree(module)):
        whole = f"{package}.{name}" if name else package
        if file_of(whole):
            bound[alias] = whole
        else:
            used.add(origin(package, name))
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound:
            used.add(origin(bound[node.value.id], node.attr))
        elif isinstance(node, ast.Name) and node.id in bound and not _is_package(bound[node.id]):
            used.add(bound[node.id])
    if module in CHOICES:
        used.add(CHOICES[module])
    return frozenset(used - {module})


@cache
def origin(module: str, name: str) -> str:
    """The module that defines a name which may be passed on by the one that it is imported from."""
    if file_of(f"{module}.{name}"):
        return f"{module}.{name}"
    for package, passed_on, alias in _imports(tree(module)):
        if alias == name:
            return origin(package, passed_on)
    return module


def _is_package(module: str) -> bool:
    file = file_of(module)
    return file is not None and file.name == "__init__.py"


def _imports(node: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Each name of bench that is imported below a node: its module, its name there, its name here."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "bench":
        yield from ((str(node.module), alias.name, alias.asname or alias.name) for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def spine() -> list[str]:
    walk = Walk()
    for stop in STOPS:
        walk.to(stop)
    return walk.modules


def records(modules: Iterable[str]) -> list[str]:
    """The modules of records/ that others use names of."""
    return sorted({used for module in modules for used in imported(module) if used.startswith("bench.records")})


def beyond(entry: str) -> list[str]:
    """The files below variants/ that a step's entry imports, directly or through others, but for the contract."""
    opened = [entry]
    for module in opened:
        below = {used for used in imported(module) if used.startswith("bench.variants.")} - {"bench.variants.steps"}
        opened += sorted(below - set(opened))
    return opened[1:]


def main() -> None:
    run = spine()
    _print(f"`bench run`: {len(run)} files (target: at most {TARGET})", run)
    _print("records that they use, beside those", records(run))
    for entry in ENTRIES:
        files = beyond(entry)
        inside = sum(module.startswith(f"{entry}.") for module in files)
        _print(f"beyond {entry}: {len(files)}, of these in its folder {inside} (target: {TARGET_BEYOND_ENTRY})", files)


def _print(title: str, modules: Sequence[str]) -> None:
    print(title)
    for module in modules:
        file = file_of(module)
        assert file is not None
        print(f"  {file.relative_to(ROOT)}  {len(file.read_text(encoding='utf-8').splitlines())} lines")


if __name__ == "__main__":
    main()
