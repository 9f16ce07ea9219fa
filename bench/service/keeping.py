"""Uploads that are kept because their service was told to: by their content, never by the name they came with."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from pathlib import Path
from shutil import copyfileobj

from pydantic import BaseModel

from bench import stored
from bench.files import make_folder, write_atomically, write_bytes, write_text

_PICTURES = {"gradcam", "crop", "heatmap", "members_heatmaps"}


def keep(folder: Path, data: bytes, answer: BaseModel) -> None:
    """Write an upload and its answer, called by the SHA-256 of the upload; `NotWrittenError` where it can't."""
    digest = sha256(data).hexdigest()
    make_folder(folder)
    if not (folder / digest).exists():
        write_bytes(folder / digest, data)
    write_text(folder / f"{digest}.json", answer.model_dump_json(exclude=_PICTURES, indent=2) + "\n")


def keep_file(folder: Path, file: Path, answer: BaseModel) -> None:
    """The same of an upload that lies in a file."""
    digest, _ = stored.digest(file)
    make_folder(folder)
    if not (folder / digest).exists():
        with file.open("rb") as source:
            write_atomically(folder / digest, partial(copyfileobj, source))
    write_text(folder / f"{digest}.json", answer.model_dump_json(indent=2) + "\n")
