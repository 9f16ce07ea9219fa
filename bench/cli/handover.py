"""Commands that hand a variant over: export, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from bench import console
from bench.cli.app import File, app, reading
from bench.console import DEFAULT_FILE, guarded
from bench.errors import UserError
from bench.progress import Bars
from bench.records import CALIBRATION_METHODS


class CalibratedCommand(TyperCommand):
    """A command whose `--calibrated` may stand without a method, which then is temperature."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        methods: tuple[str, ...] = CALIBRATION_METHODS
        following = [*args[1:], ""][: len(args)]
        bare = [part == "--calibrated" and other not in methods for part, other in zip(args, following, strict=True)]
        whole = [f"{part}={methods[0]}" if is_bare else part for part, is_bare in zip(args, bare, strict=True)]
        return super().parse_args(ctx, whole)


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
    with reading(file) as (experiments, bars):
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
