"""Jinja, as the texts of reports and exports are written with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment


def environment(folder: Path, filters: Mapping[str, Any], **options: Any) -> Environment:
    """The templates in a folder, with further options of Jinja, such as `autoescape` for HTML.

    A name that is not given is an error, and a line that has only a block leaves no line.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        bytecode_cache=_compiled(), **options,
    )  # fmt: skip
    templates.filters.update(filters)
    return templates


@cache
def _compiled() -> BytecodeCache:
    """Templates that this process has compiled: every report has an environment of its own, and compiling takes longer
    than to fill them."""
    from jinja2 import BytecodeCache
    from jinja2.bccache import Bucket

    class InMemory(BytecodeCache):
        def __init__(self) -> None:
            self.codes: dict[str, bytes] = {}

        def load_bytecode(self, bucket: Bucket) -> None:
            if bucket.key in self.codes:
                bucket.bytecode_from_string(self.codes[bucket.key])

        def dump_bytecode(self, bucket: Bucket) -> None:
            self.codes[bucket.key] = bucket.bytecode_to_string()

    return InMemory()
