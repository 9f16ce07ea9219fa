"""How far P(fake) of the exported files differs from the stored predictions, which a variant's numbers come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import stored
from bench.commands.export.evidence import set_digest
from bench.errors import UserError
from bench.provenance import file_digest, version
from bench.records import Built, Evaluation, Event, LabelledFrames, Moved, OnEvent, RunRecord
from bench.results import score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAMES = 32
"""Test frames that are compared, evenly spread over all."""

SNIPPET = "predict.py"


@dataclass(frozen=True)
class Runner:
    """An exported file and what runs it: `p_fake` takes the path of a picture."""

    file: str
    by: str
    version: str
    p_fake: Callable[[Path], float]


def measure(
    run: RunRecord, evaluation: Evaluation, variant: str, runners: Sequence[Runner], base: Path, on_event: OnEvent
) -> tuple[Moved, ...]:
    """Compare each runner with the stored predictions; empty where the test frames have changed since the run."""
    import numpy as np

    if frames_digest(run, evaluation.test, base, on_event) != run.frames["test"].digest:
        return ()
    before = evaluation.predictions[variant].test
    rows = [index * len(before) // FRAMES for index in range(FRAMES)] if len(before) > FRAMES else range(len(before))
    paths = {row: base / run.frames["test"].root / str(evaluation.test.frames[row]) for row in rows}
    progress = partial(Event, "comparing with the predictions", total=len(runners) * len(paths))
    moved, done = [], 0
    for runner in runners:
        p_fake: dict[int, float] = {}
        for row, path in paths.items():
            on_event(progress(done=done))
            if (score := _score(runner, path)) is not None:
                p_fake[row] = score
            done += 1
        if p_fake:
            after = np.array(list(p_fake.values()))
            moved.append(_moved(runner, before[list(p_fake)], after, run.threshold))
    on_event(progress(done=done))
    return tuple(moved)


def frames_digest(run: RunRecord, test: LabelledFrames, base: Path, on_event: OnEvent) -> str | None:
    """The digest of the test frames as they lie there now; None where one of them cannot be read."""
    frames, digests = run.frames["test"], list[str]()
    progress = partial(Event, "reading the test frames", total=len(test.frames))
    try:
        for path in test.frames:
            on_event(progress(done=len(digests)))
            file = base / frames.root / str(path)
            stored.refuse_other_than_file(file)
            digests.append(file_digest(file))
    except (OSError, ValueError):
        return None
    on_event(progress(done=len(digests)))
    return set_digest(test, digests)


def _score(runner: Runner, path: Path) -> float | None:
    """P(fake) of a picture; None where it is gone, or OpenCV cannot read it."""
    try:
        stored.refuse_other_than_file(path)
        return runner.p_fake(path)
    except (OSError, ValueError, UserError):
        return None


def _moved(runner: Runner, before: NDArray[np.float64], after: NDArray[np.float64], threshold: float) -> Moved:
    change = abs(after - before)
    flips = int(((after >= threshold) != (before >= threshold)).sum())
    return Moved(runner.file, runner.by, runner.version, len(after), float(change.mean()), float(change.max()), flips)


def runners(folder: Path, built: Built, model: str) -> list[Runner]:
    """`predict.py` of the folder; an int8 variant's artifact is another file, which onnxruntime runs in two modes."""
    snippet = _loaded(folder / "predict.py")
    library = "onnxruntime" if model.endswith(".onnx") else "torch"
    by_snippet = Runner(model, SNIPPET, version(library), lambda path: float(snippet["predict"]([path])[0]))
    return [by_snippet, *(_of_artifact(built, snippet) if built.arranged else [])]


def _loaded(file: Path) -> dict[str, Any]:
    """The names of a module, without a trace in its folder."""
    names: dict[str, Any] = {"__name__": "predict", "__file__": str(file)}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), names)
    return names


def _of_artifact(built: Built, snippet: dict[str, Any]) -> list[Runner]:
    """An ONNX artifact in onnxruntime on a CPU, on frames that `snippet` reads."""
    from bench.runtimes import onnxruntime

    def p_fake(session: Any, path: Path) -> float:
        (logits,) = session.run(["logits"], {"frames": snippet["fitted"](snippet["read"](path))[None]})
        return float(score.p_fake(logits[:, 0], logits[:, 1])[0])

    sessions = {
        "onnxruntime, its own settings": onnxruntime.open_session(built.file, 0, ["CPUExecutionProvider"]),
        "onnxruntime, no optimisation": onnxruntime.load_reference(built, 0).session,
    }
    return [
        Runner(built.file.name, by, version("onnxruntime"), partial(p_fake, session))
        for by, session in sessions.items()
    ]
