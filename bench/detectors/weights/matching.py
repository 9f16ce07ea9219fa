"""Which tensors of a weights file are those of a network: found by names and shapes, before any number is read.

Names may stand behind any wrappers and prefixes. A file may hold other things beside the network, and several sets of
its weights: then its owner says which.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from bench.detectors.weights.schemes import Scheme
from bench.detectors.weights.stored_tensors import OddTensor, StoredTensor
from bench.errors import UserError, listed, nearest, shown
from bench.records import Conventions

Shapes = Mapping[str, tuple[int, ...]]

# Of a network's tensors, the least that a file must hold before its names count as those of a scheme.
_ALIKE = 0.1
_MOST_LISTED = 6
# Parts of names of what trains a network, and is no part of it.
_OF_TRAINING = re.compile(
    r"(^|[._])(criterion|loss\w*|lossfn|metrics?|n_averaged|num_updates|decay|ema_steps|step|epoch|optim\w*|pos_weight)"
    r"($|[._])", re.IGNORECASE,
)  # fmt: skip


@dataclass(frozen=True)
class Network:
    """What a network holds: its tensors' shapes by name but for those of the layer that writes its logits.

    `logits` is that layer's name, `features` how many numbers it reads.
    """

    shapes: Shapes
    logits: str
    features: int


@dataclass(frozen=True)
class File:
    """What a weights file holds: its tensors by name, wrappers included, and the dictionary that each lies in."""

    path: Path
    tensors: Mapping[str, StoredTensor | OddTensor]
    folders: Mapping[str, str]

    def shape(self, name: str) -> tuple[int, ...]:
        """Empty for what is no plain tensor; reading it says so."""
        tensor = self.tensors[name]
        return tensor.shape if isinstance(tensor, StoredTensor) else ()


@dataclass(frozen=True)
class Match:
    """A network's tensors in a file: the file's name by the detector's. `prefix` stands before the scheme's names.

    `weight` and `bias` belong to the layer `head`, which writes `rows` logits; there may be no bias. `is_usual` tells
    whether the scheme's own code has its head there. `left_out` and `suspicious` are of no part of the network; the
    latter could be something that it computes with.
    """

    scheme: Scheme
    prefix: str
    names: Mapping[str, str]
    head: str
    weight: str
    bias: str | None
    rows: int
    is_usual: bool
    left_out: tuple[str, ...]
    suspicious: tuple[str, ...]


@dataclass(frozen=True)
class _Fit:
    """Names of a file that are those of a scheme behind a prefix, by the detector's."""

    scheme: Scheme
    prefix: str
    names: dict[str, str]

    @property
    def key(self) -> str:
        return self.prefix.removesuffix(".")


@dataclass(frozen=True)
class _Head:
    layer: str
    weight: str
    bias: str | None
    rows: int


def match(
    file: File,
    network: Network,
    schemes: Sequence[Scheme],
    conventions: Conventions,
    architecture: str,
    looks_like: Callable[[], str | None],
) -> Match:
    """The tensors of a network in a file. Raises `UserError` where they are not all there, or more than once.

    `looks_like` is asked only then: another architecture whose tensors are all there.
    """
    fits = [fit for scheme in schemes for fit in _fits(file, network, scheme)]
    whole = [fit for fit in fits if len(fit.names) == len(network.shapes)]
    if not whole:
        raise _misfit(file, network, schemes, fits, conventions, architecture, looks_like)
    chosen = _chosen(file, network, whole, conventions)
    file = _without_other_sets(file, whole, chosen)
    fit, head, is_usual = _with_head(file, network, chosen, architecture, looks_like)
    problems = _problems(file, network, fit, head)
    if problems:
        raise _refused(file, fit, architecture, looks_like(), problems)
    used = {*fit.names.values(), head.weight, *([head.bias] if head.bias else [])}
    rest = _rest(file, fit, head, used)
    _refuse_unknown(file, fit, rest, architecture)
    _refuse_several(file, [head, *_heads(file, network, rest)])
    suspicious = tuple(name for name in rest if not _is_harmless(file, network, fit, name))
    return Match(
        fit.scheme, fit.prefix, fit.names, head.layer, head.weight, head.bias, head.rows, is_usual, tuple(rest),
        suspicious,
    )  # fmt: skip


def holds_all(file: File, network: Network, schemes: Sequence[Scheme]) -> bool:
    """Whether a file holds a network and no larger one, in its shapes, under the names of any scheme."""
    fits = [fit for scheme in schemes for fit in _fits(file, network, scheme)]
    nothing = _Head("", "", None, 0)
    return any(len(fit.names) == len(network.shapes) and not _problems(file, network, fit, nothing) for fit in fits)


def is_counter(name: str) -> bool:
    """Batch norms count the batches they have seen, which nothing reads."""
    return name.endswith("num_batches_tracked")


# ------------------------------------------------------------------------------------ which set of weights
def _fits(file: File, network: Network, scheme: Scheme) -> list[_Fit]:
    """For each prefix behind which a name of the scheme stands, all that do."""
    by_renamed = {scheme.rename(name): name for name in network.shapes}
    longest = max(map(len, by_renamed), default=0)
    by_prefix: dict[str, dict[str, str]] = defaultdict(dict)
    for name in file.tensors:
        for start in _starts(name, longest):
            if (tensor := by_renamed.get(name[start:])) is not None:
                by_prefix[name[:start]][tensor] = name
    return [_Fit(scheme, prefix, names) for prefix, names in by_prefix.items()]


def _starts(name: str, longest: int) -> Iterator[int]:
    """Where a name of at most so many characters can begin in a longer one: at its beginning and behind dots."""
    at = max(0, len(name) - longest - 1)
    if len(name) <= longest:
        yield 0
    while (at := name.find(".", at) + 1) > 0:
        if len(name) - at <= longest:
            yield at


def _chosen(file: File, network: Network, whole: Sequence[_Fit], conventions: Conventions) -> list[_Fit]:
    """The fits of one set of weights: several where its names are those of several schemes."""
    sets: dict[tuple[StoredTensor | OddTensor, ...], list[_Fit]] = {}
    for fit in whole:
        # Equal descriptions are the same numbers, under two names or by two schemes.
        sets.setdefault(tuple(file.tensors[fit.names[name]] for name in network.shapes), []).append(fit)
    keys = [min((fit.key for fit in fits), key=len) for fits in sets.values()]
    if conventions.key is not None:
        named = [fits for key, fits in zip(keys, sets.values(), strict=True) if key == conventions.key]
        if not named:
            below = f"{conventions.key}."
            named = [fits for key, fits in zip(keys, sets.values(), strict=True) if key.startswith(below)]
        if len(named) == 1:
            return named[0]
        raise UserError(
            f"{file.path}: `key: {shown(conventions.key)}` names {'several sets' if named else 'no set'} of weights; "
            f"the file holds these: {_listed_keys(keys)}{'' if named else nearest(conventions.key, keys)}"
        )
    if len(keys) > 1:
        raise UserError(
            f"{file.path}: holds {len(keys)} sets of weights: {_listed_keys(keys)}; say which, as in "
            f"`weights: {{file: {shown(file.path.name)}, key: {shown(keys[-1])}}}`",
            *_averaged(keys),
        )
    return next(iter(sets.values()))


def _without_other_sets(file: File, whole: Sequence[_Fit], chosen: Sequence[_Fit]) -> File:
    """The file as if it held one set of weights: the others are no parts of this one."""
    others = tuple(
        fit.prefix
        for fit in whole
        if fit not in chosen and not any(chosen_fit.prefix.startswith(fit.prefix) for chosen_fit in chosen)
    )
    tensors = {name: tensor for name, tensor in file.tensors.items() if not name.startswith(others)}
    return replace(file, tensors=tensors)


def _listed_keys(keys: Iterable[str]) -> str:
    return listed((key or '"" (without a prefix)' for key in keys), _MOST_LISTED)


def _averaged(keys: Iterable[str]) -> Iterator[str]:
    if any(re.search(r"ema|averag|swa|shadow|teacher", key, re.IGNORECASE) for key in keys):
        yield (
            "  one of them looks like a moving average of the weights (EMA), which code that saves both usually "
            "evaluates"
        )


# ------------------------------------------------------------------------------------ the layer of the logits
def _with_head(
    file: File, network: Network, fits: Sequence[_Fit], architecture: str, looks_like: Callable[[], str | None]
) -> tuple[_Fit, _Head, bool]:
    """The fit whose scheme has its head where the file has one; else the simplest one with the only head there is."""
    by_prefix = sorted(fits, key=lambda fit: len(fit.prefix))
    for fit in by_prefix:
        for layer in _layers_at(file, fit.prefix + _head_name(fit.scheme, network)):
            if (head := _head(file, network, layer)) is not None:
                return fit, head, True
    simplest = by_prefix[-1]
    used = set(simplest.names.values())
    for root in _roots(simplest.prefix):
        near = [name for name in file.tensors if name.startswith(root) and name not in used]
        if heads := _heads(file, network, near):
            _refuse_several(file, heads)
            return simplest, heads[0], False
    usual = simplest.prefix + _head_name(simplest.scheme, network)
    raise _refused(file, simplest, architecture, looks_like(), _no_head(file, network, usual))


def _heads(file: File, network: Network, names: Iterable[str]) -> list[_Head]:
    """The layers among these names that could write the logits."""
    layers = [name.removesuffix("weight").removesuffix(".") for name in names if _ends_in(name, "weight")]
    return [head for layer in layers if (head := _head(file, network, layer)) is not None]


def _refuse_several(file: File, heads: Sequence[_Head]) -> None:
    if len(heads) > 1:
        raise UserError(
            f"{file.path}: {len(heads)} layers could write the logits: {listed(head.layer for head in heads)}; "
            "save the state dict without those that do not"
        )


def _head_name(scheme: Scheme, network: Network) -> str:
    return scheme.head or scheme.rename(network.logits)


def _layers_at(file: File, name: str) -> Iterator[str]:
    """The layer itself, or the one with weights in a sequence that took its place, as in `_fc.1`."""
    yield name
    below = f"{name}."
    inner = {layer.rpartition(".")[0] for layer in file.tensors if layer.startswith(below)}
    if len(inner) == 1 and re.fullmatch(r"\d+", (only := inner.pop()).removeprefix(below)):
        yield only


def _weight(layer: str) -> str:
    return f"{layer}.weight" if layer else "weight"


def _ends_in(name: str, leaf: str) -> bool:
    return name == leaf or name.endswith(f".{leaf}")


def _head(file: File, network: Network, layer: str) -> _Head | None:
    """A linear layer of one or two logits over the network's features; None where the layer is none."""
    weight, bias = _weight(layer), f"{_weight(layer).removesuffix('weight')}bias"
    shape = file.shape(weight) if weight in file.tensors else ()
    # A convolution of one position is a linear layer too.
    if len(shape) not in (2, 4) or shape[0] not in (1, 2) or shape[1:] not in ((network.features,), _flat(network)):
        return None
    if bias in file.tensors and file.shape(bias) != (shape[0],):
        return None
    return _Head(layer, weight, bias if bias in file.tensors else None, shape[0])


def _flat(network: Network) -> tuple[int, ...]:
    return network.features, 1, 1


def _roots(prefix: str) -> Iterator[str]:
    """The prefix, then with one part less at its end each time."""
    yield prefix
    while prefix:
        prefix = prefix[: prefix[:-1].rfind(".") + 1]
        yield prefix


def _no_head(file: File, network: Network, usual: str) -> dict[str, list[str]]:
    """What stands where the logits should come from."""
    expected = f"expected [2, {network.features}], or [1, {network.features}] with `positive:`"
    below = sorted(name for name in file.tensors if name.startswith(f"{usual}.") and not is_counter(name))
    if _weight(usual) in below:
        shape = list(file.shape(_weight(usual)))
        return {"of another shape": [f"{_weight(usual)} is {shape}, {expected}"]}
    if below:
        return {"several layers where one is expected": [f"{name} {list(file.shape(name))}" for name in below]}
    return {"missing": [f"{_weight(usual)}, {expected}"]}


# ------------------------------------------------------------------------------------ what else there is
def _problems(file: File, network: Network, fit: _Fit, head: _Head) -> dict[str, list[str]]:
    """What is wrong with tensors that have the right names, and what the file has more of the same network."""
    return {
        title: names
        for title, names in {
            "left over": _left_over(file, network, fit, {*fit.names.values(), head.weight, head.bias}),
            "of another shape": [
                f"{name} is {list(file.shape(name))}, expected {list(network.shapes[tensor])}"
                for tensor, name in fit.names.items()
                if isinstance(file.tensors[name], StoredTensor) and file.shape(name) != network.shapes[tensor]
            ],
            "layers beside the one that writes the logits": _beside(file, head),
        }.items()
        if names
    }


def _left_over(file: File, network: Network, fit: _Fit, used: set[str | None]) -> list[str]:
    """What the file has more than the network where this has its layers: further blocks, as of a larger one."""
    renamed = [fit.scheme.rename(name) for name in network.shapes]
    shared = takewhile(lambda words: len(set(words)) == 1, zip(*(name.split(".") for name in renamed), strict=False))
    root = "".join(f"{words[0]}." for words in shared)
    parts = {name[len(root) :].partition(".")[0] for name in renamed}
    numbered = any(part.isdigit() for part in parts)
    head = fit.prefix + _head_name(fit.scheme, network)
    left_over = []
    for name in file.tensors:
        if name.startswith(fit.prefix + root) and name not in used and not is_counter(name):
            part = name[len(fit.prefix + root) :].partition(".")[0]
            if (part in parts or (numbered and part.isdigit())) and not name.startswith(f"{head}."):
                left_over.append(name)
    return left_over


def _beside(file: File, head: _Head) -> list[str]:
    """Tensors in the same sequence of layers: what it computes is then not this one layer."""
    parent, _, index = head.layer.rpartition(".")
    if not re.fullmatch(r"\d+", index):
        return []
    return [
        name
        for name in file.tensors
        if name.startswith(f"{parent}.") and name not in (head.weight, head.bias) and not is_counter(name)
    ]


def _rest(file: File, fit: _Fit, head: _Head, used: set[str]) -> list[str]:
    """Other tensors in the dictionaries that the network's lie in."""
    first = next(iter(fit.names.values()))
    folders = {file.folders[first], file.folders[head.weight]}
    return [
        name for name in file.tensors if file.folders[name] in folders and name not in used and not is_counter(name)
    ]


def _refuse_unknown(file: File, fit: _Fit, rest: Sequence[str], architecture: str) -> None:
    for start, meaning in fit.scheme.unknown:
        if layers := [name for name in rest if name.startswith(fit.prefix + start)]:
            raise UserError(
                f"{file.path}: {shown(layers[0])} is {meaning}, which bench's {architecture} does not compute, so its "
                "scores would be others; `bench score` judges scores that your own code gave"
            )


def _is_harmless(file: File, network: Network, fit: _Fit, name: str) -> bool:
    """Whether a tensor that is left over is known to take no part: of training, of an unused head, or by the scheme."""
    if _OF_TRAINING.search(name) or any(name.startswith(fit.prefix + start) for start in fit.scheme.unused):
        return True
    layer = name.removesuffix("bias").removesuffix("weight")
    shape = file.shape(f"{layer}weight") if f"{layer}weight" in file.tensors else ()
    return len(shape) == 2 and shape[1] == network.features and shape[0] > 2


# ------------------------------------------------------------------------------------ messages
def _misfit(
    file: File,
    network: Network,
    schemes: Sequence[Scheme],
    fits: Sequence[_Fit],
    conventions: Conventions,
    architecture: str,
    looks_like: Callable[[], str | None],
) -> UserError:
    """Why no set of weights is whole: what the nearest scheme lacks, in the names of the file."""
    key = conventions.key
    asked = [fit for fit in fits if key is None or fit.prefix.startswith(f"{key}.")] or fits
    nearest_fit = max(asked, key=lambda fit: len(fit.names), default=None)
    if nearest_fit is None or len(nearest_fit.names) < _ALIKE * len(network.shapes):
        return _of_no_scheme(file, network, schemes, architecture, looks_like())
    lacking = network.shapes.keys() - nearest_fit.names.keys()
    missing = sorted(nearest_fit.prefix + nearest_fit.scheme.rename(name) for name in lacking)
    head = _Head("", "", None, 0)
    problems = {"missing": missing, **_problems(file, network, nearest_fit, head)}
    return _refused(file, nearest_fit, architecture, looks_like(), problems)


def _refused(
    file: File, fit: _Fit, architecture: str, looks_like: str | None, problems: Mapping[str, Sequence[str]]
) -> UserError:
    """That a set of weights does not fit, with all that is wrong, by title."""
    behind = f" behind `{shown(fit.key)}`" if fit.key else ""
    lines = [
        f"{file.path}: these weights do not fit {architecture}",
        f"  names are those of {fit.scheme.owner}{behind}",
    ]
    if looks_like:
        lines.append(f"  they look like {looks_like}: set `architecture: {looks_like}`")
    lines += [f"  {title} ({len(names)}): {listed(names, _MOST_LISTED)}" for title, names in problems.items() if names]
    return UserError(*lines)


def _of_no_scheme(
    file: File, network: Network, schemes: Sequence[Scheme], architecture: str, looks_like: str | None
) -> UserError:
    """That no names are those of any scheme, with some of the file and of each scheme."""
    first = next(iter(network.shapes), "")
    examples = "; ".join(f"{scheme.owner}'s, such as {scheme.rename(first)}" for scheme in schemes)
    lines = [
        f"{file.path}: these weights do not fit {architecture}",
        f"  it holds {len(file.tensors)} tensors, such as {listed(sorted(file.tensors), 4)}",
        f"  names that would fit, behind any prefix: {examples}",
    ]
    if looks_like:
        lines.append(f"  they look like {looks_like}: set `architecture: {looks_like}`")
    return UserError(*lines)
