"""A whole evaluation pass of one variant against the bare forward throughput of its network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from testbed import (
    alternate,
    built,
    evaluate,
    loaded,
    options,
    planned,
    ratios,
    reader,
    show,
    spread,
    working_folder,
    workplace,
)

from bench.pipeline.plan import Plan
from bench.results import predict

LARGE = (1280, 720)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, architecture="efficientnet_b5", sizes=(160, 380), frames=128, rounds=5)
    parser.add_argument("--large", action="store_true", help=f"also with frames of {LARGE[0]} x {LARGE[1]} pixels")
    given = parser.parse_args(arguments)
    rows: list[list[str]] = []
    for size in given.sizes:
        for width, height in ((size, size), *([LARGE] if given.large else [])):
            place = workplace(given, size, given.frames, (width, height))
            with working_folder(given.folder) as folder:
                rows += _measured(planned(folder, place), (width, height), given.rounds)
    show(
        f"1. Evaluation pass against bare forward, {given.architecture}",
        ["network input", "frames stored at", "runtime", "pass, frames/s", "bare, frames/s", "pass / bare"],
        rows,
        f"A pass is everything from JPEG files to scores and CAMs on disk; bare is the same session's `predict` on the "
        f"same frames, decoded beforehand, in batches of the same size. {given.frames} frames; median (quartiles) of "
        f"{given.rounds} rounds in alternation. Target: at least 0.95 for frames stored at the network's size.",
    )


def _measured(plan: Plan, stored: tuple[int, int], rounds: int) -> Iterator[list[str]]:
    session = loaded(plan, built(plan)["baseline"])
    frames = plan.frames["test"].frames
    batches = list(reader(plan)(frames, plan.spec, predict.batch_size(plan.spec, plan.device)))

    def bare() -> None:
        for batch in batches:
            session.predict(batch)

    seconds = alternate({"pass": lambda: evaluate(plan, {"baseline": session}), "bare": bare}, rounds)
    per_second = {name: [len(frames) / one for one in samples] for name, samples in seconds.items()}
    yield [
        f"{plan.spec.size} px",
        f"{stored[0]} × {stored[1]}",
        f"{session.executed.runtime}, {session.executed.device_name}",
        spread(per_second["pass"], 1),
        spread(per_second["bare"], 1),
        ratios(per_second["pass"], per_second["bare"], 3),
    ]


if __name__ == "__main__":
    main()
