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
        f"{name:{width}}  {item.size_bytes / 2**20:9.1f} MiB  {_state(item, inventory)}"
        for name, item in zip(paths, inventory.items, strict=True)
    ]
    lines += [f"note: {on_one_line(note)}" for note in inventory.notes]
    total = sum(item.size_bytes for item in inventory.items) / 2**20
    going = sum(item.size_bytes for item in inventory.can_go) / 2**20
    if inventory.removed:
        lines.append(f"removed {len(inventory.removed)} of {len(inventory.items)}")
    elif inventory.can_go:
        lines.append(f"{going:.1f} of {total:.1f} MiB can go: `bench clean --yes` removes what nothing refers to")
    else:
        lines.append(f"{total:.1f} MiB, all of it in use")
    return "\n".join(lines)


def _state(item: Item, inventory: Inventory) -> str:
    end = "removed" if item.path in inventory.removed else item.kept or "can go"
    return on_one_line(f"{item.what}: {end}")
