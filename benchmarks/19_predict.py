"""`bench predict` over a folder of pictures against the bare forward throughput of its network.

A pass is everything from JPEG files to the CSV file and its scores, with the variant loaded: what is read, computed,
written shard by shard and joined. The page and its figures are apart, since their time does not grow with the pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count as numbers
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import (
    alternate,
    built,
    forward,
    loaded,
    options,
    prepare_in,
    ratios,
    show,
    spread,
    working_folder,
    workplace,
)

from bench.commands.predict import scoring, shards
from bench.commands.predict.computing import Asked, Pass
from bench.commands.predict.inputs import items_of
from bench.commands.predict.outputs import Outputs
from bench.commands.predict.reading import Reader
from bench.commands.predict.shards import shards_of
from bench.pipeline.prepared import Setup
from bench.records import DEFAULT_THRESHOLD, Session, VideoScoring
from bench.results import predict
from bench.results.answers import UNDER_WAY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGE = (1280, 720)
COLUMNS = ("network input", "pictures stored at", "runtime", "pass, pictures/s", "bare, frames/s", "pass / bare")
_passes = numbers()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = options(__doc__, architecture="efficientnet_b5", sizes=(160, 380), frames=128, rounds=5)
    parser.add_argument("--large", action="store_true", help=f"also with pictures of {LARGE[0]} x {LARGE[1]} pixels")
    parser.add_argument("--heatmaps", action="store_true", help="also draw a heatmap of each, which takes its time")
    given = parser.parse_args(arguments)
    rows: list[list[str]] = []
    for size in given.sizes:
        for width, height in ((size, size), *([LARGE] if given.large else [])):
            setup = workplace(given, size, given.frames, (width, height))
            with working_folder(given.folder) as folder:
                prepared = prepare_in(folder, setup)
                rows += _measured(prepared, folder / "faces" / "test", (width, height), given.rounds, given.heatmaps)
    show(
        f"19. bench predict against bare forward, {given.architecture}",
        COLUMNS,
        rows,
        f"A pass is everything from JPEG files to the CSV file and its scores{', heatmaps too' * given.heatmaps}, the "
        f"variant being loaded and pages aside; bare is the same session on the same pictures, decoded beforehand, in "
        f"batches of the same size, {UNDER_WAY} of them under way where the session can. {given.frames} pictures; "
        f"median (quartiles) of {given.rounds} rounds in alternation. Target for pictures stored at the network's "
        f"size: at least 0.95.",
    )


def _measured(
    prepared: Setup, pictures: Path, stored: tuple[int, int], rounds: int, heatmaps: bool
) -> Iterator[list[str]]:
    """A row: the pass and the bare forward in alternation, in pictures a second."""
    session = loaded(prepared, built(prepared)["baseline"])
    frames = prepared.frames["test"].frames
    batches: list[NDArray[np.uint8]] = list(
        prepared.read(frames, prepared.spec, predict.batch_size(prepared.spec, prepared.device))
    )
    works: dict[str, Callable[[], object]] = {
        "pass": lambda: _pass(prepared, session, pictures, heatmaps),
        "bare": lambda: forward(session, batches),
    }
    seconds = alternate(works, rounds)
    per_second = {name: [len(frames) / sample for sample in samples] for name, samples in seconds.items()}
    yield [
        f"{prepared.spec.size} px",
        f"{stored[0]} × {stored[1]}",
        f"{session.executed.runtime}, {session.executed.device_name}",
        spread(per_second["pass"], 1),
        spread(per_second["bare"], 1),
        ratios(per_second["pass"], per_second["bare"], 3),
    ]


def _pass(prepared: Setup, session: Session, pictures: Path, heatmaps: bool) -> None:
    """One prediction of all pictures into a folder of its own."""
    outputs = Outputs(prepared.results / f"pass-{next(_passes)}" / "predictions.csv")
    outputs.work.mkdir(parents=True)
    items = items_of([pictures], [])
    pieces = shards_of(items, {"frames": 1, "frame_sampling": "linspace"})
    reader = Reader(prepared.source.preprocessing, "never", None, 1, "linspace", prepared.threads)
    Pass(session, prepared.spec, reader, outputs, Asked(DEFAULT_THRESHOLD, heatmaps)).run(pieces)
    shards.join(pieces, outputs, heatmaps=heatmaps, embedding=None)
    scoring.judge(outputs.table, len(items), {}, {}, DEFAULT_THRESHOLD, VideoScoring())


if __name__ == "__main__":
    main()
