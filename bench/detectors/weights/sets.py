"""Which set of weights of a file is meant, where it holds several."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from bench.detectors.weights.fits import File, Fit, weight_of
from bench.detectors.weights.stored_tensors import OddTensor, StoredTensor
from bench.errors import UserError, listed, nearest, shown
from bench.records import Conventions

_MOST_LISTED = 6
_MOSTLY = 0.5


def chosen(file: File, whole: Sequence[Fit], conventions: Conventions) -> list[Fit]:
    """The fits of one set of weights: several where its names are those of several schemes."""
    asked = whole if conventions.key is None else _below(file, whole, conventions.key)
    sets: dict[tuple[StoredTensor | OddTensor, ...], list[Fit]] = {}
    for fit in asked:
        # Equal descriptions are the same numbers, under two names or by two schemes.
        sets.setdefault(tuple(file.tensors[fit.names[name]] for name in fit.network.shapes), []).append(fit)
    keys = [min((fit.key for fit in fits), key=len) for fits in sets.values()]
    if len(keys) > 1:
        raise UserError(
            f"{file.path}: holds {len(keys)} sets of weights: {_listed_keys(keys)}; say which, as in "
            f"`weights: {{file: {shown(file.path.name)}, key: {shown(keys[-1])}}}`",
            *_averaged(keys),
        )
    (fits,) = sets.values()
    _refuse_several_heads(file, fits)
    return fits


def _below(file: File, whole: Sequence[Fit], key: str) -> list[Fit]:
    """The sets of weights of this key, or whose keys begin with it."""
    exact = [fit for fit in whole if fit.key == key]
    if fits := exact or [fit for fit in whole if fit.prefix.startswith(f"{key}.")]:
        return fits
    keys = list(dict.fromkeys(fit.key for fit in whole))
    raise UserError(
        f"{file.path}: `key: {shown(key)}` names no set of weights; the file holds these: "
        f"{_listed_keys(keys)}{nearest(key, keys)}"
    )


def _refuse_several_heads(file: File, fits: Sequence[Fit]) -> None:
    """The same layers may be saved under two names with a head of each."""
    heads: dict[str, dict[StoredTensor | OddTensor, str]] = defaultdict(dict)
    for fit in fits:
        weight = weight_of(fit.head)
        if weight in file.tensors:
            heads[fit.scheme.owner].setdefault(file.tensors[weight], weight)
    for by_tensor in heads.values():
        if len(by_tensor) > 1:
            raise UserError(
                f"{file.path}: holds the same layers under several names, with different heads: "
                f"{listed(by_tensor.values())}; say which by `key:`, or save the state dict of one"
            )


def incomplete(fits: Sequence[Fit], whole: Sequence[Fit]) -> list[Fit]:
    """Behind which prefixes most of the network lies once more, as an average of its parameters alone."""
    names_of_whole = {name for fit in whole for name in fit.names.values()}
    return [
        fit
        for fit in fits
        if len(fit.names) > _MOSTLY * len(fit.network.shapes) and names_of_whole.isdisjoint(fit.names.values())
    ]


def is_same(file: File, fit: Fit, other: Fit) -> bool:
    """Whether two sets are the same numbers under two names, the layer of the logits included."""
    tensors, others = (
        {name: file.tensors.get(given) for name, given in each.names.items()}
        | {each.network.logits: file.tensors.get(weight_of(each.head))}
        for each in (fit, other)
    )
    return tensors == others


def without_other_sets(file: File, others: Sequence[Fit], used: Sequence[Fit]) -> File:
    """The file as if it held one set of weights: the others are no parts of this one."""
    apart = tuple(fit.prefix for fit in others if not any(of_used.prefix.startswith(fit.prefix) for of_used in used))
    names = {name for fit in others for name in fit.all_names}
    names -= {name for fit in used for name in fit.all_names}
    tensors = {
        name: tensor for name, tensor in file.tensors.items() if name not in names and not name.startswith(apart)
    }
    return replace(file, tensors=tensors)


def _listed_keys(keys: Iterable[str]) -> str:
    return listed((key or '"" (without a prefix)' for key in keys), _MOST_LISTED)


def _averaged(keys: Iterable[str]) -> Iterator[str]:
    if any(re.search(r"ema|averag|swa|shadow|teacher", key, re.IGNORECASE) for key in keys):
        yield (
            "  one of them looks like a moving average of the weights (EMA), which code that saves both usually "
            "evaluates"
        )
