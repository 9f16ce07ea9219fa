"""`bench init`: the files that people start from."""

from __future__ import annotations

import json
from pathlib import Path

from bench.errors import UserError
from bench.files import write_text

TEMPLATES = Path(__file__).parent
IGNORED = ".gitignore"
WORKFLOW = Path(".github", "workflows", "bench.yml")


def write_workflow(folder: Path) -> list[Path]:
    """Write a GitHub workflow that runs `bench check`, and where they are not there yet, .gitignore and the starter."""
    target = folder / WORKFLOW
    if target.exists():
        raise UserError(f"{target}: exists already; remove it, or compare it with docs/ci.md")
    written = [] if (folder / "experiments.yaml").exists() else write_starter(folder)
    write_text(target, (TEMPLATES / "github-workflow.yml").read_text(encoding="utf-8"))
    if not (folder / IGNORED).exists():
        write_text(folder / IGNORED, _ignored())
        written.append(folder / IGNORED)
    return [*written, target]


def not_ignored(folder: Path) -> list[str]:
    """The lines that a .gitignore beside the workflow lacks; a file that is the user's is not changed."""
    lines = (folder / IGNORED).read_text(encoding="utf-8", errors="replace").splitlines()
    present = {line.strip().strip("/") for line in lines}
    return [line for line in _ignored().splitlines() if not line.startswith("#") and line.strip("/") not in present]


def _ignored() -> str:
    return (TEMPLATES / "gitignore").read_text(encoding="utf-8")


def write_starter(folder: Path) -> list[Path]:
    """Write a commented experiments.yaml into `folder`, where there is none, and bench's JSON Schema of it, anew."""
    from bench.schema import json_schema

    target, schema = folder / "experiments.yaml", folder / "experiments.schema.json"
    if target.exists():
        raise UserError(f"{target}: exists already; remove it or choose another folder")
    try:
        write_text(schema, json.dumps(json_schema(), indent=1) + "\n")
        write_text(target, (TEMPLATES / "experiments.yaml").read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error})") from error
    return [target, schema]
