"""Jinja, as the texts of reports and exports are written with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(folder: Path, filters: Mapping[str, Any], **options: Any) -> Environment:
    """The templates in a folder, with further options of Jinja, such as `autoescape` for HTML.

    A name that is not given is an error, and a line that has only a block leaves no line.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(folder)
    templates = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **options)
    templates.filters.update(filters)
    return templates
