"""Joined predictions that machines share by a store: the files of one run together, or none of them.

Tables and maps of other weights may have the very sizes of those before. So there as here, the mark that says that all
are there goes before any of them is replaced, and comes last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bench.errors import UserError
from bench.files import remove, write_bytes
from bench.pipeline.sharding.transfers import Transfers, plain_files
from bench.records import Event, OnEvent
from bench.remote import Item
from bench.results import predict

_PICTURE = re.compile(r"(results/[^/]+(?:/[^/]+){1,3}?/result)/[^/]+/heatmap/.+")
"""Heatmaps, and the folder that they are drawn in for a variant."""


def fetch_joined(transfers: Transfers, results: Path, items: Mapping[str, Item], on_event: OnEvent) -> None:
    """Fetch what these objects hold of predictions that are joined there, and not here.

    Those that are damaged there are not taken, and their mark is removed there. `UserError` where another machine
    replaces them meanwhile.
    """
    marks = {name: item for name, item in items.items() if _is(name, predict.MARK)}
    due = {name: item for name, item in marks.items() if not predict.is_whole((transfers.base / name).parent)}
    folders = {_folder(name) for name in due}
    joined = {name: item for name, item in items.items() if _folder(name) in folders and _is(name, *predict.JOINED)}
    transfers.refuse_links(joined)
    contents = transfers.contents(due)
    for name in due:
        remove(transfers.base / name)
    transfers.fetch({name: item for name, item in joined.items() if name not in due}, on_event)
    now = transfers.items(results) if joined else {}
    if changed := next((name for name, item in joined.items() if now.get(name) != item), None):
        raise UserError(
            f"{transfers.store.address}/{changed}: has changed while it was copied; run the same command again"
        )
    for name, content in contents.items():
        folder = (transfers.base / name).parent
        if predict.is_intact(folder, content):
            write_bytes(transfers.base / name, content)
            continue
        for file in predict.JOINED:
            remove(folder / file)
        transfers.store.remove([name])  # what is joined there then counts as missing, and is replaced
        text = f"{transfers.store.address}/{_folder(name)}: the predictions there are damaged, and are made again"
        on_event(Event(text, 1, 1, "warning"))


def put_results(transfers: Transfers, results: Path, on_event: OnEvent) -> None:
    """Put there all that results hold, and remove heatmaps there that renders have removed here.

    What is joined there as here already stays as it is.
    """
    remote = transfers.items(results)
    transfers.store.remove(name for name in remote if _is_gone(transfers.base, name))
    files = {transfers.name(file): file for file in plain_files(results, deep=True)}
    joined = {name: file for name, file in files.items() if _is(name, *predict.JOINED)}
    marks = {name for name, file in joined.items() if _is(name, predict.MARK) and predict.is_whole(file.parent)}
    contents = transfers.contents({name: remote[name] for name in marks if name in remote})
    due = {_folder(name) for name in marks if contents.get(name) != files[name].read_bytes()}
    replaced = [name for name in remote if _folder(name) in due and _is(name, *predict.JOINED)]
    transfers.store.remove(name for name in replaced if _is(name, predict.MARK))
    transfers.store.remove(name for name in replaced if name not in files)
    transfers.put_as(
        {name: file for name, file in files.items() if name not in joined or _folder(name) in due},
        on_event,
        last=predict.MARK,
    )


def is_shared_apart(name: str) -> bool:
    """Whether an object of results is joined predictions, or a heatmap, which whoever renders draws."""
    return _is(name, *predict.JOINED) or _PICTURE.fullmatch(name) is not None


def _is_gone(base: Path, name: str) -> bool:
    """Whether an object is a heatmap that is not here, where those of its variant are drawn."""
    match = _PICTURE.fullmatch(name)
    return match is not None and (base / match[1]).is_dir() and not (base / name).exists()


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _is(name: str, *files: str) -> bool:
    return name.rpartition("/")[2] in files
