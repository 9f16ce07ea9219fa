"""The command line: commands, progress bars, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from bench import interrupts, streams
from bench.errors import DEVICES, UserError, no_device, on_one_line
from bench.files import advice
from bench.ink import harmless, painted
from bench.progress import Bars
from bench.safe_path import protect

if TYPE_CHECKING:
    from bench.pipeline.plan import Timing

EXIT_GATE_FELL, EXIT_BAD_INPUT, EXIT_VARIANT_FAILED, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 3, 70, 130


class Commands(TyperGroup):
    """The commands, each with its first sentence whole, over as many lines as it takes."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = [
            (name, " ".join((command.help or "").split("\n\n", maxsplit=1)[0].split()))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


app = typer.Typer(
    name="bench",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
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
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            sys.exit(_told(error, kwargs.get("file", DEFAULT_FILE)))

    return run_guarded


def _told(error: BaseException, file: Path) -> int:
    """Say what ended the command; the exit code."""
    if isinstance(error, KeyboardInterrupt) or interrupts.interrupted.is_set():
        _say("interrupted; what is finished is kept, the same command goes on from there", err=True)
        return EXIT_INTERRUPTED
    if isinstance(error, UserError):
        _say(f"error: {error}", err=True)
        return EXIT_BAD_INPUT
    if isinstance(error, OSError) and (told := advice(error) or _vanished(file)):
        _say(f"error: {on_one_line(told)}", err=True)
        return EXIT_BAD_INPUT
    _say("".join(traceback.format_exception(error)).rstrip(), err=True)
    _say("this is a bug in bench: please report it with the lines above", err=True)
    return EXIT_BUG


def _say(text: str, *, err: bool = False) -> None:
    """To standard output or error, in colour where that is a terminal; whatever names it holds are but names."""
    typer.echo(painted(harmless(text), sys.stderr if err else sys.stdout), err=err)


def _name_path(what: str, path: Path, *, err: bool = False) -> None:
    _say(f"{what} {on_one_line(str(path))}", err=err)


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
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Also where the baseline is not proven to be better than chance.")
]
FrameColumn = Annotated[str | None, typer.Option(help="What the column of frames is called, if not `frame`.")]
ScoreColumn = Annotated[str | None, typer.Option(help="What the column of P(fake) is called, if not `p_fake`.")]
LabelColumn = Annotated[str | None, typer.Option(help="What the column of labels is called, if not `label`.")]
SourceColumn = Annotated[str | None, typer.Option(help="What the column of videos or persons is, if not `source`.")]
SplitColumn = Annotated[str | None, typer.Option(help="What the column test | validation is called, if not `split`.")]
NoTiming = Annotated[
    bool, typer.Option("--no-timing", help="Do all but timing; times that are there already are still used.")
]
Json = Annotated[bool, typer.Option("--json", help="Print what scores.json holds in place of the table.")]
DEFAULT_FILE = Path("experiments.yaml")


@app.command()
@guarded
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(),
    github: Annotated[
        bool,
        typer.Option("--github", help="Also .github/workflows/bench.yml, which runs `bench check`, and .gitignore."),
    ] = False,
) -> None:
    """Write a commented experiments.yaml to start from."""
    from bench.templates import IGNORED, not_ignored, write_starter, write_workflow

    for path in write_workflow(folder) if github else write_starter(folder):
        _name_path("wrote", path)
    if github:
        if lines := not_ignored(folder):
            _say(f"note: {IGNORED} is yours and was left as it is; add to it: {' '.join(lines)}")
        _say("next: bench's source in tools/bench (`git submodule add`, or a copy), commit, push: this runs the demo")
        _say("then: your own detector in experiments.yaml and its `gates:`, `bench run`, `bench accept`, commit")
    else:
        _say("next: edit experiments.yaml, then `bench run` (as it stands, it runs the demo)")


@app.command()
@guarded
def run(  # noqa: PLR0913, PLR0917 - a command's options
    experiment: Experiment = None,
    file: File = DEFAULT_FILE,
    only: Only = None,
    device: DeviceOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, as `bench plan` does.")
    ] = False,
    no_timing: NoTiming = False,
    time_again: Annotated[
        bool, typer.Option("--time-again", help="Time all variants anew, on a machine that is quiet now.")
    ] = False,
    json: Json = False,
) -> None:
    """Build the variants, evaluate and time each, and render the report. What exists is not made again."""
    if no_timing and time_again:
        raise UserError("--no-timing and --time-again: one times nothing, the other everything; give one of them")
    timing: Timing = "none" if no_timing else "again" if time_again else "due"
    if dry_run:
        return _show_plan(experiment, file, only, device, timing)
    wanted = _names(only, device)
    with _bars(file) as bars:
        from bench import pipeline
        from bench.experiment import read

        finished = pipeline.run(read(file), file, experiment, only=wanted, device=device, timing=timing, on_event=bars)
    _show(finished, json)


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
    json: Json = False,
) -> None:
    """Render the report again from stored results."""
    with _bars(file) as bars:
        from bench import pipeline
        from bench.experiment import read, select

        name, settings = select(read(file), experiment, file)
        finished = pipeline.report(file.parent, name, settings, again=True, on_event=bars)
    bundled = pipeline.bundle(file.parent, name) if bundle else None
    _show(finished, json)
    if bundled:
        _name_path("bundle:", bundled, err=json)


@app.command()
@guarded
def score(  # noqa: PLR0913, PLR0917 - a command's options
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FILE...",
            help="CSV, Parquet, or a JSON map of frame to score; the first is the baseline. Without NAME, a variant is "
            "called like its file.",
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="The report is written to reports/NAME/.")],
    labels: Annotated[
        Path | None, typer.Option("--labels", help="A file of labels, where those with the scores have none.")
    ] = None,
    frame_column: FrameColumn = None,
    score_column: ScoreColumn = None,
    label_column: LabelColumn = None,
    source_column: SourceColumn = None,
    split_column: SplitColumn = None,
    source_pattern: Annotated[
        str | None,
        typer.Option(
            help="A regular expression, searched in each frame's name; its first group is the video or person, where "
            "no column tells it."
        ),
    ] = None,
    threshold: Annotated[float, typer.Option(help="A frame counts as fake from this score on.")] = 0.5,
    margin: Annotated[float, typer.Option(help="A smaller loss of AUC does not matter.")] = 0.01,
    to: Annotated[Path | None, typer.Option("--to", help="Write the report to this folder instead.")] = None,
    json: Json = False,
) -> None:
    """Judge scores that were made elsewhere, on any device: P(fake) of the same frames, one file a variant."""
    named = {"frame": frame_column, "score": score_column, "label": label_column}
    named |= {"source": source_column, "split": split_column}
    for what, column in named.items():
        if column is not None and not column.strip():
            raise UserError(f"--{what}-column: is empty; expected the name of a column")
    with Bars("reading scores") as bars:
        from bench.pipeline.foreign import Request, score_files
        from bench.results.foreign import Columns

        names, paths = zip(*map(_named_file, files), strict=True)
        request = Request(name, paths, Columns(**named), labels, threshold, margin, to, names, source_pattern)
        finished = score_files(request, bars)
    _show(finished, json)


@app.command()
@guarded
def export(
    variant: Annotated[str, typer.Argument(help="The variant to hand over.")],
    to: Annotated[Path, typer.Option(help="Folder to write model, README and inference snippet into.")],
    experiment: Annotated[str | None, typer.Option(help="Name under `experiments:`.")] = None,
    form: Annotated[
        str, typer.Option("--format", help="onnx, or safetensors for a variant that is not quantised.")
    ] = "onnx",
    file: File = DEFAULT_FILE,
) -> None:
    """Hand over one variant: an ONNX file, a README, and a snippet that runs it without bench."""
    with _bars(file) as bars:
        from bench import pipeline
        from bench.experiment import read, select

        name, _ = select(read(file), experiment, file)
        written = pipeline.export(file.parent, name, variant, to, form=form, on_event=bars)
    for path in written:
        _name_path("wrote", path)


@app.command()
@guarded
def check(  # noqa: PLR0913, PLR0917 - a command's options
    experiment: Experiment = None,
    file: File = DEFAULT_FILE,
    only: Only = None,
    device: DeviceOption = None,
    no_timing: NoTiming = False,
    against: Annotated[
        Path | None, typer.Option(help="Also compare with scores that `bench accept` wrote, on the same frames.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="JUnit XML; reports/EXPERIMENT/check.xml if left out.")] = None,
    anyway: Anyway = False,
    summary: Annotated[Path | None, typer.Option(help="Markdown; reports/EXPERIMENT/check.md if left out.")] = None,
) -> None:
    """Run what is missing and judge it by `gates:` and by accepted scores; exit code 1 where a gate fell."""
    wanted = _names(only, device)
    with _bars(file) as bars:
        from bench.experiment import read, select
        from bench.pipeline.check import check as judge
        from bench.reports import checked

        experiments = read(file)
        name, _ = select(experiments, experiment, file)
        reports = file.parent / "reports" / name
        junit, summary = junit or reports / "check.xml", summary or reports / "check.md"
        checked.refuse_unwritable(junit, summary)
        finished, found = judge(
            experiments,
            file,
            name,
            only=wanted,
            device=device,
            timing="none" if no_timing else "due",
            reference=against,
            anyway=anyway,
            on_event=bars,
        )
    # Before anything is written: a disk that is full does not swallow the verdict.
    _say(checked.terminal(found))
    checked.write(found, junit, summary)
    if trouble := checked.append_to_page(found):
        _say(f"warning: {trouble}", err=True)
    _name_report(finished)
    _name_path("summary:", summary)
    _name_path("JUnit:", junit)
    if found.failed:
        _name_log(finished)
        raise typer.Exit(EXIT_VARIANT_FAILED)
    if found.fell:
        raise typer.Exit(EXIT_GATE_FELL)


@app.command()
@guarded
def accept(
    experiment: Experiment = None,
    file: File = DEFAULT_FILE,
    device: DeviceOption = None,
    to: Annotated[
        Path | None, typer.Option(help="Where to write them; accepted.json beside the experiment file if left out.")
    ] = None,
    anyway: Anyway = False,
) -> None:
    """Write the current scores as the reference for `bench check --against`."""
    _names(None, device)
    with _bars(file) as bars:
        from bench.experiment import read
        from bench.pipeline import accepted

        to = to or file.parent / accepted.NAME
        found, left_out = accepted.accept(
            read(file), file, experiment, to=to, device=device, anyway=anyway, on_event=bars
        )
    _say(accepted.describe(found, to))
    _note(f"left out {one}" for one in left_out)


@app.command()
@guarded
def clean(
    file: File = DEFAULT_FILE,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what no experiment refers to.")] = False,
) -> None:
    """Show what lies in variants/ and results/ with sizes, and what no experiment refers to; remove that on request."""
    with _bars(file) as bars:
        from bench import pipeline
        from bench.experiment import read
        from bench.pipeline.clean_text import describe

        inventory = pipeline.clean(read(file), file, remove_it=yes, on_event=bars)
    _say(describe(inventory, file))


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

    _say(describe(kind))


@app.command()
@guarded
def doctor() -> None:
    """Check whether this machine and this installation can run experiments, and say what to mend."""
    with Bars("checking") as bars:
        from bench.doctor import describe, examine, is_well

        found = examine(Path.cwd(), lambda check: bars.now(f"checking {check}"))
    _say(describe(found))
    if not is_well(found):
        raise typer.Exit(EXIT_BAD_INPUT)


def _named_file(text: str) -> tuple[str, Path]:
    """NAME=FILE, or a file that is called like its variant; a file whose own name has a = in it stays one."""
    name, equals, file = text.partition("=")
    if not equals or "/" in name or "\\" in name or Path(text).exists():
        return Path(text).stem, Path(text)
    if not name.strip() or not file:
        raise UserError(f"{text}: expected NAME=FILE, such as q8=scores/q8.csv, or a file")
    return name, Path(file)


def _names(only: str | None, device: str | None) -> list[str]:
    """The names after --only; what is wrong with the two options is said."""
    if device is not None and device not in DEVICES:
        raise UserError(f"--device: {no_device(device)}")
    wanted = [name.strip() for name in (only or "").split(",") if name.strip()]
    if only is not None and not wanted:
        raise UserError("--only: names no variant; expected names separated by commas, such as --only q8,q16")
    return wanted


def _bars(file: Path) -> Bars:
    """What is seen from the first moment: imports take their time too."""
    return Bars(f"reading {on_one_line(str(file))}")


def _show_plan(
    experiment: str | None, file: Path, only: str | None, device: str | None, timing: Timing = "due"
) -> None:
    wanted = _names(only, device)
    with _bars(file) as bars:
        from bench import pipeline
        from bench.experiment import read
        from bench.pipeline.forecast_text import describe

        found = pipeline.forecast(
            read(file), file, experiment, only=wanted, device=device, timing=timing, on_event=bars
        )
    _say(describe(found))


def _version(wanted: bool) -> None:
    if wanted:
        from bench.provenance import version

        _say(f"bench {version('bench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


def _show(finished: Any, as_json: bool) -> None:
    """The summary; for programs the numbers alone on standard output, and the rest on standard error."""
    from bench.reports import summary

    if as_json:
        import json

        # Azure and TeamCity take `##…[` for a command wherever it stands.
        typer.echo(json.dumps(finished.told, indent=1, allow_nan=False).replace("##", "\\u0023#"))
    else:
        _say(summary(finished.run, finished.told))
    _note(finished.warnings, err=as_json)
    _name_report(finished, err=as_json)
    if any(variant.status == "failed" for variant in finished.run.variants):
        _name_log(finished, err=as_json)
        raise typer.Exit(EXIT_VARIANT_FAILED)


def _note(texts: Iterable[str], *, err: bool = False) -> None:
    from bench.reports.plain import wrapped

    for line in wrapped(f"note: {text}" for text in texts):
        _say(line, err=err)


def _name_report(finished: Any, *, err: bool = False) -> None:
    _say("", err=err)
    _name_path("report:", finished.page, err=err)
    _name_path("text:", finished.report, err=err)


def _name_log(finished: Any, *, err: bool = False) -> None:
    if finished.log:
        _name_path("log, with what failed:", finished.log, err=err)


def main() -> None:
    """Run the command line. However it ends, all work is judged by its exit code, not by who read the output."""
    protect()
    streams.guard()
    interrupts.catch()
    try:
        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except (Exception, KeyboardInterrupt) as error:
        code = _told(error, DEFAULT_FILE)
    else:
        code = 0
    sys.exit(streams.ended(code))
