"""The report's own Markdown, as far as its sentences and cells use it, as HTML."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

# What `bench.reports.content.text` writes: escaped characters, entities, `code`, **strong**, *em* or _em_, and <br>.
_TOKEN = re.compile(
    r"\\(?P<literal>.)|`(?P<code>[^`]*)`|(?P<entity>&#?\w+;)|(?P<br><br>)|(?P<strong>\*\*)|(?P<em>[*_])"
    r"|(?P<text>[^\\`&<*_]+|.)",
    re.DOTALL,
)


def inline(fragment: str) -> Markup:
    """A sentence or a cell as HTML. Only the tags named above ever come out; all else is text."""
    from markupsafe import Markup, escape

    parts: list[str] = []
    open_tags: list[str] = []
    for found in _TOKEN.finditer(fragment):
        kind, text = str(found.lastgroup), found[str(found.lastgroup)]
        if kind == "br":
            parts.append("<br>")
        elif kind == "code":
            parts.append(f"<code>{escape(text)}</code>")
        elif kind in ("strong", "em") and (kind not in open_tags or open_tags[-1] == kind):
            parts.append(f"</{open_tags.pop()}>" if kind in open_tags else f"<{kind}>")
            open_tags += [kind] if parts[-1] == f"<{kind}>" else []
        else:
            parts.append(str(escape(unescape(text) if kind == "entity" else text)))
    return Markup("".join([*parts, *(f"</{tag}>" for tag in reversed(open_tags))]))


def text_of(fragment: str) -> str:
    """The same without any markup."""
    return inline(fragment.replace("<br>", " ")).striptags()
