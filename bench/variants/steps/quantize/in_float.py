"""Layers that stay in float because the settings name them: by their names, by what they lie in, or by globs."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from bench.detectors.layer_names import short_name
from bench.errors import UserError, quoted

_MOST_NAMED = 3


def chosen(patterns: Sequence[str], names: Collection[str], *, could: str = "could be quantised") -> frozenset[str]:
    """Those of these layers' `names` that the patterns of `float:` fit.

    A pattern fits a layer whose name, or that of a module around it, it matches: `blocks.0` all layers of that block.
    `backbone.` in front may be left out. Raises `UserError` where a pattern fits none, or all patterns every layer.
    `could` says what is true of these layers.
    """
    unfit = [pattern for pattern in patterns if not any(_fits(pattern, name) for name in names)]
    if unfit:
        listed = "; ".join(f"{quoted(pattern)} fits none{_nearest(pattern, names)}" for pattern in unfit)
        raise UserError(f"quantize: float: names layers that {could}, and {listed}")
    fitting = frozenset(name for name in names if any(_fits(pattern, name) for pattern in patterns))
    if fitting and len(fitting) == len(names):
        raise nothing_left(len(names))
    return fitting


def among(layers: Sequence[str], patterns: Sequence[str], names: Collection[str]) -> frozenset[str]:
    """Those of the `layers` that can be quantised which the patterns fit, `names` being all layers of the network.

    A pattern may fit layers alone that stay in float anyway.
    """
    fitting = chosen(patterns, {*names, *layers}) & {*layers}
    if layers and fitting == {*layers}:
        raise nothing_left(len(layers))
    return fitting


def nothing_left(count: int) -> UserError:
    """The error where all of so many layers would stay in float."""
    layers = "the only layer" if count == 1 else f"all {count} layers"
    return UserError(
        f"quantize: float: keeps {layers} in float, so that nothing would be quantised; "
        "name fewer, or leave `quantize` out"
    )


def _fits(pattern: str, name: str) -> bool:
    return any(fnmatchcase(module, short_name(pattern)) for module in _around(short_name(name)))


def _around(name: str) -> Iterable[str]:
    """The name of a layer, and of every module that it lies in; ONNX nodes have slashes between these."""
    yield name
    for index, character in enumerate(name):
        if character in "./" and index:
            yield name[:index]


def _nearest(pattern: str, names: Collection[str]) -> str:
    """The names that look most like a pattern, of layers or of modules around them."""
    modules = dict.fromkeys(module for name in names for module in _around(short_name(name)))
    near = difflib.get_close_matches(short_name(pattern), modules, _MOST_NAMED, 0.5)
    if near:
        return f" (near to it: {', '.join(near)})"
    return f" (such are, for example: {', '.join([*modules][:_MOST_NAMED])})"
