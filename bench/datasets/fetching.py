"""Frame sets at addresses, such as s3://bucket/faces: their files are copied here first, and then are as any others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import addresses
from bench.addresses import is_address, parent_of
from bench.datasets.layouts import Options, manifest
from bench.datasets.layouts.manifest.files import Files
from bench.datasets.settings import FrameSetSettings, Location, options_of
from bench.errors import UserError
from bench.records import OnEvent
from bench.remote import Copy, Item, Store

_MANIFESTS = (".csv", ".parquet")
_LISTS = (*_MANIFESTS, ".json", ".txt")
"""What may stand beside a manifest and say more of its frames."""


def is_remote(settings: FrameSetSettings) -> bool:
    """Whether any of a frame set's files lie at an address."""
    return any(True for _ in _addresses(settings))


def fetch(settings: FrameSetSettings, base: Path, on_event: OnEvent) -> None:
    """Copy what lies at the addresses of a frame set, as far as it is not here, or has changed there.

    `UserError` where there is nothing, and for what the store refuses.
    """
    for address, options in _addresses(settings):
        if _is_manifest(address):
            _fetch_manifest(base, address, options, on_event)
        else:
            _fetch_folder(base, address, on_event)


def refuse_absent(settings: FrameSetSettings, base: Path) -> None:
    """Raise `UserError` where a frame set was not copied yet; nobody asks the store."""
    for address, _ in _addresses(settings):
        if not _copy(base, address).is_whole():
            raise UserError(
                f"{address}: is not copied to this machine yet, or not all of it; `bench run EXPERIMENT --build-only` "
                "copies it, and a whole run does too"
            )


def _addresses(settings: FrameSetSettings) -> Iterator[tuple[str, Options]]:
    locations: list[FrameSetSettings | Location] = [settings, *settings.locations.values()]
    options_by_address: dict[str, Options] = {}
    for location in locations:
        options = options_of(location)
        paths = (path for path in (location.path, location.masks) if path and is_address(path))
        options_by_address |= dict.fromkeys(paths, options)
    yield from options_by_address.items()


def _is_manifest(address: str) -> bool:
    return address.lower().endswith(_MANIFESTS)


def _copy(base: Path, address: str) -> Copy:
    path = addresses.local_path(base, address)
    return Copy(base, address, path.parent if _is_manifest(address) else path)


def _fetch_folder(base: Path, address: str, on_event: OnEvent) -> None:
    store = Store(address)
    items = store.items()
    if not items:
        raise UserError(f"{address}: nothing lies there; look at the address, and at what `path` may be")
    _copy(base, address).update(store, items, on_event)


def _fetch_manifest(base: Path, address: str, options: Options, on_event: OnEvent) -> None:
    """Copy a manifest, then the files that its rows name, and lists beside it."""
    folder, name = parent_of(address)
    store, copy = Store(folder), _copy(base, address)
    items = store.items()
    if name not in items:
        raise UserError(f"{address}: there is no such object")
    lists = {item for item in items if "/" not in item and item.lower().endswith(_LISTS)} | {name}
    copy.update(store, _of(items, lists | copy.copied().keys()), on_event)
    copy.update(store, _of(items, lists | _named(addresses.local_path(base, address), options)), on_event)


def _of(items: Mapping[str, Item], names: set[str]) -> dict[str, Item]:
    return {name: items[name] for name in sorted(names) if name in items}


def _named(file: Path, options: Options) -> set[str]:
    """The paths that a manifest's rows name; none where it can't be read, which is found out when it is listed."""
    try:
        _, _, rows = manifest.rows_at(file, options)
    except UserError:
        return set()
    normal = Files(file.parent).normal
    return {normal(cells.get(column, "")) for _, cells in rows for column in ("path", "mask")}
