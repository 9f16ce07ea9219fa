"""Sentences as data: words, and what each of them is. Writers decide how that looks; nothing here is markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

# A word between backticks; those inside of a word are of somebody's name.
_CODE = re.compile(r"(?<![^\s(])`([^`]+)`(?![^\s.,;:)])")

Style: TypeAlias = Literal["plain", "strong", "emphasis", "code", "frame", "link", "docs"]


@dataclass(frozen=True)
class Span:
    """Words of one style. `text` is what a reader sees, data included; `target` is where a link leads.

    "frame" is the name of a frame. "docs" names a section of the documentation: "docs/verdicts.md#flips".
    """

    text: str
    style: Style = "plain"
    target: str = ""


@dataclass(frozen=True)
class Sentence:
    """A sentence, or several of a paragraph. As a string: its words without any style."""

    spans: tuple[Span, ...] = ()

    def __str__(self) -> str:
        return "".join(span.text for span in self.spans)

    def __bool__(self) -> bool:
        return any(span.text for span in self.spans)


Part: TypeAlias = str | Span | Sentence
"""What sentences are put together from; a string is plain words or data."""


def sentence(*parts: Part) -> Sentence:
    """Put parts together, in their order and without anything between them."""
    return joined(parts, "")


def joined(parts: Iterable[Part], between: str) -> Sentence:
    """Put parts together with `between` as plain words after each but the last."""
    spans: list[Span] = []
    for part in parts:
        if spans and between:
            spans.append(Span(between))
        spans += _spans(part)
    return Sentence(tuple(spans))


def _spans(part: Part) -> tuple[Span, ...]:
    if isinstance(part, Sentence):
        return part.spans
    return (Span(part),) if isinstance(part, str) else (part,)


def paragraph(parts: Iterable[Part]) -> Sentence:
    """Put whole sentences one after the other."""
    return joined(parts, " ")


def strong(text: str) -> Span:
    return Span(text, "strong")


def emphasis(text: str) -> Span:
    return Span(text, "emphasis")


def code(text: str) -> Span:
    return Span(text, "code")


def with_code(text: str) -> Sentence:
    """A text whose code stands between backticks, as in messages of the command line."""
    spans = [code(part) if index % 2 else Span(part) for index, part in enumerate(_CODE.split(text))]
    return sentence(*(span for span in spans if span.text))


def backticked(text: Sentence) -> str:
    """As in messages of the command line, where code stands between backticks; `with_code` reads it back."""
    return "".join(f"`{span.text}`" if span.style == "code" else span.text for span in text.spans)


def link(text: str, target: str) -> Span:
    return Span(text, "link", target)


def docs(section: str) -> Span:
    """A section of the documentation, as in "verdicts.md#flips"."""
    return Span(f"docs/{section}", "docs")


def listed(names: Sequence[str]) -> Sentence:
    """Names of variants as an enumeration: a, b and c."""
    first, last = names[:-1], strong(names[-1])
    return sentence(joined(map(strong, first), ", "), " and ", last) if first else sentence(last)
