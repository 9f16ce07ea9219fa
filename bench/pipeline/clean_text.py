"""What was found to clean as a person reads it on a terminal."""

from __future__ import annotations

from pathlib import Path

from bench.errors import on_one_line
from bench.pipeline.clean import Inventory, Item


def describe(inventory: Inventory, path: Path) -> str:
    """The inventory as text: one line an item, with sizes in MiB, and what to do."""
    base = path.parent
    paths = [on_one_line(str(item.path.relative_to(base))) for item in inventory.items]
    width = max(map(len, paths), default=0)
    lines = [
        f"{name:{width}}  {_mib(item.size_bytes):>11}  {_state(item, inventory)}"
        for name, item in zip(paths, inventory.items, strict=True)
    ]
    lines += [f"note: {on_one_line(note)}" for note in inventory.notes]
    total = sum(item.size_bytes for item in inventory.items)
    going = sum(item.size_bytes for item in inventory.can_go)
    gone = sum(item.size_bytes for item in inventory.items if item.path in inventory.removed)
    if inventory.removed:
        count = f"{len(inventory.removed)} of {len(inventory.items)}"
        lines.append(f"removed {count}: {_mib(gone)}; {_mib(total - gone)} left")
    elif inventory.can_go:
        lines.append(f"{_mib(going)} of {_mib(total)} can go: `bench clean --yes` removes what nothing refers to")
    else:
        lines.append(f"{_mib(total)}, all of it in use" if inventory.items else "nothing there")
    return "\n".join(lines)


def _mib(size_bytes: int) -> str:
    """ "12.3 MiB"; of what would be rounded to nothing, more digits."""
    mib = size_bytes / 2**20
    return f"{max(mib, 0.001):.3f} MiB" if 0 < mib < 0.05 else f"{mib:,.1f} MiB"


def _state(item: Item, inventory: Inventory) -> str:
    end = "removed" if item.path in inventory.removed else item.kept or "can go"
    return on_one_line(f"{item.what}: {end}")
