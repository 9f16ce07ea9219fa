"""A warmed-up process that forks runs of `bench`, so that a hundred of them can be killed in a minute.

Every line on its input is JSON, {"folder": …, "log": …}, with "largest_file": bytes where the system shall
refuse larger ones, "arguments": those of another command than `run`, "own_processes": true where timing shall
start some as it always does, "units": a file that takes a line for every unit of a step's work, "kill_after": how
many of them until the run is killed, "runs": how many run beside each other. The answer is the number of each process
that runs `bench run` in that folder, and, once that has ended, a line with its wait status. {"figures": false} leaves
figures blank from then on. Nothing but the start is special: the run is the whole program, in a process of its own.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

_start: Any = None
"""How timing starts its processes; in threads most runs here are faster by seconds."""


def prepare() -> None:
    """Make the tiny family known, shards and checkpoints small, and import what a run imports."""
    from bench import cli
    from bench.detectors import families
    from bench.detectors.families import efficientnet
    from bench.results import predict, timing
    from bench.runtimes.onnxruntime import kernels
    from bench.runtimes.onnxruntime.lowering import EVERYWHERE
    from bench.training import loop
    from bench.variants import checkpoints
    from tests.conftest import start_in_a_thread
    from tests.support import tiny

    both: Any = (tiny, efficientnet)
    families.modules = lambda: both
    global _start  # noqa: PLW0603
    _start = timing.start
    timing.start = start_in_a_thread
    predict.SHARD_FRAMES = 8
    # Short enough that most kills find something kept, and long enough that saving is not most of the work.
    checkpoints.INTERVAL_SECONDS = 0.05
    loop.SAVE_SECONDS, loop._SAVING_SHARE = 0.05, 1.0
    # Kernels chosen by timing may differ from folder to folder where they are equally fast, and scores with them.
    kernels.fastest = lambda times: EVERYWHERE
    assert cli


def run(folder: Path, log: Path, order: dict[str, Any]) -> NoReturn:
    """`bench run` in the folder; does not return."""
    from tqdm import tqdm

    from bench import cli
    from bench.results import timing

    # Forked processes share tqdm's own lock: one that is killed while it holds it would stop all later ones.
    tqdm.set_lock(threading.RLock())
    code = 70
    try:
        os.chdir(folder)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["bench", *order.get("arguments", ["run"])]
        if most := order.get("largest_file"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        if order.get("own_processes"):
            timing.start = _start
        if units := order.get("units"):
            _note_units(Path(units), order.get("kill_after"))
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _note_units(file: Path, kill_after: int | None) -> None:
    """A line "step's folder, part, number" for every frame, layer, batch or training step that is done.

    Of `bench train` there is also one for every file that is filled and has all but its name.
    """
    from bench import files
    from bench.training import learner as learners
    from bench.training import loop
    from bench.variants import checkpoints
    from bench.variants.steps.recover import training

    keep, step, count = checkpoints.Part.keep, training._step, itertools.count(1)
    learn, rename = learners.Learner.step, files.rename
    checkpoints.INTERVAL_SECONDS = loop.SAVE_SECONDS = 0.0
    loop._SAVING_SHARE = 1e9

    def note(*unit: object) -> None:
        with file.open("a") as lines:
            lines.write(" ".join(map(str, unit)) + "\n")
        if next(count) == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def keep_and_note(part: Any, done: int, *rest: Any) -> None:
        note(part._work.scratch.name, part._name, done)
        keep(part, done, *rest)

    def step_and_note(state: Any, *rest: Any) -> bool:
        is_finite = step(state, *rest)
        note("training", state.step)
        return is_finite

    def learn_and_note(learner: Any, batch: Any, rate: float, done: int) -> float:
        loss = learn(learner, batch, rate, done)
        note("learning", done + 1)
        return loss

    def note_and_rename(source: Path, target: Path) -> None:
        if "trainings" in target.parts:
            note("file", target.name)
        rename(source, target)

    replaced: Any = checkpoints.Part, training, learners.Learner, files
    replaced[0].keep, replaced[1]._step = keep_and_note, step_and_note
    replaced[2].step, replaced[3].rename = learn_and_note, note_and_rename


def main() -> None:
    prepare()
    for line in sys.stdin:
        order = json.loads(line)
        if order.get("figures") is False:
            _draw_nothing()
            continue
        if order.get("here"):
            _warm_up(Path(order["folder"]), Path(order["log"]))
            continue
        if order.get("arguments", [""])[0] == "train":
            _import_training()
        children = []
        for _ in range(order.get("runs", 1)):
            child = os.fork()
            if child == 0:
                run(Path(order["folder"]), Path(order["log"]), order)
            print(child, flush=True)
            children.append(child)
        for child in children:
            print(os.waitpid(child, 0)[1], flush=True)


def _import_training() -> None:
    """What every training imports takes longer than a small one."""
    import scipy.optimize
    import scipy.stats
    import sklearn.metrics
    import torch._dynamo
    import torch.utils.data

    import bench.commands.train.report
    import bench.reports.training

    assert all((scipy.optimize, scipy.stats, sklearn.metrics, torch._dynamo, torch.utils.data, bench))


def _draw_nothing() -> None:
    """Most of the time of a report is that of its figures."""
    from bench.reports.pictures import figures
    from bench.reports.training import figures as of_trainings
    from tests.support.blank_figures import BLANK

    of_trainings.write = lambda charts, folder: []
    for name, blank in BLANK.items():
        setattr(figures, name, blank)


def _warm_up(folder: Path, log: Path) -> None:
    """A whole run in this process: what it imports, the forked ones find imported."""
    from typer.testing import CliRunner

    from bench import cli

    before = Path.cwd()
    os.chdir(folder)
    result = CliRunner().invoke(cli.app, ["run"])
    os.chdir(before)
    log.write_text(result.output)
    print(result.exit_code, flush=True)


if __name__ == "__main__":
    main()
