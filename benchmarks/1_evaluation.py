"""A whole evaluation pass of one variant against the bare forward throughput of its network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from testbed import (
    alternate,
    built,
    evaluate,
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

from bench.pipeline.prepared import Setup
from bench.results import predict
from bench.results.answers import UNDER_WAY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGE = (1280, 720)
COLUMNS = ("network input", "frames stored at", "runtime", "pass, frames/s", "bare, frames/s", "pass / bare")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = options(__doc__, architecture="efficientnet_b5", sizes=(160, 380), frames=128, rounds=5)
    parser.add_argument("--large", action="store_true", help=f"also with frames of {LARGE[0]} x {LARGE[1]} pixels")
    parser.add_argument("--decoding", action="store_true", help="also decoding alone, as always with --device cuda")
    given = parser.parse_args(arguments)
    decoding = given.decoding or given.device == "cuda"
    rows: list[list[str]] = []
    for size in given.sizes:
        for width, height in ((size, size), *([LARGE] if given.large else [])):
            setup = workplace(given, size, given.frames, (width, height))
            with working_folder(given.folder) as folder:
                rows += _measured(prepare_in(folder, setup), (width, height), given.rounds, decoding)
    show(
        f"1. Evaluation pass against bare forward, {given.architecture}",
        [*COLUMNS, *(["decoding, frames/s"] if decoding else [])],
        rows,
        f"A pass is everything from JPEG files to scores and CAMs on disk; bare is the same session on the same "
        f"frames, decoded beforehand, in batches of the same size, {UNDER_WAY} of them under way where the session "
        f"can. {'Decoding is the reader alone, which no pass can outrun. ' if decoding else ''}"
        f"{given.frames} frames; median (quartiles) of {given.rounds} rounds in alternation. Target for frames stored "
        f"at the network's size: at least 0.95, on a GPU 0.9 where decoding allows it.",
    )


def _measured(prepared: Setup, stored: tuple[int, int], rounds: int, decoding: bool) -> Iterator[list[str]]:
    """A row: the pass and the bare forward in alternation, in frames a second."""
    session = loaded(prepared, built(prepared)["baseline"])
    frames = prepared.frames["test"].frames

    def decoded() -> Iterator[NDArray[np.uint8]]:
        return prepared.read(frames, prepared.spec, predict.batch_size(prepared.spec, prepared.device))

    batches = list(decoded())
    works: dict[str, Callable[[], object]] = {
        "pass": lambda: evaluate(prepared, {"baseline": session}),
        "bare": lambda: forward(session, batches),
    }
    if decoding:
        works["decoding"] = lambda: deque(decoded(), maxlen=0)
    seconds = alternate(works, rounds)
    per_second = {name: [len(frames) / sample for sample in samples] for name, samples in seconds.items()}
    yield [
        f"{prepared.spec.size} px",
        f"{stored[0]} × {stored[1]}",
        f"{session.executed.runtime}, {session.executed.device_name}",
        spread(per_second["pass"], 1),
        spread(per_second["bare"], 1),
        ratios(per_second["pass"], per_second["bare"], 3),
        *([spread(per_second["decoding"], 1)] if decoding else []),
    ]


if __name__ == "__main__":
    main()
