"""Uploads that are kept because their service was told to: by their content, never by the name they came with."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel

from bench.files import make_folder, write_bytes, write_text

_PICTURES = {"gradcam", "crop", "heatmap", "members_heatmaps"}


def keep(folder: Path, data: bytes, answer: BaseModel) -> None:
    """Write an upload and its answer, called by the SHA-256 of the upload; `NotWrittenError` where it can't."""
    digest = sha256(data).hexdigest()
    make_folder(folder)
    if not (folder / digest).exists():
        write_bytes(folder / digest, data)
    write_text(folder / f"{digest}.json", answer.model_dump_json(exclude=_PICTURES, indent=2) + "\n")
