"""Commands that take pictures and videos: train, extract, inspect, predict, serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import console
from bench.cli.app import DeviceOption, Experiment, File, Named, app, reading, variants_of
from bench.console import DEFAULT_FILE, guarded
from bench.errors import UserError
from bench.progress import Bars


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
    variants_of(None, device)
    with reading(file) as (experiments, bars):
        from bench.commands.train import train as train_detector
        from bench.commands.train.text import describe

        trained = train_detector(experiments, file, training, again=again, device=device, on_event=bars)
    console.say(describe(trained))
    for what, path in trained.pages.items():
        console.name_path(f"{what}:", path)


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
    with reading(file) as (experiments, bars):
        from bench.commands.inspect import Options
        from bench.commands.inspect import inspect as look_into
        from bench.commands.inspect.request import as_faces, as_target
        from bench.experiment import select

        name, settings = select(experiments, experiment, file)
        options = Options(tuple(variant or ()), to, as_faces(faces), as_target(target), levels, above, frames)
        written = look_into(given, file.parent, name, settings, options, bars)
    console.say("\n".join(written.lines))
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
    path_column: Annotated[
        str | None, typer.Option(help="What the column of pictures is called in a manifest, if not `path`.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="What the column of labels is called in a manifest, if not `label`.")
    ] = None,
    source_column: Annotated[
        str | None, typer.Option(help="What the column of videos or persons is called there, if not `source`.")
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
    with reading(file) as (experiments, bars):
        from bench.commands.inspect.request import as_faces
        from bench.commands.predict import Options
        from bench.commands.predict import predict as predict_files
        from bench.commands.predict.computing import VariantFailedError
        from bench.commands.predict.request import columns_of
        from bench.commands.predict.text import describe
        from bench.experiment import select

        name, settings = select(experiments, experiment, file)
        options = Options(
            tuple(inputs), to, variant, as_faces(faces), label_pattern, threshold,
            columns_of(path=path_column, label=label_column, source=source_column), frames, sampling, heatmaps,
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
    rate: Annotated[
        str | None, typer.Option(help="Pictures, frames and videos that a client may send, such as 60/minute.")
    ] = None,
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
    with reading(file) as (experiments, bars):
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
