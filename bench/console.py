"""What commands print, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bench import interrupts
from bench.errors import UserError, on_one_line
from bench.files import advice
from bench.ink import harmless, painted

if TYPE_CHECKING:
    from bench.pipeline.finished import Finished, Together

EXIT_GATE_FELL, EXIT_BAD_INPUT, EXIT_VARIANT_FAILED, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 3, 70, 130
DEFAULT_FILE = Path("experiments.yaml")


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """A command that ends with a message and an exit code, whatever it raises."""

    @wraps(command)
    def run_guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            sys.exit(exit_code(error, kwargs.get("file", DEFAULT_FILE)))

    return run_guarded


def exit_code(error: BaseException, file: Path) -> int:
    """Print what ended the command, and return its exit code; `file` is the experiment file."""
    if isinstance(error, KeyboardInterrupt) or interrupts.interrupted.is_set():
        done = str(error) if isinstance(error, KeyboardInterrupt) else ""
        say(f"interrupted; {done or 'what is finished is kept, the same command goes on from there'}", err=True)
        return EXIT_INTERRUPTED
    if isinstance(error, UserError):
        say(f"error: {error}", err=True)
        return EXIT_BAD_INPUT
    if isinstance(error, OSError) and (hint := advice(error) or _missing_folder(file)):
        say(f"error: {on_one_line(hint)}", err=True)
        return EXIT_BAD_INPUT
    say("".join(traceback.format_exception(error)).rstrip(), err=True)
    say("this is a bug in bench: please report it with the lines above", err=True)
    return EXIT_BUG


def _missing_folder(file: Path) -> str | None:
    """What to say where the folder that a command works in was removed meanwhile; None where it exists."""
    try:
        if (Path.cwd() / file.parent).is_dir():
            return None
    except FileNotFoundError:
        pass  # the folder in which bench was started
    return f"{file.parent}: the folder was taken away while bench worked in it: put it back, then start again there"


def say(text: str, *, err: bool = False) -> None:
    """Print to standard output or error, in colour on a terminal; control characters in names are escaped."""
    typer.echo(painted(harmless(text), sys.stderr if err else sys.stdout), err=err)


def name_path(what: str, path: Path, *, err: bool = False) -> None:
    say(f"{what} {on_one_line(str(path))}", err=err)


def note(texts: Iterable[str], *, err: bool = False) -> None:
    """Print a line for each text, wrapped, with "note:" before it."""
    from bench.reports.terminal.plain import wrapped

    for line in wrapped(f"note: {text}" for text in texts):
        say(line, err=err)


def show(finished: Finished, *, as_json: bool) -> None:
    """Print the summary of a report; `as_json`, the numbers alone on standard output, the rest on standard error.

    Exits with the code for a failed variant where there is one.
    """
    from bench.reports import as_text

    if as_json:
        # Azure and TeamCity take `##…[` for a command wherever it stands.
        typer.echo(as_text(finished.whole.scores).replace("##", "\\u0023#"))
        note(finished.all_warnings, err=True)
    else:
        _summarise(finished)
    name_report(finished.whole, err=as_json)
    if finished.failed:
        name_log(finished, err=as_json)
        raise typer.Exit(EXIT_VARIANT_FAILED)


def _summarise(finished: Finished) -> None:
    """The summary and the warnings of each detector on each frame set, then what all say together."""
    from bench.records import ScoresOnSets, SideBySideScores, SideBySideScoresOnSets
    from bench.reports import summary, summary_of_all, summary_on_sets

    warnings = finished.warnings_by_title
    for each in finished.parts:
        if each.title:
            say(each.title)
        say(summary(each.run, each.scores))
        note(warnings[each.title])
        if each.title:
            say(f"report: {on_one_line(str(each.page))}\n")
    if finished.further:
        note(warnings[""])
    numbers = finished.together.scores if finished.together else None
    if isinstance(numbers, ScoresOnSets | SideBySideScoresOnSets):
        say(summary_on_sets(numbers))
    elif isinstance(numbers, SideBySideScores):
        say(summary_of_all(numbers))


def name_report(finished: Finished | Together, *, err: bool = False) -> None:
    say("", err=err)
    name_path("report:", finished.page, err=err)
    name_path("text:", finished.report, err=err)


def name_log(finished: Finished, *, err: bool = False) -> None:
    if finished.log:
        name_path("log, with what failed:", finished.log, err=err)
