"""Commands that make an experiment and its report: init, run, merge, plan, report, clean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import console
from bench.console import DEFAULT_FILE, guarded
from bench.errors import UserError

if TYPE_CHECKING:
    from bench.pipeline.prepared import Timing
from bench.cli.app import (
    Address,
    DeviceOption,
    ExecutorOption,
    Experiment,
    File,
    Json,
    NoTiming,
    Only,
    Store,
    TimeAgain,
    app,
    reading,
    variants_of,
)


@app.command()
@guarded
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(),
    github: Annotated[
        bool,
        typer.Option("--github", help="Also .github/workflows/bench.yml, which runs `bench check`, and .gitignore."),
    ] = False,
    videos: Annotated[
        Path | None,
        typer.Option(help="A folder of videos, real/ and fake/ or a data set: the experiment is evaluated on these."),
    ] = None,
) -> None:
    """Write a commented experiments.yaml to start from."""
    from bench.commands.init import IGNORED, not_ignored, write_starter, write_workflow

    if github and videos:
        raise UserError("--github runs the demo: write `bench init --videos …` first, then `bench init --github`")
    for path in write_workflow(folder) if github else write_starter(folder, videos):
        console.name_path("wrote", path)
    if github:
        if lines := not_ignored(folder):
            console.say(f"note: {IGNORED} is yours and was left as it is; add to it: {' '.join(lines)}")
        console.say(
            "next: bench's source in tools/bench (`git submodule add`, or a copy), commit, push: this runs the demo"
        )
        console.say("then: your own detector in experiments.yaml and its `gates:`, `bench run`, `bench accept`, commit")
    elif videos:
        console.say("next: your detector in experiments.yaml (1) (3), then `bench plan`, `bench run`")
        console.say("as it stands, the demo's detector judges them: it knows drawings alone, its numbers mean nothing")
    else:
        console.say("next: edit experiments.yaml, then `bench run` (as it stands, it runs the demo)")


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
    time_again: TimeAgain = False,
    build_only: Annotated[
        bool, typer.Option("--build-only", help="Only build the variants; then --shard evaluates them in parts.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N", help="Only evaluate the K-th of N parts, on any machine; then `bench merge` joins them."
        ),
    ] = None,
    store: Store = None,
    executor: ExecutorOption = "local",
    address: Address = None,
    json: Json = False,
) -> None:
    """Build the variants, evaluate and time each, and render the report. What exists is not made again."""
    timing = _timing(no_timing, time_again)
    if build_only or shard is not None:
        options: dict[str, object] = {
            "--dry-run": dry_run,
            "--no-timing": no_timing,
            "--time-again": time_again,
            "--json": json,
        }
        options |= {"--shard": build_only and shard is not None, "--executor": executor != "local" or address}
        return _run_part(experiment, file, only, device, shard, store, options)
    if store is not None and executor == "local":
        raise UserError(
            "--store is for runs on several machines: give --executor ray, --build-only or --shard K/N too, or "
            "`bench merge --store`"
        )
    if dry_run:
        return _show_plan(experiment, file, only, device, timing, executor=(executor, address))
    _run(experiment, file, only, device, timing, as_json=json, executor=(executor, address), store=store)


@app.command()
@guarded
def merge(  # noqa: PLR0913, PLR0917 - a command's options
    experiment: Experiment = None,
    file: File = DEFAULT_FILE,
    only: Only = None,
    device: DeviceOption = None,
    no_timing: NoTiming = False,
    time_again: TimeAgain = False,
    store: Store = None,
    json: Json = False,
) -> None:
    """Join what `bench run --shard` has evaluated, time the variants on this machine, and render the report."""
    _run(experiment, file, only, device, _timing(no_timing, time_again), as_json=json, merging=True, store=store)


def _timing(no_timing: bool, time_again: bool) -> Timing:
    """Which variants are timed; `UserError` where two options say otherwise."""
    if no_timing and time_again:
        raise UserError("--no-timing and --time-again: one times nothing, the other everything; give one of them")
    return "none" if no_timing else "again" if time_again else "due"


def _run_part(
    experiment: str | None,
    file: Path,
    only: str | None,
    device: str | None,
    shard: str | None,
    store: str | None,
    others: dict[str, object],
) -> None:
    """Build alone, or evaluate one part, and print what came of it; with none of the `others` among the options."""
    variants = variants_of(only, device)
    with reading(file) as (experiments, bars):
        from bench.commands.run_part import build_or_evaluate, refuse_options

        refuse_options("--build-only" if shard is None or others["--shard"] else "--shard", others)
        text, failed = build_or_evaluate(experiments, file, experiment, shard, variants, device, store, bars)
    console.say(text)
    if failed:
        raise typer.Exit(console.EXIT_VARIANT_FAILED)


def _run(  # noqa: PLR0913 - options of a command
    experiment: str | None,
    file: Path,
    only: str | None,
    device: str | None,
    timing: Timing,
    *,
    as_json: bool,
    merging: bool = False,
    executor: tuple[str, str | None] = ("local", None),
    store: str | None = None,
) -> None:
    """Run the stages that are due, and print what they came to; `executor` is its name and its address."""
    variants = variants_of(only, device)
    with reading(file) as (experiments, bars):
        from bench import executors, pipeline
        from bench.commands.export import export_named

        finished = pipeline.run(
            experiments,
            file,
            experiment,
            only=variants,
            device=device,
            timing=timing,
            merging=merging,
            store=store,
            executor=executors.find(*executor, executors.request(file, experiment, variants, device, store)),
            hand_over=export_named,
            on_event=bars,
        )
    console.show(finished, as_json=as_json)


@app.command()
@guarded
def plan(
    experiment: Experiment = None,
    file: File = DEFAULT_FILE,
    only: Only = None,
    device: DeviceOption = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Also say which preprocessing fits the weights, by some of the frames.")
    ] = False,
    executor: ExecutorOption = "local",
    address: Address = None,
) -> None:
    """Say what a run would do and reuse, how long it would take, and how much disk."""
    _show_plan(experiment, file, only, device, fit=fit, executor=(executor, address))


@app.command()
@guarded
def report(
    experiment: Experiment = None,
    file: File = DEFAULT_FILE,
    bundle: Annotated[bool, typer.Option("--bundle", help="Also put report and pictures into one zip file.")] = False,
    json: Json = False,
) -> None:
    """Render the report again from stored results."""
    with reading(file) as (experiments, bars):
        from bench.commands.report import render_again, zip_report
        from bench.experiment import select

        name, settings = select(experiments, experiment, file)
        finished = render_again(file.parent, name, settings, on_event=bars)
        archive = zip_report(file.parent, name) if bundle else None
    console.show(finished, as_json=json)
    if archive:
        console.name_path("bundle:", archive, err=json)


@app.command()
@guarded
def clean(
    file: File = DEFAULT_FILE,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what no experiment refers to.")] = False,
) -> None:
    """Show what lies in variants/ and results/ with sizes, and what no experiment refers to; remove that on request."""
    with reading(file) as (experiments, bars):
        from bench.commands.clean import inventory, remove_unused
        from bench.commands.clean.text import describe

        items = inventory(experiments, file, bars)
        if yes:
            items = remove_unused(items)
    console.say(describe(items, file))


def _show_plan(
    experiment: str | None,
    file: Path,
    only: str | None,
    device: str | None,
    timing: Timing = "due",
    *,
    fit: bool = False,
    executor: tuple[str, str | None] = ("local", None),
) -> None:
    """Print what a run with these options would do; `executor` is its name and its address."""
    variants = variants_of(only, device)
    with reading(file) as (experiments, bars):
        from bench import executors
        from bench.commands.plan import forecast
        from bench.commands.plan.text import describe

        executors.check(*executor)

        foreseen = forecast(
            experiments, file, experiment, only=variants, device=device, timing=timing, fit=fit, on_event=bars
        )
        on_cluster = ""
        if executor[0] == "ray":
            from bench.commands.plan import cluster

            on_cluster = f"\n\n{cluster.describe(foreseen, executor[1])}"
    console.say(describe(foreseen) + on_cluster)
