"""Six variants in one pass over the frames, against six passes.

None is in int8: `quantize` refuses random weights, whose answers rounding would change beyond recognition.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from testbed import (
    Workplace,
    alternate,
    built,
    evaluate,
    loaded,
    options,
    prepare_in,
    ratios,
    reader,
    show,
    spread,
    working_folder,
)

from bench.pipeline.prepared import Setup
from bench.records import AnySpec, Frame, SpecBatches

VARIANTS = {
    "baseline": "[]",
    "q16": "[cast: fp16]",
    "bf16": "[cast: bf16]",
    "q32-p50": "[prune: 0.5, recover: {steps: 1}]",
    "q16-p50": "[prune: 0.5, recover: {steps: 1}, cast: fp16]",
    "bf16-p50": "[prune: 0.5, recover: {steps: 1}, cast: bf16]",
}


class Counting:
    """A reader that counts the frames it decoded."""

    def __init__(self, prepared: Setup) -> None:
        self.read, self.decoded = reader(prepared), 0

    def __call__(self, frames: Sequence[Frame], specs: Sequence[AnySpec], batch_size: int) -> Iterator[SpecBatches]:
        for batches in self.read(frames, specs, batch_size):
            self.decoded += len(next(iter(batches.values())))
            yield batches


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = options(
        __doc__, architectures=("efficientnet_b0", "efficientnet_b5"), size=160, width=1280, height=720, frames=96,
        others=16, rounds=3, variants=tuple(VARIANTS),
    )  # fmt: skip
    given = parser.parse_args(arguments)
    chains = {name: VARIANTS[name] for name in given.variants}
    counts = {"test": given.frames, "calibration": given.others, "train": given.others}
    rows: list[list[object]] = []
    for architecture in given.architectures:
        setup = Workplace(
            architecture, given.size, given.width, given.height, counts, chains, given.device, given.runtime
        )
        with working_folder(given.folder) as folder:
            rows += _measured(prepare_in(folder, setup), given.rounds)
    show(
        f"3. {len(chains)} variants in one pass against {len(chains)} passes, {given.size} px",
        ["network", "way", "frames decoded", "s", "decoding alone, s", "against one pass"],
        rows,
        f"{given.frames} JPEG frames of {given.width} × {given.height} pixels; variants: {', '.join(chains)}. Seconds "
        f"are the median (quartiles) of {given.rounds} rounds in alternation, from files to scores and CAMs on disk; "
        "decoded frames are counted. Decoding alone is the same reader with nothing to compute, once a pass.",
    )


def _measured(prepared: Setup, rounds: int) -> Iterator[list[object]]:
    """A row for each way: frames decoded, seconds, and the ratio to one pass."""
    sessions = {name: loaded(prepared, artifact) for name, artifact in built(prepared).items()}
    together, apart = Counting(prepared), Counting(prepared)

    def one_by_one() -> None:
        for name, session in sessions.items():
            evaluate(prepared, {name: session}, apart)

    in_one_pass, one_by_one_way = "one pass", f"{len(sessions)} passes"
    seconds = alternate(
        {in_one_pass: lambda: evaluate(prepared, sessions, together), one_by_one_way: one_by_one}, rounds
    )
    # The first round, which warms up, decodes as well.
    decoded = {in_one_pass: together.decoded // (rounds + 1), one_by_one_way: apart.decoded // (rounds + 1)}
    alone = _decoding_seconds(prepared)
    for way, passes in ((in_one_pass, 1), (one_by_one_way, len(sessions))):
        yield [
            prepared.source.architecture,
            way,
            decoded[way],
            spread(seconds[way]),
            f"{alone * passes:.2f}",
            ratios(seconds[way], seconds[in_one_pass]),
        ]


def _decoding_seconds(prepared: Setup) -> float:
    began = time.perf_counter()
    for _ in prepared.read(prepared.frames["test"].frames, prepared.spec, 8):
        pass
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
