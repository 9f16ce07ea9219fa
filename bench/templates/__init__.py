"""Texts that `bench` writes for people to go on from."""

from __future__ import annotations

import json
from pathlib import Path

from bench.errors import UserError
from bench.files import write_text

HERE = Path(__file__).parent
WORKFLOW = Path(".github", "workflows", "bench.yml")


def write_workflow(folder: Path) -> list[Path]:
    """Write a GitHub workflow that runs `bench check`, and what `write_starter` writes where that is not there yet."""
    target = folder / WORKFLOW
    if target.exists():
        raise UserError(f"{target}: exists already; remove it, or compare it with docs/ci.md")
    written = [] if (folder / "experiments.yaml").exists() else write_starter(folder)
    write_text(target, (HERE / "github-workflow.yml").read_text(encoding="utf-8"))
    return [*written, target]


def write_starter(folder: Path) -> list[Path]:
    """Write a commented experiments.yaml into `folder`, where there is none, and bench's JSON Schema of it, anew."""
    from bench.schema import json_schema

    target, schema = folder / "experiments.yaml", folder / "experiments.schema.json"
    if target.exists():
        raise UserError(f"{target}: exists already; remove it or choose another folder")
    try:
        write_text(schema, json.dumps(json_schema(), indent=1) + "\n")
        write_text(target, (HERE / "experiments.yaml").read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error})") from error
    return [target, schema]
