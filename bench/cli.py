"""The command line: commands, progress bars, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import UserError
from bench.files import advice

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
        except Exception as error:
            if isinstance(error, OSError) and (told := advice(error) or _vanished(kwargs.get("file", DEFAULT_FILE))):
                typer.echo(f"error: {told}", err=True)
                sys.exit(EXIT_BAD_INPUT)
            traceback.print_exc()
            typer.echo("this is a bug in bench: please report it with the lines above", err=True)
            sys.exit(EXIT_BUG)

    return run_guarded


def _vanished(file: Path) -> str | None:
    """What to say where the folder in which a command works was taken away; None where it is there."""
    try:
        if (Path.cwd() / file.parent).is_dir():
            return None
    except FileNotFoundError:
        pass  # the folder in which bench was started
    return f"{file.parent}: the folder was taken away while bench worked in it: put it back, then start again there"


File = Annotated[Path, typer.Option("--file", "-f", help="The experiment file; all folders are relative to it.")]
Experiment = Annotated[str | None, typer.Argument(help="Name under `experiments:`; not needed if there is only one.")]
Only = Annotated[str | None, typer.Option(help="Run these variants only, comma-separated; the baseline always runs.")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cuda or cpu; overrides the file.")]
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
    only: Only = None,
    device: DeviceOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, as `bench plan` does.")
    ] = False,
) -> None:
    """Build the variants, evaluate and time each, and render the report. What exists is not made again."""
    from bench import pipeline
    from bench.experiment import read

    if dry_run:
        return _show_plan(experiment, file, only, device)
    wanted = _names(only, device)
    with Bars() as bars:
        finished = pipeline.run(read(file), file, experiment, only=wanted, device=device, on_event=bars)
    _show(finished)


@app.command()
@guarded
def plan(
    experiment: Experiment = None, file: File = DEFAULT_FILE, only: Only = None, device: DeviceOption = None
) -> None:
    """Say what a run would do and reuse, how long it would take, and how much disk."""
    _show_plan(experiment, file, only, device)


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
def clean(
    file: File = DEFAULT_FILE,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what no experiment refers to.")] = False,
) -> None:
    """Show what lies in variants/ and results/ with sizes, and what no experiment refers to; remove that on request."""
    from bench import pipeline
    from bench.experiment import read
    from bench.pipeline.clean_text import describe

    with Bars() as bars:
        inventory = pipeline.clean(read(file), file, remove_it=yes, on_event=bars)
    typer.echo(describe(inventory, file))


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
        str | None, typer.Argument(help="detectors, presets, steps, runtimes or layouts; all if left out.")
    ] = None,
) -> None:
    """List what an experiment can be made of: detectors, presets, steps, runtimes, layouts."""
    from bench.catalogue import describe

    typer.echo(describe(kind))


@app.command()
@guarded
def doctor() -> None:
    """Check whether this machine and this installation can run experiments, and say what to mend."""
    from bench.doctor import describe, examine, is_well

    found = examine(Path.cwd(), _told_to_watchers)
    typer.echo(describe(found))
    if not is_well(found):
        raise typer.Exit(EXIT_BAD_INPUT)


def _names(only: str | None, device: str | None) -> list[str]:
    """The names after --only; what is wrong with the two options is said."""
    if device not in (None, "auto", "cuda", "cpu"):
        raise UserError(f"--device: expected auto, cuda or cpu, found {device!r}")
    wanted = [name.strip() for name in (only or "").split(",") if name.strip()]
    if only is not None and not wanted:
        raise UserError("--only: names no variant; expected names separated by commas, such as --only q8,q16")
    return wanted


def _told_to_watchers(check: str) -> None:
    if sys.stderr.isatty():
        typer.echo(f"checking {check} …", err=True)


def _show_plan(experiment: str | None, file: Path, only: str | None, device: str | None) -> None:
    from bench import pipeline
    from bench.experiment import read
    from bench.pipeline.forecast_text import describe

    wanted = _names(only, device)
    with Bars() as bars:
        found = pipeline.forecast(read(file), file, experiment, only=wanted, device=device, on_event=bars)
    typer.echo(describe(found))


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
        if finished.log:
            typer.echo(f"log, with what failed: {finished.log}")
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
    """Run the command line. Whoever ends it with SIGTERM, as CI systems do, gets what Ctrl-C gets."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
