"""Commands of `bench`, run in this process."""

from __future__ import annotations

from functools import cache

from typer import testing

from bench import cli

# It builds the whole command line anew for each call otherwise, which takes 40 ms; typer offers no other way in.
testing._get_command = cache(testing._get_command)  # type: ignore[attr-defined]


def bench(*arguments: str) -> tuple[int, str]:
    """Run the command line in this process (where the tiny family is known): exit code and all output."""
    result = testing.CliRunner().invoke(cli.app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output
