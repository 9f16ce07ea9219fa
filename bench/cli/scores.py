"""Commands that judge scores: score, check, history, accept."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from bench import console
from bench.cli.app import (
    Anyway,
    DeviceOption,
    Experiment,
    File,
    FrameColumn,
    HistoryFile,
    Json,
    LabelColumn,
    Named,
    NoTiming,
    Only,
    ScoreColumn,
    SourceColumn,
    SplitColumn,
    VideoColumn,
    app,
    reading,
    variants_of,
)
from bench.console import DEFAULT_FILE, guarded
from bench.errors import UserError
from bench.progress import Bars


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
    video_column: VideoColumn = None,
    scale: Annotated[
        Named,
        typer.Option(
            help="What the scores are: probability, percent, or logit, by which any score can be ranked that is higher "
            "for fakes. Here and below, NAME=… is for the file of one variant."
        ),
    ] = None,
    positive: Annotated[
        Named, typer.Option(help="The class that higher scores speak for: fake, if nothing is said, or real.")
    ] = None,
    source_pattern: Annotated[
        str | None,
        typer.Option(
            help="A regular expression, searched in each frame's name; its first group is the video or person, where "
            "no column tells it."
        ),
    ] = None,
    threshold: Annotated[
        str,
        typer.Option(
            help="A frame counts as fake from this score on: a number, or found on the baseline's validation frames: "
            "fpr=0.01, fnr=0.05, best=f1."
        ),
    ] = "0.5",
    margin: Annotated[float, typer.Option(help="A smaller loss of AUC does not matter.")] = 0.01,
    judge: Annotated[
        str | None,
        typer.Option(help="frame or video: what is judged; videos where a column names that of every test frame."),
    ] = None,
    video_score: Annotated[
        str, typer.Option(help="A video's score: mean, max, or top for the mean of the highest.")
    ] = "mean",
    video_top: Annotated[
        int | None, typer.Option(help="With --video-score top: how many frames of a video; 5 if left out.")
    ] = None,
    missing_videos: Annotated[
        str,
        typer.Option(
            help="What videos of --labels without scores count as: exclude, real, fake or 0.5, in every variant alike."
        ),
    ] = "exclude",
    groups: Annotated[
        list[str] | None,
        typer.Option(help="A column such as skin_tone: the gap of error rates between its groups. May be repeated."),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Write the report to this folder instead.")] = None,
    json: Json = False,
) -> None:
    """Judge scores that were made elsewhere, on any device: P(fake) of the same frames, one file a variant."""
    named = {"frame": frame_column, "score": score_column, "label": label_column}
    named |= {"source": source_column, "split": split_column, "video": video_column}
    with Bars("reading scores") as bars:
        from bench.commands.score import LABELS, Request, columns_by_file, score_files
        from bench.results.external.judging import judging
        from bench.results.external.scales import meaning_by_file
        from bench.results.groups import group_columns
        from bench.results.threshold_settings import from_option

        names, paths = zip(*map(_named_file, files), strict=True)
        options = {role: columns or () for role, columns in named.items()}
        columns, columns_of = columns_by_file(options, [*names, *([LABELS] if labels else [])])
        judged = judging(judge, {"score": video_score, "top": video_top, "missing": missing_videos})
        meaning, meaning_of = meaning_by_file(scale or (), positive or (), names)
        request = Request(
            name, paths, columns, labels, from_option("--threshold", threshold), margin, to, names, source_pattern,
            columns_of, judged, group_columns(groups or (), "--groups"), meaning, meaning_of,
        )  # fmt: skip
        finished = score_files(request, bars)
    console.show(finished, as_json=json)


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
    history: HistoryFile = None,
) -> None:
    """Run what is missing and judge it by `gates:` and by accepted scores; exit code 1 where a gate fell."""
    variants = variants_of(only, device)
    with reading(file) as (experiments, bars):
        from bench.commands import history as noted
        from bench.commands.check import run_and_check, stopped
        from bench.experiment import select
        from bench.reports import checked

        name, _ = select(experiments, experiment, file)
        reports = file.parent / "reports" / name
        junit, summary = junit or reports / "check.xml", summary or reports / "check.md"
        history = history or noted.default_file(file.parent, name)
        checked.refuse_unwritable(junit, summary)
        noted.refuse_other_file(history)
        try:
            finished, gates = run_and_check(
                experiments,
                file,
                name,
                only=variants,
                device=device,
                timing="none" if no_timing else "due",
                against=against,
                anyway=anyway,
                on_event=bars,
            )
        except Exception as error:
            # A summary of an earlier check, which may have passed, must not stand for this one.
            with suppress(OSError, UserError):
                checked.write(stopped(name, file, error), junit, summary)
            raise
    # Printed before the files are written: a full disk must not swallow the verdict.
    console.say(checked.terminal(gates))
    checked.write(gates, junit, summary)
    if problem := checked.append_to_page(gates):
        console.say(f"warning: {problem}", err=True)
    if problem := noted.note(history, noted.check_of(finished, gates, file.parent)):
        console.say(f"warning: {problem}", err=True)
    console.name_report(finished.whole)
    console.name_path("summary:", summary)
    console.name_path("JUnit:", junit)
    if gates.failed:
        console.name_log(finished)
        raise typer.Exit(console.EXIT_VARIANT_FAILED)
    if gates.fell:
        raise typer.Exit(console.EXIT_GATE_FELL)


@app.command()
@guarded
def history(
    experiment: Experiment = None,
    file: File = DEFAULT_FILE,
    history: HistoryFile = None,
    to: Annotated[
        Path | None, typer.Option(help="The picture, .png or .svg; reports/EXPERIMENT/history.png if left out.")
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="How many checks the table shows; the picture has all.")] = 10,
) -> None:
    """Show how variants fared from check to check, in a table and a picture."""
    with reading(file) as (experiments, bars):
        from bench.commands import history as noted
        from bench.commands.history import picture
        from bench.commands.history.text import describe
        from bench.experiment import select

        name, _ = select(experiments, experiment, file)
        to = to or file.parent / "reports" / name / "history.png"
        picture.refuse_other_form(to)
        source = history or noted.default_file(file.parent, name)
        checks, damages = noted.read_some(source, name)
        bars.now("drawing")
        picture.write(checks, to)
    console.say(describe(checks, last))
    console.note(f"{source}, line {damage.line}: damaged ({damage.why}), left out" for damage in damages)
    console.name_path("picture:", to)


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
    variants_of(None, device)
    with reading(file) as (experiments, bars):
        from bench.commands.accept import NAME, accept_scores, describe

        to = to or file.parent / NAME
        accepted, left_out = accept_scores(
            experiments, file, experiment, to=to, device=device, anyway=anyway, on_event=bars
        )
    console.say(describe(accepted, to))
    console.note(f"left out {variant}" for variant in left_out)


def _named_file(text: str) -> tuple[str, Path]:
    """NAME=FILE, or a file that is called like its variant; a file whose own name has a = in it stays one."""
    name, equals, file = text.partition("=")
    if not equals or "/" in name or "\\" in name or Path(text).exists():
        return Path(text).stem, Path(text)
    if not name.strip() or not file:
        raise UserError(f"{text}: expected NAME=FILE, such as q8=scores/q8.csv, or a file")
    return name, Path(file)
