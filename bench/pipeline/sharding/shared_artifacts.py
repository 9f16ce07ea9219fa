"""Artifacts that machines share by a store: all use the same one, also where several have built it.

An id does not say which bits were built. So the model of an artifact lies in a folder that its digest names, where
nobody overwrites another's; `variant.json` says which one counts, and is put where none lies yet. Whoever built other
bits takes the artifact that lies there, with the kernels that were chosen for it. What is damaged there is built again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import locks
from bench.files import make_folder, remove, rename, temporary_name, write_bytes
from bench.pipeline.sharding.transfers import Transfers, plain_files
from bench.records import Event, OnEvent
from bench.remote import Item, each
from bench.variants import cache, description
from bench.variants.description import DESCRIPTION, Description

_OBJECT = re.compile(r"variants/([0-9a-f]{16})/(?:[0-9a-f]{16}/)?[^/]+")
_BESIDE = re.compile(r"variants/[0-9a-f]{16}/[^/]+")
_MODELS = ("model.safetensors", "model.onnx")
_DIGITS = 16


class _Shared(NamedTuple):
    """An artifact in the store: its description, also as it is written there, and all of its objects."""

    description: Description
    content: bytes
    objects: Mapping[str, Item]

    @property
    def id(self) -> str:
        return self.description.id

    @property
    def model(self) -> str:
        return _model_of(self.description)


class SharedArtifacts:
    """Those below `variants/`, here and in the store."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers, self._store = transfers, transfers.store
        self._folder = transfers.base / "variants"
        self._seen: dict[str, tuple[Item, bytes]] = {}
        """What was chosen or measured beside artifacts, as it was taken from the store."""
        self._unsound: dict[str, dict[str, Item]] = {}
        """Descriptions and models that cannot be used, by id."""

    def take_over(self, on_event: OnEvent) -> bool:
        """Have the artifacts of the store, and what lies beside them, in the place of what was made here.

        Returns whether anything that was made here has given way. What was taken once and made again here since was
        of no use, and is not taken again.
        """
        shared = self._described(self._objects(), on_event)
        gives_way = self._take_models(shared, on_event)
        sound = [it for it in shared if it.id not in self._unsound]
        return self._take_beside(sound, on_event) or gives_way

    def offer(self, ids: Iterable[str], on_event: OnEvent) -> bool:
        """Put these artifacts there, with what was made beside them, as far as others have not.

        Returns whether anything that was made here has given way to what lies there; then that is to be used, and
        what is made of it to be offered.
        """
        local = {variant: it for variant in ids if (it := self._built(variant))}
        objects = self._objects()
        for variant in local.keys() & self._unsound.keys() & objects.keys():
            if self._unsound[variant] == _whole(objects[variant]):
                self._store.remove(objects.pop(variant))
        lacking = [it for variant, it in local.items() if _description_of(variant) not in objects.get(variant, {})]
        self._transfers.put_as({_model_of(it): self._folder / it.id / it.file for it in lacking}, on_event)
        # Models take long: what others have put meanwhile is taken over before anything says which model counts.
        if self.take_over(on_event):
            return True
        names = {name: item for of_id in self._objects().values() for name, item in of_id.items()}
        beside = [file for variant in local for file in plain_files(self._folder / variant) if file.name not in _MODELS]
        due = [file for file in beside if self._transfers.name(file) not in names or self._was_of_no_use(file, names)]
        self._transfers.put(due, on_event, last=DESCRIPTION)
        return bool(due) and self.take_over(on_event)

    def _objects(self) -> dict[str, dict[str, Item]]:
        """The objects of artifacts, by id."""
        by_id: dict[str, dict[str, Item]] = {}
        for name, item in self._transfers.items(self._folder).items():
            if match := _OBJECT.fullmatch(name):
                by_id.setdefault(match[1], {})[name] = item
        return by_id

    def _described(self, objects: Mapping[str, Mapping[str, Item]], on_event: OnEvent) -> list[_Shared]:
        """The artifacts that are there whole, as far as their descriptions tell."""
        names = {variant: _description_of(variant) for variant, of_id in objects.items()}
        items = {name: objects[variant][name] for variant, name in names.items() if name in objects[variant]}
        contents = self._transfers.contents(items)
        shared: list[_Shared] = []
        for variant, of_id in objects.items():
            if names[variant] not in items or self._unsound.get(variant) == _whole(of_id):
                continue
            try:
                content = contents.get(names[variant], b"")
                it = _Shared(description.parsed(content.decode(), variant), content, of_id)
                if of_id.get(it.model, Item(0, "")).size_bytes != it.description.size_bytes:
                    raise ValueError("its model is not there whole")
                shared.append(it)
            except ValueError as error:
                self._refuse(variant, of_id, str(error), on_event)
        return shared

    def _refuse(self, variant: str, objects: Mapping[str, Item], why: str, on_event: OnEvent) -> None:
        """Say that an artifact of the store is not used, and have it replaced once it is built here."""
        self._unsound[variant] = _whole(objects)
        text = f"{self._store.address}/variants/{variant} is not used ({why}): it is built here where it is needed"
        on_event(Event(text, 1, 1, "warning"))

    def _take_models(self, shared: Iterable[_Shared], on_event: OnEvent) -> bool:
        """Fetch models that are others than here; each takes its place once it is what its description says."""
        due = {it.model: it for it in shared if not self._is_here(it.description)}
        gives_way = False
        self._transfers.refuse_links(f"variants/{it.id}/{DESCRIPTION}" for it in due.values())
        with self._scratch(needed=bool(due)) as scratch:

            def get(name: str) -> None:
                it = due[name]
                self._store.get(name, scratch / it.id / it.description.file, it.description.size_bytes)

            each(f"fetching from {self._store.address}", list(due), get, on_event)
            for it in due.values():
                write_bytes(scratch / it.id / DESCRIPTION, it.content)
                if fault := cache.fault(cache.read(scratch, it.id)):
                    self._refuse(it.id, it.objects, f"its model {fault}", on_event)
                    continue
                # Of what was cut short, another one may have been built under an id of its own.
                gives_way |= cache.is_built(self._folder, it.id) or it.description.asked_for is not None
                with self._locked(it.id, on_event):
                    remove(self._folder / it.id)
                    rename(scratch / it.id, self._folder / it.id)
                self._unsound.pop(it.id, None)
        return gives_way

    def _take_beside(self, shared: Iterable[_Shared], on_event: OnEvent) -> bool:
        """Fetch what was chosen or measured for artifacts (JSON), and what was made of them and is missing here."""
        beside = {name: item for it in shared for name, item in it.objects.items() if _is_beside(name)}
        self._transfers.refuse_links(beside)
        small = {name: item for name, item in beside.items() if name.endswith(".json")}
        new = {name: item for name, item in small.items() if not self._has_seen(name, item)}
        gives_way = False
        for name, content in self._transfers.contents(new).items():
            self._seen[name] = new[name], content
            file = self._transfers.base / name
            before = file.read_bytes() if file.is_file() else None
            if before != content:
                with self._locked(file.parent.name, on_event):
                    write_bytes(file, content)
                gives_way |= before is not None
        self._transfers.fetch_missing({name: item for name, item in beside.items() if name not in small}, on_event)
        return gives_way

    def _has_seen(self, name: str, item: Item) -> bool:
        return self._seen.get(name, (None,))[0] == item and (self._transfers.base / name).exists()

    def _built(self, variant: str) -> Description | None:
        """What an artifact is that is here whole."""
        return description.find(self._folder, variant) if cache.is_built(self._folder, variant) else None

    def _is_here(self, shared: Description) -> bool:
        local = self._built(shared.id)
        return local is not None and local.sha256 == shared.sha256

    def _was_of_no_use(self, file: Path, items: Mapping[str, Item]) -> bool:
        """Whether this was made here after what lies there had been taken over."""
        name = self._transfers.name(file)
        item, content = self._seen.get(name, (None, b""))
        return item is not None and item == items.get(name) and file.read_bytes() != content

    @contextmanager
    def _scratch(self, *, needed: bool) -> Iterator[Path]:
        """A folder on the disk of `variants/`, from which a whole artifact takes its place by one rename."""
        scratch = self._folder / temporary_name()
        try:
            if needed:
                make_folder(scratch)
            yield scratch
        finally:
            remove(scratch)

    @contextmanager
    def _locked(self, variant: str, on_event: OnEvent) -> Iterator[None]:
        lock, doing = cache.lock_file(self._folder, variant), f"fetching {variant}"
        with locks.held(lock, doing, on_event, folder=self._folder.parent, why=cache.WHY_WAIT):
            yield


def _description_of(variant: str) -> str:
    """The object that says which model of an id counts."""
    return f"variants/{variant}/{DESCRIPTION}"


def _model_of(it: Description) -> str:
    """The object of an artifact's model, which its digest names."""
    return f"variants/{it.id}/{it.sha256[:_DIGITS]}/{it.file}"


def _whole(objects: Mapping[str, Item]) -> dict[str, Item]:
    """Of an artifact's objects its description and its models."""
    return {name: item for name, item in objects.items() if not _is_beside(name)}


def _is_beside(name: str) -> bool:
    """Whether an object of an artifact was made of it later, and is no part of it."""
    return _BESIDE.fullmatch(name) is not None and name.rpartition("/")[2] not in (DESCRIPTION, *_MODELS)
