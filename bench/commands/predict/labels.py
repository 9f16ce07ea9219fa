"""True labels that are read off names, by a regular expression."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from bench.commands.predict.inputs import Item
from bench.datasets.sources import find_groups
from bench.errors import UserError, listed, quoted
from bench.records import CLASS_WORDS, LABEL_WORDS, label_word

OPTION = "--label-pattern"


def labelled(items: Sequence[Item], pattern: str | None) -> list[Item]:
    """The items with the labels that the pattern finds in their names, in place of all others.

    A group that is called `fake` or `real` stands for its class wherever it holds something; without such, the first
    group holds the word. Raises `UserError` where it matches no name, or a word is none of `LABEL_WORDS`.
    """
    if pattern is None:
        return list(items)
    by_class = {word: index - 1 for word, index in re.compile(pattern).groupindex.items() if word in CLASS_WORDS}
    matches = find_groups(pattern, [item.name for item in items], OPTION)
    if not any(matches):
        raise UserError(f"{OPTION} {quoted(pattern)} matches no name, for example {quoted(items[0].name)}")
    labels = [_label(groups, by_class) if groups else None for groups in matches]
    wrong = dict.fromkeys(label for label in labels if isinstance(label, str))
    if wrong:
        raise UserError(
            f"{OPTION}: finds {listed(map(quoted, wrong), 5)}, which is neither real, 0 nor fake, 1; groups that are "
            "called fake and real say what other words mean: '(?P<fake>swap|df)|(?P<real>orig)'"
        )
    return [
        replace(item, label=label if isinstance(label, int) else None)
        for item, label in zip(items, labels, strict=True)
    ]


def _label(groups: Sequence[str | None], by_class: dict[str, int]) -> int | str | None:
    """The label that the groups of a match tell, the word where it is none, None where they hold nothing."""
    if by_class:
        return next((CLASS_WORDS[word] for word, index in by_class.items() if groups[index]), None)
    word = label_word(groups[0] or "")
    return LABEL_WORDS.get(word, groups[0]) if word else None
