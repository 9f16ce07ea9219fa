"""The command line itself: its commands in the order of their modules, and what several of them share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from bench.errors import DEVICES, UserError, no_device, on_one_line
from bench.progress import Bars

if TYPE_CHECKING:
    from bench.experiment import Experiments


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
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="An address, such as s3://bucket/bench, by which machines that see no common folder share artifacts and "
        "shards (bench[remote]).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print what scores.json holds in place of the table.")]


def variants_of(only: str | None, device: str | None) -> list[str]:
    """The variants that --only names; `UserError` where either option is wrong."""
    if device is not None and device not in DEVICES:
        raise UserError(f"--device: {no_device(device)}")
    variants = [name.strip() for name in (only or "").split(",") if name.strip()]
    if only is not None and not variants:
        raise UserError("--only: names no variant; expected names separated by commas, such as --only q8,q16")
    return variants


@contextmanager
def reading(file: Path) -> Iterator[tuple[Experiments, Bars]]:
    """The experiments of a file, and bars that show from the first moment: imports take time too."""
    with Bars(f"reading {on_one_line(str(file))}") as bars:
        from bench.experiment import read

        yield read(file), bars
