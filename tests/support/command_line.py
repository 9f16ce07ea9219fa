"""Commands of `bench`, run in this process."""

from __future__ import annotations

from typer.testing import CliRunner

from bench import cli


def bench(*arguments: str) -> tuple[int, str]:
    """Run the command line in this process (where the tiny family is known): exit code and all output."""
    result = CliRunner().invoke(cli.app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output
