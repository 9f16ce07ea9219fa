"""The command line: commands, progress bars, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import UserError

if TYPE_CHECKING:
    from bench.records import Event

EXIT_BAD_INPUT, EXIT_VARIANT_FAILED, EXIT_BUG, EXIT_INTERRUPTED = 2, 3, 70, 130

LASTING_SECONDS = 2.0
"""Work that lasts longer is shown."""

app = typer.Typer(
    name="bench",
    help="Compress a deepfake detector, measure every variant, and see which one you can ship.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Give every way in which a command can end its message and its exit code."""

    @wraps(command)
    def run_guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except UserError as error:
            typer.echo(f"error: {error}", err=True)
            sys.exit(EXIT_BAD_INPUT)
        except KeyboardInterrupt:
            typer.echo("interrupted; what is finished is kept, the same command goes on from there", err=True)
            sys.exit(EXIT_INTERRUPTED)
        except (typer.Exit, typer.Abort):
            raise
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            typer.echo(f"error: {error.filename}: cannot be written to ({error.strerror})", err=True)
            sys.exit(EXIT_BAD_INPUT)
        except Exception:
            traceback.print_exc()
            typer.echo("this is a bug in bench: please report it with the lines above", err=True)
            sys.exit(EXIT_BUG)

    return run_guarded


File = Annotated[Path, typer.Option("--file", "-f", help="The experiment file; all folders are relative to it.")]
Experiment = Annotated[str | None, typer.Argument(help="Name under `experiments:`; not needed if there is only one.")]
DEFAULT_FILE = Path("experiments.yaml")


@app.command()
@guarded
def init(folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path()) -> None:
    """Write a commented experiments.yaml to start from."""
    from bench.templates import write_starter

    for path in write_starter(folder):
        typer.echo(f"wrote {path}")
    typer.echo("next: edit experiments.yaml, then `bench run` (as it stands, it runs the demo)")


@app.command()
@guarded
def run(
    experiment: Experiment = None,
    file: File = DEFAULT_FILE,
    only: Annotated[
        str | None, typer.Option(help="Run these variants only, comma-separated; the baseline always runs.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cuda or cpu; overrides the file.")] = None,
) -> None:
    """Build the variants, evaluate and time each, and render the report. What exists is not made again."""
    from bench import pipeline
    from bench.experiment import read

    if device not in (None, "auto", "cuda", "cpu"):
        raise UserError(f"--device: expected auto, cuda or cpu, found {device!r}")
    wanted = [name.strip() for name in (only or "").split(",") if name.strip()]
    if only is not None and not wanted:
        raise UserError("--only: names no variant; expected names separated by commas, such as --only q8,q16")
    with Bars() as bars:
        finished = pipeline.run(read(file), file, experiment, only=wanted, device=device, on_event=bars)
    _show(finished)


@app.command()
@guarded
def report(
    experiment: Experiment = None,
    file: File = DEFAULT_FILE,
    bundle: Annotated[bool, typer.Option("--bundle", help="Also put report and pictures into one zip file.")] = False,
) -> None:
    """Render the report again from stored results."""
    from bench import pipeline
    from bench.experiment import read, select

    name, settings = select(read(file), experiment, file)
    with Bars() as bars:
        finished = pipeline.report(file.parent, name, settings, again=True, on_event=bars)
    _show(finished)
    if bundle:
        typer.echo(f"bundle: {pipeline.bundle(file.parent, name)}")


@app.command()
@guarded
def export(
    variant: Annotated[str, typer.Argument(help="The variant to hand over.")],
    to: Annotated[Path, typer.Option(help="Folder to write model, README and inference snippet into.")],
    experiment: Annotated[str | None, typer.Option(help="Name under `experiments:`.")] = None,
    file: File = DEFAULT_FILE,
) -> None:
    """Hand over one variant: the measured artifact, a README, and a snippet that runs it."""
    from bench import pipeline
    from bench.experiment import read, select

    name, _ = select(read(file), experiment, file)
    for path in pipeline.export(file.parent, name, variant, to):
        typer.echo(f"wrote {path}")


@app.command()
@guarded
def schema() -> None:
    """Print the JSON Schema of experiments.yaml, for editors."""
    import json

    from bench.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=1))


def _version(wanted: bool) -> None:
    if wanted:
        from bench.provenance import version

        typer.echo(f"bench {version('bench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


def _show(finished: Any) -> None:
    from bench.reports import summary

    typer.echo(summary(finished.run, finished.scores))
    for warning in finished.warnings:
        typer.echo(f"note: {warning}")
    typer.echo(f"\nreport: {finished.report}")
    if any(variant.status == "failed" for variant in finished.run.variants):
        raise typer.Exit(EXIT_VARIANT_FAILED)


class Bars:
    """Shows events as tqdm bars, one at a time: what, how many, how fast, how long still."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.shown: tuple[str, str, int] | None = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, event: Event) -> None:
        from tqdm import tqdm

        key = (event.work, event.unit, event.total)
        if key != self.shown:
            self._close()
            watched = sys.stderr.isatty()
            self.bar = tqdm(
                desc=event.work,
                total=event.total,
                unit=f" {event.unit}",
                file=sys.stderr,
                # Where nobody watches, a line every ten seconds is enough to see that it lives.
                mininterval=0.1 if watched else 10.0,
                delay=0 if watched else LASTING_SECONDS,
            )
            self.shown = key
        if event.note:
            self.bar.set_postfix_str(event.note, refresh=False)
        self.bar.update(event.done - self.bar.n)
        if event.done >= event.total:
            self._close()

    def _close(self) -> None:
        if self.bar is not None:
            # What was over in a moment leaves no line behind.
            self.bar.leave = self.bar.format_dict["elapsed"] > LASTING_SECONDS
            self.bar.close()
        self.bar, self.shown = None, None


def main() -> None:
    """Run the command line."""
    app()
