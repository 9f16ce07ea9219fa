"""Which video each frame is of: the columns `video` and `frame_index` of predictions.parquet, where they are known.

They change no prediction, so they are no part of its key: where a manifest comes to tell them, or tells others, the
columns of present predictions are written anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import stored
from bench.files import write_atomically, write_text
from bench.records import VIDEO_COLUMNS, Frame


def digest(frames: Sequence[Frame]) -> str:
    """16 hexadecimal digits over the videos and numbers of frames, in their order; empty where none is known."""
    if not _is_known(frames):
        return ""
    sha256 = hashlib.sha256()
    for frame in frames:
        sha256.update(json.dumps([frame.video, frame.frame_index]).encode() + b"\n")
    return sha256.hexdigest()[:16]


def _is_known(frames: Sequence[Frame]) -> bool:
    return any(frame.video is not None or frame.frame_index is not None for frame in frames)


def columns(frames: Sequence[Frame]) -> dict[str, Any]:
    """The columns of these frames [n]; none where nothing is known of any frame."""
    import pandas as pd

    if not _is_known(frames):
        return {}
    videos, numbers = [frame.video for frame in frames], [frame.frame_index for frame in frames]
    return dict(zip(VIDEO_COLUMNS, (pd.array(videos, dtype="string"), pd.array(numbers, dtype="Int64")), strict=True))


def renew(predictions: Path, mark: Path, frames: Sequence[Frame], digest_of_frames: str) -> None:
    """Write the columns anew in a file of predictions whose mark names others."""
    content = stored.read_json(mark, stored.MIB)
    if content.get("videos", "") == digest_of_frames:
        return
    import pandas as pd

    with stored.open_file(predictions) as file:
        table = pd.read_parquet(file).drop(columns=list(VIDEO_COLUMNS), errors="ignore")
    for name, column in columns(frames).items():
        table[name] = column
    write_atomically(predictions, lambda file: table.to_parquet(file, index=False))
    digest, size = stored.digest(predictions)
    changed = {
        "bytes": {**content["bytes"], predictions.name: size},
        "sha256": {**content.get("sha256", {}), predictions.name: digest},
        "videos": digest_of_frames,
    }
    write_text(mark, json.dumps({**content, **changed}))
