"""What a file of dataset_json/ says: its videos, and everything that is wrong with it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.datasets.layouts import SPLIT_WORDS, celeb_df, faceforensics
from bench.errors import quoted
from bench.records import MissingVideo, Split, joined_sources

FORM = "{set: {label: {split: {video: {label, frames}}}}}"


@dataclass(frozen=True)
class Record:
    """A video as the file lists it. `word` is its label there; `frames` are paths as `cleaned` leaves them."""

    name: str
    word: str
    label: int
    split: Split
    compression: str
    frames: tuple[str, ...]

    @cached_property
    def path(self) -> str:
        """The video's path: the folder of its frames, with its name where the folder is called otherwise."""
        folder = posixpath.dirname(self.frames[0])
        return folder if posixpath.basename(folder) == self.name else posixpath.join(folder, self.name)

    @property
    def sources(self) -> tuple[str, ...]:
        """The persons or videos in its name, in sets that name them so; else the video itself."""
        return _ids(self.word, self.name) or (self.path,)


def _ids(word: str, name: str) -> tuple[str, ...]:
    """The persons or videos in a video's name, where sets with such labels name them so; else nothing."""
    lower = word.lower()
    if lower.startswith("celeb"):
        return celeb_df.sources(name)
    return faceforensics.sources(name) if lower.startswith(("ff-", "dfd_")) else ()


class Reader:
    """Turns what a file holds into records, and gathers what is wrong with it, by kind."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.wrong: dict[str, list[str]] = {}
        self.without_frames: list[str] = []
        self.missing: list[tuple[Split, MissingVideo]] = []

    def add(self, content: Any) -> None:
        """Add the videos of all sets in a file."""
        for name, labels in self._items(content, "the file"):
            for label, splits in self._items(labels, quoted(name)):
                for word, videos in self._items(splits, quoted(f"{name}/{label}")):
                    at = f"{name}/{label}/{word}"
                    if split := SPLIT_WORDS.get(word.lower()):
                        self._videos(videos, at, split, "")
                    else:
                        self._report(f"the split is none of {', '.join(SPLIT_WORDS)}", quoted(at))

    def _items(self, node: Any, at: str) -> list[tuple[str, Any]]:
        if isinstance(node, dict):
            return list(node.items())
        self._report(f"expected {FORM}", f"{at} is {quoted(node)}")
        return []

    def _videos(self, node: Any, at: str, split: Split, compression: str) -> None:
        """Add the videos of a split, or of a compression in it.

        DeepfakeBench's own DFDC.json has a single video where a split's videos belong, and others beside its keys.
        """
        if isinstance(node, dict) and isinstance(node.get("frames"), list):
            self._video("", node, at, split, compression)
            node = {name: video for name, video in node.items() if isinstance(video, dict)}
        for name, video in self._items(node, quoted(at)):
            if isinstance(video, dict) and not compression and not {"frames", "label"} & video.keys():
                self._videos(video, f"{at}/{name}", split, name)
            else:
                self._video(name, video, f"{at}/{name}", split, compression)

    def _video(self, name: str, video: Any, at: str, split: Split, compression: str) -> None:
        """Add a video, which is called like the folder of its frames where it has no name."""
        frames = video.get("frames") if isinstance(video, dict) else None
        if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
            self._report("`frames` must be a list of paths", quoted(at))
        elif (label := label_of(video.get("label"))) is None:
            self._report(
                "a label must end in real, or name a kind of fake", f"{quoted(at)} {quoted(video.get('label'))}"
            )
        elif paths := tuple(filter(None, map(cleaned, dict.fromkeys(frames)))):
            name = name or posixpath.basename(posixpath.dirname(paths[0]))
            self.records.append(Record(name, video["label"], label, split, compression, paths))
        else:
            self.without_frames.append(at)
            ids = _ids(video["label"], name)
            self.missing.append((split, MissingVideo(at, label, joined_sources(*ids), "it is listed without frames")))

    def _report(self, kind: str, at: str) -> None:
        self.wrong.setdefault(kind, []).append(at)


def label_of(word: Any) -> int | None:
    """1 for fake, 0 for real; None where a word has "real" in it and says neither, or has no letter."""
    lower = word.strip().lower() if isinstance(word, str) else ""
    if lower.endswith("real"):
        return 0
    return 1 if re.search("[a-z]", lower) and ("fake" in lower or "real" not in lower) else None


def cleaned(path: str) -> str:
    """A path with forward slashes, without drive and without what is before the last `..`."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        parts = parts[len(parts) - parts[::-1].index("..") :]
    return "/".join(parts[1:] if parts and parts[0].endswith(":") else parts)
