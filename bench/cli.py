"""The command line: each command with its options and what it prints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from bench import console, interrupts, streams
from bench.console import DEFAULT_FILE, guarded
from bench.errors import DEVICES, UserError, no_device, on_one_line
from bench.progress import Bars
from bench.records import CALIBRATION_METHODS
from bench.safe_path import protect

if TYPE_CHECKING:
    from bench.experiment import Experiments
    from bench.pipeline.prepared import Timing


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


class CalibratedCommand(TyperCommand):
    """A command whose `--calibrated` may stand without a method, which then is temperature."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        methods: tuple[str, ...] = CALIBRATION_METHODS
        following = [*args[1:], ""][: len(args)]
        bare = [part == "--calibrated" and other not in methods for part, other in zip(args, following, strict=True)]
        whole = [f"{part}={methods[0]}" if is_bare else part for part, is_bare in zip(args, bare, strict=True)]
        return super().parse_args(ctx, whole)


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


File = Annotated[Path, typer.Option("--file", "-f", help="The experiment file; all folders are relative to it.")]
Experiment = Annotated[str | None, typer.Argument(help="Name under `experiments:`; not needed if there is only one.")]
Only = Annotated[
    str | None,
    typer.Option(
        help="Run these variants only, comma-separated; the baseline always runs. Of several detectors, q8 is that of "
        "each and b5/q8 that of one."
    ),
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cuda or cpu; overrides the file.")]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Also where the baseline is not proven to be better than chance.")
]
HistoryFile = Annotated[
    Path | None,
    typer.Option("--history", help="JSON lines, one a check; results/EXPERIMENT/history.jsonl if left out."),
]
Named = list[str] | None
FrameColumn = Annotated[
    Named,
    typer.Option(
        help="What the column of frames is called, if not `frame`. Here and below, NAME=COLUMN is for the file of one "
        "variant, labels=COLUMN for that of --labels."
    ),
]
ScoreColumn = Annotated[Named, typer.Option(help="What the column of P(fake) is called, if not `p_fake`.")]
LabelColumn = Annotated[Named, typer.Option(help="What the column of labels is called, if not `label`.")]
SourceColumn = Annotated[Named, typer.Option(help="What the column of videos or persons is, if not `source`.")]
VideoColumn = Annotated[Named, typer.Option(help="What the column of the frames' videos is called, if not `video`.")]
SplitColumn = Annotated[Named, typer.Option(help="What the column test | validation is called, if not `split`.")]
NoTiming = Annotated[
    bool, typer.Option("--no-timing", help="Do all but timing; times that are there already are still used.")
]
TimeAgain = Annotated[
    bool, typer.Option("--time-again", help="Time all variants anew, on a machine that is quiet now.")
]
ExecutorOption = Annotated[
    str, typer.Option("--executor", help="local, or ray: workers of a Ray cluster build and evaluate (bench[ray]).")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="That of the Ray cluster, such as ray://head:10001; one of this machine's own if left out."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print what scores.json holds in place of the table.")]


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
        return _run_part(experiment, file, only, device, shard, options)
    if dry_run:
        return _show_plan(experiment, file, only, device, timing, executor=(executor, address))
    _run(experiment, file, only, device, timing, as_json=json, executor=(executor, address))


@app.command()
@guarded
def merge(
    experiment: Experiment = None,
    file: File = DEFAULT_FILE,
    only: Only = None,
    device: DeviceOption = None,
    no_timing: NoTiming = False,
    time_again: TimeAgain = False,
    json: Json = False,
) -> None:
    """Join what `bench run --shard` has evaluated, time the variants on this machine, and render the report."""
    _run(experiment, file, only, device, _timing(no_timing, time_again), as_json=json, merging=True)


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
    others: dict[str, object],
) -> None:
    """Build alone, or evaluate one part, and print what came of it; with none of the `others` among the options."""
    variants = _variants(only, device)
    with _reading(file) as (experiments, bars):
        from bench.commands.run_part import build_or_evaluate, refuse_options

        refuse_options("--build-only" if shard is None or others["--shard"] else "--shard", others)
        text, failed = build_or_evaluate(experiments, file, experiment, shard, variants, device, bars)
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
) -> None:
    """Run the stages that are due, and print what they came to; `executor` is its name and its address."""
    variants = _variants(only, device)
    with _reading(file) as (experiments, bars):
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
            executor=executors.find(*executor, executors.request(file, experiment, variants, device)),
            hand_over=export_named,
            on_event=bars,
        )
    console.show(finished, as_json=as_json)


@app.command()
@guarded
def train(
    training: Annotated[
        str | None, typer.Argument(help="Name under `trainings:`; not needed if there is only one.")
    ] = None,
    file: File = DEFAULT_FILE,
    device: DeviceOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Train anew, where these settings and frames were trained with before.")
    ] = False,
) -> None:
    """Train a detector from labelled frames, and write its report. What was interrupted goes on."""
    _variants(None, device)
    with _reading(file) as (experiments, bars):
        from bench.commands.train import train as train_detector
        from bench.commands.train.text import describe

        trained = train_detector(experiments, file, training, again=again, device=device, on_event=bars)
    console.say(describe(trained))
    for what, path in trained.pages.items():
        console.name_path(f"{what}:", path)


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
    with _reading(file) as (experiments, bars):
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


@app.command(cls=CalibratedCommand)
@guarded
def export(  # noqa: PLR0913, PLR0917 - a command's options
    variant: Annotated[str, typer.Argument(help="The variant to hand over; of several detectors, such as b5/q8.")],
    to: Annotated[Path | None, typer.Option(help="Folder to write model, README and inference snippet into.")] = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            help="Instead of --to: a Triton model repository, to which the ONNX file is added with its config.pbtxt.",
            metavar="FOLDER",
        ),
    ] = None,
    experiment: Annotated[str | None, typer.Option(help="Name under `experiments:`.")] = None,
    form: Annotated[
        str, typer.Option("--format", help="onnx, or safetensors for a variant that is not quantised.")
    ] = "onnx",
    calibrated: Annotated[
        str | None,
        typer.Option(
            metavar="[METHOD]",
            help="Scale the logits so that P(fake) is calibrated, as fitted on validation frames: by temperature, also "
            "without a METHOD, or by platt.",
        ),
    ] = None,
    sign_with: Annotated[
        Path | None, typer.Option(help="A private key (Ed25519, PEM) that signs evidence.json.", metavar="KEY.PEM")
    ] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="For the model card, such as apache-2.0; none if left out.")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="For the model card: the model on Hugging Face that it was made from.")
    ] = None,
    file: File = DEFAULT_FILE,
) -> None:
    """Hand over one variant: an ONNX file, a model card, a snippet that runs it without bench, and signed evidence."""
    if (to is None) == (triton is None):
        raise UserError("export: give --to FOLDER, or --triton FOLDER for a Triton model repository; one of the two")
    of_folder = {
        "--format": form != "onnx",
        "--sign-with": sign_with,
        "--license": license_,
        "--base-model": base_model,
    }
    if triton and (further := next((option for option, value in of_folder.items() if value), None)):
        raise UserError(
            f"--triton writes an ONNX file and its config.pbtxt alone; leave {further} out, or give --to instead"
        )
    with _reading(file) as (experiments, bars):
        from bench.commands.export import Options, export_named, export_to_triton
        from bench.commands.export.card import Claims
        from bench.experiment import select

        name, settings = select(experiments, experiment, file)
        if triton:
            written = export_to_triton(file.parent, name, settings, variant, triton, calibrated, bars)
        else:
            assert to is not None
            options = Options(form, calibrated, Claims(license_, base_model), sign_with)
            written = export_named(file.parent, name, settings, variant, to, options, bars)
    for path in written:
        console.name_path("wrote", path)


@app.command()
@guarded
def verify(
    target: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder that `bench export` wrote, or one file of it.")
    ],
    key: Annotated[
        Path | None, typer.Option(help="The public key (Ed25519, PEM) that must have signed it.", metavar="PUBLIC.PEM")
    ] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(
            help="The experiment file: also check weights, artifact, frames, predictions and scores beside it.",
            metavar="FILE",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print findings and evidence as JSON.")] = False,
) -> None:
    """Check an exported folder by its evidence and its signature; exit code 1 where anything differs."""
    with Bars("comparing") as bars:
        from bench.commands.verify import verify as verify_export
        from bench.commands.verify.text import as_json, describe

        verified = verify_export(target, key, experiment, bars)
    if json:
        typer.echo(as_json(verified).replace("##", "\\u0023#"))
    else:
        console.say(describe(verified))
    if verified.wrong:
        raise typer.Exit(console.EXIT_GATE_FELL)


@app.command()
@guarded
def extract(  # noqa: PLR0913, PLR0917 - a command's options
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE...", help="Videos: files, folders in any layout, or manifests that list them."),
    ],
    to: Annotated[Path, typer.Option("--to", help="The folder to write frames and their manifest into.")],
    frames: Annotated[int, typer.Option(help="How many frames of each video.")] = 32,
    sampling: Annotated[
        str, typer.Option(help="Which ones: linspace (even distances), step, first, all, or every-K such as every-10.")
    ] = "linspace",
    crop: Annotated[
        str, typer.Option(help="What is cut out around faces, such as fsbi; none for whole frames.")
    ] = "fsbi",
    faces: Annotated[str, typer.Option(help="What finds faces: yunet, none, or an ONNX file.")] = "yunet",
    min_face: Annotated[int, typer.Option(help="Pixels of a face's shorter side, at least.")] = 40,
    min_score: Annotated[float, typer.Option(help="The finder's confidence, at least.")] = 0.85,
    form: Annotated[str, typer.Option("--format", help="png, without loss, or jpg, a third as large.")] = "png",
    source_pattern: Annotated[
        str | None,
        typer.Option(
            help="A regular expression, searched in each video's path; its first group is the person or scene, where "
            "nothing else tells it."
        ),
    ] = None,
    workers: Annotated[str, typer.Option(help="Processes that read videos; auto is one for each core.")] = "auto",
) -> None:
    """Take frames out of videos and faces out of frames, with a manifest. What exists is not made again."""
    with Bars("loading") as bars:
        from bench.commands.extract import as_form, as_workers, extract_videos
        from bench.commands.extract.text import describe, paths
        from bench.records import Extraction

        extraction = Extraction(frames, sampling, crop, faces, min_face, min_score, as_form(form))
        extracted = extract_videos(
            sources, to, extraction, workers=as_workers(workers), source_pattern=source_pattern, on_event=bars
        )
    console.say(describe(extracted))
    for what, path in paths(extracted):
        console.name_path(what, path)
    if not extracted.counts.crops:
        raise UserError(f"{to}: no frames from any of {extracted.videos:,} videos; why is said above")


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
    variants = _variants(only, device)
    with _reading(file) as (experiments, bars):
        from bench.commands import history as noted
        from bench.commands.check import run_and_check
        from bench.experiment import select
        from bench.reports import checked

        name, _ = select(experiments, experiment, file)
        reports = file.parent / "reports" / name
        junit, summary = junit or reports / "check.xml", summary or reports / "check.md"
        history = history or noted.default_file(file.parent, name)
        checked.refuse_unwritable(junit, summary)
        noted.refuse_other_file(history)
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
def inspect(  # noqa: PLR0913, PLR0917 - a command's options
    given: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="A picture, a video, or a folder of pictures, real/ and fake/ or not."),
    ],
    experiment: Annotated[
        str | None, typer.Option(help="Name under `experiments:`; not needed if there is only one.")
    ] = None,
    variant: Annotated[
        Named, typer.Option(help="A variant to look with; may be repeated. The baseline stands beside them.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder to write into; reports/EXPERIMENT/inspect if left out.")
    ] = None,
    faces: Annotated[
        str,
        typer.Option(
            help="auto, always or never: whether the face is cut out first. auto leaves alone what is a frame of the "
            "experiment's set, and all where the detector takes whole frames."
        ),
    ] = "auto",
    target: Annotated[
        str | None,
        typer.Option(help="fake or real: what maps speak for; what each variant calls the frame if left out."),
    ] = None,
    levels: Annotated[int, typer.Option(help="How many resolutions of maps must agree.")] = 2,
    above: Annotated[
        float | None, typer.Option(help="Of a folder, explain only what a variant gives this P(fake) or more.")
    ] = None,
    frames: Annotated[int, typer.Option(help="How many frames of a video are judged, at even distances.")] = 16,
    file: File = DEFAULT_FILE,
) -> None:
    """Explain one frame: what each variant makes of it layer by layer, and which parts of the face decide."""
    with _reading(file) as (experiments, bars):
        from bench.commands.inspect import Options
        from bench.commands.inspect import inspect as look_into
        from bench.commands.inspect.request import as_faces, as_target
        from bench.commands.inspect.text import describe
        from bench.experiment import select

        name, settings = select(experiments, experiment, file)
        options = Options(tuple(variant or ()), to, as_faces(faces), as_target(target), levels, above, frames)
        written = look_into(given, file.parent, name, settings, options, bars)
    console.say(describe(written))
    for what, path in written.pages.items():
        console.name_path(f"{what}:", path)


@app.command()
@guarded
def predict(  # noqa: PLR0913, PLR0917 - a command's options
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Pictures, videos, folders of these, and manifests.")
    ],
    to: Annotated[Path, typer.Option(help="The CSV file; the summary and all else is called like it.")],
    experiment: Annotated[
        str | None, typer.Option(help="Name under `experiments:`; not needed if there is only one.")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="The variant that judges; the baseline if left out.")] = None,
    faces: Annotated[
        str,
        typer.Option(
            help="auto, always or never: whether faces are cut out first, a row each. auto leaves alone what is a "
            "frame of the experiment's set, and all where the detector takes whole frames."
        ),
    ] = "auto",
    label_pattern: Annotated[
        str | None,
        typer.Option(
            help="A regular expression, searched in each file's name: its first group is real, fake, 0 or 1, or its "
            "groups are called `real` and `fake`. Without it, labels come from folders and manifests."
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="From this P(fake) on a picture is called fake; the experiment's if left out.")
    ] = None,
    frames: Annotated[int, typer.Option(help="How many frames of a video are judged.")] = 32,
    sampling: Annotated[
        str, typer.Option(help="Which frames of a video: linspace, step, first, all, or every-K.")
    ] = "linspace",
    heatmaps: Annotated[
        bool, typer.Option("--heatmaps", help="Also a heatmap of each, framed by whether it is right or wrong.")
    ] = False,
    embedding: Annotated[
        bool, typer.Option("--embedding", help="Also the network's vector of each, in a Parquet file.")
    ] = False,
    file: File = DEFAULT_FILE,
) -> None:
    """Predict for any pictures and videos, to a CSV file and a summary; a killed prediction goes on where it was."""
    with _reading(file) as (experiments, bars):
        from bench.commands.inspect.request import as_faces
        from bench.commands.predict import Options
        from bench.commands.predict import predict as predict_files
        from bench.commands.predict.computing import VariantFailedError
        from bench.commands.predict.text import describe
        from bench.experiment import select

        name, settings = select(experiments, experiment, file)
        options = Options(
            tuple(inputs), to, variant, as_faces(faces), label_pattern, threshold, frames, sampling, heatmaps,
            embedding,
        )  # fmt: skip
        try:
            predicted = predict_files(options, file.parent, name, settings, bars)
        except VariantFailedError as error:
            console.say(f"error: {error}", err=True)
            raise typer.Exit(console.EXIT_VARIANT_FAILED) from error
    console.say(describe(predicted))
    for what, path in predicted.files.items():
        console.name_path(f"{what}:", path)


@app.command()
@guarded
def serve(  # noqa: PLR0913, PLR0917 - a command's options
    experiment: Experiment = None,
    variant: Annotated[
        Named,
        typer.Option(
            help="A variant to serve; may be repeated, the first answers by default. What the report says to "
            "ship if left out."
        ),
    ] = None,
    ensemble: Annotated[str | None, typer.Option(help="An ensemble of the experiment to serve.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on; 127.0.0.1, this machine alone.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on; 8000.")] = None,
    api_keys_file: Annotated[
        Path | None, typer.Option(help="A file with an API key a line; without keys, anyone who reaches it may ask.")
    ] = None,
    rate: Annotated[str | None, typer.Option(help="Requests that a client may make, such as 60/minute.")] = None,
    queue: Annotated[int | None, typer.Option(help="Requests that may wait; 64. Others are told to come back.")] = None,
    upload_mib: Annotated[float | None, typer.Option(help="The largest picture's file, in MiB; 20.")] = None,
    megapixels: Annotated[float | None, typer.Option(help="The largest picture, decoded; 40.")] = None,
    video_mib: Annotated[float | None, typer.Option(help="The largest video's file, in MiB; 200.")] = None,
    video_seconds: Annotated[float | None, typer.Option(help="The longest video; 600.")] = None,
    cors_origins: Annotated[
        str | None, typer.Option(help="Pages of other origins that may ask, comma-separated; none.")
    ] = None,
    allowed_hosts: Annotated[
        str | None, typer.Option(help="Names that the service is called by, comma-separated, as behind a proxy.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="A folder to keep uploads in; they are not kept otherwise.")] = None,
    track: Annotated[bool, typer.Option("--track", help="Log answers where `tracking:` has runs logged.")] = False,
    file: File = DEFAULT_FILE,
) -> None:
    """Serve a variant over HTTP, with a page: pictures, videos and a webcam, called fake or real."""
    with _reading(file) as (experiments, bars):
        from bench.commands.serve import Options, listen, prepared
        from bench.experiment import select

        name, settings = select(experiments, experiment, file)
        flags = {
            "host": host, "port": port, "api_keys_file": api_keys_file, "rate": rate, "queue": queue,
            "upload_mib": upload_mib, "megapixels": megapixels, "video_mib": video_mib,
            "video_seconds": video_seconds, "cors_origins": cors_origins, "allowed_hosts": allowed_hosts, "keep": keep,
        }  # fmt: skip
        options = Options(tuple(variant or ()), ensemble, track)
        service = prepared(file.parent, name, settings, options, flags, bars)
    listen(service, console.say)


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
    with _reading(file) as (experiments, bars):
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
    _variants(None, device)
    with _reading(file) as (experiments, bars):
        from bench.commands.accept import NAME, accept_scores, describe

        to = to or file.parent / NAME
        accepted, left_out = accept_scores(
            experiments, file, experiment, to=to, device=device, anyway=anyway, on_event=bars
        )
    console.say(describe(accepted, to))
    console.note(f"left out {variant}" for variant in left_out)


@app.command()
@guarded
def clean(
    file: File = DEFAULT_FILE,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what no experiment refers to.")] = False,
) -> None:
    """Show what lies in variants/ and results/ with sizes, and what no experiment refers to; remove that on request."""
    with _reading(file) as (experiments, bars):
        from bench.commands.clean import inventory, remove_unused
        from bench.commands.clean.text import describe

        items = inventory(experiments, file, bars)
        if yes:
            items = remove_unused(items)
    console.say(describe(items, file))


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


def _named_file(text: str) -> tuple[str, Path]:
    """NAME=FILE, or a file that is called like its variant; a file whose own name has a = in it stays one."""
    name, equals, file = text.partition("=")
    if not equals or "/" in name or "\\" in name or Path(text).exists():
        return Path(text).stem, Path(text)
    if not name.strip() or not file:
        raise UserError(f"{text}: expected NAME=FILE, such as q8=scores/q8.csv, or a file")
    return name, Path(file)


def _variants(only: str | None, device: str | None) -> list[str]:
    """The variants that --only names; `UserError` where either option is wrong."""
    if device is not None and device not in DEVICES:
        raise UserError(f"--device: {no_device(device)}")
    variants = [name.strip() for name in (only or "").split(",") if name.strip()]
    if only is not None and not variants:
        raise UserError("--only: names no variant; expected names separated by commas, such as --only q8,q16")
    return variants


@contextmanager
def _reading(file: Path) -> Iterator[tuple[Experiments, Bars]]:
    """The experiments of a file, and bars that show from the first moment: imports take time too."""
    with Bars(f"reading {on_one_line(str(file))}") as bars:
        from bench.experiment import read

        yield read(file), bars


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
    variants = _variants(only, device)
    with _reading(file) as (experiments, bars):
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
