"""Shards that are evaluated apart: in any order, killed and lost, joined they are what one run makes."""

from __future__ import annotations

import random
import re
import signal
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from bench.errors import UserError
from bench.pipeline.prepared import Prepared
from bench.pipeline.sharding import appearances, part, records
from bench.pipeline.sharding.part import Part
from bench.pipeline.sharding.records import Record
from bench.results import appearance
from tests.pipeline import test_interrupted
from tests.pipeline.test_interrupted import Warm, results, set_up, untimed

pattern, warm, undisturbed = test_interrupted.pattern, test_interrupted.warm, test_interrupted.undisturbed

SEED = 5
COUNT = 3


def shard(warm: Warm, folder: Path, number: int, count: int = COUNT) -> int:
    return warm.run(folder, arguments=["run", "first", "--shard", f"{number}/{count}"])


def output(folder: Path) -> str:
    return Path(f"{folder}.out").read_text()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("shards", [0, 1, 6, 12_500])
def test_parts_share_all_shards_evenly(count: int, shards: int) -> None:
    parts = [list(Part(number, count).of(range(shards))) for number in range(1, count + 1)]
    assert [low for of_part in parts for low in of_part] == list(range(shards))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["", "3", "3/", "/3", "a/b", "-1/3", "1/3/5", "0/3", "4/3", "1/0", "1/200000", "١/٣"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--shard: "):
        part.parse(text)
    assert part.parse(" 2/3 ") == Part(2, 3)


def test_a_part_without_a_variant_that_failed_there_is_named_with_the_reason(tmp_path: Path) -> None:
    lacking = Record(
        2, 3, "0", {}, {}, {"baseline": "k"}, "node-2", 1, "", is_whole=True, failed={"q8": "out of memory"}
    )
    whole = replace(lacking, number=1, keys={"baseline": "k", "q8": "l"}, failed={})
    with pytest.raises(UserError, match="part 2/3 is without q8, which failed on node-2: out of memory"):
        records.refuse_other_keys([lacking], whole, tmp_path / "first", "first")
    other = replace(lacking, keys={"baseline": "m", "q16": "k"})
    with pytest.raises(UserError, match="was made elsewhere in another way"):
        records.refuse_other_keys([other], whole, tmp_path / "first", "first")


def test_what_is_no_measure_of_frames_is_passed_over(tmp_path: Path) -> None:
    """As files that somebody put into a store."""
    frames = [SimpleNamespace(path=f"{number:03d}.png") for number in range(300)]
    test = SimpleNamespace(digest="d" * 64, frames=tuple(frames))
    setup = SimpleNamespace(frames={"test": test}, results=tmp_path / "results")
    setup.results.mkdir()
    for low, brightness in ((0, 10.0), (256, 20.0)):
        file = appearances.file_of(tmp_path, test.digest, low)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.full((min(256, 300 - low), 3), brightness))
    (file.parent / "zzzzzzzzz.npy").write_bytes(b"")
    (file.parent / "000000512.npy").write_bytes(b"")
    appearances.join(cast("Prepared", SimpleNamespace(by_frame_set={"faces": [setup]})), tmp_path)
    table = appearance.read(setup.results / appearance.APPEARANCE, test.digest, [frame.path for frame in frames])
    assert table is not None
    assert table["brightness"].tolist() == [10.0] * 256 + [20.0] * 44


def test_in_any_order_with_kills_and_losses_it_ends_as_one_run(
    pattern: Path, warm: Warm, undisturbed: dict[str, Any]
) -> None:
    """Built apart; parts beside each other; one killed, the files of another lost; a run of one variant between;
    merged, then merged again.
    """
    folder = set_up(pattern, pattern / "parts")
    assert warm.run(folder, arguments=["run", "--build-only"]) == 0, output(folder)
    assert re.search(r"built baseline: variants/\w{16}", output(folder))
    assert not list(folder.glob("results/first/*/.shards"))
    assert shard(warm, folder, 3) == 0, output(folder)
    assert "not there yet: 1/3, 2/3; then `bench merge first`" in output(folder)
    child = warm.start(folder, arguments=["run", "first", "--shard", "1/3"])
    _kill_when_evaluating(folder, 1, child)
    assert warm.wait() == -signal.SIGKILL
    assert warm.run(folder, arguments=["merge"]) == 2
    assert re.search(r"2 of 3 parts are missing: 1/3, 2/3; .*1/3 was begun by process \d+ on", output(folder))
    assert shard(warm, folder, 2) == shard(warm, folder, 1) == 0
    assert "all 3 parts are there" in output(folder)
    lost, damaged = sorted(folder.glob("results/first/q8/.shards/*/*.npz"))[1:3]
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert warm.run(folder, arguments=["merge"]) == 2
    assert "shards are gone or damaged: 2 of 3 parts are missing: 2/3, 3/3" in output(folder)
    assert shard(warm, folder, 3) == 0
    assert shard(warm, folder, 2) == 0
    arguments = ["run", "first", "--only", "baseline", "--no-timing"]
    assert warm.run(folder, arguments=arguments) == 0, output(folder)
    assert warm.run(folder, arguments=["merge"]) == 0, output(folder)
    assert results(folder) == untimed(undisturbed)
    assert not (folder / "results/first/.sharding").exists()
    assert shard(warm, folder, 2) == 0
    assert "part 2/3: nothing to do, all predictions are joined already" in output(folder)
    assert not (folder / "results/first/.sharding/of-3/2.json").exists()
    assert warm.run(folder, arguments=["merge"]) == 0, output(folder)
    assert results(folder) == untimed(undisturbed)


@pytest.mark.slow
def test_parts_beside_each_other_never_wait_for_one_another(
    pattern: Path, warm: Warm, undisturbed: dict[str, Any]
) -> None:
    """While somebody holds the results, too: nothing that a shard does asks for their lock."""
    from filelock import FileLock

    folder = set_up(pattern, pattern / "beside")
    assert warm.run(folder, arguments=["run", "--build-only"]) == 0, output(folder)
    with FileLock(folder / "results/first/.lock"):
        children = []
        for number in range(1, COUNT + 1):
            arguments = ["run", "first", "--shard", f"{number}/{COUNT}"]
            warm.order(folder=str(folder), log=f"{folder}.out", arguments=arguments)
            children.append(int(warm.line() or ""))
            warm.children = [children[-1]]
            assert warm.wait() == 0, output(folder)
    assert "waiting" not in output(folder)
    assert warm.run(folder, arguments=["merge"]) == 0, output(folder)
    assert results(folder) == untimed(undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_moments_parts_end_as_one_run(pattern: Path, warm: Warm, undisturbed: dict[str, Any]) -> None:
    """Twenty kills of parts and merges in a random order, over folders that nobody built before."""
    rng, kills, turn = random.Random(SEED), 0, 0
    while kills < 20:
        turn += 1
        folder = set_up(pattern, pattern / f"killed-parts-{turn}")
        commands = [["run", "first", "--shard", f"{number}/{COUNT}"] for number in range(1, COUNT + 1)]
        rng.shuffle(commands)
        for arguments in [*commands, ["merge", "first"]]:
            kills += _until_done(warm, folder, arguments, rng, undisturbed["seconds"])
        assert results(folder) == untimed(undisturbed), folder


def _until_done(warm: Warm, folder: Path, arguments: list[str], rng: random.Random, seconds: float) -> int:
    """Run a command, killing it at random, until it ends by itself; how often it was killed."""
    for kills in range(50):
        child = warm.start(folder, arguments=arguments)
        killer = threading.Timer(rng.uniform(0, 0.5 * seconds), test_interrupted._kill, (child, signal.SIGKILL))
        killer.start()
        code = warm.wait()
        killer.cancel()
        killer.join()
        if code == 0:
            return kills
        assert code == -signal.SIGKILL, output(folder)
        assert "Traceback" not in output(folder)
    raise AssertionError(f"{arguments} does not end")


def _kill_when_evaluating(folder: Path, number: int, child: int) -> None:
    """Kill a part as soon as one of its shards is there."""
    import time

    import psutil

    before = set(folder.glob("results/first/*/.shards/*/*.npz"))
    until = time.monotonic() + 60
    while time.monotonic() < until and psutil.pid_exists(child):
        if set(folder.glob("results/first/*/.shards/*/*.npz")) - before:
            return test_interrupted._kill(child, signal.SIGKILL)
        time.sleep(0.001)
