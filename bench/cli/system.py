"""Commands that say what bench and this machine have: schema, list, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import console
from bench.cli.app import app
from bench.console import guarded
from bench.progress import Bars


@app.command()
@guarded
def schema() -> None:
    """Print the JSON Schema of experiments.yaml, for editors."""
    import json

    from bench.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=1))


@app.command(name="list")
@guarded
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="detectors, presets, steps, runtimes, layouts, crops or finders; all if left out."),
    ] = None,
) -> None:
    """List what an experiment can be made of: detectors, presets, steps, runtimes, layouts, crops, face finders."""
    from bench.commands.list import catalogue

    console.say(catalogue(kind))


@app.command()
@guarded
def doctor() -> None:
    """Check whether this machine and this installation can run experiments, and say what to mend."""
    with Bars("checking") as bars:
        from bench.commands.doctor import describe, examine, is_well

        findings = examine(Path.cwd(), lambda check: bars.now(f"checking {check}"))
    console.say(describe(findings))
    if not is_well(findings):
        raise typer.Exit(console.EXIT_BAD_INPUT)
