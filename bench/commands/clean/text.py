"""An inventory as a person reads it on a terminal."""

from __future__ import annotations

from pathlib import Path

from bench.commands.clean import Inventory, Item
from bench.errors import on_one_line


def describe(inventory: Inventory, path: Path) -> str:
    """One line an item, with its size in MiB, then what to do; `path` is the experiment file."""
    base = path.parent
    paths = [on_one_line(str(item.path.relative_to(base))) for item in inventory.items]
    width = max(map(len, paths), default=0)
    lines = [
        f"{name:{width}}  {_mib(item.size_bytes):>11}  {_state(item, inventory)}"
        for name, item in zip(paths, inventory.items, strict=True)
    ]
    lines += [f"note: {on_one_line(note)}" for note in inventory.notes]
    return "\n".join([*lines, _total(inventory)])


def _total(inventory: Inventory) -> str:
    total = sum(item.size_bytes for item in inventory.items)
    if inventory.removed:
        freed = sum(item.size_bytes for item in inventory.items if item.path in inventory.removed)
        count = f"{len(inventory.removed)} of {len(inventory.items)}"
        return f"removed {count}: {_mib(freed)}; {_mib(total - freed)} left"
    if inventory.unused:
        unused = sum(item.size_bytes for item in inventory.unused)
        return f"{_mib(unused)} of {_mib(total)} can go: `bench clean --yes` removes what nothing refers to"
    return f"{_mib(total)}, all of it in use" if inventory.items else "nothing there"


def _mib(size_bytes: int) -> str:
    """ "12.3 MiB"; of what would be rounded to nothing, more digits."""
    mib = size_bytes / 2**20
    return f"{max(mib, 0.001):.3f} MiB" if 0 < mib < 0.05 else f"{mib:,.1f} MiB"


def _state(item: Item, inventory: Inventory) -> str:
    state = "removed" if item.path in inventory.removed else item.in_use or "can go"
    return on_one_line(f"{item.what}: {state}")
