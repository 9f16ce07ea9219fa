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
