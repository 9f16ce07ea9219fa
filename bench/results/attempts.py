"""Halve the batches after an evaluation that was killed for want of memory.

A process that the kernel kills cannot record that. So each process writes a note of its batch sizes before its work,
and removes the note when it ends in any other way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import stored
from bench.files import remove, write_text
from bench.system.control_groups import memory_group, memory_kills, memory_limit

NOTE = "attempt.json"


@contextmanager
def noted(folders: Mapping[str, Path], sizes: Mapping[str, int], name: str = NOTE) -> Iterator[dict[str, int]]:
    """The frames a batch by variant: `sizes`, or half of what an earlier process was killed with.

    `folders` are the variants' folders for unfinished work. Processes that work there beside each other have each a
    note of another `name`.
    """
    allowed = {each: _allowed(folders[each] / name, size) for each, size in sizes.items()}
    for each, size in allowed.items():
        note = {"batch_size": size, "kills": memory_kills(), "group": memory_group()}
        write_text(folders[each] / name, json.dumps(note))
    try:
        yield allowed
    finally:
        for each in allowed:
            remove(folders[each] / name)


def _allowed(note: Path, size: int) -> int:
    try:
        earlier = stored.read_json(note)
        tried = int(earlier["batch_size"])
        return max(1, min(size, tried // 2)) if _was_for_memory(earlier) else size
    except (OSError, ValueError, KeyError, TypeError):
        return size


def _was_for_memory(earlier: Mapping[str, Any]) -> bool:
    """Whether the kernel has killed a process since. Another container counts anew: whether its memory is limited."""
    kills = memory_kills()
    if earlier["group"] == memory_group() and kills is not None and earlier["kills"] is not None:
        return kills > int(earlier["kills"])
    return memory_limit() is not None
