"""The command line: each command with its options and what it prints.

A module for the commands of each kind, in the order in which `bench --help` lists them; `app` has what they share.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bench import console, interrupts, streams
from bench.cli import experiments, frames, handover, scores, system
from bench.cli.app import app
from bench.console import DEFAULT_FILE
from bench.safe_path import protect

__all__ = ["app", "experiments", "frames", "handover", "main", "scores", "system"]


def _version(asked: bool) -> None:
    if asked:
        from bench.provenance import version

        console.say(f"bench {version('bench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Run the command line, and exit with the command's code, even where its output could not be written."""
    protect()
    streams.guard()
    interrupts.catch()
    try:
        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except (Exception, KeyboardInterrupt) as error:
        code = console.exit_code(error, DEFAULT_FILE)
    else:
        code = 0
    sys.exit(streams.ended(code))
