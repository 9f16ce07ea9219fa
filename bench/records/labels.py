"""How a label is written: one reading for the cells of manifests and imported scores, and for folders' names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from bench.records.weights import ClassName

LABEL_WORDS: Mapping[str, int] = {"real": 0, "fake": 1, "0": 0, "1": 1, "false": 0, "true": 1}
"""What a cell may hold: 1 is fake, and so is true."""

CLASS_WORDS: Mapping[str, int] = {"real": 0, "fake": 1}
"""What folders and people call the two classes."""

CLASSES: tuple[ClassName, ClassName] = ("real", "fake")
"""The classes by their labels."""

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

_NO_LABEL = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>"})
_WHOLE_NUMBER = re.compile(r"\+?0*(\d+)(\.0*)?")


def class_of(p_fake: float, threshold: float) -> ClassName:
    """What a frame or a video with this score is called."""
    return "fake" if p_fake >= threshold else "real"


def label_word(cell: object) -> str:
    """A cell as a word that `LABEL_WORDS` may hold, "" where there is no label.

    1, 1.0, "1" and "1.0" are the same word, so are true and "TRUE"; None, NaN and what pandas writes for them are none.
    """
    word = unicodedata.normalize("NFC", str(cell)).strip().casefold()
    if word in _NO_LABEL:
        return ""
    whole = _WHOLE_NUMBER.fullmatch(word)
    return whole[1] if whole else word


def label_words(real: Iterable[object], fake: Iterable[object]) -> dict[str, int]:
    """Further words for the two classes, as `label_word` spells them."""
    return {label_word(word): label for label, words in enumerate((real, fake)) for word in words}


def meaning(word: str) -> int | None:
    """The class that a word of the field means: 0 real, 1 fake, None where it means neither or could mean both."""
    spelled = label_word(word)
    parts = {spelled, re.sub(r"[\W_]+", "", spelled), *re.split(r"[\W\d_]+", spelled)}
    meant = {label for label, words in _WORDS.items() if parts & words}
    return meant.pop() if len(meant) == 1 else None
