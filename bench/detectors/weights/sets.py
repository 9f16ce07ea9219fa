"""Which set of weights of a file is meant, where it holds several."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from bench.detectors.weights.fits import File, Fit, weight_of
from bench.detectors.weights.stored_tensors import OddTensor, StoredTensor
from bench.errors import UserError, listed, plain_yaml, shown
from bench.records import Conventions

_MOST_LISTED = 6
_MOSTLY = 0.5


def chosen(file: File, whole: Sequence[Fit], parts: Sequence[Fit], conventions: Conventions) -> list[Fit]:
    """The fits of one set of weights: several where its names are those of several schemes.

    `parts` are fits of sets that are not whole, for the message about a key that names one.
    """
    asked = whole if conventions.key is None else _named(file, whole, parts, conventions.key)
    sets: dict[tuple[StoredTensor | OddTensor, ...], list[Fit]] = {}
    for fit in asked:
        # Equal descriptions are the same numbers, under two names or by two schemes.
        sets.setdefault(_tensors(file, fit), []).append(fit)
    keys = _keys(file, asked)
    if len(keys) > 1:
        raise UserError(
            f"{file.path}: holds {len(keys)} sets of weights: {_listed_keys(keys)}; say which, {_as_in(file, keys)}",
            *_averaged(keys),
        )
    (fits,) = sets.values()
    _refuse_several_heads(file, fits)
    return fits


def _tensors(file: File, fit: Fit) -> tuple[StoredTensor | OddTensor, ...]:
    return tuple(file.tensors[fit.names[name]] for name in fit.network.shapes)


def _keys(file: File, fits: Sequence[Fit]) -> list[str]:
    """What names each set of weights: the shortest of its keys."""
    keys: dict[tuple[StoredTensor | OddTensor, ...], str] = {}
    for fit in fits:
        tensors = _tensors(file, fit)
        keys[tensors] = min(keys.get(tensors, fit.key), fit.key, key=len)
    return list(keys.values())


def _named(file: File, whole: Sequence[Fit], parts: Sequence[Fit], key: str) -> list[Fit]:
    """The sets of weights of this key, or whose keys begin with it, or have it inside."""
    # The same weights may be those of another scheme behind a longer prefix.
    exact = {_tensors(file, fit) for fit in whole if fit.key == key}
    if exact:
        return [
            fit for fit in whole if _tensors(file, fit) in exact and fit.prefix.startswith(f"{key}." if key else "")
        ]
    below = [fit for fit in whole if fit.prefix.startswith(f"{key}.")]
    if fits := below or [fit for fit in whole if f".{key}." in f".{fit.prefix}"]:
        return fits
    raise UserError(f"{file.path}: `key: {plain_yaml(key)}` {_why_none(file, whole, parts, key)}")


def _why_none(file: File, whole: Sequence[Fit], parts: Sequence[Fit], key: str) -> str:
    """What is wrong with a key that names no set of weights, and what to write instead."""
    keys = _keys(file, whole)
    if part := next((fit for fit in parts if f".{key}." in f".{fit.prefix}"), None):
        lacking = [part.prefix + part.scheme.rename(name) for name in part.network.shapes.keys() - part.names.keys()]
        return (
            f"names a part of the network's weights alone: {len(lacking)} of {len(part.network.shapes)} tensors are "
            f"missing there, such as {listed(sorted(lacking), 2)}; averages of parameters have no statistics of batch "
            "norms. Load it into the network that has them, and save the state dict of that"
        )
    if keys == [""]:
        return "names no set of weights; the file holds one, without a prefix: leave `key` out"
    if len(keys) == 1:
        return f"names no set of weights; the file holds one, {shown(keys[0])}: leave `key` out"
    return f"names no set of weights; the file holds these: {_listed_keys(keys)}; say which, {_as_in(file, keys)}"


def _as_in(file: File, keys: Sequence[str]) -> str:
    """An example of what to write: the average of the weights where there is one."""
    averages = [key for key in keys if _is_average(key)] or [key for key in keys if not _is_current(key)]
    key = averages[0] if len(averages) < len(keys) else keys[-1]
    return f"as in `weights: {{file: {plain_yaml(file.path.as_posix())}, key: {plain_yaml(key)}}}`"


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


def copies_by_shape(file: File, fit: Fit, names: Iterable[str]) -> dict[str, list[str]]:
    """Most of the network once more, in its shapes under names of no scheme, by what these have in front.

    Such is an average that is kept as a list, or under the network's names without their dots.
    """
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_folder[name.rpartition(".")[0]].append(name)
    shapes = Counter(fit.network.shapes.values())
    return {
        folder: members
        for folder, members in by_folder.items()
        if (Counter(map(file.shape, members)) & shapes).total() > _MOSTLY * len(fit.network.shapes)
    }


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


def _is_average(key: str) -> bool:
    return re.search(r"ema|averag|swa|shadow|teacher", key, re.IGNORECASE) is not None


def _is_current(key: str) -> bool:
    """Whether this is what Lightning's WeightAveraging calls the plain weights."""
    return key.startswith("current_model_state")


def _averaged(keys: Sequence[str]) -> Iterator[str]:
    if any(map(_is_current, keys)):
        yield (
            "  code that saves `current_model_state`, as Lightning's WeightAveraging, has the average of the weights "
            "in `state_dict`, and evaluates that"
        )
    elif any(map(_is_average, keys)):
        yield (
            "  one of them looks like a moving average of the weights (EMA), which code that saves both usually "
            "evaluates"
        )
