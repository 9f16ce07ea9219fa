"""An evaluation that was killed for want of memory is not killed the same way again: the next one halves its batches.

A process that the kernel kills can say nothing. So it notes before its work what it is about to try, and removes the
note when it ends in any other way.
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
def noted(folders: Mapping[str, Path], sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """By variant, the frames of a batch that may be tried: `sizes`, or half of what an earlier process died of.

    `folders` are the variants' own for work in the making.
    """
    allowed = {name: _allowed(folders[name] / NOTE, size) for name, size in sizes.items()}
    for name, size in allowed.items():
        note = {"batch_size": size, "kills": memory_kills(), "group": memory_group()}
        write_text(folders[name] / NOTE, json.dumps(note))
    try:
        yield allowed
    finally:
        for name in allowed:
            remove(folders[name] / NOTE)


def _allowed(note: Path, size: int) -> int:
    try:
        earlier = stored.read_json(note)
        tried = int(earlier["batch_size"])
        return max(1, min(size, tried // 2)) if _was_for_memory(earlier) else size
    except (OSError, ValueError, KeyError, TypeError):
        return size


def _was_for_memory(earlier: Mapping[str, Any]) -> bool:
    """Whether the kernel has killed since; in another container, which counts anew, whether memory is limited."""
    kills = memory_kills()
    if earlier["group"] == memory_group() and kills is not None and earlier["kills"] is not None:
        return kills > int(earlier["kills"])
    return memory_limit() is not None
