"""What the control groups of Linux let this process use: processor time and memory. Free of heavy imports.

By the kernel's documentation (admin-guide/cgroup-v1 and cgroup-v2). A limit holds for a group and all groups below
it, so the process' own group is read and every group above it that can be seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT, GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
VMSTAT = Path("/proc/vmstat")

Controller = Literal["cpu", "memory"]

# cgroup v1 has no word for "unlimited" but the largest number of pages.
_UNLIMITED_BYTES = 2**60


@dataclass(frozen=True)
class Throttling:
    """How long groups had to wait for their next period because their quota was used up, summed over cores."""

    throttled_periods: int
    periods: int
    seconds: float

    @property
    def share(self) -> float:
        """Of the periods in which it had work, those in which it had to wait."""
        return self.throttled_periods / self.periods if self.periods else 0.0


def cpu_quota(root: Path = ROOT, groups: Path = GROUPS) -> float | None:
    """How many cores' time the control groups of this process allow, the least of them; None where none sets a limit.

    `cpu.max` of cgroup v2, `cpu.cfs_quota_us` and `cpu.cfs_period_us` of v1.
    """
    quotas = [quota for folder in _folders("cpu", root, groups) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def throttling(root: Path = ROOT, groups: Path = GROUPS) -> dict[Path, Throttling]:
    """By group, what `cpu.stat` has counted so far; empty where nothing counts."""
    counted = {}
    for folder in _folders("cpu", root, groups):
        numbers = _numbers(folder / "cpu.stat")
        if "nr_periods" in numbers:
            seconds = numbers.get("throttled_usec", 0) / 1e6 + numbers.get("throttled_time", 0) / 1e9
            counted[folder] = Throttling(numbers.get("nr_throttled", 0), numbers["nr_periods"], seconds)
    return counted


def throttled_between(before: Mapping[Path, Throttling], after: Mapping[Path, Throttling]) -> Throttling | None:
    """What the group that waited longest waited between two answers of `throttling`; None where nothing counts."""
    waited = [
        Throttling(
            after[folder].throttled_periods - earlier.throttled_periods,
            after[folder].periods - earlier.periods,
            after[folder].seconds - earlier.seconds,
        )
        for folder, earlier in before.items()
        if folder in after
    ]
    return max(waited, key=lambda group: (group.seconds, group.throttled_periods), default=None)


def memory_limit(root: Path = ROOT, groups: Path = GROUPS) -> int | None:
    """Bytes that the control groups of this process allow, the least of them; None where none sets a limit."""
    limits = [limit for folder in _folders("memory", root, groups) if (limit := _memory_limit(folder)) is not None]
    return min(limits, default=None)


def total_memory(root: Path = ROOT, groups: Path = GROUPS) -> int:
    """Bytes that this process and others of its groups may have at most: the machine's, or a group's limit."""
    import psutil

    total: int = psutil.virtual_memory().total
    limit = memory_limit(root, groups)
    return total if limit is None else min(total, limit)


def available_memory(root: Path = ROOT, groups: Path = GROUPS) -> int:
    """Bytes that this process can still take: what the machine has free, or what is left of a group's limit."""
    import psutil

    left: list[int] = [psutil.virtual_memory().available]
    for folder in _folders("memory", root, groups):
        limit, used = _memory_limit(folder), _memory_used(folder)
        if limit is not None and used is not None:
            left.append(max(0, limit - used))
    return min(left)


def memory_kills(root: Path = ROOT, groups: Path = GROUPS, vmstat: Path = VMSTAT) -> int | None:
    """How many processes the kernel has killed for want of memory in this group, or on this machine; None if unknown.

    `oom_kill` of `memory.events` (cgroup v2), of `memory.oom_control` (v1) or of `/proc/vmstat`.
    """
    for folder in _folders("memory", root, groups):
        for name in ("memory.events", "memory.oom_control"):
            if (kills := _numbers(folder / name).get("oom_kill")) is not None:
                return kills
    return _numbers(vmstat).get("oom_kill")


def memory_group(root: Path = ROOT, groups: Path = GROUPS) -> str:
    """What tells the group whose kills are counted from that of another container; empty where there is none."""
    for folder in _folders("memory", root, groups):
        with suppress(OSError):
            state = folder.stat()
            return f"{folder}:{state.st_ino}:{state.st_ctime_ns}"
    return ""


def _folders(controller: Controller, root: Path, groups: Path) -> Iterator[Path]:
    """The group of this process and those above it, the innermost first, as far as they can be seen here."""
    try:
        lines = groups.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        mounts = (controllers, controller) if controllers else ("unified", "")
        mounted = next((root / mount for mount in mounts if (root / mount).is_dir()), root)
        # A process that was moved out of its namespace has a path such as "/../other".
        folder = mounted.joinpath(*(part for part in group.split("/") if part not in ("", "..")))
        # In a container the path may be the host's, of which only the mounted end is to be seen.
        yield from (group for group in (folder, *folder.parents) if group.is_relative_to(mounted) and group.is_dir())


def _quota(folder: Path) -> float | None:
    """A group's own limit in cores."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period")
            )
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _memory_limit(folder: Path) -> int | None:
    """A group's own limit in bytes; beyond `memory.high` a process is slowed down until it hardly moves."""
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    limits = [limit for name in names if (limit := _number(folder / name)) is not None and limit < _UNLIMITED_BYTES]
    return min(limits, default=None)


def _memory_used(folder: Path) -> int | None:
    """Bytes that a group uses, without the files in it that the kernel would drop first."""
    used = _number(folder / "memory.current")
    if used is None:
        used = _number(folder / "memory.usage_in_bytes")
    if used is None:
        return None
    statistics = _numbers(folder / "memory.stat")
    # In cgroup v1 only the total counts the groups below too.
    return max(0, used - statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # "max" is no number either
        return None


def _numbers(file: Path) -> dict[str, int]:
    """A file of lines such as "nr_throttled 12"."""
    numbers = {}
    with suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(" ")
            with suppress(ValueError):
                numbers[name] = int(value)
    return numbers
