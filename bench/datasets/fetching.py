"""Frame sets at addresses, such as s3://bucket/faces: their files are copied here first, and then are as any others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import addresses
from bench.addresses import is_address, parent_of
from bench.datasets.layouts import Options, manifest
from bench.datasets.layouts.manifest.extracted import VIDEOS
from bench.datasets.layouts.manifest.files import Files
from bench.datasets.layouts.manifest.tables import Row, table
from bench.datasets.settings import FrameSetSettings, options_of
from bench.errors import UserError
from bench.records import OnEvent
from bench.remote import Copy, Item, Store

_MANIFESTS = (".csv", ".parquet")
_PATHS = ("path", "mask")
"""The columns that name files, as the program knows them."""
_BESIDE = {*manifest.NAMES, VIDEOS}
"""What is read beside a manifest: what it is called in an extraction's folder tells of faces, too."""


def is_remote(settings: FrameSetSettings) -> bool:
    """Whether any of a frame set's files lie at an address."""
    return bool(_addresses(settings))


def fetch(settings: FrameSetSettings, base: Path, on_event: OnEvent) -> None:
    """Copy what lies at the addresses of a frame set, as far as it is not here, or has changed there.

    `UserError` where there is nothing, and for what the store refuses.
    """
    for address, options in _addresses(settings):
        copy = _copy(base, address, options)
        if _is_manifest(address):
            _fetch_manifest(copy, options, on_event)
        else:
            _fetch_folder(copy, on_event)


def refuse_absent(settings: FrameSetSettings, base: Path) -> None:
    """Raise `UserError` where not all of a frame set was copied yet, or is here still; nobody asks the store."""
    for address, options in _addresses(settings):
        if not _copy(base, address, options).is_whole():
            raise UserError(
                f"{address}: is not copied to this machine yet, or not all of it; `bench run EXPERIMENT --build-only` "
                "copies it, and a whole run does too"
            )


def addresses_of(settings: FrameSetSettings) -> set[str]:
    """The addresses that a frame set's files lie at."""
    return {address for address, _ in _addresses(settings)}


def _addresses(settings: FrameSetSettings) -> list[tuple[str, Options]]:
    """Addresses, each once for each choice of a manifest's columns."""
    options_of_parts: dict[tuple[str, str], Options] = {}
    for location in settings.all_locations:
        options = options_of(location)
        of_location = (path.rstrip("/") for path in (location.path, location.masks) if path and is_address(path))
        options_of_parts |= {(address, _part(address, options)): options for address in of_location}
    return [(address, options) for (address, _), options in options_of_parts.items()]


def _is_manifest(address: str) -> bool:
    return address.lower().endswith(_MANIFESTS)


def _part(address: str, options: Options) -> str:
    """What of an address is asked for: of a manifest, by which columns it names files."""
    return json.dumps(_columns(options)) if _is_manifest(address) else ""


def _columns(options: Options) -> tuple[str, ...]:
    """What a manifest calls the columns of paths of frames and of masks."""
    names = {role: name for name, role in manifest.roles_of(options).items()}
    return tuple(names[role] for role in _PATHS)


def _copy(base: Path, address: str, options: Options) -> Copy:
    path = addresses.local_path(base, address)
    return Copy(base, address, path.parent if _is_manifest(address) else path, _part(address, options))


def _fetch_folder(copy: Copy, on_event: OnEvent) -> None:
    store = Store(copy.address)
    items = store.items()
    if not items:
        raise UserError(f"{copy.address}: nothing lies there; look at the address, and at what `path` may be")
    copy.update(store, items, on_event)


def _fetch_manifest(copy: Copy, options: Options, on_event: OnEvent) -> None:
    """Copy a manifest and what is read beside it, then the files that its rows name."""
    folder, name = parent_of(copy.address)
    store = Store(folder)
    items = store.listing()
    if name not in items:
        raise UserError(f"{copy.address}: there is no such object")
    lists = _of(items, {name} | _BESIDE)

    def all_items() -> dict[str, Item]:
        """What the rows name. What was copied stays where other columns name it, and where rows name what is not there:
        that is a slip, and no reason to fetch all again.
        """
        file, copied = copy.root / name, copy.copied()
        named = _named(file, options)
        of_others = {path for part in copy.parts() for path in _in_columns(file, json.loads(part))}
        stays = copied if named - items.keys() else copied & of_others
        return {**lists, **_of(items, named | stays)}

    copy.update(store, lists, on_event, all_items)


def _of(items: Mapping[str, Item], names: set[str]) -> dict[str, Item]:
    return {name: items[name] for name in sorted(names) if name in items}


def _named(file: Path, options: Options) -> set[str]:
    """The paths that a manifest's rows name. `UserError` where it can't be read, or lacks columns or rows."""
    _, _, rows = manifest.rows_at(file, options)
    return _paths(file, rows)


def _in_columns(file: Path, columns: Sequence[str]) -> set[str]:
    """The paths in columns of a readable manifest; none of those that it lacks."""
    _, rows = table(file, dict(zip(columns, _PATHS, strict=True)))
    return _paths(file, rows)


def _paths(file: Path, rows: Sequence[Row]) -> set[str]:
    normal = Files(file.parent).normal
    return {normal(cells.get(column, "")) for _, cells in rows for column in _PATHS} - {""}
