"""What people call the two classes, for hints: such words are never taken for labels by themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.errors import quoted
from bench.records import CLASS_WORDS, label_word

_WORDS: Mapping[int, frozenset[str]] = {
    0: frozenset((
        "real", "reals", "original", "originals", "pristine", "genuine", "authentic", "bonafide", "bona", "natural",
        "nature", "live", "youtube", "actors", "ffhq", "celeba", "celebahq", "celebhq", "imagenet", "human",
        "camera",
    )),
    1: frozenset((
        "fake", "fakes", "manipulated", "manipulation", "manipulations", "forged", "forgery", "tampered", "altered",
        "spoof", "spoofed", "spoofing", "attack", "synthetic", "synthesis", "synthesized", "generated",
        "generation", "ai", "aigc", "gan", "deepfake", "deepfakes", "df", "faceswap", "face2face", "f2f",
        "neuraltextures", "faceshifter", "fsgan", "simswap", "swap", "swapped", "reenacted", "stylegan",
        "stylegan2", "stylegan3", "progan", "stargan", "cyclegan", "biggan", "gaugan", "diffusion", "sd", "sdxl",
        "midjourney", "dalle", "glide", "ldm", "adm", "wukong", "vqdm", "edited", "inpainting",
    )),
}  # fmt: skip
"""Words of the field: of CNNDetection, FaceForensics++, GenImage, ASVspoof, Kaggle's sets and their kin."""

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")
_NOT_TEXT = re.compile(r"[0-9_.eE+-]+|y|n|yes|no|on|off|true|false|null|~|0[xo].*", re.IGNORECASE)


def meaning(word: str) -> int | None:
    """The class that a word of the field means: 0 real, 1 fake, None where it means neither or could mean both."""
    spelled = label_word(word)
    parts = {spelled, re.sub(r"[\W_]+", "", spelled), *re.split(r"[\W\d_]+", spelled)}
    meant = {label for label, words in _WORDS.items() if parts & words}
    return meant.pop() if len(meant) == 1 else None


def line_to_write(names: Iterable[str]) -> str:
    """The line `labels: {…}` for names that mean a class, as YAML spells it; "" where none does."""
    by_label: dict[int, list[str]] = {0: [], 1: []}
    for name in names:
        label = meaning(name)
        if label is not None and label_word(name) not in CLASS_WORDS:
            by_label[label].append(in_list(name))
    parts = [f"{key}: [{', '.join(by_label[label])}]" for key, label in CLASS_WORDS.items() if by_label[label]]
    return f"labels: {{{', '.join(parts)}}}" if parts else ""


def in_list(name: str) -> str:
    """A name as it stands in a list of YAML: in quotes where it would be read as a number or otherwise."""
    is_plain = _PLAIN.fullmatch(name) and not name.endswith(" ") and not _NOT_TEXT.fullmatch(name)
    return name if is_plain else quoted(name)


def hint(names: Iterable[str]) -> str:
    """A hint that starts with a colon and ends in the line to write; "" where no name means a class."""
    line = line_to_write(names)
    return f": if they are the classes, write `{line}`" if line else ""


def folder_between(path: Path, folders: Iterable[str]) -> str:
    """The one folder in which the classes lie, a step further down than was looked; "" without."""
    for name in folders:
        try:
            with os.scandir(path / name) as children:
                inside = {meaning(child.name) for child in children if child.is_dir()}
        except OSError:
            continue
        if inside >= {0, 1}:
            return name
    return ""
