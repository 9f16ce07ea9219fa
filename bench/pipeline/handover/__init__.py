"""Hand over one variant: the measured artifact, what it is, and how to run it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import stored
from bench.errors import UserError, listed, nearest, on_one_line, quoted
from bench.files import advice, is_leftover, sweep, temporary_name
from bench.pipeline.render import judge
from bench.provenance import file_digest, version
from bench.records import Built, Judged, Run, VariantResult
from bench.reports.text import escape, plain
from bench.results import store
from bench.templates import HERE
from bench.variants import build

_LOWERED = "model.onnxruntime-cpu.onnx"
_HANDED_OVER = ("model.safetensors", "model.onnx", _LOWERED, "README.md", "predict.py")
_MOVED = "moved.json"
_OPENCV_FILTERS = {"bilinear": "INTER_LINEAR", "bicubic": "INTER_CUBIC", "area": "INTER_AREA"}


def export(base: Path, name: str, variant: str, to: Path) -> list[Path]:
    """Write the variant's model file, a README and a snippet that runs it into `to`; returns the paths."""
    run = store.read_run(base / "results" / name)
    known = {one.name: one for one in run.variants}
    if variant not in known:
        raise UserError(
            f"variant {quoted(variant)} has no results in this report{nearest(variant, known)}; those that have: "
            f"{listed(known)}. `bench run` evaluates what is missing"
        )
    found = known[variant]
    if found.status != "ok":
        first, *further = (found.reason or "").splitlines() or [""]
        raise UserError(f"variant {quoted(variant)} failed, there is nothing to hand over: {first}", *further)
    if not build.is_built(base / "variants", found.id):
        raise UserError(
            f"the artifact of {quoted(variant)} is gone from {base / 'variants'}; `bench run` builds it again"
        )
    if to.exists() and not _is_free(to):
        raise UserError(f"{to}: is not an empty folder; --to names a new or an empty one")
    built = build.read(base / "variants", found.id)
    build.check(built)
    compared = tuple(one for one in run.variants if one in (run.variants[0], found))
    judged = judge(replace(run, variants=compared), base / "results" / name).variants[variant]
    # Filled inside the target, so that a killed export is known by what it leaves, and can be made again.
    own = to / temporary_name()
    try:
        own.mkdir(parents=True)
        models = [Path(shutil.copy2(file, own / name)) for name, file in _models(built).items()]
        whole = [*models, *_explain(run, found, built, judged, own)]
        # Should this be killed while files take their places, the next export knows which of them are its own.
        (own / _MOVED).write_text(json.dumps({path.name: file_digest(path) for path in whole}), encoding="utf-8")
        return [path.replace(to / path.name) for path in whole]
    except OSError as error:
        raise UserError(advice(error) or f"{to}: cannot be written to ({error.strerror})") from error
    finally:
        sweep(to, held=True)


def _models(built: Built) -> dict[str, Path]:
    """The files that are handed over, by the name they get: the artifact, and what onnxruntime made of it on a CPU."""
    from bench.runtimes.onnxruntime import lowered_file

    found = {built.file.name: built.file}
    return found | ({_LOWERED: lowered_file(built)} if built.stored == "int8" else {})


def _is_free(to: Path) -> bool:
    """Whether the folder is empty but for what a killed export left, byte for byte."""
    if not to.is_dir():
        return False
    inside = list(to.iterdir())
    left = [path for path in inside if is_leftover(path)]
    moved = [pair for folder in left for pair in _moved(folder)]
    return all(_is_one_of(path, moved) for path in inside if path not in left)


def _moved(left: Path) -> list[tuple[str, str]]:
    """Names and digests of the files that a killed export was about to move from its folder."""
    try:
        names = stored.read_json(left / _MOVED, links=False)
        return [(name, str(names[name])) for name in _HANDED_OVER if name in names]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _is_one_of(path: Path, files: list[tuple[str, str]]) -> bool:
    known = [digest for name, digest in files if name == path.name]
    return bool(known) and path.is_file() and not path.is_symlink() and file_digest(path) in known


def _on_one_line(value: object) -> object:
    return on_one_line(value) if isinstance(value, str) else value


def _literal(value: str | int) -> str:
    """Data in Python code: text in quotes, with every quote, backslash and line break in it escaped."""
    return json.dumps(value)


def _code(value: object) -> str:
    """Data in a code span of Markdown, which a backtick would end."""
    return f"`{plain(value).replace('`', chr(39))}`"


def _explain(run: Run, found: VariantResult, built: Built, judged: Judged, to: Path) -> list[Path]:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment: Any = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        finalize=_on_one_line,
    )
    environment.filters.update(text=escape, code=_code, literal=_literal)
    assert run.preprocessing is not None
    facts = {
        "run": run,
        "variant": found,
        "built": built,
        "lowered": _LOWERED if built.stored == "int8" else None,
        "judged": judged,
        "verdict": judged.comparison.verdict if judged.comparison else "baseline",
        "spec": run.preprocessing.input_spec,
        "size_mib": built.size_bytes / 2**20,
        "filter": _OPENCV_FILTERS[run.preprocessing.interpolation],
        "version": version("bench"),
    }
    written = []
    for template, target in (("handover.md.j2", "README.md"), (f"predict_{built.kind}.py.j2", "predict.py")):
        path = to / target
        path.write_text(environment.get_template(template).render(**facts), encoding="utf-8")
        written.append(path)
    return written
