"""What control groups allow, read from trees that look like the kernel's, and from the kernel where root may."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import provenance
from bench.commands.doctor import machine
from bench.results import attempts
from bench.results.timing import conditions
from bench.system import control_groups
from bench.system.control_groups import Throttling
from tests.support import ROOT
from tests.support.group_files import group_files

GIB, MIB = 2**30, 2**20
NO_LIMIT_OF_V1 = "9223372036854771712\n"


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=16 * GIB, available=8 * GIB))


@pytest.mark.parametrize(
    ("files", "lines", "limit", "available"),
    [
        ({"memory.max": f"{2 * GIB}\n", "memory.current": f"{GIB}\n"}, "0::/\n", 2 * GIB, GIB),
        ({"memory.max": "max\n", "memory.current": f"{GIB}\n"}, "0::/\n", None, 8 * GIB),
        ({"memory.max": "max\n", "memory.high": f"{GIB}\n", "memory.current": "0\n"}, "0::/\n", GIB, GIB),
        # The group above holds others too, and has less left.
        (
            {"a/memory.max": f"{4 * GIB}\n", "a/memory.current": f"{3 * GIB}\n",
             "a/b/memory.max": f"{2 * GIB}\n", "a/b/memory.current": "0\n"}, "0::/a/b\n", 2 * GIB, GIB,
        ),
        # Files in memory go before anybody is killed.
        (
            {"memory.max": f"{2 * GIB}\n", "memory.current": f"{2 * GIB}\n",
             "memory.stat": f"anon {GIB}\ninactive_file {GIB}\n"}, "0::/\n", 2 * GIB, GIB,
        ),
        (
            {"memory/x/memory.limit_in_bytes": f"{GIB}\n", "memory/x/memory.usage_in_bytes": f"{GIB // 2}\n",
             "memory/memory.limit_in_bytes": NO_LIMIT_OF_V1, "memory/memory.usage_in_bytes": f"{9 * GIB}\n"},
            "5:cpu:/\n4:memory:/x\n0::/\n", GIB, GIB // 2,
        ),
        ({"memory.max": f"{32 * GIB}\n", "memory.current": "0\n"}, "0::/\n", 32 * GIB, 8 * GIB),
        ({"memory.max": "1\n", "memory.current": "5\n"}, "0::/\n", 1, 0),
        ({"memory.max": f"{GIB}\n", "memory.current": "0\n"}, "0::/../../elsewhere\n", GIB, GIB),
        ({}, "nonsense\n", None, 8 * GIB),
    ],
)  # fmt: skip
def test_memory_is_the_least_of_the_machine_and_all_groups(
    files: dict[str, str], lines: str, limit: int | None, available: int, tmp_path: Path
) -> None:
    groups = group_files(tmp_path, files, lines)
    assert control_groups.memory_limit(*groups) == limit
    assert control_groups.available_memory(*groups) == available
    assert control_groups.total_memory(*groups) == min(16 * GIB, limit or 16 * GIB)


@pytest.mark.parametrize(
    ("files", "lines", "kills"),
    [
        ({"memory.events": "low 0\noom 3\noom_kill 2\n"}, "0::/\n", 2),
        ({"memory/x/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"}, "1:memory:/x\n", 4),
        ({}, "0::/\n", 7),
    ],
)
def test_kills_are_counted_in_the_group_or_on_the_machine(
    files: dict[str, str], lines: str, kills: int, tmp_path: Path
) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 7\n")
    assert control_groups.memory_kills(*group_files(tmp_path, files, lines), tmp_path / "vmstat") == kills


def test_what_a_quota_took_away_is_the_difference_of_two_answers(tmp_path: Path) -> None:
    before = {
        "a/cpu.stat": "usage_usec 5\nnr_periods 10\nnr_throttled 1\nthrottled_usec 1000000\n",
        "cpu.stat": "usage_usec 5\n",
    }
    groups = group_files(tmp_path, before, "0::/a\n")
    first = control_groups.throttling(*groups)
    group_files(tmp_path, {"a/cpu.stat": "nr_periods 110\nnr_throttled 41\nthrottled_usec 3500000\n"}, "0::/a\n")
    throttling = control_groups.throttled_between(first, control_groups.throttling(*groups))
    assert throttling == Throttling(40, 100, 2.5)
    assert throttling.share == 0.4
    assert control_groups.throttled_between({}, first) is None


def test_nanoseconds_of_the_first_version(tmp_path: Path) -> None:
    files = {"cpu/cpu.stat": "nr_periods 4\nnr_throttled 1\nthrottled_time 1500000000\n"}
    (throttling,) = control_groups.throttling(*group_files(tmp_path, files, "1:cpu:/\n")).values()
    assert throttling == Throttling(1, 4, 1.5)


def test_conditions_tell_what_was_throttled(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Path("group")
    answers = iter([{group: Throttling(0, 0, 0.0)}, {group: Throttling(30, 60, 4.0)}])
    monkeypatch.setattr(conditions, "throttling", lambda: next(answers))
    monkeypatch.setattr("psutil.cpu_percent", lambda: 0.0)
    with conditions.watch(2) as watched:
        assert not watched.conditions.is_throttled
    assert (watched.conditions.throttled_seconds, watched.conditions.throttled_share) == (4.0, 0.5)
    assert watched.conditions.is_throttled


def test_the_machine_says_what_of_it_is_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(provenance, "allowed_cores", lambda: [0, 1])
    monkeypatch.setattr(provenance, "cpu_quota", lambda: 0.3)
    monkeypatch.setattr(provenance, "total_memory", lambda: 1900 * MIB)
    facts = provenance.machine()
    assert facts["cpu"].endswith(", 0.3 of 2 cores allowed")
    assert facts["memory"] == "1.9 of 16 GiB allowed"
    monkeypatch.setattr(provenance, "cpu_quota", lambda: 2.0)
    assert provenance.machine()["cpu"].endswith(", 2 cores")
    monkeypatch.setattr(machine, "available_memory", lambda: 600 * MIB)
    monkeypatch.setattr(machine, "total_memory", lambda: 1900 * MIB)
    monkeypatch.setattr(machine, "memory_limit", lambda: 1900 * MIB)
    (finding,) = machine.memory(tmp_path)
    assert (finding.level, finding.observed) == ("problem", "0.6 of 1.9 GiB available (the limit of its control group)")
    assert "raise the limit" in finding.mend


@pytest.mark.parametrize(
    ("earlier", "limit", "allowed"),
    [
        ({"batch_size": 4, "kills": 0, "group": "here"}, None, 2),
        ({"batch_size": 1, "kills": 0, "group": "here"}, None, 1),
        # Killed by somebody: the kernel counted nothing.
        ({"batch_size": 4, "kills": 1, "group": "here"}, GIB, 4),
        # Another container counts anew.
        ({"batch_size": 4, "kills": 5, "group": "gone"}, GIB, 2),
        ({"batch_size": 4, "kills": 0, "group": "gone"}, None, 4),
        ({"batch_size": "many"}, GIB, 4),
        ([], GIB, 4),
    ],
)
def test_who_was_killed_for_memory_tries_half(
    earlier: object, limit: int | None, allowed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "memory_kills", lambda: 1)
    monkeypatch.setattr(attempts, "memory_group", lambda: "here")
    monkeypatch.setattr(attempts, "memory_limit", lambda: limit)
    (tmp_path / attempts.NOTE).write_text(json.dumps(earlier))
    with attempts.noted({"a": tmp_path}, {"a": 4}) as sizes:
        assert sizes == {"a": allowed}
        assert json.loads((tmp_path / attempts.NOTE).read_text())["batch_size"] == allowed
    assert list(tmp_path.iterdir()) == [], "an evaluation that ends by itself leaves no note"


# ------------------------------------------------------------------------------- what the kernel does
@pytest.fixture
def made_group() -> Iterator[Path]:
    """A memory group of 96 MiB, where this user may make one."""
    name = f"bench-test-{uuid.uuid4().hex[:8]}"
    for folder, limit in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = control_groups.ROOT / folder / name
        try:
            group.mkdir()
            (group / limit).write_text(str(96 * MIB))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("this user may make no control groups here")


def test_the_kernel_limits_and_counts(made_group: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "pathlib.Path(sys.argv[1], 'cgroup.procs').write_text(str(os.getpid()))\n"
        "from bench.system.control_groups import available_memory, memory_kills, memory_limit\n"
        "print(memory_limit(), available_memory() < memory_limit(), memory_kills(), flush=True)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    bytearray(os.urandom(1)) * 2**28\n"
        "    os._exit(0)\n"
        "_, status = os.waitpid(child, 0)\n"
        "print(os.WTERMSIG(status), memory_kills())\n"
    )
    command = [sys.executable, "-c", program, str(made_group)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(96 * MIB), "True", "0", "9", "1"], done.stderr
